// A question before something that cannot be undone.

import { explain } from "./api.js";
import { $ } from "./dom.js";

/** Ask, and act on yes. Returns what `act(overlap in seconds)` gave, null when the answer is no. */
export function confirm({ title, text, action, act, danger = false, overlap = false }) {
  const dialog = $("confirm-dialog");
  $("confirm-title").textContent = title;
  $("confirm-text").textContent = text;
  $("confirm-error").textContent = "";
  $("confirm-do").textContent = action;
  $("confirm-do").className = danger ? "danger solid" : "primary";
  $("overlap-field").hidden = !overlap;
  return new Promise((resolve) => {
    let result = null;
    $("confirm-cancel").onclick = () => dialog.close();
    $("confirm-form").onsubmit = async (event) => {
      event.preventDefault();
      $("confirm-do").disabled = true;
      try {
        result = await act(Number($("overlap").value));
        dialog.close();
      } catch (error) {
        $("confirm-error").textContent = explain(error);
      } finally {
        $("confirm-do").disabled = false;
      }
    };
    dialog.onclose = () => resolve(result);
    dialog.showModal();
    $("confirm-cancel").focus();
  });
}
