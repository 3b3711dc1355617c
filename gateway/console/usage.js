// Usage and cost by day, key and model, and how much of the budgets is used up.

import { explain, request } from "./api.js";
import { SERIES, bar, legend, meter, stackedColumns } from "./charts.js";
import { $, h, segments } from "./dom.js";
import { addDays, count, day, dollars, short, today } from "./format.js";

const MEASURES = {
  cost: { label: "Cost", of: (row) => Number(row.cost_usd), write: dollars },
  tokens: { label: "Tokens", of: (row) => prompt(row) + row.output_tokens, write: short },
  requests: { label: "Requests", of: (row) => row.requests, write: short },
};
const REST = "others";

let own;
let range = 30;
let measure = "cost";
let split = "key";
let rows = [];
let last = "";
let stopDrawing = () => undefined;

const prompt = (row) => row.input_tokens + row.cache_read_input_tokens + row.cache_creation_input_tokens;

export function start(key) {
  own = key;
  const admin = key.scopes.includes("gateway:admin");
  if (!admin) split = "model";
  segments($("usage-range"), "range", [[7, "7 days"], [30, "30 days"], [90, "90 days"]], range, (value) => {
    range = value;
    load();
  });
  segments($("usage-measure"), "measure", Object.entries(MEASURES).map(([name, { label }]) => [name, label]), measure, (value) => {
    measure = value;
    draw();
  });
  segments($("usage-split"), "split", [["key", "by key"], ["model", "by model"]], split, (value) => {
    split = value;
    draw();
  });
}

export function open() {
  load();
}

export function close() {
  stopDrawing();
}

async function load() {
  try {
    // One day more than is shown: the answer names the zone that decides which day is the last.
    const report = await request("GET", `api/v1/usage?from=${addDays(today("UTC"), -range)}`);
    last = today(report.timezone);
    const from = addDays(last, 1 - range);
    rows = report.rows.filter((row) => row.day >= from && row.day <= last);
    $("usage-zone").textContent = `Days begin at midnight in ${report.timezone}, as budgets do.`;
    showTotals();
    draw();
    await showBudgets();
  } catch (error) {
    $("chart").replaceChildren(h("p", { class: "error", role: "alert" }, explain(error)));
  }
}

function showTotals() {
  const total = (of) => sum(rows.map(of));
  const read = total(prompt);
  const cached = read ? `${Math.round((100 * total((row) => row.cache_read_input_tokens)) / read)} % from the cache` : "";
  const guessed = total((row) => row.estimated_requests);
  const estimated = guessed ? `${count(guessed)} estimated` : "";
  const tile = (name, value, note = "") => h("div", {}, h("dt", {}, name), h("dd", {}, value, note && h("span", { class: "note" }, note)));
  $("totals").replaceChildren(
    tile("Cost", dollars(total(MEASURES.cost.of)), estimated),
    tile("Requests", count(total((row) => row.requests))),
    tile("Tokens in", short(read), cached),
    tile("Tokens out", short(total((row) => row.output_tokens))),
  );
}

/** The sums of a measure by a column, the largest first. */
function sums(column, of) {
  const found = new Map();
  for (const row of rows) found.set(row[column], (found.get(row[column]) ?? 0) + of(row));
  return [...found].sort((one, other) => other[1] - one[1]);
}

function draw() {
  const { of, write, label } = MEASURES[measure];
  const names = sums(split, of).map(([name]) => name);
  const shown = names.length > SERIES ? [...names.slice(0, SERIES - 1), REST] : names;
  const place = new Map(names.map((name, number) => [name, Math.min(number, shown.length - 1)]));
  const columns = Array.from({ length: range }, (_, number) => {
    const date = addDays(last, number + 1 - range);
    return { date, label: day(date), values: shown.map(() => 0) };
  });
  const byDate = new Map(columns.map((column) => [column.date, column]));
  for (const row of rows) byDate.get(row.day).values[place.get(row[split])] += of(row);

  const titles = shown.map((name) => name || "no model");
  const readout = h("p", { class: "readout", "aria-live": "polite" });
  const tell = (index) => readout.replaceChildren(...(index === null ? whole() : column(columns[index])));
  const whole = () => [h("strong", {}, `${columns[0].label} – ${columns.at(-1).label}`), ` ${write(sum(columns.flatMap(({ values }) => values)))}`];
  const column = ({ label: name, values }) => [
    h("strong", {}, name), ` ${write(sum(values))}`,
    ...values.map((value, number) => (value > 0 ? h("span", {}, `${titles[number]} ${write(value)}`) : null)).filter(Boolean),
  ];
  const canvas = h("div", { class: "canvas" });
  stopDrawing();
  $("chart").replaceChildren(readout, canvas, legend(titles), table(columns, titles, write));
  const summary = `${label} by day and ${split}, ${columns[0].label} to ${columns.at(-1).label}. Arrow keys go from day to day; a table follows.`;
  stopDrawing = stackedColumns(canvas, { columns, series: shown, write, summary, onpick: tell });
  tell(null);
  $("chart-title").textContent = `${label} by day`;
  ranking($("by-key"), "key", "Key", place);
  ranking($("by-model"), "model", "Model", place);
}

const sum = (values) => values.reduce((total, value) => total + value, 0);

function table(columns, titles, write) {
  const filled = columns.filter(({ values }) => sum(values) > 0);
  return h("details", {}, h("summary", {}, "As a table"),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table by day" }, h("table", {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Day"), titles.map((title) => h("th", { scope: "col", class: "number" }, title)), h("th", { scope: "col", class: "number" }, "Total"))),
      h("tbody", {}, filled.map(({ label, values }) => h("tr", {}, h("th", { scope: "row" }, label),
        values.map((value) => h("td", { class: "number" }, write(value))), h("td", { class: "number strong" }, write(sum(values)))))),
    )));
}

function ranking(holder, column, title, place) {
  const { of, write, label } = MEASURES[measure];
  const found = sums(column, of);
  if (!found.length) return holder.replaceChildren(h("p", { class: "empty" }, "Nothing in these days."));
  const most = Math.max(found[0][1], Number.MIN_VALUE);
  const colour = (name) => (column === split ? `series-${Math.min(place.get(name), SERIES - 1)}` : "plain");
  holder.replaceChildren(h("table", { class: "ranking" },
    h("caption", { class: "visually-hidden" }, `${label} by ${column}`),
    h("thead", { class: "visually-hidden" }, h("tr", {}, h("th", { scope: "col" }, title), h("th", { scope: "col" }, label))),
    h("tbody", {}, found.map(([name, value]) => h("tr", {},
      h("th", { scope: "row" }, name || "no model", bar(value / most, colour(name))), h("td", { class: "number" }, write(value)))))));
}

/** All keys that have a budget, with what they have spent in the running day and month. */
async function showBudgets() {
  const keys = own.scopes.includes("gateway:admin") ? await all() : [await request("GET", "api/v1/keys/self")];
  const limited = keys.filter(({ budget }) => budget.usd_per_day !== null || budget.usd_per_month !== null);
  if (!limited.length) {
    $("budgets").replaceChildren(h("p", { class: "empty" }, "No key has a budget."));
    return;
  }
  const month = await request("GET", `api/v1/usage?from=${last.slice(0, 8)}01&to=${last}&group_by=key_id,day`);
  const spent = (key, from) => sum(month.rows.filter((row) => row.key_id === key.id && row.day >= from).map((row) => Number(row.cost_usd)));
  const line = (key, period, used, limit) => {
    if (limit === null) return null;
    const text = `${dollars(used)} of ${dollars(limit)} ${period}`;
    return h("div", { class: "budget" }, h("span", { class: "muted" }, text), meter(`${key.name}, ${period}`, used, limit, text));
  };
  const strain = (key) => Math.max(share(spent(key, last), key.budget.usd_per_day), share(spent(key, ""), key.budget.usd_per_month));
  limited.sort((one, other) => strain(other) - strain(one) || one.name.localeCompare(other.name));
  $("budgets").replaceChildren(h("ul", { class: "budgets" }, limited.map((key) => h("li", {},
    h("span", { class: "strong" }, key.name),
    h("div", { class: "lines" },
      line(key, "today", spent(key, last), key.budget.usd_per_day),
      line(key, "this month", spent(key, ""), key.budget.usd_per_month))))));
}

/** What part of a budget is used up; of none, nothing. */
function share(used, limit) {
  if (limit === null) return 0;
  return limit > 0 ? used / limit : 1;
}

/** Every living key. */
async function all() {
  const found = [];
  for (let after = "", more = true; more; ) {
    const page = await request("GET", `api/v1/keys?limit=1000${after}`);
    found.push(...page.data);
    more = page.has_more;
    after = `&after_id=${page.last_id}`;
  }
  return found;
}
