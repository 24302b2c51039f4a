// Which part of a series is shown: the newest values as they come, or a part that somebody chose.

const DRAWN = 240; // values, until somebody zooms
const FEW = 40; // fewer are too few to look at, if there are older ones

export class View {
  #span = null; // ms; null: the newest values
  #end = null; // ms since the epoch; null: it follows what comes

  get follows() {
    return this.#end === null;
  }

  // First and last moment shown, in ms.
  range({ rows, points }) {
    if (!rows.length) return [0, 1];
    const newest = rows.at(-1).t;
    const end = this.#end ?? newest;
    const first = points[Math.max(0, points.length - DRAWN)]?.t ?? newest;
    return [end - (this.#span ?? Math.max(1, newest - first)), end];
  }

  // By a factor, above 1 to see more; what is at a moment stays where it is.
  zoom(series, factor, at = null) {
    if (!series.rows.length) return;
    const [first, last] = this.range(series);
    const fixed = at ?? (this.follows ? last : (first + last) / 2);
    const known = series.rows.at(-1).t - series.rows[0].t;
    const most = series.before === null ? known : 2 * known; // older values are asked for as they come into view
    const span = Math.min(Math.max((last - first) * factor, 2 * series.spacing), Math.max(most, 1));
    this.#span = span;
    this.#move(series, fixed + ((last - fixed) * span) / (last - first));
  }

  // By a share of what is shown; below 0 to earlier values.
  pan(series, share) {
    if (!series.rows.length) return;
    const [first, last] = this.range(series);
    this.#span = last - first;
    this.#move(series, last + share * (last - first));
  }

  // So that a moment is shown.
  reveal(series, t) {
    const [first, last] = this.range(series);
    if (t < first) this.pan(series, (t - first) / (last - first));
    if (t > last) this.pan(series, (t - last) / (last - first));
  }

  follow() {
    this.#end = this.#span = null;
  }

  // Whether older values than are known here should be seen.
  wantsOlder(series) {
    if (series.before === null) return false;
    return series.points.length < FEW || this.range(series)[0] < series.points[0].t;
  }

  #move(series, end) {
    const newest = series.rows.at(-1).t, oldest = series.rows[0].t;
    const least = series.before === null ? Math.min(oldest + this.#span, newest) : oldest;
    this.#end = end >= newest ? null : Math.max(end, least);
  }
}
