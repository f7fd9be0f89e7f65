// Strings, numbers and times in the language of the page. The strings come with it, from `words/*.toml`.

const language = document.documentElement.lang || "en";
const grouped = new Intl.NumberFormat(language, { useGrouping: true });
const decimal = new Intl.NumberFormat(language, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const rounded = new Intl.NumberFormat(language, { useGrouping: false, maximumSignificantDigits: 15 });
const plural = new Intl.PluralRules(language);
const strings = JSON.parse(document.getElementById("words")?.textContent || "{}");

// The string of a name, with its placeholders filled in; `count` also chooses its form.
export function t(name, values = {}) {
  let text = strings[name];
  if (text === undefined) { console.error(`no words for ${name}`); return name; }
  if (Array.isArray(text)) text = plural.select(values.count) === "one" ? text[0] : text.at(-1);
  return text.replace(/\{(\w+)\}/g, (_, key) => {
    const value = values[key];
    return typeof value === "number" ? grouped.format(value) : value;
  });
}

export function count(number) {
  return grouped.format(number);
}

// A number with so many digits as a reader of measurements wants.
export function figure(number) {
  return rounded.format(Math.abs(number) >= 1000 ? Math.round(number) : Number(number.toPrecision(4)));
}

export function bytes(number) {
  const units = ["B", "KB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (number >= 999.5 && unit < units.length - 1) { number /= 1000; unit += 1; }
  return `${unit === 0 || number >= 99.5 ? grouped.format(Math.round(number)) : decimal.format(number)}\u00a0${units[unit]}`;
}

export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  return `${Math.floor(whole / 3600)} h`;
}

export function ago(at, now = new Date()) {
  const seconds = (now - at) / 1000;
  if (seconds < 45) return t("frame.just_now");
  if (seconds < 3600) return t("frame.minutes_ago", { count: Math.max(1, Math.round(seconds / 60)) });
  const time = at.toLocaleTimeString(language, { hour: "2-digit", minute: "2-digit" });
  if (at.toDateString() === now.toDateString()) return t("frame.today", { time });
  return `${at.toLocaleDateString(language, { year: "numeric", month: "short", day: "numeric" })} ${time}`;
}
