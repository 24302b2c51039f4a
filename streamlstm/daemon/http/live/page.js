// The live page: what is chosen, and the events that the daemon sends about it.
// Names of streams and series are other people's text: they reach the page as textContent, value or option only.

import { DeadLetters } from "./dead.js";
import { Figures } from "./figures.js";
import { fetchAhead, fetchNames, fetchStreams } from "./lookups.js";
import { Panel } from "./panel.js";
import { Series } from "./series.js";
import { startTheme } from "./theme.js";
import { clock, number } from "./text.js";

const MOST_SERIES = 4; // drawn at once, as the daemon has it
const AHEAD_EVERY_MS = 2000; // at most so often are the steps ahead asked for
const SEARCH_MS = 150; // after the last letter
const RETRY_MS = 3000; // while there is nothing to show
const $ = (id) => document.getElementById(id);

const figures = new Figures(), dead = new DeadLetters($("dead-letters"));
const written = new Map(); // a name as an input field holds it, without line breaks -> the name
let panels = [];
let source = null; // the EventSource
let stale = new Set(); // panels whose steps ahead are to be asked for
let asking = false;
let typed = 0; // the search that is under way

const stream = () => $("stream").value;

// What stands on the page while something is away is old, and looks it.
function say(text, trouble = false) {
  if ($("state").textContent !== text) $("state").textContent = text;
  $("state").classList.toggle("trouble", trouble);
  document.body.classList.toggle("old", trouble);
}

function connect() {
  source?.close();
  const names = panels.map(({ series }) => series.name);
  const query = new URLSearchParams([["stream", stream()], ...names.map((name) => ["series", name])]);
  history.replaceState(null, "", `#${query}`);
  $("empty").hidden = panels.length > 0;
  const quoted = stream().replaceAll("'", "'\\''"); // it may be pasted into a shell
  $("empty").querySelector("code").textContent = `redis-cli XADD '${quoted}' '*' sensor-1 21.5`;
  if (!stream()) return;
  const here = [...panels];
  source = new EventSource(`events?${query}`);
  const on = (name, take) => source.addEventListener(name, (event) => take(JSON.parse(event.data)));
  on("figures", takeFigures);
  on("values", (news) => takeValues(here[news.of], news));
  on("beside", (news) => {
    here[news.of].series.takeBeside(news);
    here[news.of].draw();
  });
  on("trouble", ({ message }) => say(message, true));
  source.onerror = () => {
    figures.forget(); // it may be another process that answers next
    say("the daemon does not answer; trying again", true);
    if (source.readyState === EventSource.CLOSED) setTimeout(start, RETRY_MS); // it answered, and not with events
  };
}

function takeFigures(now) {
  if (!figures.take(now, stream())) return say(`${stream()} is not served here any more; another process may have it`, true);
  if (!now.connected) return say("Redis does not answer the daemon; values wait there", true);
  say("live");
  const here = now.streams[stream()];
  if (here.series > 0 && !panels.length) chooseFirst();
  dead.take(stream(), here.dead);
}

function takeValues(panel, news) {
  const come = panel.series.take(news);
  if (!news.begin) {
    const odd = come.filter((point) => point.odd).at(-1);
    if (odd) $("said").textContent = `anomaly in ${panel.series.name}: ${number(odd.value)} at ${clock(odd.t)} UTC`;
  }
  if (news.begin || come.length) askAhead([panel]);
  panel.draw();
}

// The steps ahead: asked for when values have come, now and then, and while somebody looks.
async function askAhead(which) {
  which.forEach((panel) => stale.add(panel));
  if (asking || document.hidden) return;
  asking = true;
  const [panel] = stale;
  stale.delete(panel);
  const began = Date.now();
  if (panel?.element.isConnected) await showAhead(panel).catch(() => panel.series.takeAhead([], []));
  panel?.draw();
  setTimeout(() => {
    asking = false;
    if (stale.size) askAhead([]);
  }, Math.max(0, (began + AHEAD_EVERY_MS - Date.now()) / Math.max(1, panels.length)));
}

async function showAhead(panel) {
  const { series } = panel, steps = Number($("steps").value);
  if (!(steps > 1) || !series.points.length) return series.takeAhead([], []);
  const found = await fetchAhead(stream(), series.name, steps, series.spacing);
  if (!found) return stale.add(panel); // others are asking; what is drawn is not much older
  series.takeAhead(found.forecast ?? [], found.held ?? []);
  panel.note(found.error ? `no steps ahead: ${found.error}` : "");
}

// A name in a field of one line.
function field(name) {
  const text = name.replace(/[\r\n]/g, "");
  written.set(text, name);
  return text;
}

async function offer(text) {
  const search = ++typed, names = (await fetchNames(stream(), text)).map(field);
  if (search !== typed) return;
  $("names").replaceChildren(...names.map((value) => Object.assign(document.createElement("option"), { value })));
}

// One series more; of too many the first gives way.
function choose(name) {
  if (!name || panels.some(({ series }) => series.name === name)) return;
  while (panels.length >= MOST_SERIES) remove(panels[0]);
  const panel = new Panel(new Series(name), { stream, close: () => close(panel) });
  panels.push(panel);
  $("panels").append(panel.element);
}

function remove(panel) {
  panels = panels.filter((one) => one !== panel);
  panel.element.remove();
}

function close(panel) {
  remove(panel);
  $("series").focus();
  connect();
}

function clear() {
  panels.forEach(remove);
  figures.forget();
}

// A stream's first series is chosen as it comes.
async function chooseFirst() {
  const [first] = await fetchNames(stream());
  if (panels.length || !first) return;
  choose(first);
  connect();
}

function search(event) {
  const text = $("series").value;
  if (event.inputType === "insertReplacementText" && written.has(text)) return chooseWritten(event); // taken from the list
  clearTimeout(search.timer);
  search.timer = setTimeout(() => offer(text), SEARCH_MS);
}

function chooseWritten(event) {
  event.preventDefault();
  const text = $("series").value;
  choose(written.get(text) ?? text);
  $("series").value = "";
  connect();
}

async function restart() {
  const streams = await fetchStreams();
  const asked = new URLSearchParams(location.hash.slice(1)), before = stream() || asked.get("stream");
  const option = (name) => Object.assign(document.createElement("option"), { value: name, textContent: name });
  $("stream").replaceChildren(...streams.map(option));
  if (!streams.length) {
    say("no stream is served here just now; another process may have them", true);
    return setTimeout(start, RETRY_MS);
  }
  if (streams.includes(before)) $("stream").value = before;
  else clear();
  if (!panels.length) asked.getAll("series").filter(Boolean).slice(0, MOST_SERIES).forEach(choose);
  connect();
}

function start() {
  restart().catch(() => {
    say("the daemon does not answer; trying again", true);
    setTimeout(start, RETRY_MS);
  });
}

$("stream").onchange = () => {
  clear();
  connect();
};
$("choose").onsubmit = chooseWritten;
$("series").oninput = search;
$("series").onfocus = () => offer($("series").value);
$("steps").onchange = () => askAhead(panels);
addEventListener("resize", () => panels.forEach((panel) => panel.draw()));
document.addEventListener("visibilitychange", () => askAhead([]));
startTheme($("theme"), () => panels.forEach((panel) => panel.draw()));
start();
