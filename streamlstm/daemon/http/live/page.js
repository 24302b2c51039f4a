"use strict";
// The live page: figures and values come as server-sent events, and one canvas is drawn when something has come.
// Names of streams and series are other people's text: they reach the page as textContent, value or option only.

const MOST_POINTS = 400; // kept and drawn of a series
const FAN_EVERY_MS = 2000; // at most so often are the steps ahead asked for
const RATE_SECONDS = 10; // rates and latencies are of about so long
const $ = (id) => document.getElementById(id);

let source = null; // the EventSource
let points = []; // {t, value, forecast, low, high, gap, odd}: forecast is of the *next* value
let beside = new Map(); // time of a value -> what the challenger forecast at it
let columns = ["yhat"];
let figures = []; // the last figures, oldest first
let fan = []; // {t, y, low, high}: the steps ahead of the last value, without the first, which `forecasts` has
let fanAsked = 0; // when it was asked for, in ms
let fanTimer = null;
let drawing = false;
const written = new Map(); // a name as an input field holds it, without line breaks -> the name

function connect() {
  if (source) source.close();
  points = [];
  fan = [];
  beside = new Map();
  const stream = $("stream").value, series = seriesName();
  $("title").textContent = series || "no values yet";
  const query = new URLSearchParams({ stream, series });
  history.replaceState(null, "", "#" + query);
  if (!stream) return;
  source = new EventSource("events?" + query);
  source.addEventListener("figures", (event) => takeFigures(JSON.parse(event.data)));
  source.addEventListener("values", (event) => takeValues(JSON.parse(event.data)));
  source.addEventListener("beside", (event) => takeBeside(JSON.parse(event.data)));
  source.addEventListener("trouble", (event) => say(JSON.parse(event.data).message, true));
  source.onerror = () => say("the daemon does not answer; trying again", true);
  draw();
}

// What stands on the page while something is away is old, and looks it.
function say(text, trouble) {
  $("state").textContent = text;
  $("state").classList.toggle("trouble", Boolean(trouble));
  document.body.classList.toggle("old", Boolean(trouble));
}

// A stream's first series is chosen as it comes.
async function chooseFirst() {
  if ($("series").value || document.activeElement === $("series")) return;
  $("series").value = (await fetchNames())[0] || "";
  if ($("series").value) connect();
}

function takeFigures(now) {
  if (figures.length && now.time < figures[figures.length - 1].time) figures = []; // another process answers now
  figures.push(now);
  while (figures.length > 2 && now.time - figures[1].time >= RATE_SECONDS) figures.shift();
  const name = $("stream").value, here = now.streams[name], before = figures[0].streams[name];
  if (!here || !before) return;
  if (!now.connected) return say("Redis does not answer the daemon; values wait there", true);
  say("live", false);
  if (here.series > 0) chooseFirst();
  const seconds = now.time - figures[0].time;
  show("rate", seconds > 0 ? short((here.values - before.values) / seconds) : "–");
  show("lag", short(here.lag_entries), here.lag_entries > 1000);
  show("lag-age", duration(here.lag_seconds), here.lag_seconds > 60);
  const counts = here.latency.map((count, i) => count - (seconds > 0 ? before.latency[i] : 0));
  show("p50", duration(quantile(0.5, now.edges, counts)));
  show("p99", duration(quantile(0.99, now.edges, counts)));
  const [error, naive] = here.errors;
  const skill = naive > 0 ? 1 - error / naive : NaN;
  show("skill", Number.isFinite(skill) ? skill.toFixed(3) : "–", skill < 0);
  show("dead", short(here.dead), here.dead > before.dead);
  show("count", short(here.series));
}

function show(id, text, alarm) {
  $(id).textContent = text;
  $(id).parentElement.classList.toggle("alarm", Boolean(alarm));
}

// As Prometheus' histogram_quantile: linear within the bucket.
function quantile(share, edges, counts) {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total <= 0) return NaN;
  let below = 0;
  for (let i = 0; i < edges.length; i++) {
    if (below + counts[i] >= share * total) {
      const low = i ? edges[i - 1] : 0;
      return low + ((edges[i] - low) * (share * total - below)) / counts[i];
    }
    below += counts[i];
  }
  return edges[edges.length - 1];
}

function takeValues(news) {
  columns = news.columns;
  if (news.begin) points = [];
  const at = { yhat: columns.indexOf("yhat"), lo: columns.indexOf("lo"), hi: columns.indexOf("hi") };
  const score = columns.indexOf("score");
  if (at.yhat < 0) at.yhat = 0;
  news.points.forEach(([t, value, ...made], i) => {
    const pick = (column) => (column < 0 || made[column] === undefined ? null : made[column]);
    const gap = i === 0 && news.missed;
    const odd = news.above !== null && pick(score) !== null && pick(score) >= news.above;
    points.push({ t, value, forecast: pick(at.yhat), low: pick(at.lo), high: pick(at.hi), gap, odd });
  });
  points = points.slice(-MOST_POINTS);
  $("interval-key").hidden = at.lo < 0;
  $("odd-key").hidden = !points.some((p) => p.odd);
  const last = points[points.length - 1];
  $("now").textContent = last
    ? `${clock(last.t)} UTC: ${text(last.value)}${last.odd ? ", an anomaly" : ""}, next ${text(last.forecast)}`
    : "no value of this series among the newest";
  $("chart").setAttribute("aria-label", `values and the forecasts made for them; ${$("now").textContent}`);
  if (news.begin || news.points.length) askFan();
  draw();
}

function takeBeside(news) {
  if (news.begin) beside = new Map();
  for (const [t, , forecast] of news.points) beside.set(t, forecast);
  for (const t of beside.keys()) {
    if (beside.size <= MOST_POINTS) break;
    beside.delete(t);
  }
  $("beside-key").hidden = !beside.size;
  draw();
}

function seriesName() {
  return written.get($("series").value) ?? $("series").value;
}

// The steps ahead: asked for when values have come, now and then, and while somebody looks.
function askFan() {
  if (fanTimer || document.hidden) return;
  fanTimer = setTimeout(fetchFan, Math.max(0, fanAsked + FAN_EVERY_MS - Date.now()));
}

async function fetchFan() {
  fanTimer = null;
  fanAsked = Date.now();
  const stream = $("stream").value, series = seriesName(), steps = $("steps").value;
  if (!(steps > 1) || !series || !points.length) return takeFan([]);
  const query = { stream, series, steps, future: "hold", spacing: Math.max(1, Math.round(spacing())) + "ms" };
  try {
    const answer = await fetch("forecast?" + new URLSearchParams(query));
    if (answer.status === 503) return; // others are asking; what is drawn is not much older
    const found = answer.ok ? await answer.json() : { forecast: [], held: [] };
    if (stream === $("stream").value && series === seriesName()) takeFan(found.forecast, found.held);
  } catch {
    takeFan([]);
  }
}

function takeFan(steps, held = []) {
  fan = steps.slice(1).map((one) => {
    const { step, time, lo, hi, ...made } = one;
    return { t: Date.parse(time), y: Object.values(made)[0], low: lo ?? null, high: hi ?? null };
  });
  $("fan-key").hidden = !fan.length;
  $("fan-key-text").textContent = "steps ahead" + (held.length ? `, ${held.join(", ")} held` : "");
  draw();
}

function clock(t) {
  return new Date(t).toISOString().replace("T", " ").slice(0, 19);
}

function text(number) {
  return number === null ? "missing" : String(Number(number.toPrecision(6)));
}

function short(number) {
  if (!Number.isFinite(number)) return "–";
  for (const [size, sign] of [[1e9, "G"], [1e6, "M"], [1e4, "k"]]) {
    if (Math.abs(number) >= size) return (number / (sign === "k" ? 1e3 : size)).toPrecision(3) + " " + sign;
  }
  return Number(number.toPrecision(3)).toString();
}

function duration(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds === 0) return "0 s";
  if (seconds < 1) return Number((seconds * 1000).toPrecision(2)) + " ms";
  if (seconds < 120) return Number(seconds.toPrecision(2)) + " s";
  if (seconds < 7200) return Math.round(seconds / 60) + " min";
  if (seconds < 172800) return Math.round(seconds / 3600) + " h";
  return Math.round(seconds / 86400) + " d";
}

// What was forecast for each point: made at the point before, drawn at this one's time; the last one a step ahead.
function forecasts() {
  const made = [];
  for (let i = 1; i < points.length; i++) {
    const from = points[i].gap ? null : points[i - 1];
    made.push({ t: points[i].t, y: from && from.forecast, low: from && from.low, high: from && from.high });
  }
  if (points.length) {
    const last = points[points.length - 1];
    made.push({ t: last.t + spacing(), y: last.forecast, low: last.low, high: last.high });
  }
  return made;
}

// The challenger's, as `forecasts` has the champion's.
function challengers() {
  if (!beside.size) return [];
  const made = points.slice(1).map((point, i) => ({ t: point.t, y: point.gap ? null : beside.get(points[i].t) ?? null }));
  const last = points[points.length - 1];
  if (last && beside.has(last.t)) made.push({ t: last.t + spacing(), y: beside.get(last.t) });
  return made;
}

function spacing() {
  const steps = [];
  for (let i = 1; i < points.length; i++) if (!points[i].gap) steps.push(points[i].t - points[i - 1].t);
  steps.sort((a, b) => a - b);
  return steps.length ? steps[steps.length >> 1] : 1000;
}

function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    paint();
  });
}

function paint() {
  const canvas = $("chart"), scale = devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const made = forecasts(), others = challengers(), ahead = made.length ? [made[made.length - 1], ...fan] : [];
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const ys = [...points.map((p) => p.value), ...[...made, ...fan, ...others].flatMap((m) => [m.y, m.low, m.high])].filter(Number.isFinite);
  canvas.dataset.ahead = fan.length;
  canvas.dataset.beside = others.filter((m) => Number.isFinite(m.y)).length;
  canvas.dataset.odd = points.filter((p) => p.odd).length;
  canvas.dataset.points = points.length; // for whoever reads the page by program
  if (!ys.length) return;
  let low = Math.min(...ys), high = Math.max(...ys);
  if (low === high) [low, high] = [low - 1, high + 1];
  const first = points[0].t, last = Math.max(made[made.length - 1].t, fan.length ? fan[fan.length - 1].t : 0, first + 1);
  const left = 64, bottom = 22, right = 10, top = 8;
  const x = (t) => left + ((t - first) / (last - first)) * (width - left - right);
  const y = (value) => top + ((high - value) / (high - low)) * (height - top - bottom);
  const colours = { line: colour("--line"), ink: colour("--soft") };
  axes(pen, { low, high, first, last, x, y, width, height, left, right, ...colours });
  band(pen, made, x, y, colour("--interval"));
  band(pen, ahead, x, y, colour("--interval"));
  pen.setLineDash([5, 4]);
  line(pen, ahead.map((m) => [m.t, m.y, false]), x, y, colour("--forecast"), 1.6);
  pen.setLineDash([]);
  line(pen, others.map((m) => [m.t, m.y, false]), x, y, colour("--challenger"), 1.4);
  line(pen, points.map((p) => [p.t, p.value, p.gap]), x, y, colour("--value"), 1.6);
  line(pen, made.map((m) => [m.t, m.y, false]), x, y, colour("--forecast"), 1.6);
  rings(pen, points.filter((p) => p.odd), x, y, colour("--odd"));
}

function rings(pen, odd, x, y, colour) {
  pen.strokeStyle = colour;
  pen.lineWidth = 2.5;
  for (const p of odd) {
    pen.beginPath();
    pen.arc(x(p.t), y(p.value), 6, 0, 2 * Math.PI);
    pen.stroke();
  }
}

function axes(pen, a) {
  pen.font = "12px system-ui, sans-serif";
  pen.fillStyle = a.ink;
  pen.strokeStyle = a.line;
  pen.lineWidth = 1;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  const rough = (a.high - a.low) / 5, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  for (let value = Math.ceil(a.low / step) * step; value <= a.high + step / 1e6; value += step) {
    pen.beginPath();
    pen.moveTo(a.left, a.y(value));
    pen.lineTo(a.width - a.right, a.y(value));
    pen.stroke();
    pen.fillText(String(Number(value.toPrecision(6))), a.left - 6, a.y(value));
  }
  pen.textBaseline = "alphabetic";
  const long = a.last - a.first > 2 * 86400e3;
  const label = (t) => new Date(t).toISOString().slice(...(long ? [0, 10] : [11, 19]));
  pen.textAlign = "left";
  pen.fillText(label(a.first), a.left, a.height - 6);
  pen.textAlign = "right";
  pen.fillText(label(a.last) + " UTC", a.width - a.right, a.height - 6);
}

function line(pen, path, x, y, colour, width) {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.lineJoin = "round";
  pen.beginPath();
  let down = false;
  for (const [t, value, gap] of path) {
    if (!Number.isFinite(value)) {
      down = false;
      continue;
    }
    if (down && !gap) pen.lineTo(x(t), y(value));
    else pen.moveTo(x(t), y(value));
    down = true;
  }
  pen.stroke();
}

function band(pen, made, x, y, colour) {
  pen.fillStyle = colour;
  let run = [];
  const fill = () => {
    if (run.length > 1) {
      pen.beginPath();
      run.forEach((m, i) => (i ? pen.lineTo(x(m.t), y(m.high)) : pen.moveTo(x(m.t), y(m.high))));
      run.reverse().forEach((m) => pen.lineTo(x(m.t), y(m.low)));
      pen.fill();
    }
    run = [];
  };
  for (const m of made) {
    if (Number.isFinite(m.low) && Number.isFinite(m.high)) run.push(m);
    else fill();
  }
  fill();
}

function field(name) {
  const text = name.replace(/[\r\n]/g, "");
  written.set(text, name);
  return text;
}

async function fetchNames() {
  const answer = await fetch("series?" + new URLSearchParams({ stream: $("stream").value }));
  if (!answer.ok) return [];
  const names = (await answer.json()).map(field);
  $("names").replaceChildren(...names.map((name) => Object.assign(document.createElement("option"), { value: name })));
  return names;
}

async function start() {
  const asked = new URLSearchParams(location.hash.slice(1));
  const streams = await (await fetch("streams")).json();
  $("stream").replaceChildren(
    ...streams.map((name) => Object.assign(document.createElement("option"), { value: name, textContent: name })),
  );
  if (streams.includes(asked.get("stream"))) $("stream").value = asked.get("stream");
  const names = await fetchNames();
  $("series").value = asked.get("series") ? field(asked.get("series")) : names[0] || "";
  $("stream").onchange = async () => {
    figures = [];
    $("series").value = (await fetchNames())[0] || "";
    connect();
  };
  $("series").onchange = connect;
  $("steps").onchange = fetchFan;
  $("series").onfocus = fetchNames;
  addEventListener("resize", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  connect();
}

start().catch(() => say("the daemon does not answer; reload the page", true));
