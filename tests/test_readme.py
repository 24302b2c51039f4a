"""The README is true: its generated parts are current, its tables agree with the code, what can be copied runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from streamlstm.keys import Keys
from streamlstm.record import HEADER
from support.server import free_port

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """All fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_generated_parts_are_current() -> None:
    """Commands, settings and metrics are those of the code."""
    done = subprocess.run(
        [sys.executable, "tools/readme.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_key_table_is_that_of_the_code() -> None:
    """Every derived key is in the table with its type, and no other."""
    table = dict(re.findall(r"^\| `base:(\w+)` \| (\w+) \|", README, re.MULTILINE))
    assert table == {key.rpartition(":")[2]: kind for key, kind in Keys("values").derived.items()}


def test_the_record_layout_is_that_of_the_code() -> None:
    """The offsets in the README are the fields' own."""
    assert HEADER.itemsize == 72
    documented = [int(start) for start in re.findall(r"^\| (\d+)–\d* \|", README, re.MULTILINE)]
    fields = HEADER.fields
    assert fields is not None
    names = ["magic", "state_size", "model", "time_ms", "steps", "scored", "absolute_error"]
    assert documented == [*(fields[name][1] for name in names), HEADER.itemsize]


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder that looks like a clone to the commands of the README, without its virtual environment."""
    (tmp_path / "streamlstm" / "models").mkdir(parents=True)
    table = "streamlstm/models/airline-passengers.csv"
    (tmp_path / table).write_bytes((ROOT / table).read_bytes())
    return tmp_path


def test_the_road_from_a_table_to_live_predictions_runs(workplace: Path) -> None:
    """The commands under 'From a table to live predictions', as they stand, but for the set-up lines."""
    script = next(block for block in blocks("sh") if "streamlstm serve" in block)
    port = free_port()
    lines = [line for line in script.splitlines() if not line.startswith((". .venv", "pip install"))]
    # Who types them one after the other gives the daemon time; a script waits for what the next line shows.
    counted = f"curl -s http://127.0.0.1:{port}/metrics | grep -q 'streamlstm_predictions_total.*values.* 1144[.]0'"
    for after, condition in (
        ("streamlstm serve", "[ -f streamlstm-data/serve.json ]"),
        ("streamlstm push values streamlstm/models", "streamlstm status --json | grep -q '\"lag_entries\": 0'"),
        ("seq 1 1000 | streamlstm push", "streamlstm status --json | grep -q '\"lag_entries\": 0'"),
        ("streamlstm status", counted),
    ):
        at = next(i for i, line in enumerate(lines) if line.startswith(after))
        lines.insert(at + 1, f"for i in $(seq 600); do {condition} && break; sleep 0.1; done")
    text = "set -e\n" + "\n".join(lines).replace("9478", str(port)) + "\nwait\n"
    bin_folder = Path(sys.executable).parent
    runner = workplace / "streamlstm-command"
    runner.mkdir()
    (runner / "streamlstm").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m streamlstm "$@"\n')
    (runner / "streamlstm").chmod(0o755)
    path = os.pathsep.join([str(runner), str(bin_folder), os.environ["PATH"]])
    environment = {
        **os.environ,
        "PATH": path,
        "STREAMLSTM_HTTP": f"127.0.0.1:{port}",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        ["bash", "-c", text],
        cwd=workplace,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall(r"^\S+ +s1 ", done.stdout, re.MULTILINE)) == 1000, done.stdout[-2000:]
    assert re.search(r'streamlstm_predictions_total\{stream="values"\} 1144\.0', done.stdout), done.stdout[-500:]


def test_the_python_example_runs(workplace: Path) -> None:
    """The Python block, on the packaged model."""
    (workplace / "airline.onnx").write_bytes((ROOT / "streamlstm/models/airline.onnx").read_bytes())
    code = blocks("python")[0] + "\nprint(y.shape, ys.shape, state.shape)"
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=workplace,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(3, 1) (5, 3, 1) (3, "), (done.stdout, time.monotonic() - began)
