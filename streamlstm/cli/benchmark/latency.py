"""Latency under a steady load: the daemon and two floors by turns, on the same server, with the same values.

The echo loop answers without a model; *least* is the same loop with a call of the model and the commands of a commit.
*Busy* is the daemon with `--busy-poll`: it does not sleep between values.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from streamlstm.cli.benchmark.backlog import Shape, make_backlog, push
from streamlstm.cli.benchmark.drain import Bench
from streamlstm.cli.benchmark.load import PERCENTILES
from streamlstm.cli.benchmark.server import BenchProcess, run_module, serving, started
from streamlstm.errors import StoreError
from streamlstm.store import Keys

RATES = (100, 1000, 10_000)  # values a second
WHO = ("echo", "least", "ours", "busy")
BUSY_POLL = ("--busy-poll", "20ms")  # longer than the time between two values of the slowest rate
WARM_TIMEOUT_S = 60.0
POLL_S = 0.01
STREAM = "values"

Run = dict[str, float]


def steps_of_latency(repeat: int) -> int:
    """How many steps of progress `measure_latency` takes."""
    return len(WHO) * repeat * len(RATES)


def measure_latency(bench: Bench, *, series: int, seconds: float, warm_up_s: float) -> list[dict[str, Any]]:
    """One row a rate; every series has a state before the first value that counts."""
    runs: dict[str, dict[int, list[Run]]] = {who: {rate: [] for rate in RATES} for who in WHO}
    for number in range(1, bench.repeat + 1):
        for who, found in runs.items():
            bench.server.clear()
            with _answering(bench, who) as process:
                _warm(bench, process, series)
                for rate in RATES:
                    bench.progress.begin(f"latency at {rate:,} values/s: {who}, {number} of {bench.repeat}")
                    found[rate].append(
                        run_module(
                            bench.server,
                            "streamlstm.cli.benchmark.load",
                            url=bench.server.url,
                            stream=STREAM,
                            rate=rate,
                            seconds=seconds,
                            warm_up_s=warm_up_s,
                            series=series,
                            first_ms=time.time_ns() // 1_000_000,
                        )
                    )
                    process.check()
                    bench.progress.end()
    bench.server.clear()
    return [_row(rate, {who: found[rate] for who, found in runs.items()}) for rate in RATES]


def _answering(bench: Bench, who: str) -> AbstractContextManager[BenchProcess]:
    if who in {"ours", "busy"}:
        busy = BUSY_POLL if who == "busy" else ()
        return serving(bench.server, bench.model_path, [STREAM], *bench.serve_options, *busy)
    model = {"model": str(bench.model_path)} if who == "least" else {}
    return started(
        bench.server, ["streamlstm.cli.benchmark.echo", json.dumps({"url": bench.server.url, "stream": STREAM} | model)]
    )


def _warm(bench: Bench, process: BenchProcess, series: int) -> None:
    """Have one value of every series answered."""
    width = min(100, series)
    backlog = make_backlog(Shape(values=series, series=series, values_per_entry=width), in_turn=True)
    push(bench.server.connection, backlog)
    entries, deadline = len(backlog.streams[STREAM].ids), time.monotonic() + WARM_TIMEOUT_S
    while bench.server.connection.call("XLEN", Keys(STREAM).predictions) < entries:
        process.check()
        if time.monotonic() > deadline:
            raise StoreError(f"{entries:,} entries were not answered within {WARM_TIMEOUT_S:.0f} s")
        time.sleep(POLL_S)


def _row(rate: int, found: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    row: dict[str, Any] = {"values_per_s": rate}
    for who, runs in found.items():
        row[who] = {name: statistics.median(run[name] for run in runs) for name in PERCENTILES} | {"runs": list(runs)}
    for who in ("echo", "least"):
        row[f"of_{who}"] = {name: row["ours"][name] / row[who][name] for name in PERCENTILES}
    row["busy_of_echo"] = {name: row["busy"][name] / row["echo"][name] for name in PERCENTILES}
    return row
