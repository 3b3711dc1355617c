// Elements by id, and new ones. Whatever is shown is set as text: nothing ever becomes markup.

const SVG = "http://www.w3.org/2000/svg";

/** The element with an id. */
export const $ = (id) => document.getElementById(id);

/** A new HTML element: attributes by name, `onclick` and the like as listeners, children as nodes or text. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

let toastTimer;

/** Say something briefly, on the screen and to screen readers. */
export function say(text) {
  const toast = $("toast");
  toast.textContent = text;
  toast.classList.add("shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => toast.classList.remove("shown"), 2500);
}

/** Put text on the clipboard, and say so on the button. Browsers offer their clipboard to https and localhost alone:
 * elsewhere there is a second way. */
export async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = h("textarea", { class: "visually-hidden", "aria-hidden": "true" });
    field.value = text;
    button.after(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    button.focus();
    if (!copied) return say("Could not copy: select the text and copy it by hand");
  }
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 2000);
}

/** A group of radio buttons that looks like one control. */
export function segments(fieldset, name, options, chosen, onchange) {
  for (const [value, label] of options) {
    const id = `${name}-${value}`;
    fieldset.append(
      h("input", { type: "radio", id, name, value, checked: value === chosen, onchange: () => onchange(value) }),
      h("label", { for: id }, label),
    );
  }
}
