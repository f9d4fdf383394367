/** How numbers and times read. Everything goes through Intl with one locale. */

export const LOCALE = "en";

const MICROS = 1_000_000;

const CENT = 10_000;
/** Four digits after the point: the smallest sum that is shown as such. */
const SMALLEST = 100;

function usd(microUsd: number, digits: number): string {
  return new Intl.NumberFormat(LOCALE, { style: "currency", currency: "USD", minimumFractionDigits: digits, maximumFractionDigits: digits }).format(microUsd / MICROS);
}

/** Money from integer micro-USD: cents; what is less than a cent keeps four digits, and never reads as nothing. */
export function money(microUsd: number): string {
  const size = Math.abs(microUsd);
  if (size === 0 || size >= CENT) return usd(microUsd, 2);
  return size < SMALLEST ? `<${usd(SMALLEST, 4)}` : usd(microUsd, 4);
}

/** Money in a column: always four digits, so that the points stand below each other. */
export function moneyColumn(microUsd: number): string {
  return microUsd !== 0 && Math.abs(microUsd) < SMALLEST ? money(microUsd) : usd(microUsd, 4);
}

/** "12.50" typed by a person -> micro-USD; null when it is not an amount. */
export function parseMoney(text: string): number | null {
  const match = /^\s*\$?\s*(\d{1,9})(?:\.(\d{1,6}))?\s*$/.exec(text);
  if (!match) return null;
  return Number(match[1]) * MICROS + Number((match[2] ?? "").padEnd(6, "0"));
}

export function count(value: number): string {
  return new Intl.NumberFormat(LOCALE).format(value);
}

export function compact(value: number): string {
  return new Intl.NumberFormat(LOCALE, { notation: "compact", maximumFractionDigits: 1 }).format(value);
}

export function percent(fraction: number): string {
  return new Intl.NumberFormat(LOCALE, { style: "percent", maximumFractionDigits: 0 }).format(fraction);
}

const UNITS: [string, number][] = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1_000],
];

/** One or two units: "3 d 4 h", "12 s", "340 ms". */
export function duration(ms: number): string {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 10_000) return `${(ms / 1_000).toFixed(1)} s`;
  const parts: string[] = [];
  let rest = ms;
  for (const [name, size] of UNITS) {
    const whole = Math.floor(rest / size);
    if (whole > 0) parts.push(`${whole} ${name}`);
    else if (parts.length > 0) break;
    rest -= whole * size;
    if (parts.length === 2) break;
  }
  return parts.join(" ");
}

/** Age in one unit: "now", "5m", "3h", "2d". */
export function age(from: string, now: number): string {
  const ms = Math.max(0, now - Date.parse(from));
  if (Number.isNaN(ms)) return "";
  for (const [name, size] of UNITS.slice(0, 3)) if (ms >= size) return `${Math.floor(ms / size)}${name}`;
  return "now";
}

/** Time left until a moment; null when it is past. */
export function left(until: string, now: number): string | null {
  const ms = Date.parse(until) - now;
  return ms > 0 ? duration(Math.max(ms, 60_000)).split(" ").slice(0, 2).join(" ") : null;
}

export function dateTime(at: string): string {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return at;
  return new Intl.DateTimeFormat(LOCALE, { dateStyle: "medium", timeStyle: "short", hourCycle: "h23" }).format(date);
}

/** A moment in a sentence: the time alone if it is today. */
export function shortTime(at: string, now = new Date()): string {
  const date = new Date(at);
  if (date.toDateString() !== now.toDateString()) return dateTime(at);
  return new Intl.DateTimeFormat(LOCALE, { timeStyle: "short", hourCycle: "h23" }).format(date);
}

/** The heading of a day in a list. */
export function dayName(at: string): string {
  return new Intl.DateTimeFormat(LOCALE, { weekday: "long", month: "long", day: "numeric", year: "numeric" }).format(new Date(at));
}

/** The day of a moment in the reader's own time, to compare. */
export function dayKey(at: string): string {
  return new Date(at).toDateString();
}

export function timeOfDay(at: string): string {
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return at;
  return new Intl.DateTimeFormat(LOCALE, { timeStyle: "medium", hourCycle: "h23" }).format(date);
}

export function shortHash(hash: string | null | undefined): string {
  return hash ? hash.replace(/^sha256:/, "").slice(0, 10) : "–";
}

export function titleCase(word: string): string {
  const text = word.replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}
