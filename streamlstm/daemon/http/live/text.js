// Numbers, times and durations as the page writes them; times are UTC.

export function clock(t) {
  return new Date(t).toISOString().replace("T", " ").slice(0, 19);
}

export function number(value) {
  return Number.isFinite(value) ? String(Number(value.toPrecision(6))) : "missing";
}

export function short(value) {
  if (!Number.isFinite(value)) return "–";
  for (const [from, size, sign] of [[1e9, 1e9, "G"], [1e6, 1e6, "M"], [1e4, 1e3, "k"]]) {
    if (Math.abs(value) >= from) return `${(value / size).toPrecision(3)} ${sign}`;
  }
  return Number(value.toPrecision(3)).toString();
}

export function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds === 0) return "0 s";
  if (seconds < 1) return `${Number((seconds * 1000).toPrecision(2))} ms`;
  if (seconds < 120) return `${Number(seconds.toPrecision(2))} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}
