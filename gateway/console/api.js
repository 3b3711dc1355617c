// The gateway's envelope dialect, and the key that signs in. Addresses are relative, so that a path prefix does no harm.

const STORED = "anthropic-gateway-key";
const MODEL = "anthropic-gateway-model";

/** An answer that is no success. `type` is the class that Anthropic's SDK would raise. */
export class ApiError extends Error {
  constructor(status, message, type, requestId) {
    super(message);
    this.status = status;
    this.type = type;
    this.requestId = requestId;
  }
}

/** The key of this tab, and the model chosen with it. Both live in the tab's session storage; the key travels in a header,
 * never in an address. */
export const session = {
  get key() {
    return sessionStorage.getItem(STORED);
  },
  set key(key) {
    if (key) sessionStorage.setItem(STORED, key);
    else sessionStorage.removeItem(STORED);
  },
  get model() {
    return sessionStorage.getItem(MODEL);
  },
  set model(id) {
    if (id) sessionStorage.setItem(MODEL, id);
    else sessionStorage.removeItem(MODEL);
  },
};

/** Send a request and wait for the head of its answer. Throws ApiError, or TypeError where no answer comes. */
export async function send(method, path, { body, signal, key = session.key } = {}) {
  const headers = { "x-api-key": key };
  if (body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(path, {
    method,
    headers,
    signal,
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store",
    credentials: "omit",
  });
  if (answer.ok) return answer;
  const failure = await answer.json().catch(() => ({}));
  const error = new ApiError(
    answer.status,
    failure.error ?? `The gateway answered ${answer.status}.`,
    failure.metadata?.error_type,
    answer.headers.get("x-request-id"),
  );
  if (answer.status === 401 && key === session.key) dispatchEvent(new CustomEvent("key-refused"));
  throw error;
}

/** Send a request; the answer's `data`. */
export async function request(method, path, options) {
  const answer = await send(method, path, options);
  return (await answer.json()).data;
}

/** What to tell a person about a failure. */
export function explain(error) {
  return error instanceof ApiError ? error.message : "The gateway cannot be reached.";
}
