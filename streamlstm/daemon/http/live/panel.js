// One series on the page: its chart, what a reader points at, its legend, and its values as a table.

import { lower, paint, within } from "./chart.js";
import { fetchOlder } from "./lookups.js";
import { clock, number } from "./text.js";
import { View } from "./view.js";

const MOST_ROWS = 60; // of the table
const CLOSER = 0.5, WIDER = 2, ASIDE = 0.5; // factors of a zoom, and the share of what is shown that a step aside moves
const WHEEL = 1.25;
const STEPS_BACK = 20; // at most so many times are older values asked for before a reader does something again

export class Panel {
  #view = new View();
  #scale = null; // how moments and places across the canvas belong together, as last drawn
  #marked = null; // the moment a reader points at, in ms
  #drawing = false;
  #asking = false; // for older values
  #stepsBack = STEPS_BACK; // that may still be asked for
  #drag = null; // {x, t}: where a pointer went down, and the moment that was there

  // `actions` has close() for when a reader has seen enough of it, and answers stream().
  constructor(series, actions) {
    this.series = series;
    this.actions = actions;
    this.element = document.getElementById("panel").content.firstElementChild.cloneNode(true);
    this.canvas = this.#find("canvas");
    this.#find("h2").textContent = series.name;
    this.element.setAttribute("aria-label", `series ${series.name}`);
    this.canvas.setAttribute("aria-label", `values of ${series.name} and the forecasts made for them; arrow keys go along them`);
    this.#listen();
  }

  // What it shows has changed.
  draw() {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      if (this.element.isConnected) this.#draw();
    });
  }

  note(text) {
    this.#find(".note").textContent = text;
    this.#find(".note").hidden = !text;
  }

  #find(selector) {
    return this.element.querySelector(selector);
  }

  #draw() {
    const { series, canvas } = this, { rows, points } = series;
    const [first, last] = this.#view.range(series);
    const marked = this.#markedRow();
    this.#scale = paint(canvas, rows, [first, last], marked);
    const seen = within(rows, first, last).filter((row) => row.t >= first && row.t <= last);
    this.#legend(seen);
    this.#hint(marked);
    this.#say(marked);
    if (this.#find(".table").open) this.#table(seen);
    this.#find("[data-do=follow]").setAttribute("aria-pressed", String(this.#view.follows));
    // For whoever reads the page by program: how much is there, and how much of it is shown.
    const count = (has) => rows.filter(has).length;
    Object.assign(canvas.dataset, {
      points: points.length,
      ahead: series.fan.length,
      beside: count((row) => row.other !== null),
      odd: count((row) => row.odd),
      gaps: count((row) => row.gap),
      seen: seen.filter((row) => !row.ahead).length,
      first: Math.round(first),
      last: Math.round(last),
    });
    if (this.#view.wantsOlder(series)) this.#fetchOlder();
  }

  async #fetchOlder() {
    if (this.#asking || !this.#stepsBack) return;
    this.#asking = true;
    this.#stepsBack -= 1;
    const news = await fetchOlder(this.actions.stream(), this.series.name, this.series.before).catch(() => null);
    this.#asking = false;
    if (!news || !this.element.isConnected) return;
    this.series.takeOlder(news);
    this.draw();
  }

  #legend(seen) {
    const { series } = this;
    const keys = {
      interval: seen.some((row) => row.low !== null),
      challenger: seen.some((row) => row.other !== null),
      odd: seen.some((row) => row.odd),
      ahead: series.fan.length > 0,
    };
    for (const [key, shown] of Object.entries(keys)) this.#find(`[data-key=${key}]`).hidden = !shown;
    const held = series.held.length ? `, ${series.held.join(", ")} held` : "";
    this.#find("[data-key=ahead] span:last-child").textContent = `steps ahead${held}`;
    this.#find(".now").textContent = this.#now();
  }

  // The newest value in words.
  #now() {
    const last = this.series.points.at(-1);
    if (last) return `${clock(last.t)} UTC: ${number(last.value)}${last.odd ? ", an anomaly" : ""}, next ${number(last.next)}`;
    if (!this.series.begun) return "";
    return this.series.before === null ? "no value of this series is kept" : "no value of this series among the newest";
  }

  #markedRow() {
    const { rows } = this.series;
    if (this.#marked === null || !rows.length) return null;
    const at = lower(rows, this.#marked);
    const near = [rows[at - 1], rows[at]].filter(Boolean);
    return near.reduce((best, row) => (Math.abs(row.t - this.#marked) < Math.abs(best.t - this.#marked) ? row : best));
  }

  // What stands beside the pointer.
  #hint(row) {
    const hint = this.#find(".hint");
    hint.hidden = !row;
    if (!row) return;
    hint.textContent = told(row).join("\n");
    const x = this.#scale.x(row.t), middle = this.canvas.clientWidth / 2;
    hint.style.left = x > middle ? "auto" : `${x + 12}px`;
    hint.style.right = x > middle ? `${this.canvas.clientWidth - x + 12}px` : "auto";
  }

  // The same for a screen reader, to which the chart is a slider along the values.
  #say(row) {
    const { rows } = this.series;
    const at = row ? rows.indexOf(row) : this.series.points.length - 1;
    this.canvas.setAttribute("aria-valuemax", Math.max(0, rows.length - 1));
    this.canvas.setAttribute("aria-valuenow", Math.max(0, at));
    if (row || document.activeElement !== this.canvas) {
      this.canvas.setAttribute("aria-valuetext", row ? told(row).join(", ") : this.#now() || "no values yet");
    }
  }

  // The newest values first, then the steps ahead.
  #table(seen) {
    const columns = Object.entries(COLUMNS).filter(([, text]) => seen.some((row) => text(row) !== ""));
    const line = (tag, texts) => {
      const row = document.createElement("tr");
      row.append(...texts.map((text) => Object.assign(document.createElement(tag), { textContent: text })));
      return row;
    };
    const lines = (rows) => rows.map((row) => line("td", columns.map(([, text]) => text(row))));
    const [values, ahead] = this.element.querySelectorAll("tbody");
    this.#find("thead").replaceChildren(line("th", columns.map(([name]) => name)));
    values.replaceChildren(...lines(seen.filter((row) => !row.ahead).slice(-MOST_ROWS).reverse()));
    const come = lines(seen.filter((row) => row.ahead));
    ahead.replaceChildren(...(come.length ? [line("th", ["steps ahead"]), ...come] : []));
  }

  #listen() {
    const { canvas } = this;
    for (const button of this.element.querySelectorAll("[data-do]")) {
      button.onclick = () => this.#do(button.dataset.do);
    }
    this.#find(".table").ontoggle = () => this.draw();
    canvas.onpointerdown = (event) => {
      if (!this.#scale) return;
      canvas.setPointerCapture(event.pointerId);
      this.#drag = { x: event.offsetX, t: this.#scale.t(event.offsetX) };
    };
    canvas.onpointermove = (event) => {
      if (!this.#scale) return;
      this.#marked = this.#scale.t(event.offsetX);
      if (this.#drag) this.#stepsBack = STEPS_BACK;
      if (this.#drag && Math.abs(event.offsetX - this.#drag.x) > 2) this.#drop(event.offsetX);
      this.draw();
    };
    canvas.onpointerup = canvas.onpointercancel = () => (this.#drag = null);
    canvas.onpointerleave = () => this.#mark(null);
    canvas.onblur = () => this.#mark(null);
    canvas.addEventListener("wheel", (event) => {
      // A wheel over the chart scrolls the page, unless somebody is at the chart, or holds a key as for a map.
      if (!this.#scale || !(event.ctrlKey || document.activeElement === canvas)) return;
      event.preventDefault();
      this.#stepsBack = STEPS_BACK;
      this.#view.zoom(this.series, event.deltaY > 0 ? WHEEL : 1 / WHEEL, this.#scale.t(event.offsetX));
      this.draw();
    }, { passive: false });
    canvas.onkeydown = (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey || !this.#press(event)) return;
      event.preventDefault();
    };
  }

  #mark(t) {
    this.#marked = t;
    this.draw();
  }

  // A dragged chart: the moment that was under the pointer stays there.
  #drop(x) {
    const [first, last] = this.#view.range(this.series);
    this.#view.pan(this.series, (this.#drag.t - first) / (last - first) - this.#scale.share(x));
    this.#drag = { x: -Infinity, t: this.#drag.t };
  }

  #do(what) {
    const { series } = this;
    this.#stepsBack = STEPS_BACK;
    if (what === "close") return this.actions.close();
    if (what === "earlier" || what === "later") this.#view.pan(series, what === "later" ? ASIDE : -ASIDE);
    if (what === "closer" || what === "wider") this.#view.zoom(series, what === "wider" ? WIDER : CLOSER, this.#marked);
    if (what === "follow") this.#view.follow();
    this.draw();
  }

  // A key on the chart; whether it means something here.
  #press({ key, shiftKey }) {
    const means = { "+": "closer", "=": "closer", "-": "wider", PageUp: "earlier", PageDown: "later", Delete: "close" }[key];
    if (means) {
      this.#do(means);
      return true;
    }
    if (key === "Escape") {
      this.#marked = null;
      this.#do("follow");
      return true;
    }
    this.#stepsBack = STEPS_BACK;
    const { rows, points } = this.series;
    const row = this.#markedRow(), at = row ? rows.indexOf(row) : points.length - 1;
    const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -Infinity, End: Infinity }[key];
    if (!by || !rows.length) return false;
    const to = rows[Math.min(Math.max(at + by * (shiftKey ? 10 : 1), 0), rows.length - 1)];
    this.#view.reveal(this.series, to.t);
    this.#mark(to.t);
    return true;
  }
}

// Heads of the table -> what stands below them, empty for nothing.
const COLUMNS = {
  "time, UTC": (row) => clock(row.t),
  value: (row) => (row.ahead ? "" : number(row.value)),
  forecast: (row) => shown(row.y),
  low: (row) => shown(row.low),
  high: (row) => shown(row.high),
  "challenger's": (row) => shown(row.other),
  score: (row) => shown(row.score),
  anomaly: (row) => (row.odd ? "yes" : ""),
};

function shown(value) {
  return Number.isFinite(value) ? number(value) : "";
}

// A row in words.
function told(row) {
  const found = [`${clock(row.t)} UTC`];
  found.push(row.ahead ? "still to come" : `value ${number(row.value)}${row.odd ? ", an anomaly" : ""}`);
  if (row.y !== null) found.push(`forecast ${number(row.y)}`);
  if (row.low !== null) found.push(`interval ${number(row.low)} to ${number(row.high)}`);
  if (row.other !== null) found.push(`challenger's ${number(row.other)}`);
  if (row.score !== null) found.push(`score ${number(row.score)}`);
  return found;
}
