"""The drain rate of a backlog: the daemon, the floor and the naive loop by turns on one server, so that noise hits all.

The daemon's time runs from its first commit to its last, taken from the positions the server holds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streamlstm.cli.benchmark.backlog import Backlog, Shape, make_backlog, push
from streamlstm.cli.benchmark.floor import Script, measure_replies, record, replay
from streamlstm.cli.benchmark.server import BenchProcess, PrivateServer, run_module, serving, sharing_a_core
from streamlstm.cli.progress import ProgressBar
from streamlstm.errors import StoreError
from streamlstm.models import Model
from streamlstm.store import HOST, Keys
from streamlstm.store.resp import pack

POLL_S = 0.01  # a poll takes the server some 10 us
STALLED_S = 120.0


@dataclass(frozen=True)
class Case:
    """One kind of backlog."""

    name: str
    shape: Shape


@dataclass
class Rates:
    """Values a second, run by run."""

    runs: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.runs)


@dataclass
class DrainResult:
    """What one case came to."""

    case: Case
    ours: Rates = field(default_factory=Rates)
    floor: Rates = field(default_factory=Rates)
    naive: Rates = field(default_factory=Rates)
    naive_one_core: Rates = field(default_factory=Rates)

    def as_json(self) -> dict[str, Any]:
        """Figures in values a second, and their ratios."""
        shape = self.case.shape
        measured = {
            "ours": self.ours,
            "floor": self.floor,
            "naive": self.naive,
            "naive_one_core": self.naive_one_core,
        }
        found: dict[str, Any] = {
            "case": self.case.name,
            "values": shape.total_values,
            "values_per_entry": shape.values_per_entry,
            "series": shape.series,
            "streams": shape.streams,
        }
        for name, rates in measured.items():
            if rates.runs:
                found[name] = {"values_per_s": rates.median, "runs": rates.runs}
        for name, rates in measured.items():
            if name != "ours" and rates.runs:
                found[f"of_{name}"] = self.ours.median / rates.median
        return found


@dataclass(frozen=True)
class Bench:
    """What every measurement of one run shares."""

    server: PrivateServer
    model_path: Path
    model: Model
    repeat: int
    progress: ProgressBar
    serve_options: Sequence[str] = ()


def drain_cases(values: int, series: int) -> list[Case]:
    """The four backlogs that are always measured."""
    return [
        Case("single-value entries", Shape(values=values, series=series)),
        Case("entries of 100 values", Shape(values=2 * values, series=series, values_per_entry=100)),
        Case("one hot series", Shape(values=values, series=1)),
        Case("8 streams, single values", Shape(values=values, series=series, streams=8)),
    ]


def steps_of_drain(repeat: int, *, naive: bool) -> int:
    """How many steps of progress `measure_drain` takes."""
    return 1 + repeat * (3 if naive else 2)


def measure_drain(bench: Bench, case: Case, *, naive_values: int) -> DrainResult:
    """Push the backlog, then floor, daemon and naive loop by turns; `naive_values` 0 leaves the last out."""
    server, progress, result = bench.server, bench.progress, DrainResult(case)
    progress.begin(f"{case.name}: make and push the backlog")
    server.clear()
    backlog = make_backlog(case.shape)
    push(server.connection, backlog)
    script = prepare_floor(bench, backlog)
    progress.end()
    streams, values = list(backlog.streams), case.shape.total_values
    for number in range(1, bench.repeat + 1):
        progress.begin(f"{case.name}: floor, {number} of {bench.repeat}")
        server.clear_results(streams)
        result.floor.runs.append(values / replay(script, HOST, server.port))
        progress.end()
        progress.begin(f"{case.name}: serve, {number} of {bench.repeat}")
        server.clear_results(streams)
        result.ours.runs.append(drain(bench, backlog))
        progress.end()
        if naive_values:
            progress.begin(f"{case.name}: naive loop, {number} of {bench.repeat}")
            result.naive.runs.append(_naive(bench, backlog, naive_values))
            with sharing_a_core(server) as core:
                if core is not None:
                    result.naive_one_core.runs.append(_naive(bench, backlog, naive_values, core))
            progress.end()
    server.clear()
    return result


def prepare_floor(bench: Bench, backlog: Backlog) -> Script:
    """Record what the daemon sends for a backlog, and how many bytes it is answered with."""
    script = record(bench.model, backlog, bench.server.url)
    bench.server.clear_results(list(backlog.streams))
    measure_replies(script, HOST, bench.server.port)
    return script


def drain(bench: Bench, backlog: Backlog) -> float:
    """Values a second at which a `serve` process answers a backlog that is there already."""
    with serving(bench.server, bench.model_path, list(backlog.streams), *bench.serve_options) as process:
        entries, seconds = wait_until_answered(bench.server, process, backlog.last_ids)
    if not entries:
        raise StoreError("the backlog was answered before it could be timed; make it larger with --backlog-values")
    return entries * backlog.shape.values_per_entry / seconds


def wait_until_answered(server: PrivateServer, process: BenchProcess, last_ids: dict[str, bytes]) -> tuple[int, float]:
    """Wait until every stream's position is its last id; entries after the first commit seen, and the seconds for them.

    Both are 0 if all was answered when it was first looked at. Raises StoreError if the process ends or nothing moves
    for two minutes.
    """
    waiting = {Keys(stream).meta: last for stream, last in last_ids.items()}
    answered = dict.fromkeys(waiting, 0)
    began, first, moved, total = 0.0, 0, time.monotonic(), 0
    while waiting:
        command = b"".join(pack("HMGET", meta, "position", "entries") for meta in waiting)
        server.connection.send(command)
        replies = [server.connection.receive() for _ in waiting]
        now = time.perf_counter()
        for meta, (position, entries) in zip(list(waiting), replies, strict=True):
            answered[meta] = int(entries or 0)
            if position == waiting[meta]:
                del waiting[meta]
        if total != sum(answered.values()):
            total, moved = sum(answered.values()), time.monotonic()
            if not first:
                began, first = now, total
        elif time.monotonic() - moved > STALLED_S:
            raise StoreError(f"the daemon has not moved its position for {STALLED_S:.0f} s")
        if waiting:
            process.check()
            time.sleep(POLL_S)
    return total - first, now - began


def _naive(bench: Bench, backlog: Backlog, values: int, core: int | None = None) -> float:
    """Values a second of the naive loop on a slice of the backlog; it may be bound to a core."""
    stream = next(iter(backlog.streams))
    bench.server.clear_results(list(backlog.streams))
    width = backlog.shape.values_per_entry
    entries = min(len(backlog.streams[stream].ids), max(1, values // width))
    took: float = run_module(
        bench.server,
        "streamlstm.cli.benchmark.naive",
        url=bench.server.url,
        stream=stream,
        model=str(bench.model_path),
        entries=entries,
        core=core,
    )
    return entries * width / took
