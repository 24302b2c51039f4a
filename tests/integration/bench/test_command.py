"""`streamlstm bench` as a user runs it."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamlstm.cli.benchmark.report import render
from support import models
from support.json_schemas import problems
from support.paths import ROOT


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start the command; its temporary directories are in `tmp_path`, settings of the user's lead nowhere."""
    settings = {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "STREAMLSTM_REDIS": "redis://127.0.0.1:1/0"}
    return subprocess.Popen(
        [sys.executable, "-m", "streamlstm", "bench", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | settings,
        cwd=tmp_path,
    )


def measured(tmp_path: Path, *arguments: str) -> bytes:
    """What the command says; nothing is wrong.

    Small backlogs are answered while a measuring process that stands still waits for its turn. It says that it could
    not time them, and is asked once more.
    """
    for _ in range(5):
        process = start(tmp_path, *arguments)
        out, said = process.communicate(timeout=600)
        if b"answered before it could be timed" not in said:
            break
    assert (process.returncode, said) == (0, b"")
    return out


def figures(report: Any) -> Iterator[float]:
    """Every number of a report."""
    if isinstance(report, dict | list):
        for part in report.values() if isinstance(report, dict) else report:
            yield from figures(part)
    elif isinstance(report, int | float):
        yield report


def test_quick_measures_everything(tmp_path: Path) -> None:
    """The report of --quick has every part with finite figures, says on what, leaves nothing behind, is a table too."""
    out = measured(tmp_path, "--quick", "--json")
    report = json.loads(out)
    assert problems("bench", report) == []
    assert set(report) == {"date", "machine", "settings", "drain", "latency", "memory", "load"}
    assert set(report["machine"]) == {
        "compiled",
        *("processor", "cores", "system", "python", "server", "streamlstm", "packages"),
    }
    assert report["settings"]["fsync"] == "off"
    assert report["settings"]["state_size"] == 128
    assert [row["case"] for row in report["drain"]] == [
        *("single-value entries", "entries of 100 values", "one hot series", "8 streams, single values"),
    ]
    for row in report["drain"]:
        assert {"ours", "floor", "naive", "of_floor", "of_naive"} <= set(row)
    for row in report["latency"]:
        assert set(row) == {"values_per_s", "ours", "busy", "echo", "least", "of_echo", "of_least", "busy_of_echo"}
        assert set(row["of_echo"]) == set(row["of_least"]) == {"p50", "p99", "p999"}
    assert {"redis_key", "redis_used", "daemon_rows", "daemon_resident"} <= set(report["memory"])
    assert report["memory"]["redis_used"]["of_raw"] > 1
    numbers = list(figures(report))
    assert len(numbers) > 100
    assert all(math.isfinite(number) and number >= 0 for number in numbers)
    assert list(tmp_path.iterdir()) == []
    lines = list(render(report))
    assert "Drain rate of a backlog, values/s (append-only file off)" in lines
    (row,) = [line for line in lines if line.startswith("  one hot series")]
    assert row.count(" x") >= 2
    assert max(map(len, lines)) <= 120


def test_the_table_names_the_persistence(tmp_path: Path) -> None:
    """For people: how the server was set, then lines that fit a terminal."""
    arguments = ("--only", "memory", "--memory-series", "1000", "--quick", "--lstm-units", "4", "--fsync", "everysec")
    lines = measured(tmp_path, *arguments).decode().splitlines()
    assert "append-only file everysec" in lines[2]
    assert max(map(len, lines)) <= 120


def test_sigterm_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ended while it measures, it ends its processes, removes its directory and exits 130."""
    process = start(tmp_path, "--only", "drain", "--quick")
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("streamlstm-bench-*/process-*.log")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=300)
    assert (process.returncode, said.strip()) == (130, b"")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("trouble", ["missing", "two features"])
def test_a_model_it_cannot_feed_is_refused(tmp_path: Path, trouble: str) -> None:
    """A model that is not there, or takes several numbers a value, is one line on stderr."""
    path = tmp_path / "model.onnx"
    if trouble == "two features":
        path.write_bytes(models.lstm(4, features=2))
    process = start(tmp_path, "--quick", "--model", str(path))
    _, said = process.communicate(timeout=300)
    assert process.returncode == (1 if trouble == "missing" else 2)
    assert said.decode().startswith("streamlstm: error: ")
    assert said.count(b"\n") == 1


def test_peers_answer_the_same_stream(tmp_path: Path) -> None:
    """Who is installed is measured, who is not is named with what installs it; each is said to lack what it lacks."""
    report = json.loads(measured(tmp_path, "--quick", "--only", "peers", "--json"))
    assert problems("bench", report) == []
    rows = {row["peer"]: row for row in report["peers"]}
    packages = {"Keras stateful": "keras", "Bytewax": "bytewax", "River SNARIMAX": "river"}
    loop = "redis-py + onnxruntime loop"
    assert list(rows) == ["streamlstm serve", loop, *packages, "Triton sequence batcher"]
    for name, package in packages.items():
        assert ("values_per_s" in rows[name]) == (importlib.util.find_spec(package) is not None)
        assert ("install" in rows[name]) == (importlib.util.find_spec(package) is None)
    assert rows["streamlstm serve"]["values_per_s"] > rows[loop]["values_per_s"] > 0
    assert "container" in rows["Triton sequence batcher"]["install"]
    assert [name for name, row in rows.items() if row["exactly_once"] == "yes"] == ["streamlstm serve"]
    text = "\n".join(render(report))
    for name, row in rows.items():
        assert name in text
        assert row["state"] in text
        assert row.get("install", "") in text


def test_peers_have_the_random_model(tmp_path: Path) -> None:
    """Keras has no other of those that may be given."""
    process = start(tmp_path, "--peers", "--model", "universal")
    _, said = process.communicate(timeout=600)
    assert process.returncode == 2
    assert b"leave --model out" in said
