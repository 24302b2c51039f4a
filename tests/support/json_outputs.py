"""Every command that prints JSON and every path that answers with it, run for real; what they say, by name."""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import subprocess
import sys
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import redis

from support import forked
from support.serving import eventually

HERE = {"STREAMLSTM_EPOCHS": "2", "STREAMLSTM_ENSEMBLE": "1", "OMP_NUM_THREADS": "1"}
SERVED = ("--interval", "0.9", "--score", "--anomaly-above", "0.9")
BEGAN_S, VALUES = 1_704_067_200, 240
OWN_LAYER = """
import torch
class Mean(torch.nn.Module):
    def forward(self, window):
        return window.mean(dim=1)
torch.onnx.export(Mean(), (torch.zeros(1, 4, 1),), "window.onnx", input_names=["window"], dynamo=False,
                  dynamic_axes={"window": {0: "B"}})
"""
KERAS = """
import keras
model = keras.Sequential([keras.layers.Input((5, 1)), keras.layers.LSTM(3), keras.layers.Dense(1)])
model.save("model.keras")
"""


class Outputs:
    """A folder in which commands run; what they print is kept by the command's name."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.found: dict[str, list[Any]] = {}

    def command(self, name: str, *arguments: str, status: int = 0) -> None:
        """Run `streamlstm NAME --json`: an object, or one on each line."""
        done = self._run(*name.split(), *arguments, "--json")
        assert done.returncode == status, f"{name} {arguments}: {done.stderr}"
        self.found.setdefault(name, []).extend(documents(done.stdout))

    def plain(self, *arguments: str) -> None:
        """Run a command for what it does."""
        done = self._run(*arguments)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return forked.run([*arguments], env=os.environ | HERE, cwd=self.place, timeout=600, text=True)

    def python(self, text: str) -> None:
        """Run Python, without the warnings of exporters: here, where torch and Keras are loaded for other tests too."""
        os.environ.setdefault("KERAS_BACKEND", "torch")
        with contextlib.chdir(self.place), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(text, {})


def documents(text: str) -> list[Any]:
    """One JSON document, or one a line."""
    try:
        return [json.loads(text)]
    except json.JSONDecodeError:
        return [json.loads(line) for line in text.splitlines()]


def write_table(path: Path) -> None:
    """Two series that swing, an hour apart."""
    with path.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["sensor", "time", "value"])
        for n in range(VALUES):
            for series, middle in (("a", 20), ("b", 50)):
                lines.writerow([series, BEGAN_S + 3600 * n, round(middle + 5 * math.sin(n / 24 * math.tau) + n % 3, 3)])


def collect(place: Path) -> Mapping[str, list[Any]]:
    """Run everything."""
    out = Outputs(place)
    write_table(place / "table.csv")
    _files(out)
    command = [sys.executable, "-m", "streamlstm", "serve", "model.onnx", "--http", "127.0.0.1:0"]
    with subprocess.Popen([*command, *SERVED], cwd=place, env=os.environ | HERE, stderr=subprocess.DEVNULL) as daemon:
        try:
            _stream(out)
            _http(out)
            _states(out)
            _roles(out)
        finally:
            daemon.terminate()
            daemon.wait()
    return out.found


def _files(out: Outputs) -> None:
    """What needs no server."""
    small = ("--units", "8", "--ensemble", "1", "--epochs", "5")  # what is said is what a long training says
    out.command("train", "table.csv", "-o", "model.onnx", "--season", "24", *small)
    out.command("evaluate", "model.onnx", "table.csv")
    out.command("evaluate", "universal", "table.csv", "--baselines", "none")
    out.command("inspect", "model.onnx")
    out.command("inspect", "universal")
    out.command("compact", "model.onnx", "-o", "half.onnx")
    out.python(OWN_LAYER)
    out.command("import-onnx", "window.onnx", "-o", "imported.onnx")
    out.python(KERAS)
    out.command("import-keras", "model.keras", "-o", "keras.onnx")
    out.command("config show")
    out.command("config show", "serve", "--retain", "7d")
    out.command("config variables")


def _stream(out: Outputs) -> None:
    """Values in, predictions out."""
    out.command("push", "values", "table.csv", "--wait", "1m")
    served = json.loads((out.place / "streamlstm-data" / "serve.json").read_text())
    out.found["serve.json"] = [served]
    with redis.Redis.from_url(served["redis"]) as server:
        server.xadd("values", {"a": "500", "b": "wet"})
        server.xadd("values", {"a": ""})
        server.xadd("values", {"a": "21", "!correct": f"a {(BEGAN_S + 3600 * 200) * 1000}-0 22"})
        last = server.xadd("values", {"b": "51"}).decode()
        assert eventually(lambda: server.hget("{values}:meta", "position") == last.encode())
    for what in ((), ("--anomalies",), ("--dead",)):
        out.command("tail", "values", "--no-follow", *what)
    out.command("forecast", "values", "--series", "a", "--steps", "3")
    out.command("forecast", "values", "--series", "a", "--series", "b", "--steps", "2", "--interval", "0.8")
    out.command("export", "values", "-o", "out.csv")
    out.command("status")
    out.command("status", "--series", "a")
    out.command("inspect", "model.onnx", "--live", "values", "--series", "a")
    out.command("verify", "model.onnx", "values", *SERVED)


def _http(out: Outputs) -> None:
    """The paths that answer with JSON."""
    served = json.loads((out.place / "streamlstm-data" / "serve.json").read_text())["http"]
    last = f"{(BEGAN_S + 3600 * (VALUES - 1)) * 1000}-0"
    paths = {
        "/forecast": ["?series=a&steps=3", "?series=a&series=b&steps=2"],
        "/streams": [""],
        "/series": ["?stream=values", "?stream=values&text=a"],
        "/history": [f"?stream=values&series=a&before={last}"],
        "/dead": ["?stream=values"],
    }
    for path, queries in paths.items():
        for query in queries:
            with urllib.request.urlopen(f"{served}{path}{query}") as answer:
                out.found.setdefault(path, []).append(json.load(answer))


def _watch(out: Outputs) -> None:
    """The events of the live page, until each kind has come."""
    served = json.loads((out.place / "streamlstm-data" / "serve.json").read_text())["http"]
    wanted = {f"/events {name}" for name in ("figures", "values", "beside")}
    with urllib.request.urlopen(f"{served}/events?stream=values&series=a") as events:
        for name, data in _events(events):
            out.found.setdefault(f"/events {name}", []).append(data)
            if wanted <= out.found.keys():
                return


def _events(answer: Any) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in answer:
        kind, _, text = line.decode().strip().partition(": ")
        if kind == "event":
            name = text
        elif kind == "data":
            yield name, json.loads(text)


def _states(out: Outputs) -> None:
    """What is done with states."""
    out.command("state list", "values")
    out.command("state show", "values", "--series", "a")
    out.command("state export", "values", "-o", "states.bin")
    out.command("state fork", "values", "--series", "a", "--as", "what-if")
    out.command("state reset", "values", "--series", "what-if")
    out.command("state rewind", "values", "--series", "b", "--to", f"{(BEGAN_S + 3600 * 100) * 1000}-0", *SERVED)
    out.command("state import", "values", "--from", "states.bin", "--force")


def _roles(out: Outputs) -> None:
    """Models in their roles."""
    out.plain("model", "add", "values", "universal")
    _watch(out)
    out.command("model list", "values")
    out.command("status")
    out.plain("model", "promote", "values")
    out.command("tail", "values", "--no-follow", "--last", "2", "--promotions")
    out.plain("model", "remove", "values")
    out.command("retrain", "values", "--season", "24", "--epochs", "2")
    out.command("retrain", "values", "--promote-if-better", "0.02", "--after", "100", "--within", "1s")
    # Whole reports are held against the schema by `integration/bench/test_command.py`, which makes them.
    out.command("bench", "--quick", "--only", "memory", "--memory-series", "1000")
