// Charts drawn as SVG, and bars. What they show stands in words or tables beside them.

import { h, s } from "./dom.js";

const HEIGHT = 220;
const MARGIN = { top: 8, right: 4, bottom: 24, left: 52 }; // on the left at least
const GAP = 8;
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
    const marks = Array.from({ length: LINES + 1 }, (_, line) => write((top(columns) * line) / LINES));
    const left = Math.max(MARGIN.left, widest(svg, marks) + GAP);
    const plane = { left, width: width - left - MARGIN.right, step: (width - left - MARGIN.right) / columns.length };
    const room = widest(svg, columns.map(({ label }) => label));
    svg.replaceChildren(...scale(marks, plane), ...bars(columns, series, plane, pick), ...days(columns, plane, room));
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
const INNER_HEIGHT = HEIGHT - MARGIN.top - MARGIN.bottom;

/** The width of the widest text beside an axis. It is measured in the chart itself, whose next drawing removes it. */
function widest(svg, texts) {
  const drawn = texts.map((text) => s("text", { class: "tick" }, text));
  svg.append(...drawn);
  return Math.ceil(Math.max(...drawn.map((text) => text.getComputedTextLength())));
}

function scale(marks, { left, width }) {
  return marks.map((mark, line) => {
    const y = Math.round(MARGIN.top + INNER_HEIGHT * (1 - line / LINES)) + 0.5;
    return s("g", { "aria-hidden": "true" },
      s("line", { class: line ? "grid" : "axis", x1: left, x2: left + width, y1: y, y2: y }),
      s("text", { class: "tick", x: left - GAP, y: y + 4, "text-anchor": "end" }, mark),
    );
  });
}

function bars(columns, series, { left, step }, pick) {
  const most = top(columns);
  const thick = Math.max(Math.min(step * 0.72, 44), 2);
  return columns.map((column, index) => {
    const x = left + step * index + (step - thick) / 2;
    let base = MARGIN.top + INNER_HEIGHT;
    const parts = series.map((_, number) => {
      const height = (column.values[number] / most) * INNER_HEIGHT;
      if (height <= 0) return null;
      base -= height;
      return s("rect", { class: `series-${Math.min(number, SERIES - 1)}`, x, y: base, width: thick, height: Math.max(height, 1) });
    });
    const area = s("rect", { class: "area", x: left + step * index, y: MARGIN.top, width: step, height: INNER_HEIGHT });
    return s("g", { class: "column", onpointerenter: () => pick(index), onpointerdown: () => pick(index) }, area, ...parts);
  });
}

function days(columns, { left, width, step }, room) {
  const shift = Math.max((room - step) / 2, 0); // the last label stays within the chart
  const each = Math.ceil((room + 2 * GAP + shift) / step);
  return columns.map((column, index) => {
    if ((columns.length - 1 - index) % each) return null;
    const x = Math.min(left + step * (index + 0.5), left + width - room / 2);
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
