// The same request as a program. The key itself is never part of it: programs read GATEWAY_KEY.

/** Where the gateway is, as its callers see it: this page's address without the page. */
export const base = () => new URL(".", document.baseURI).href.replace(/\/$/, "");

/** A line for a shell: the envelope's stream. */
function curl(request) {
  const body = JSON.stringify(request, null, 2).replaceAll("'", "'\\''");
  return [
    `curl -sSN ${base()}/api/v1/messages/stream \\`,
    `  -H "x-api-key: $GATEWAY_KEY" -H 'content-type: application/json' \\`,
    `  -d '${body}'`,
  ].join("\n");
}

/** Anthropic's Python SDK. It has dropped temperature, which the API takes under its former version. */
function python({ temperature, ...request }) {
  const fields = Object.entries(request).map(([name, value]) => `    ${name}=${literal(value, 1)},`);
  if (temperature !== undefined) {
    fields.push(`    extra_body={"temperature": ${temperature}},`, '    extra_headers={"anthropic-version": "2023-06-01"},');
  }
  return [
    "import os",
    "from anthropic import Anthropic",
    "",
    `client = Anthropic(base_url="${base()}", api_key=os.environ["GATEWAY_KEY"])`,
    "",
    "with client.messages.stream(",
    ...fields,
    ") as stream:",
    "    for text in stream.text_stream:",
    '        print(text, end="", flush=True)',
  ].join("\n");
}

/** Anthropic's TypeScript SDK. */
function typescript({ temperature, ...request }) {
  const body = temperature === undefined ? request : { ...request, temperature };
  const options = temperature === undefined ? "" : ', {\n  headers: { "anthropic-version": "2023-06-01" },\n}';
  return [
    'import Anthropic from "@anthropic-ai/sdk";',
    "",
    `const client = new Anthropic({ baseURL: "${base()}", apiKey: process.env.GATEWAY_KEY });`,
    "",
    `const stream = client.messages.stream(${unquoted(JSON.stringify(body, null, 2))}${options});`,
    'stream.on("text", (text) => process.stdout.write(text));',
    "await stream.finalMessage();",
  ].join("\n");
}

export const LANGUAGES = { curl, python, typescript };

/** A JSON value as Python writes it. */
function literal(value, depth = 0) {
  const indent = "    ".repeat(depth);
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) {
    return `[\n${value.map((item) => `${indent}    ${literal(item, depth + 1)},\n`).join("")}${indent}]`;
  }
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${literal(item, depth)}`).join(", ")}}`;
  }
  return JSON.stringify(value);
}

/** Names of members without their quotes, as TypeScript is written. Inside a text a quote has a backslash before it. */
function unquoted(json) {
  return json.replace(/^( *)"([a-z_]+)":/gm, "$1$2:");
}
