// Charts drawn as SVG, and bars. What they show stands in words or tables beside them.

import { h, s } from "./dom.js";

const HEIGHT = 220;
const MARGIN = { top: 8, right: 4, bottom: 24, left: 52 };
const LINES = 4;

/** Colours of series; what comes after them shares the last one. */
export const SERIES = 6;

/** A bar chart of stacked columns.
 *
 * columns: [{label, values: [number for each series]}]; series: their names; write: a value as text;
 * onpick(index) tells which column is pointed at, by mouse or arrow keys, null for none.
 */
export function stackedColumns(holder, { columns, series, write, summary, onpick }) {
  const svg = s("svg", { role: "img", "aria-label": summary, class: "columns", tabindex: "0", height: String(HEIGHT) });
  let picked = null;
  const pick = (index) => {
    picked = index;
    svg.querySelector(".picked")?.classList.remove("picked");
    if (index !== null) svg.querySelectorAll(".column")[index].classList.add("picked");
    onpick(index);
  };
  const draw = () => {
    const width = Math.max(holder.clientWidth, 200);
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    svg.setAttribute("width", String(width));
    svg.replaceChildren(...scale(columns, width, write), ...bars(columns, series, width, pick), ...days(columns, width));
  };
  svg.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") pick(null);
    if (!step) return;
    event.preventDefault();
    const next = (picked ?? (step < 0 ? columns.length : -1)) + step;
    pick(Math.min(Math.max(next, 0), columns.length - 1));
  });
  svg.addEventListener("pointerleave", () => pick(null));
  svg.addEventListener("blur", () => pick(null));
  holder.replaceChildren(svg);
  const observer = new ResizeObserver(draw);
  observer.observe(holder);
  draw();
  return () => observer.disconnect();
}

/** A round number, at least as large as another. */
function ceiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 6, 8, 10].find((factor) => factor * power >= value) * power;
}

const total = (column) => column.values.reduce((sum, value) => sum + value, 0);
const top = (columns) => ceiling(Math.max(...columns.map(total)));
const inner = (width) => width - MARGIN.left - MARGIN.right;
const INNER_HEIGHT = HEIGHT - MARGIN.top - MARGIN.bottom;

function scale(columns, width, write) {
  const most = top(columns);
  return Array.from({ length: LINES + 1 }, (_, line) => {
    const y = Math.round(MARGIN.top + INNER_HEIGHT * (1 - line / LINES)) + 0.5;
    return s("g", { "aria-hidden": "true" },
      s("line", { class: line ? "grid" : "axis", x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y }),
      s("text", { class: "tick", x: MARGIN.left - 8, y: y + 4, "text-anchor": "end" }, write((most * line) / LINES)),
    );
  });
}

function bars(columns, series, width, pick) {
  const most = top(columns);
  const step = inner(width) / columns.length;
  const thick = Math.max(Math.min(step * 0.72, 44), 2);
  return columns.map((column, index) => {
    const x = MARGIN.left + step * index + (step - thick) / 2;
    let base = MARGIN.top + INNER_HEIGHT;
    const parts = series.map((_, number) => {
      const height = (column.values[number] / most) * INNER_HEIGHT;
      if (height <= 0) return null;
      base -= height;
      return s("rect", { class: `series-${Math.min(number, SERIES - 1)}`, x, y: base, width: thick, height: Math.max(height, 1) });
    });
    const area = s("rect", { class: "area", x: MARGIN.left + step * index, y: MARGIN.top, width: step, height: INNER_HEIGHT });
    return s("g", { class: "column", onpointerenter: () => pick(index), onpointerdown: () => pick(index) }, area, ...parts);
  });
}

function days(columns, width) {
  const step = inner(width) / columns.length;
  const each = Math.ceil(56 / step); // room for one label
  return columns.map((column, index) => {
    if ((columns.length - 1 - index) % each) return null;
    const middle = MARGIN.left + step * (index + 0.5);
    const x = Math.min(middle, width - MARGIN.right - 18);
    return s("text", { class: "tick", x, y: HEIGHT - 6, "text-anchor": "middle", "aria-hidden": "true" }, column.label);
  }).filter(Boolean);
}

/** The series' colours and names. */
export function legend(series) {
  return h("ul", { class: "legend" }, series.map((name, number) =>
    h("li", {}, h("span", { class: `swatch series-${Math.min(number, SERIES - 1)}`, "aria-hidden": "true" }), name)));
}

/** A bar filled to a part, 0 to 1, of its length. */
export function bar(part, className = "") {
  const filled = h("span", { class: className });
  filled.style.inlineSize = `${Math.min(Math.max(part, 0), 1) * 100}%`;
  return h("span", { class: "track", "aria-hidden": "true" }, filled);
}

/** A bar that tells how much of something is used up; names its value to screen readers. */
export function meter(label, used, limit, text) {
  const part = limit > 0 ? used / limit : 1;
  const level = part >= 1 ? "full" : part >= 0.8 ? "high" : "";
  const filled = h("span", { class: level });
  filled.style.inlineSize = `${Math.min(part, 1) * 100}%`;
  return h("span", {
    class: "track meter", role: "meter", "aria-label": label, "aria-valuemin": "0", "aria-valuemax": String(limit),
    "aria-valuenow": String(Math.min(used, limit)), "aria-valuetext": text,
  }, filled);
}
