// The tiles: rates and latencies of the last seconds, from the sums that the daemon sends.

import { duration, short } from "./text.js";

const RATE_SECONDS = 10; // rates and latencies are of about so long

export class Figures {
  #kept = []; // oldest first

  // Shows the newest of a stream; false if the daemon no longer serves it.
  take(now, stream) {
    const last = this.#kept.at(-1);
    if (last && (now.time < last.time || fell(last.streams[stream], now.streams[stream]))) this.forget();
    this.#kept.push(now);
    while (this.#kept.length > 2 && now.time - this.#kept[1].time >= RATE_SECONDS) this.#kept.shift();
    const here = now.streams[stream], before = this.#kept[0].streams[stream] ?? here;
    if (!here) return false;
    const seconds = now.time - this.#kept[0].time;
    const counts = here.latency.map((count, i) => count - (seconds > 0 ? before.latency[i] : 0));
    const [error, naive] = here.errors, skill = naive > 0 ? 1 - error / naive : NaN;
    show("rate", seconds > 0 ? short((here.values - before.values) / seconds) : "–");
    show("lag", short(here.lag_entries), here.lag_entries > 1000);
    show("lag-age", duration(here.lag_seconds), here.lag_seconds > 60);
    show("p50", duration(quantile(0.5, now.edges, counts)));
    show("p99", duration(quantile(0.99, now.edges, counts)));
    show("skill", Number.isFinite(skill) ? skill.toFixed(3) : "–", skill < 0);
    show("dead", short(here.dead), here.dead > before.dead);
    show("count", short(here.series));
    return true;
  }

  // Of another stream, or by another process, whose sums begin anew.
  forget() {
    this.#kept = [];
  }
}

function fell(before, here) {
  return before && here && here.values < before.values;
}

function show(id, text, alarm = false) {
  const tile = document.getElementById(id);
  tile.textContent = text;
  tile.parentElement.classList.toggle("alarm", alarm);
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
  return edges.at(-1);
}
