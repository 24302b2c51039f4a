// One series as this page knows it: its values, what was forecast for each, and what is forecast ahead.

const MOST_POINTS = 20000; // kept: the oldest go while values come, and no older ones are asked for beyond
const LOOKED_AT = 400; // the newest values, whose times say how far apart values are

export class Series {
  constructor(name) {
    this.name = name;
    this.begun = false; // whether the daemon has told of it
    this.before = null; // where older values are asked for; null: there are none
    this.fan = []; // {t, y, low, high}: the steps ahead of the last value, without the first
    this.held = []; // features that were held at their last value for it
    this.columns = ["yhat"];
    this.points = []; // {t, value, next, low, high, score, odd, missed}: what is forecast is of the *next* value
    this.beside = new Map(); // time of a value -> what the challenger forecast at it
    this.rows_ = null;
  }

  // Values that have come, or all anew.
  take(news) {
    const come = this.#read(news);
    if (news.begin) {
      this.points = come;
      this.before = news.before;
      this.begun = true;
    } else {
      if (come.length) come[0].missed = news.missed;
      this.points.push(...come);
    }
    if (this.points.length > MOST_POINTS) {
      this.points = this.points.slice(-MOST_POINTS);
      this.before = null;
    }
    this.rows_ = null;
    return come;
  }

  takeOlder(news) {
    this.points = [...this.#read(news), ...this.points];
    for (const [t, , y] of news.beside) this.beside.set(t, y);
    this.before = this.points.length < MOST_POINTS ? news.before : null;
    this.rows_ = null;
  }

  takeBeside(news) {
    if (news.begin) this.beside = new Map();
    for (const [t, , y] of news.points) this.beside.set(t, y);
    for (const t of this.beside.keys()) {
      if (this.beside.size <= MOST_POINTS) break;
      this.beside.delete(t);
    }
    this.rows_ = null;
  }

  takeAhead(steps, held) {
    this.fan = steps.slice(1).map(({ step, time, lo, hi, ...made }) => {
      return { t: Date.parse(time), y: Object.values(made)[0], low: lo ?? null, high: hi ?? null };
    });
    this.held = held;
    this.rows_ = null;
  }

  // Each value with the forecast that was made for it, then what is forecast ahead:
  // {t, value, y, low, high, other, score, odd, gap, ahead}; before a row with `gap` lines break.
  get rows() {
    this.rows_ ??= this.#rows();
    return this.rows_;
  }

  // How far apart values are as a rule, in ms.
  get spacing() {
    const steps = this.#steps();
    return steps.length ? steps[steps.length >> 1] : 1000;
  }

  #read({ columns, above, points }) {
    this.columns = columns;
    const place = (name) => columns.indexOf(name);
    const at = { next: Math.max(0, place("yhat")), low: place("lo"), high: place("hi"), score: place("score") };
    return points.map(([t, value, ...made]) => {
      const point = { t, value, missed: false };
      for (const [name, column] of Object.entries(at)) point[name] = made[column] ?? null;
      point.odd = above !== null && point.score !== null && point.score >= above;
      return point;
    });
  }

  #steps() {
    const near = this.points.slice(-LOOKED_AT);
    const steps = near.slice(1).map((point, i) => (point.missed ? 0 : point.t - near[i].t));
    return steps.filter((step) => step > 0).sort((a, b) => a - b);
  }

  // From how long a silence on lines break: values that come when they like have long ones among them, as have working days.
  #silence() {
    const steps = this.#steps();
    return steps.length ? Math.max(2.5 * this.spacing, 2 * steps[Math.floor(0.9 * (steps.length - 1))]) : Infinity;
  }

  #rows() {
    const silence = this.#silence();
    const rows = this.points.map((point, i) => {
      const from = i && !point.missed ? this.points[i - 1] : null;
      const made = from && { y: from.next, low: from.low, high: from.high, other: this.beside.get(from.t) ?? null };
      const gap = point.missed || Boolean(i && point.t - this.points[i - 1].t > silence);
      const { t, value, score, odd } = point;
      return { y: null, low: null, high: null, other: null, ...made, t, value, score, odd, gap, ahead: false };
    });
    const last = this.points.at(-1);
    if (!last) return rows;
    const first = { t: last.t + this.spacing, y: last.next, low: last.low, high: last.high };
    const other = this.beside.get(last.t) ?? null;
    const ahead = [{ ...first, other }, ...this.fan.map((step) => ({ ...step, other: null }))];
    const none = { value: null, score: null, odd: false, gap: false, ahead: true };
    return [...rows, ...ahead.filter(({ y }) => y !== null).map((step) => ({ ...step, ...none }))];
  }
}
