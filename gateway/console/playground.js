// A conversation, streamed; what it cost; and the request as a program.

import { explain, request, send, session } from "./api.js";
import { $, copy, h } from "./dom.js";
import { count, dollars, duration } from "./format.js";
import { LANGUAGES } from "./snippets.js";
import { events } from "./sse.js";

const OTHER = "";
const CHEAP = "haiku";
/** Stands in a program for the model that is not named yet. */
const UNNAMED = "MODEL_ID";
const SAMPLES = ["Explain what an API gateway does", "Write a haiku about a small server", "What is new in HTTP/3?"];
const COST_ATTEMPTS = 8;
const COST_WAIT = 250;

/** What has been said so far, as the API takes it. */
let messages = [];
/** The last request that was sent. */
let sent = null;
let stopper = null;
let language = "curl";

export function start(key) {
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  $("message").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    ask();
  });
  $("message").addEventListener("input", showCode);
  $("settings").addEventListener("input", showCode);
  $("settings").addEventListener("submit", (event) => event.preventDefault());
  $("model").addEventListener("change", () => {
    remember();
    offerOther();
  });
  $("other-model").addEventListener("input", remember);
  $("stop").addEventListener("click", () => stopper?.abort());
  $("clear").addEventListener("click", forget);
  $("samples").append(...SAMPLES.map((text) => h("button", { type: "button", class: "small", onclick: () => take(text) }, text)));
  $("copy-code").addEventListener("click", () => copy($("code").textContent, $("copy-code")));
  const tabs = [...$("code-tabs").children];
  for (const tab of tabs) tab.addEventListener("click", () => choose(tab, tabs));
  $("code-tabs").addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    choose(next, tabs);
    next.focus();
  });
  choose(tabs[0], tabs);
  offerModels(key);
}

export function open() {
  if (matchMedia("(hover: hover)").matches) $("message").focus(); // on a phone it would raise the keyboard
}

export function close() {
  // An answer under way goes on: leaving the view is no reason to lose what is paid for.
}

async function offerModels(key) {
  let models = [];
  try {
    models = (await request("GET", "api/v1/models?limit=1000")).data;
  } catch (error) {
    const refused = error.status === 403;
    $("other-model-hint").textContent = refused ? "This key may not list models: write the id of one." : explain(error);
  }
  const patterns = key.models.map(matcher);
  const allowed = models.filter((model) => patterns.some((pattern) => pattern.test(model.id)));
  $("model").replaceChildren(
    ...allowed.map((model) => h("option", { value: model.id }, model.display_name ?? model.id)),
    h("option", { value: OTHER }, "Another model…"),
  );
  $("model-field").hidden = !allowed.length;
  const ids = allowed.map(({ id }) => id);
  const chosen = session.model ?? ids.find((id) => id.includes(CHEAP)) ?? ids[0] ?? OTHER;
  $("model").value = ids.includes(chosen) ? chosen : OTHER;
  if ($("model").value === OTHER) $("other-model").value = chosen;
  offerOther();
}

function model() {
  return $("model").value || $("other-model").value.trim();
}

function remember() {
  session.model = model();
}

/** A key's pattern for models, where `*` stands for any characters. */
function matcher(pattern) {
  const parts = pattern.split("*").map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`);
}

function offerOther() {
  $("other-model-field").hidden = $("model").value !== OTHER;
  showCode();
}

function take(text) {
  $("message").value = text;
  showCode();
  $("message").focus();
}

/** The request as it stands; the draft, where there is one, is its last message. */
function draft() {
  const text = $("message").value.trim();
  const body = {
    model: model(),
    max_tokens: Number($("max-tokens").value) || 1024,
  };
  if ($("system").value.trim()) body.system = $("system").value.trim();
  if ($("temperature").value !== "") body.temperature = Number($("temperature").value);
  return { ...body, messages: text ? [...messages, { role: "user", content: text }] : messages };
}

function showCode() {
  const shown = draft();
  shown.model ||= UNNAMED;
  if (shown.messages.at(-1)?.role !== "user") {
    shown.messages = sent?.messages ?? [{ role: "user", content: SAMPLES[0] }];
  }
  $("code").textContent = LANGUAGES[language](shown);
}

function choose(tab, tabs) {
  language = tab.id.slice("tab-".length);
  for (const other of tabs) {
    other.setAttribute("aria-selected", String(other === tab));
    other.tabIndex = other === tab ? 0 : -1;
  }
  $("code-panel").setAttribute("aria-labelledby", tab.id);
  showCode();
}

function forget() {
  stopper?.abort();
  messages = [];
  sent = null;
  $("log").replaceChildren($("log-empty"));
  $("log-empty").hidden = false;
  $("clear").hidden = true;
  showCode();
  $("message").focus();
}

async function ask() {
  const text = $("message").value.trim();
  if (!text || stopper) return;
  if (!$("settings").reportValidity()) return;
  const body = draft();
  if (!body.model) return $("other-model").focus();
  const log = $("log");
  const question = h("article", { class: "turn user", "aria-label": "You" }, h("p", { class: "text" }, text));
  const answer = h("article", { class: "turn assistant", "aria-label": "Claude" }, h("p", { class: "text" }), h("p", { class: "facts" }));
  $("log-empty").hidden = true;
  $("clear").hidden = false;
  log.append(question, answer);
  $("message").value = "";
  sent = body;
  busy(true);
  const message = await stream(body, answer);
  busy(false);
  if (message === null) {
    question.classList.add("unsent");
    if (!$("message").value) $("message").value = text; // nothing came of it: it can be sent again
  } else if (sent === body) {
    messages = [...body.messages, { role: "assistant", content: message }];
  }
  showCode();
}

function busy(is) {
  stopper = is ? new AbortController() : null;
  $("log").setAttribute("aria-busy", String(is)); // screen readers hear the whole answer, not each piece
  $("stop").hidden = !is;
  $("send").hidden = is;
  if (is) $("stop").focus();
  else if (document.activeElement === document.body) $("message").focus();
}

/** Show an answer as it comes. Returns what the conversation goes on with: its content, or null when nothing came. */
async function stream(body, answer) {
  const [text, facts] = answer.children;
  const { signal } = stopper;
  const begun = performance.now();
  let first = null;
  let whole = null;
  let requestId = null;
  let failure = null;
  answer.classList.add("waiting");
  try {
    const response = await send("POST", "api/v1/messages/stream", { body, signal });
    requestId = response.headers.get("x-request-id");
    for await (const event of events(response)) {
      if (event.type === "text") {
        first ??= performance.now() - begun;
        answer.classList.remove("waiting");
        add(text, event.text);
      } else if (event.type === "message_stop") {
        whole = event.message;
      } else if (event.type === "error") {
        failure = event.error.message;
      }
    }
    if (!whole && !failure) failure = "The answer broke off.";
  } catch (error) {
    if (!signal.aborted) failure = explain(error);
    requestId ??= error.requestId;
  }
  answer.classList.remove("waiting");
  const took = performance.now() - begun;
  if (failure) text.after(h("p", { class: "error" }, failure));
  const notes = [];
  if (signal.aborted) notes.push("stopped");
  if (whole && whole.stop_reason !== "end_turn") notes.push(whole.stop_reason?.replaceAll("_", " ") ?? "");
  notes.push(duration(took));
  if (first !== null) notes.push(`first words after ${duration(first)}`);
  account(facts, requestId, notes, whole?.usage);
  if (whole) return plain(whole.content);
  return text.textContent.trimEnd() || null;
}

/** Add text, and stay at the end of the conversation for who is there. */
function add(paragraph, text) {
  const log = $("log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  paragraph.append(text);
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function plain(content) {
  return content.every((block) => block.type === "text") ? content.map((block) => block.text).join("") : content;
}

/** Write tokens and cost below an answer. The cost is the ledger's, which has it a moment after the last byte. */
async function account(facts, requestId, notes, usage) {
  const tell = (...parts) => facts.replaceChildren(...parts.filter(Boolean).map((part) => h("span", {}, part)));
  const tokens = (read, written) => `${count(read)} tokens in, ${count(written)} out`;
  const prompt = usage && usage.input_tokens + (usage.cache_read_input_tokens ?? 0) + (usage.cache_creation_input_tokens ?? 0);
  tell(usage && tokens(prompt, usage.output_tokens), ...notes);
  const call = requestId && (await settled(requestId));
  if (!call) return;
  const read = call.input_tokens + call.cache_read_input_tokens + call.cache_creation_input_tokens;
  const approximately = call.estimated ? "≈ " : "";
  tell(approximately + tokens(read, call.output_tokens), approximately + dollars(call.cost_usd), ...notes);
  $("log").scrollTop = $("log").scrollHeight;
}

async function settled(requestId) {
  for (let attempt = 0; attempt < COST_ATTEMPTS; attempt += 1) {
    const { calls } = await request("GET", "api/v1/usage/calls?limit=50").catch(() => ({ calls: [] }));
    const call = calls.find((one) => one.request_id === requestId);
    if (call?.ended_at) return call;
    await new Promise((resolve) => setTimeout(resolve, COST_WAIT));
  }
  return null;
}
