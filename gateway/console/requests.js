// The latest calls, looked for anew every two seconds while they are on the screen.

import { explain, request } from "./api.js";
import { $, h } from "./dom.js";
import { clock, count, dollars, duration } from "./format.js";

const EVERY = 2000;
const SHOWN = 100;
const STATES = {
  started: "running",
  done: "good",
  failed: "bad",
  canceled: "quiet",
  interrupted: "bad",
};

let timer;
let paused = false;
let opened = false;
/** The rows on the screen and what they were made from, by call. */
let rows = new Map();

export function start() {
  $("pause").addEventListener("click", () => {
    paused = !paused;
    $("pause").textContent = paused ? "Resume" : "Pause";
    $("pause").setAttribute("aria-pressed", String(paused));
    tell(paused ? "Paused" : "Live", paused ? "paused" : "");
    if (!paused) look();
  });
  $("filter").addEventListener("input", filter);
  document.addEventListener("visibilitychange", () => document.hidden || look());
}

export function open() {
  opened = true;
  look();
}

export function close() {
  opened = false;
  clearTimeout(timer);
}

async function look() {
  clearTimeout(timer);
  if (!opened || paused || document.hidden) return;
  try {
    const { calls } = await request("GET", `api/v1/usage/calls?limit=${SHOWN}`);
    update(calls);
    $("calls").hidden = calls.length === 0;
    $("calls-empty").hidden = calls.length > 0;
    if (!paused) tell("Live", "");
  } catch (error) {
    tell(explain(error), "broken");
  }
  clearTimeout(timer);
  if (opened) timer = setTimeout(look, EVERY);
}

/** Show the calls and leave the rows alone that say the same: whoever reads or marks one is not disturbed. */
function update(calls) {
  const body = $("calls").tBodies[0];
  const former = rows;
  rows = new Map();
  let next = body.firstChild;
  for (const call of calls) {
    const text = JSON.stringify(call);
    const id = `${call.request_id} ${call.model} ${call.started_at}`; // a batch has a row for each of its models
    const known = former.get(id);
    const same = known?.text === text && call.ended_at !== null;
    const entry = same ? known : { text, element: row(call) };
    if (known?.element === next) next = next.nextSibling;
    if (known && !same) known.element.remove();
    if (entry.element.nextSibling !== next || !same) body.insertBefore(entry.element, next);
    rows.set(id, entry);
    former.delete(id);
  }
  for (const { element } of former.values()) element.remove();
  filter();
}

/** Hide the rows that lack one of the words. */
function filter() {
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  let left = 0;
  for (const { element } of rows.values()) {
    const text = [...element.cells].map((cell) => cell.textContent.toLowerCase()).join(" ");
    element.hidden = !words.every((word) => text.includes(word));
    if (!element.hidden) left += 1;
  }
  $("calls-none").hidden = left > 0 || rows.size === 0;
}

function tell(text, state) {
  if ($("live-text").textContent !== text) $("live-text").textContent = text;
  $("live").dataset.state = state;
}

function row(call) {
  const input = call.input_tokens + call.cache_read_input_tokens + call.cache_creation_input_tokens;
  const cached = call.cache_read_input_tokens ? `${count(call.cache_read_input_tokens)} of them from the cache` : null;
  const approximately = call.estimated ? "≈ " : "";
  const took = call.ended_at === null ? Date.now() - Date.parse(call.started_at) : Date.parse(call.ended_at) - Date.parse(call.started_at);
  return h("tr", {},
    h("td", { "data-label": "Time" }, h("time", { datetime: call.started_at, title: call.request_id }, clock(call.started_at))),
    h("td", { "data-label": "Key", class: "strong" }, call.key),
    h("td", { "data-label": "Model" }, call.model || "–"),
    h("td", { "data-label": "Operation", class: "muted" }, call.requests > 1 ? `${call.operation} × ${count(call.requests)}` : call.operation),
    h("td", { "data-label": "Status" }, h("span", { class: `state ${STATES[call.status] ?? "quiet"}` }, state(call))),
    h("td", { "data-label": "Duration", class: "number" }, duration(Math.max(took, 0))),
    h("td", { "data-label": "In", class: "number", title: cached }, count(input)),
    h("td", { "data-label": "Out", class: "number" }, call.ended_at === null ? "…" : count(call.output_tokens)),
    h("td", { "data-label": "Cost", class: "number", title: `$${call.cost_usd}` }, approximately + dollars(call.cost_usd)),
  );
}

function state(call) {
  if (call.status === "started") return "running";
  if (call.status === "done") return call.http_status === null ? "done" : String(call.http_status);
  return call.http_status === null ? call.status : `${call.http_status} ${call.status}`;
}
