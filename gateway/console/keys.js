// The apps' keys: make, change, rotate and revoke them. A key without gateway:admin sees itself alone.

import { explain, request } from "./api.js";
import { $, copy, h, say } from "./dom.js";
import { confirm } from "./confirm.js";
import { dollars, moment, short } from "./format.js";
import { editKey } from "./key_form.js";

const PAGE = 100;

let own;
let shown = [];

export function start(key) {
  own = key;
  const admin = key.scopes.includes("gateway:admin");
  for (const part of [$("new-key"), $("show-revoked").closest("label")]) part.hidden = !admin;
  if (!admin) $("keys-title").textContent = "This key";
  $("new-key").addEventListener("click", () => editKey(null).then((issued) => issued && reveal(issued)));
  $("show-revoked").addEventListener("change", load);
  $("more-keys").addEventListener("click", () => load(null, shown.at(-1).id));
  $("copy-secret").addEventListener("click", () => copy($("secret").textContent, $("copy-secret")));
  $("secret-done").addEventListener("click", () => $("secret-dialog").close());
  $("secret-dialog").addEventListener("close", () => {
    $("secret").textContent = "";
    load();
  });
}

export function open() {
  load();
}

export function close() {
  shown = [];
}

async function load(_event, after) {
  try {
    if (!own.scopes.includes("gateway:admin")) return show([await request("GET", "api/v1/keys/self")], false);
    const revoked = $("show-revoked").checked ? "&include_revoked=true" : "";
    const page = await request("GET", `api/v1/keys?limit=${PAGE}${revoked}${after ? `&after_id=${after}` : ""}`);
    show(after ? [...shown, ...page.data] : page.data, page.has_more);
  } catch (error) {
    say(explain(error));
  }
}

function show(keys, more) {
  shown = keys;
  const table = $("key-table");
  const held = table.contains(document.activeElement) ? document.activeElement.ariaLabel : null;
  table.tBodies[0].replaceChildren(...keys.map(row));
  // Who goes by keyboard stays at the button just used, or comes to a place nearby.
  if (held) ([...table.querySelectorAll("button")].find((button) => button.ariaLabel === held) ?? $("new-key")).focus();
  table.hidden = keys.length === 0;
  $("keys-empty").hidden = keys.length > 0;
  $("more-keys").hidden = !more;
}

function row(key) {
  const gone = key.revoked_at !== null;
  const manageable = !gone && own.scopes.includes("gateway:admin");
  return h("tr", { class: gone ? "gone" : null },
    h("th", { scope: "row", "data-label": "Name" }, h("span", { class: "name" }, key.name), gone && h("span", { class: "tag" }, "revoked")),
    h("td", { "data-label": "Scopes" }, h("span", { class: "tags" }, key.scopes.map((scope) => h("span", { class: "tag" }, scope)))),
    h("td", { "data-label": "Models" }, models(key.models)),
    h("td", { "data-label": "Limits" }, lines(limits(key.limits))),
    h("td", { "data-label": "Budget" }, lines(budget(key.budget))),
    h("td", { "data-label": "Expires" }, expiry(key)),
    h("td", { class: "actions" }, manageable && [
      h("button", { type: "button", class: "small", "aria-label": `Edit ${key.name}`, onclick: () => edit(key) }, "Edit"),
      h("button", { type: "button", class: "small", "aria-label": `Rotate ${key.name}`, onclick: () => rotate(key) }, "Rotate"),
      h("button", { type: "button", class: "small danger", "aria-label": `Revoke ${key.name}`, onclick: () => revoke(key) }, "Revoke"),
    ]),
  );
}

const lines = (texts) => (texts.length ? texts.map((text) => h("span", { class: "line" }, text)) : h("span", { class: "muted" }, "unlimited"));

function models(patterns) {
  if (patterns.includes("*")) return h("span", { class: "muted" }, "all");
  if (!patterns.length) return h("span", { class: "muted" }, "none");
  return patterns.map((pattern) => h("span", { class: "line mono" }, pattern));
}

function limits(of) {
  return [
    of.requests_per_minute !== null && `${short(of.requests_per_minute)} requests/min`,
    of.input_tokens_per_minute !== null && `${short(of.input_tokens_per_minute)} tokens in/min`,
    of.output_tokens_per_minute !== null && `${short(of.output_tokens_per_minute)} tokens out/min`,
    of.concurrency !== null && `${short(of.concurrency)} at a time`,
  ].filter(Boolean);
}

function budget(of) {
  return [
    of.usd_per_day !== null && `${dollars(of.usd_per_day)} a day`,
    of.usd_per_month !== null && `${dollars(of.usd_per_month)} a month`,
  ].filter(Boolean);
}

function expiry(key) {
  if (key.expires_at === null) return h("span", { class: "muted" }, "never");
  const past = Date.parse(key.expires_at) <= Date.now();
  return h("span", { class: past ? "bad" : null }, past ? `expired ${moment(key.expires_at)}` : moment(key.expires_at));
}

async function edit(key) {
  const changed = await editKey(key);
  if (!changed) return;
  say(`${changed.name} is changed`);
  load();
}

async function rotate(key) {
  const issued = await confirm({
    title: `Rotate ${key.name}?`,
    text: "The key gets a new secret, which is shown once. Put it into the app while the old one still works.",
    action: "Rotate",
    overlap: true,
    act: (overlap) => request("POST", `api/v1/keys/${key.id}/rotate`, { body: { overlap_seconds: overlap } }),
  });
  if (issued) reveal(issued);
}

async function revoke(key) {
  const done = await confirm({
    title: `Revoke ${key.name}?`,
    text: "It opens nothing from then on, at once and for good. Its usage stays in the reports.",
    action: "Revoke",
    danger: true,
    act: () => request("DELETE", `api/v1/keys/${key.id}`),
  });
  if (!done) return;
  say(`${key.name} is revoked`);
  load();
}

/** Show a secret, this once. */
function reveal(issued) {
  $("secret-title").textContent = `The secret of ${issued.name}`;
  $("secret").textContent = issued.key;
  $("secret-dialog").showModal();
}
