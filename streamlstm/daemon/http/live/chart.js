// Draws a part of a series on a canvas: values, forecasts, intervals, steps ahead, anomalies, and where a reader points.

const FONT = "12px system-ui, sans-serif";
const TOP = 8, RIGHT = 10, BOTTOM = 22;
const DAY = 86400e3;
const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 10e3, 15e3, 30e3, 60e3, 120e3, 300e3, 600e3, 900e3, 1800e3,
  3600e3, 2 * 3600e3, 3 * 3600e3, 6 * 3600e3, 12 * 3600e3, DAY, 2 * DAY, 7 * DAY, 14 * DAY];
const MONTHS = [1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1200];

// Rows between two moments, with one on either side, so that lines go on to the edge.
export function within(rows, first, last) {
  let from = lower(rows, first), to = lower(rows, last);
  while (to < rows.length && rows[to].t === last) to++;
  return rows.slice(Math.max(0, from - 1), to + 1);
}

// Place of the first row at or after a moment.
export function lower(rows, t) {
  let low = 0, high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].t < t) low = middle + 1;
    else high = middle;
  }
  return low;
}

// Draws, and returns how moments and places across the canvas belong together: {x(t), t(x), share(x)}.
export function paint(canvas, rows, [first, last], marked) {
  const sharp = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * sharp;
  canvas.height = height * sharp;
  const pen = canvas.getContext("2d");
  pen.scale(sharp, sharp);
  pen.font = FONT;
  const style = getComputedStyle(canvas), colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const seen = within(rows, first, last);
  const [low, high] = bounds(seen);
  const marks = values(low, high), left = Math.ceil(Math.max(...marks.map((value) => pen.measureText(mark(value)).width))) + 12;
  const scale = {
    x: (t) => left + ((t - first) / (last - first)) * (width - left - RIGHT),
    y: (value) => TOP + ((high - value) / (high - low)) * (height - TOP - BOTTOM),
    share: (x) => (x - left) / (width - left - RIGHT),
    t: (x) => first + scale.share(x) * (last - first),
  };
  if (!seen.length) return scale;
  axes(pen, scale, { marks, moments: moments(first, last, (width - left) / 90), left, width, height }, colour);
  pen.save();
  pen.beginPath();
  pen.rect(left, 0, width - left - RIGHT + 1, height - BOTTOM + 2);
  pen.clip();
  const came = seen.filter((row) => !row.ahead), ahead = seen.filter((row) => row.ahead);
  const bridge = ahead.length && came.length ? [came.at(-1), ...ahead] : ahead; // from the forecast for the last value on
  band(pen, scale, seen, colour("interval"));
  line(pen, scale, seen, "other", colour("challenger"), 1.4);
  line(pen, scale, came, "value", colour("value"), 1.6);
  line(pen, scale, came, "y", colour("forecast"), 1.6);
  pen.setLineDash([5, 4]);
  line(pen, scale, bridge, "y", colour("forecast"), 1.6);
  pen.setLineDash([]);
  rings(pen, scale, came.filter((row) => row.odd && row.value !== null), colour("odd"));
  if (marked) point(pen, scale, marked, height, colour);
  pen.restore();
  return scale;
}

function bounds(rows) {
  const seen = rows.flatMap((row) => [row.value, row.y, row.low, row.high, row.other]).filter(Number.isFinite);
  const low = seen.reduce((least, value) => Math.min(least, value), Infinity);
  const high = seen.reduce((most, value) => Math.max(most, value), -Infinity);
  if (low > high) return [0, 1];
  const beyond = (high - low) * 0.03 || Math.abs(high) * 0.01 || 1;
  return [low - beyond, high + beyond];
}

// Round numbers of the vertical axis.
function values(low, high) {
  const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const found = [];
  for (let n = Math.ceil(low / step); n * step <= high && found.length < 12; n++) found.push(n * step);
  return found;
}

function mark(value) {
  return String(Number(value.toPrecision(6)));
}

// Round moments of the horizontal axis, at most so many, each with its text.
function moments(first, last, most) {
  const step = STEPS.find((one) => (last - first) / one <= most);
  const found = [];
  if (step) {
    const text = step >= DAY ? [0, 10] : step >= 60e3 ? [11, 16] : step >= 1e3 ? [11, 19] : [17, 23];
    for (let t = Math.ceil(first / step) * step; t <= last; t += step) {
      const day = step < DAY && t % DAY === 0 ? [5, 10] : text; // where another day begins
      found.push({ t, text: new Date(t).toISOString().slice(...day) });
    }
    return found;
  }
  const months = MONTHS.find((one) => (last - first) / (one * 30.4 * DAY) <= most) ?? MONTHS.at(-1);
  const begin = new Date(first);
  for (let n = Math.floor((begin.getUTCFullYear() * 12) / months) * months; found.length < 200; n += months) {
    const t = Date.UTC(Math.floor(n / 12), n % 12);
    if (t > last) return found;
    if (t >= first) found.push({ t, text: new Date(t).toISOString().slice(0, months >= 12 ? 4 : 7) });
  }
  return found;
}

function axes(pen, { x, y }, { marks, moments, left, width, height }, colour) {
  pen.fillStyle = colour("soft");
  pen.strokeStyle = colour("line");
  pen.lineWidth = 1;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  for (const value of marks) {
    stroke(pen, [left, y(value)], [width - RIGHT, y(value)]);
    pen.fillText(mark(value), left - 6, y(value));
  }
  pen.textBaseline = "alphabetic";
  pen.textAlign = "center";
  for (const { t, text } of moments) {
    const half = pen.measureText(text).width / 2;
    if (x(t) - half < left - 8 || x(t) + half > width) continue;
    stroke(pen, [x(t), height - BOTTOM], [x(t), height - BOTTOM + 4]);
    pen.fillText(text, x(t), height - 6);
  }
}

function stroke(pen, from, to) {
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(...to);
  pen.stroke();
}

// A line through what the rows have under a name; broken where there is nothing, and at gaps. What stands alone is a dot.
function line(pen, { x, y }, rows, name, colour, width) {
  pen.strokeStyle = pen.fillStyle = colour;
  pen.lineWidth = width;
  pen.lineJoin = "round";
  for (const run of runs(rows, (row) => Number.isFinite(row[name]))) {
    pen.beginPath();
    if (run.length === 1) {
      pen.arc(x(run[0].t), y(run[0][name]), width, 0, 2 * Math.PI);
      pen.fill();
      continue;
    }
    run.forEach((row, i) => (i ? pen.lineTo(x(row.t), y(row[name])) : pen.moveTo(x(row.t), y(row[name]))));
    pen.stroke();
  }
}

function band(pen, { x, y }, rows, colour) {
  pen.fillStyle = colour;
  for (const run of runs(rows, (row) => Number.isFinite(row.low) && Number.isFinite(row.high))) {
    if (run.length === 1) {
      pen.fillRect(x(run[0].t) - 1.5, y(run[0].high), 3, y(run[0].low) - y(run[0].high));
      continue;
    }
    pen.beginPath();
    run.forEach((row, i) => (i ? pen.lineTo(x(row.t), y(row.high)) : pen.moveTo(x(row.t), y(row.high))));
    [...run].reverse().forEach((row) => pen.lineTo(x(row.t), y(row.low)));
    pen.fill();
  }
}

// Rows in a row that have something, none of them behind a gap.
export function runs(rows, has) {
  const found = [];
  let run = [];
  for (const row of rows) {
    if (row.gap || !has(row)) {
      if (run.length) found.push(run);
      run = [];
    }
    if (has(row)) run.push(row);
  }
  if (run.length) found.push(run);
  return found;
}

function rings(pen, { x, y }, rows, colour) {
  pen.strokeStyle = colour;
  pen.lineWidth = 2.5;
  for (const row of rows) {
    pen.beginPath();
    pen.arc(x(row.t), y(row.value), 6, 0, 2 * Math.PI);
    pen.stroke();
  }
}

// Where a reader points: a line across, and a dot on each of the lines.
function point(pen, { x, y }, row, height, colour) {
  pen.strokeStyle = colour("soft");
  pen.lineWidth = 1;
  stroke(pen, [x(row.t), TOP], [x(row.t), height - BOTTOM]);
  for (const [name, its] of [["other", "challenger"], ["y", "forecast"], ["value", "value"]]) {
    if (!Number.isFinite(row[name])) continue;
    pen.fillStyle = colour(its);
    pen.beginPath();
    pen.arc(x(row.t), y(row[name]), 4, 0, 2 * Math.PI);
    pen.fill();
  }
}
