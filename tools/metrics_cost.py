"""What the metrics cost: microseconds a micro-batch, beside what the loop spends on one, many values and single ones.

python tools/metrics_cost.py [--drain VALUES] [--single ENTRIES]
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path

import numpy as np

from streamlstm.cli.benchmark.backlog import Shape, make_backlog, push
from streamlstm.cli.benchmark.lstm_file import lstm_file
from streamlstm.cli.benchmark.server import BenchProcess, PrivateServer, private_server, serving
from streamlstm.daemon.recorder import Recorder
from streamlstm.daemon.telemetry.instruments import Laps
from streamlstm.daemon.telemetry.metrics import STAGES, Metrics
from streamlstm.daemon.telemetry.throttled_log import ThrottledLog
from streamlstm.engine.engine import Result
from streamlstm.engine.rejection import KINDS
from streamlstm.engine.scoring import ABSOLUTE, BUCKETS, NAIVE, SCALED, SCORED, TALLY_COLUMNS
from streamlstm.store.base import Commit
from streamlstm.store.keys import Keys

STREAM = "values"
ROUNDS, CALLS = 7, 5000
BUSY = [f'streamlstm_stage_seconds_total{{stage="{stage}"}}' for stage in STAGES if stage not in {"wait", "tails"}]


def cost_us() -> float:
    """Microseconds of every call to the metrics that one micro-batch of one stream makes; the best of some rounds."""
    metrics = Metrics("0" * 64, "yhat", [STREAM])
    laps = Laps(metrics.stage_seconds, STAGES, time.monotonic)
    recorder = Recorder(metrics, ThrottledLog(logging.getLogger(__name__), time.monotonic), time.time)
    of, tally = metrics.of[STREAM], np.zeros(TALLY_COLUMNS)
    tally[[SCORED, ABSOLUTE, NAIVE, SCALED, BUCKETS]] = 1.0  # of one value; a large batch fills all buckets
    position = b"%d-0" % (1000 * time.time())
    commit = Commit(stream=STREAM, base=b"0-0", position=position, model="0" * 64, columns="yhat", answered=1)
    result = Result(commit=commit, tally=tally, entries=1, items=1, predictions=1)
    stages = [stage for stage in STAGES if stage != "tails"]

    def batch() -> None:
        for stage in stages:
            laps.lap(stage)
        recorder.batch(1, 0.001)
        of.commit_seconds.observe(0.001)
        recorder.settled(STREAM, result, 1, 0.001)
        recorder.catch_up()

    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CALLS):
            batch()
        best = min(best, time.perf_counter() - began)
    assert of.dead_letters.keys() == set(KINDS)
    return 1e6 * best / CALLS


def scrape_ms(streams: int) -> float:
    """Milliseconds of the interpreter that a scrape of so many streams takes, all of them busy; the best of some."""
    metrics = Metrics("0" * 64, "yhat", [f"values:{{{number}}}" for number in range(streams)])
    tally, best = np.ones(TALLY_COLUMNS), float("inf")
    for number in range(ROUNDS):
        for name, of in metrics.of.items():
            metrics.score(name, tally)
            for count in (of.entries, of.values, of.predictions):
                count.inc(7)
            of.commit_seconds.observe(0.001 * number)
            of.end_to_end_seconds.observe(0.001 * number)
        began = time.perf_counter()
        metrics.exposition()
        best = min(best, time.perf_counter() - began)
    return 1e3 * best


def busy_us(process: BenchProcess, before: dict[str, float]) -> tuple[float, float]:
    """Microseconds the loop was busy per micro-batch since `before`, and values in one."""
    now = process.metrics()
    batches = now["streamlstm_batches_total"] - before["streamlstm_batches_total"]
    busy = sum(now[name] - before[name] for name in BUSY)
    values = now["streamlstm_batch_values_sum"] - before["streamlstm_batch_values_sum"]
    return 1e6 * busy / batches, values / batches


def wait(server: PrivateServer, process: BenchProcess, entry_id: bytes) -> None:
    """Wait until a position is reached."""
    while server.connection.call("HGET", Keys(STREAM).meta, "position") != entry_id:
        process.check()
        time.sleep(0.001)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--drain", type=int, default=300_000, help="values of the backlog")
    parser.add_argument("--single", type=int, default=3_000, help="entries sent one after the other")
    options = parser.parse_args()
    cost = cost_us()
    print(f"metrics: {cost:.1f} us a micro-batch; a scrape of 256 streams: {scrape_ms(256):.0f} ms")
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        model = directory / "model.onnx"
        model.write_bytes(lstm_file(64))
        backlog = make_backlog(Shape(values=options.drain, series=10_000))
        single = make_backlog(Shape(values=options.single, series=10_000), after=backlog)
        with private_server(directory, "off") as server:
            push(server.connection, backlog)
            with serving(server, model, [STREAM]) as process:
                before = dict.fromkeys([*BUSY, "streamlstm_batches_total", "streamlstm_batch_values_sum"], 0.0)
                wait(server, process, backlog.streams[STREAM].ids[-1])
                show("drain", cost, *busy_us(process, before))
                before = process.metrics()
                entries = single.streams[STREAM]
                for entry_id, fields in zip(entries.ids, entries.fields, strict=True):
                    server.connection.call("XADD", STREAM, entry_id, *fields)
                    wait(server, process, entry_id)
                show("single values", cost, *busy_us(process, before))


def show(name: str, cost: float, busy: float, values: float) -> None:
    """One line."""
    print(f"{name}: {busy:,.0f} us busy a micro-batch of {values:,.1f} values, {100 * cost / busy:.2f} % of it metrics")


if __name__ == "__main__":
    main()
