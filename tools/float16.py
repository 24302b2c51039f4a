"""What it costs to carry states in float16: errors on tables, and what it saves: memory.

python tools/float16.py errors FOLDER     trains a model a table, rewrites it, scores both on the last fifth
python tools/float16.py memory [UNITS]    100,000 series of an LSTM in a server of its own, both ways
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from evaluate_data import OPTIONS, called

from streamlstm.cli.benchmark.backlog import Shape, make_backlog, push
from streamlstm.cli.benchmark.drain import wait_until_answered
from streamlstm.cli.benchmark.lstm_file import lstm_file
from streamlstm.cli.benchmark.memory import METRICS_S
from streamlstm.cli.benchmark.server import private_server, serving
from streamlstm.models.importers import compacted

SERIES = 100_000


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


def both(units: int) -> dict[str, bytes]:
    """The file of a random LSTM, and the same in float16."""
    data = lstm_file(units)
    return {"float32": data, "float16": compacted(data).data}


def memory(units: int) -> Iterable[str]:
    """Bytes a series in the server and in the daemon."""
    yield f"{SERIES:,} series of LSTM({units})"
    for name, data in both(units).items():
        with tempfile.TemporaryDirectory() as temporary:
            path = Path(temporary) / "model.onnx"
            path.write_bytes(data)
            with private_server(Path(temporary), "off") as server, serving(server, path, ["values"]) as process:
                made = make_backlog(Shape(values=SERIES, series=SERIES, values_per_entry=100), in_turn=True)
                push(server.connection, made)
                wait_until_answered(server, process, made.last_ids)
                key = server.connection.call("MEMORY", "USAGE", "{values}:state", "SAMPLES", 0)
                time.sleep(METRICS_S)
                rows = process.metrics()["streamlstm_state_bytes"]
        yield f"{name}: {key / SERIES:.0f} B in the server, {rows / SERIES:.0f} B in the daemon"


def main() -> None:
    """Print what is asked for."""
    what, *given = sys.argv[1:] or ["help"]
    asked: dict[str, Callable[[], Iterable[str]]] = {
        "errors": lambda: errors(Path(given[0])),
        "memory": lambda: memory(int(given[0]) if given else 64),
    }
    if what not in asked:
        sys.exit(__doc__)
    for line in asked[what]():
        print(line, flush=True)


if __name__ == "__main__":
    main()
