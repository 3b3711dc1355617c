// Signing in and out, and which part of the console is shown.

import { ApiError, explain, request, session } from "./api.js";
import { $ } from "./dom.js";
import * as keys from "./keys.js";
import * as playground from "./playground.js";
import * as requests from "./requests.js";
import * as usage from "./usage.js";

/** Each has `start(key)`, called once signed in, `open()` and `close()`. */
const VIEWS = { playground, requests, usage, keys };
const SPEAKABLE = /^[\x21-\x7e]+$/;

let current;

function show() {
  const wanted = location.hash.slice(1);
  const name = wanted in VIEWS ? wanted : "playground";
  if (current === name) return;
  if (current) VIEWS[current].close();
  current = name;
  for (const view of Object.keys(VIEWS)) $(view).hidden = view !== name;
  for (const link of document.querySelectorAll(".bar nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  scrollTo(0, 0);
  document.title = `${name[0].toUpperCase()}${name.slice(1)} – Anthropic Gateway`;
  VIEWS[name].open();
}

function enter(key) {
  $("who").textContent = key.name;
  $("sign-in").hidden = true;
  $("console").hidden = false;
  for (const view of Object.values(VIEWS)) view.start(key);
  addEventListener("hashchange", show);
  show();
}

function askForKey(reason = "") {
  $("console").hidden = true;
  $("sign-in").hidden = false;
  $("sign-in-error").textContent = reason;
  $("sign-in-key").focus();
}

/** Forget the key and everything that it showed. */
function leave(reason) {
  session.key = null;
  session.model = null;
  if (reason) sessionStorage.setItem("anthropic-gateway-reason", reason);
  location.reload();
}

async function signIn(event) {
  event.preventDefault();
  const field = $("sign-in-key");
  const button = event.submitter ?? $("sign-in-form").querySelector("button");
  const key = field.value.trim();
  if (!SPEAKABLE.test(key)) return askForKey(key ? "That is no gateway key." : "Enter a gateway key.");
  button.disabled = true;
  try {
    const own = await request("GET", "api/v1/keys/self", { key });
    session.key = key;
    field.value = "";
    enter(own);
    $("main").focus({ preventScroll: true });
  } catch (error) {
    const unknown = error instanceof ApiError && error.status === 401;
    askForKey(unknown ? "The gateway does not know this key, or it has expired." : explain(error));
    field.select();
  } finally {
    button.disabled = false;
  }
}

async function tellWhetherSandbox() {
  const answer = await fetch("health/ready").catch(() => null);
  const ready = await answer?.json().catch(() => null);
  $("sandbox").hidden = ready?.upstream !== "sandbox";
}

async function begin() {
  $("sign-in-form").addEventListener("submit", signIn);
  $("sign-out").addEventListener("click", () => leave());
  $("skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address names the view
    $("main").focus();
  });
  addEventListener("key-refused", () => leave("The key does not open the gateway any more."));
  tellWhetherSandbox();
  const reason = sessionStorage.getItem("anthropic-gateway-reason") ?? "";
  sessionStorage.removeItem("anthropic-gateway-reason");
  if (!session.key) return askForKey(reason);
  try {
    enter(await request("GET", "api/v1/keys/self"));
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 401) askForKey(explain(error));
  }
}

begin();
