// Numbers and times as people read them.

const grouped = new Intl.NumberFormat("en", { useGrouping: true });

export function count(number) {
  return grouped.format(number);
}

export function bytes(number) {
  const units = ["B", "KB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (number >= 999.5 && unit < units.length - 1) { number /= 1000; unit += 1; }
  return `${unit === 0 || number >= 99.5 ? Math.round(number) : number.toFixed(1)} ${units[unit]}`;
}

export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  return `${Math.floor(whole / 3600)} h`;
}

export function ago(at, now = new Date()) {
  const seconds = (now - at) / 1000;
  if (seconds < 45) return "just now";
  if (seconds < 3600) return `${Math.max(1, Math.round(seconds / 60))} min ago`;
  const time = at.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
  if (at.toDateString() === now.toDateString()) return `today ${time}`;
  return `${at.toLocaleDateString(undefined, { year: "numeric", month: "short", day: "numeric" })} ${time}`;
}
