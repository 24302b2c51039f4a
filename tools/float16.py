"""What it costs to carry states in float16: errors on tables, the time of steps, memory in Redis.

python tools/float16.py errors FOLDER     trains a model a table, rewrites it, scores both on the last fifth
python tools/float16.py memory [UNITS]    100,000 series of an LSTM in a server of its own, both ways
python tools/float16.py steps [UNITS]     processor time a value, alone, in batches and over time, both ways
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from evaluate_data import OPTIONS, called

from streamlstm.cli.benchmark.backlog import Shape, make_backlog, push
from streamlstm.cli.benchmark.drain import wait_until_answered
from streamlstm.cli.benchmark.lstm_file import lstm_file
from streamlstm.cli.benchmark.machine import resident_bytes
from streamlstm.cli.benchmark.server import private_server, serving
from streamlstm.models import Model, as_stored
from streamlstm.models.importers import compacted

SERIES = 100_000
TURNS = 15


def errors(folder: Path) -> Iterable[str]:
    """A line a table: the error of both on what neither has seen."""
    yield "| table | RMSE | in float16 | ratio | bytes of state | in float16 |\n|---|---|---|---|---|---|"
    for path in sorted(folder.glob("*.csv")):
        options = OPTIONS.get(path.stem, {})
        with tempfile.TemporaryDirectory() as temporary:
            full, half = (str(Path(temporary) / name) for name in ("full.onnx", "half.onnx"))
            arguments = [word for pair in options.items() for word in pair]
            called("train", str(path), "-o", full, *arguments)
            made = called("compact", full, "-o", half)
            rmse = [
                called("evaluate", one, str(path), "--baselines", "none", *arguments)["model"]["rmse"]
                for one in (full, half)
            ]
        sizes = f"{made['state_bytes_before']:,} | {made['state_bytes']:,}"
        yield f"| {path.stem} | {rmse[0]:.6g} | {rmse[1]:.6g} | {rmse[1] / rmse[0]:.5f} | {sizes} |"


def both(units: int, layers: int = 1) -> dict[str, bytes]:
    """The file of a random LSTM, and the same in float16."""
    data = lstm_file(units, layers=layers)
    return {"float32": data, "float16": compacted(data).data}


def memory(units: int) -> Iterable[str]:
    """Bytes a series in the server and in the daemon."""
    yield f"{SERIES:,} series of LSTM({units})"
    for name, data in both(units).items():
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / "model.onnx"
            path.write_bytes(data)
            with private_server(Path(temporary), "off") as server, serving(server, path, ["values"]) as process:
                before = resident_bytes(process.popen.pid) or 0
                made = make_backlog(Shape(values=SERIES, series=SERIES, values_per_entry=100), in_turn=True)
                push(server.connection, made)
                wait_until_answered(server, process, made.last_ids)
                key = server.connection.call("MEMORY", "USAGE", "{values}:state", "SAMPLES", 0)
                rows = process.metrics()["streamlstm_state_bytes"]
                grown = (resident_bytes(process.popen.pid) or 0) - before
        each = (key / SERIES, rows / SERIES, grown / SERIES)
        yield "{}: {:.0f} B in the server, {:.0f} B of rows, {:.0f} B resident in the daemon".format(name, *each)


def steps(units: int) -> Iterable[str]:
    """Processor time a value, the least of several turns, both by turns."""
    yield f"LSTM({units}), us of processor time a value: float32, float16, ratio"
    models = [as_stored(Model(data)) for data in both(units).values()]
    for count, batch in ((1, 1), (1, 64), (1, 1024), (100, 1), (100, 64)):
        took = [min(each) for each in zip(*(_turn(models, count, batch) for _ in range(TURNS)), strict=True)]
        us = [1e6 * one / (count * batch) for one in took]
        yield f"{count} steps of {batch} series: {us[0]:.2f} {us[1]:.2f} {us[1] / us[0]:.2f}"


def _turn(models: list[Any], count: int, batch: int) -> list[float]:
    x, took = np.random.default_rng(0).standard_normal((count, batch, 1)).astype(np.float32), []
    for model in models:
        state = model.initial_state(batch)
        began = time.process_time()
        for _ in range(max(1, 2000 // (count * batch))):
            model.advance(x, state, None)
        took.append((time.process_time() - began) / max(1, 2000 // (count * batch)))
    return took


def main() -> None:
    """Print what is asked for."""
    what, *given = sys.argv[1:] or ["help"]
    asked: dict[str, Callable[[], Iterable[str]]] = {
        "errors": lambda: errors(Path(given[0])),
        "memory": lambda: memory(int(given[0]) if given else 64),
        "steps": lambda: steps(int(given[0]) if given else 64),
    }
    if what not in asked:
        sys.exit(__doc__)
    for line in asked[what]():
        print(line, flush=True)


if __name__ == "__main__":
    main()
