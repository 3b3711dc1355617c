// The form of a key, for a new one and for one that changes.

import { explain, request } from "./api.js";
import { $, h } from "./dom.js";

const SCOPES = {
  messages: "messages", batches: "batches", models: "models", files: "files", skills: "skills",
  agents: "agents: sessions, environments, memory stores, vaults",
  organization: "organization: Anthropic's admin API",
  "gateway:admin": "gateway:admin: everything, these keys too",
};
const DEFAULT_SCOPES = ["messages", "batches", "models", "files", "skills"];
const LIMITS = {
  requests_per_minute: "key-requests",
  concurrency: "key-concurrency",
  input_tokens_per_minute: "key-input",
  output_tokens_per_minute: "key-output",
};
const BUDGET = { usd_per_day: "key-usd-day", usd_per_month: "key-usd-month" };

/** Ask for the fields of a key and save them: a new one, or a change of `key`. Returns the answer, null when given up. */
export function editKey(key) {
  const dialog = $("key-dialog");
  $("key-dialog-title").textContent = key ? `Edit ${key.name}` : "New key";
  $("key-save").textContent = key ? "Save" : "Create key";
  $("key-error").textContent = "";
  $("key-defaults-hint").hidden = key !== null;
  show(key);
  return new Promise((resolve) => {
    let result = null;
    $("key-cancel").onclick = () => dialog.close();
    $("key-form").onsubmit = async (event) => {
      event.preventDefault();
      if (!$("key-form").reportValidity()) return;
      const body = key ? changes(key, read()) : filled(read());
      if (!Object.keys(body).length) return dialog.close(); // all is as it was
      $("key-save").disabled = true;
      try {
        result = await (key ? request("PATCH", `api/v1/keys/${key.id}`, { body }) : request("POST", "api/v1/keys", { body }));
        dialog.close();
      } catch (error) {
        $("key-error").textContent = explain(error);
        $("key-error").scrollIntoView({ block: "nearest" });
      } finally {
        $("key-save").disabled = false;
      }
    };
    dialog.onclose = () => resolve(result);
    dialog.showModal();
    $("key-name").focus();
  });
}

function show(key) {
  const scopes = key?.scopes ?? DEFAULT_SCOPES;
  $("key-name").value = key?.name ?? "";
  $("key-scopes").replaceChildren(...Object.entries(SCOPES).map(([name, label]) =>
    h("label", { class: "check" }, h("input", { type: "checkbox", name: "scope", value: name, checked: scopes.includes(name) }), ` ${label}`)));
  $("key-models").value = (key?.models ?? ["*"]).join(", ");
  for (const [name, id] of Object.entries(LIMITS)) $(id).value = key?.limits[name] ?? "";
  for (const [name, id] of Object.entries(BUDGET)) $(id).value = key?.budget[name] ?? "";
  $("key-expires").value = key?.expires_at ? local(key.expires_at) : "";
}

/** What the form says; null where a number or the time is left empty. */
function read() {
  const numbers = (fields) => Object.fromEntries(Object.entries(fields).map(([name, id]) => [name, $(id).value === "" ? null : Number($(id).value)]));
  const expires = $("key-expires").value;
  return {
    name: $("key-name").value.trim(),
    scopes: [...$("key-scopes").querySelectorAll(":checked")].map((box) => box.value),
    models: $("key-models").value.split(",").map((model) => model.trim()).filter(Boolean),
    expires_at: expires ? new Date(expires).toISOString() : null,
    limits: numbers(LIMITS),
    budget: numbers(BUDGET),
  };
}

/** For a new key: without what is left empty, which then follows the gateway's settings. */
function filled(fields) {
  const set = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null));
  return { ...fields, limits: set(fields.limits), budget: set(fields.budget) };
}

/** Only what differs: what is not named stays as it is, and goes on following the settings where it does. */
function changes(key, fields) {
  const different = (now, before) => Object.fromEntries(Object.entries(now).filter(([name, value]) => value !== before[name]));
  const changed = {};
  for (const name of ["name", "scopes", "models"]) {
    if (String(fields[name]) !== String(key[name])) changed[name] = fields[name];
  }
  if ($("key-expires").value !== (key.expires_at ? local(key.expires_at) : "")) changed.expires_at = fields.expires_at;
  for (const part of ["limits", "budget"]) {
    const values = different(fields[part], key[part]);
    if (Object.keys(values).length) changed[part] = values;
  }
  return changed;
}

/** A time as the browser's own field for it wants it: local, to the minute. */
function local(time) {
  const date = new Date(time);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}
