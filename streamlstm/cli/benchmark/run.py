"""One run of the bench: a private server, the parts that were asked for, one report."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streamlstm.cli.benchmark.drain import Bench, drain_cases, measure_drain, steps_of_drain
from streamlstm.cli.benchmark.growth import measure_growth, steps_of_growth
from streamlstm.cli.benchmark.latency import measure_latency, steps_of_latency
from streamlstm.cli.benchmark.lstm_file import lstm_file
from streamlstm.cli.benchmark.machine import describe_machine, load_average
from streamlstm.cli.benchmark.memory import STEPS as MEMORY_STEPS
from streamlstm.cli.benchmark.memory import measure_memory
from streamlstm.cli.benchmark.peers.run import measure_peers, steps_of_peers
from streamlstm.cli.benchmark.server import private_server
from streamlstm.cli.progress import ProgressBar
from streamlstm.errors import UsageError
from streamlstm.models import CPU, Model

PARTS = ("drain", "latency", "memory")  # growth and peers only when asked for


@dataclass(frozen=True, kw_only=True)
class BenchPlan:
    """What to measure, and how much of it."""

    parts: tuple[str, ...]
    model_path: Path | None  # None: a random LSTM of `units`
    units: int
    series: int
    values: int  # of a backlog of single-value entries
    naive_values: int
    latency_s: float  # measured at each rate, after
    warm_up_s: float
    memory_series: int
    growth_values: int  # of a backlog of a growth curve
    repeat: int
    fsync: str
    threads: int
    provider: str


def run_bench(plan: BenchPlan) -> dict[str, Any]:
    """Measure; the report `streamlstm bench --json` prints."""
    with _bench(plan, _steps(plan)) as bench:
        before = load_average()
        report: dict[str, Any] = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": describe_machine(bench.server.info()),
            "settings": {
                "model": str(plan.model_path) if plan.model_path else f"LSTM({plan.units}), random weights",
                "state_size": bench.model.spec.state_size,
                "series": plan.series,
                "fsync": plan.fsync,
                "repeat": plan.repeat,
                "threads": plan.threads,
                "provider": plan.provider,
            },
        }
        if "drain" in plan.parts:
            report["drain"] = [
                measure_drain(bench, case, naive_values=plan.naive_values).as_json()
                for case in drain_cases(plan.values, plan.series)
            ]
        if "latency" in plan.parts:
            report["latency"] = measure_latency(
                bench, series=plan.series, seconds=plan.latency_s, warm_up_s=plan.warm_up_s
            )
        if "memory" in plan.parts:
            report["memory"] = measure_memory(bench, series=plan.memory_series)
        if "growth" in plan.parts:
            report["growth"] = measure_growth(bench, plan.growth_values)
        if "peers" in plan.parts:
            report["peers"] = measure_peers(
                bench, values=plan.values, peer_values=plan.naive_values, series=plan.series, units=plan.units
            )
        report["load"] = {"before": before, "after": load_average()}
    return report


def _steps(plan: BenchPlan) -> int:
    steps = 0
    if "drain" in plan.parts:
        steps += len(drain_cases(1, 1)) * steps_of_drain(plan.repeat, naive=plan.naive_values > 0)
    if "latency" in plan.parts:
        steps += steps_of_latency(plan.repeat)
    if "memory" in plan.parts:
        steps += MEMORY_STEPS
    if "growth" in plan.parts:
        steps += steps_of_growth(plan.growth_values, plan.repeat)
    if "peers" in plan.parts:
        steps += steps_of_peers(plan.repeat)
    return steps


@contextmanager
def _bench(plan: BenchPlan, steps: int) -> Iterator[Bench]:
    """Model, server and progress bar of a run."""
    with tempfile.TemporaryDirectory(prefix="streamlstm-bench-") as temporary:
        directory = Path(temporary)
        path = directory / "lstm.onnx" if plan.model_path is None else plan.model_path.resolve()
        if plan.model_path is None:
            path.write_bytes(lstm_file(plan.units))
        model = load_single(path, plan.threads, plan.provider)
        progress = ProgressBar(steps)
        try:
            with private_server(directory, plan.fsync) as server:
                options = ("--threads", str(plan.threads), "--provider", plan.provider)
                yield Bench(server, path, model, plan.repeat, progress, options)
        finally:
            progress.close()


def load_single(path: Path, threads: int, provider: str = CPU) -> Model:
    """Load a model whose values are single numbers; raises UsageError for another."""
    from streamlstm.models import load

    model = load(path, threads=threads, provider=provider)
    if len(model.spec.features) != 1 or model.spec.uses_time:
        raise UsageError(f"{str(path)!r} takes several numbers a value, or its time; bench sends single numbers")
    return model
