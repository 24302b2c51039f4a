"""More series than memory: what a record takes, what one that is not in memory costs, how long a restart takes.

python tools/many_series.py [--series 100000] [--held 0.1] [--units 64] [--rounds 3] [--of 10000000]

A line of JSON each, from a server of its own without a file and an LSTM of random weights:

- `memory`: bytes a series in Redis and in the daemon, at half of the series and at all of them; how far off the figure
  of the smaller run is for the larger; what the larger one makes of `--of` series.
- `drain`: values a second of a backlog of as many values as there are series, each with a state already. Held in memory
  are all records, or a share of them (`--max-series-memory`); series come at random, or nine of ten values are of the
  same tenth of them. `loads`: records read from Redis, a value.
- `alone`: microseconds from XADD to the prediction, of series whose records are in memory and of series whose are not.
- `restart`: seconds from the start of `serve` to ready, and from ready to the first prediction, over so many states.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from streamlstm.cli.benchmark.backlog import FIRST_MS, Backlog, Entries, Shape, make_backlog, push
from streamlstm.cli.benchmark.drain import Bench, wait_until_answered
from streamlstm.cli.benchmark.lstm_file import lstm_file
from streamlstm.cli.benchmark.memory import METRICS_S, measure_memory
from streamlstm.cli.benchmark.server import BenchProcess, PrivateServer, private_server, serving
from streamlstm.cli.progress import ProgressBar
from streamlstm.engine.engine import Engine
from streamlstm.models import Model
from streamlstm.store.keys import Keys

STREAM = "values"
ALONE = 500  # values that come alone
ANSWER_MS = 60_000
EVICTED, CACHED = "streamlstm_evictions_total", "streamlstm_cached_series"


def memory(bench: Bench, series: int, wanted: int) -> dict[str, Any]:
    """Bytes a series at two sizes, the larger as the smaller foretells it, and what that makes of many more."""
    half, whole = (measure_memory(bench, series=count) for count in (series // 2, series))
    found: dict[str, Any] = {"series": [half["series"], whole["series"]]}
    for place in ("redis_used", "daemon_resident"):
        small, large = half[place]["bytes_per_series"], whole[place]["bytes_per_series"]
        found[place] = {
            "bytes_per_series": [round(small, 1), round(large, 1)],
            "off": round(small / large - 1, 4),
            f"GB_of_{wanted}": round(large * wanted / 1e9, 2),
        }
    return found


def drawn(series: int, rng: np.random.Generator, *, skewed: bool) -> Backlog:
    """Values in entries of their own: of any series alike, or nine of ten of the same tenth of them."""
    chosen = rng.integers(series, size=series)
    if skewed:
        few = rng.random(series) < 0.9
        chosen[few] //= 10
    order = rng.permutation(series)  # a series' place in the order in which records came to be says nothing
    fields = [[b"sensor-%d" % one, b"%d" % (one % 7)] for one in order[chosen].tolist()]
    return Backlog(
        Shape(values=series, series=series),
        {STREAM: Entries([b"%d-0" % (2 * FIRST_MS + number) for number in range(series)], fields)},
    )


@contextmanager
def known(bench: Bench, series: int, *options: str) -> Iterator[BenchProcess]:
    """A daemon that has answered a value of each of so many series."""
    bench.server.clear()
    warm = make_backlog(Shape(values=series, series=series, values_per_entry=100), in_turn=True)
    push(bench.server.connection, warm)
    with serving(bench.server, bench.model_path, [STREAM], *bench.serve_options, *options) as process:
        wait_until_answered(bench.server, process, warm.last_ids)
        yield process


class Drained(NamedTuple):
    """What a backlog came to."""

    values_per_s: float
    held: float  # share of the series whose records are in memory when all is answered
    loads: float  # records loaded, a value


def drain(bench: Bench, backlog: Backlog, *options: str) -> Drained:
    """Have a backlog answered over states that are there."""
    series = backlog.shape.series
    with known(bench, series, *options) as process:
        time.sleep(METRICS_S)
        before = process.metrics()[EVICTED]
        os.kill(process.popen.pid, signal.SIGSTOP)
        push(bench.server.connection, backlog)
        os.kill(process.popen.pid, signal.SIGCONT)
        entries, seconds = wait_until_answered(bench.server, process, backlog.last_ids)
        time.sleep(METRICS_S)
        after = process.metrics()
    if not entries:
        raise SystemExit("the backlog was answered before it could be timed; take more --series")
    return Drained(entries / seconds, after[CACHED] / series, (after[EVICTED] - before) / backlog.shape.total_values)


def limit_of(bench: Bench, series: int, share: float) -> str:
    """The `--max-series-memory` that holds a share of the records."""
    return f"{int(share * series) * Engine(bench.model).format.size}B"


def drains(bench: Bench, series: int, limit: str) -> Iterator[dict[str, Any]]:
    """All in memory and a share of them, by turns."""
    for skewed in (False, True):
        backlog = drawn(series, np.random.default_rng(skewed), skewed=skewed)
        every, held = [], []
        for _ in range(bench.repeat):
            every.append(drain(bench, backlog))
            held.append(drain(bench, backlog, "--max-series-memory", limit))
        rates = [statistics.median(one.values_per_s for one in runs) for runs in (every, held)]
        yield {
            "drain": "nine of ten values of a tenth of the series" if skewed else "series at random",
            "held": [round(runs[-1].held, 3) for runs in (every, held)],
            "values_per_s": [round(rate) for rate in rates],
            "ratio": round(rates[1] / rates[0], 3),
            "loads": round(held[-1].loads, 3),
        }


def alone(bench: Bench, series: int, limit: str) -> dict[str, Any]:
    """Medians over series that were dropped from memory, and over the same once they are there again."""
    with known(bench, series, "--max-series-memory", limit):
        names = [b"sensor-%d" % number for number in range(ALONE)]  # the first that came are dropped first
        took = [statistics.median(answered_us(bench.server, name) for name in names) for _ in range(2)]
    return {"alone": {"not_in_memory_us": round(took[0], 1), "in_memory_us": round(took[1], 1)}}


def answered_us(server: PrivateServer, name: bytes) -> float:
    """From XADD to the prediction."""
    began = time.perf_counter_ns()
    entry_id = server.connection.call("XADD", STREAM, "*", name, b"1")
    before = b"%d-%d" % _one_before(entry_id)
    server.connection.call("XREAD", "BLOCK", ANSWER_MS, "STREAMS", Keys(STREAM).predictions, before)
    return (time.perf_counter_ns() - began) / 1000


def _one_before(entry_id: bytes) -> tuple[int, int]:
    ms, number = map(int, entry_id.split(b"-"))
    return (ms, number - 1) if number else (ms - 1, 2**64 - 1)


def restart(bench: Bench, series: int) -> dict[str, Any]:
    """Medians of some starts over so many states."""
    with known(bench, series):
        pass
    ready, first = [], []
    for _ in range(bench.repeat):
        began = time.perf_counter()
        with serving(bench.server, bench.model_path, [STREAM], *bench.serve_options) as process:
            process.logged("ready")
            ready.append(time.perf_counter() - began)
            first.append(answered_us(bench.server, b"sensor-7") / 1e6)
    return {
        "restart": bench.server.connection.call("HLEN", Keys(STREAM).state),
        "ready_s": round(statistics.median(ready), 3),
        "first_prediction_s": round(statistics.median(first), 4),
    }


def measured(bench: Bench, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All of it, a row at a time."""
    yield {"memory": memory(bench, options.series, options.of)}
    limit = limit_of(bench, options.series, options.held)
    yield from drains(bench, options.series, limit)
    yield alone(bench, options.series, limit)
    for series in (options.series // 10, options.series):
        yield restart(bench, series)


def main() -> None:
    """Measure and print."""
    say: Callable[..., None] = print
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=100_000)
    parser.add_argument("--held", type=float, default=0.1, help="the share of records that may be in memory")
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--of", type=int, default=10_000_000, help="how many series to work out the memory of")
    options = parser.parse_args()
    content = lstm_file(options.units)
    with tempfile.TemporaryDirectory() as place, private_server(Path(place), "off") as server:
        path = Path(place) / "lstm.onnx"
        path.write_bytes(content)
        bench = Bench(server, path, Model(content), options.rounds, ProgressBar(1))
        for row in measured(bench, options):
            say(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
