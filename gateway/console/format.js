// How numbers, money and times are written.

const WHOLE = new Intl.NumberFormat("en");
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const MOMENT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

/** 1,234 */
export const count = (number) => WHOLE.format(number);

/** 1.2K */
export const short = (number) => (number < 10_000 ? WHOLE.format(number) : SHORT.format(number));

/** Dollars with as many digits as say something: $12.30, $0.042, $0.00026. */
export function dollars(amount) {
  const value = Number(amount);
  if (value === 0) return "$0";
  const size = Math.abs(value);
  const digits = size >= 1 ? 2 : Math.min(9, 1 - Math.floor(Math.log10(size)));
  const text = value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return text.startsWith("-") ? `-$${text.slice(1)}` : `$${text}`;
}

/** 840 ms, 1.2 s, 3 min 5 s */
export function duration(milliseconds) {
  if (milliseconds < 1000) return `${Math.round(milliseconds)} ms`;
  if (milliseconds < 60_000) return `${(milliseconds / 1000).toFixed(1)} s`;
  return `${Math.floor(milliseconds / 60_000)} min ${Math.floor((milliseconds % 60_000) / 1000)} s`;
}

/** 14:03:22 in the reader's own zone; with its day where that is not today. */
export function clock(moment) {
  const date = new Date(moment);
  const today = date.toDateString() === new Date().toDateString();
  return today ? CLOCK.format(date) : `${DAY.format(new Date(date.getTime() - date.getTimezoneOffset() * 60_000))}, ${CLOCK.format(date)}`;
}

/** 22 Nov, of an ISO date. */
export const day = (date) => DAY.format(new Date(`${date}T00:00:00Z`));

/** 22 Nov 2026, 14:03 in the reader's own zone. */
export const moment = (time) => MOMENT.format(new Date(time));

/** The ISO date of now in a time zone. */
export function today(zone) {
  return new Intl.DateTimeFormat("en-CA", { timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit" }).format(new Date());
}

/** An ISO date some days on, or back. */
export function addDays(date, days) {
  const moved = new Date(`${date}T00:00:00Z`);
  moved.setUTCDate(moved.getUTCDate() + days);
  return moved.toISOString().slice(0, 10);
}
