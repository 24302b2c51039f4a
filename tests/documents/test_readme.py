"""The README is true: its generated parts are current, its tables agree with the code, what can be copied runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamlstm.store.keys import Keys
from streamlstm.store.record.layout import HEADER
from support.paths import ROOT
from support.server import Server, free_port

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """All fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def run_script(
    text: str, workplace: Path, environment: dict[str, str], *, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run commands of a reader's, all of which have to succeed."""
    done = subprocess.run(
        ["bash", "-c", text],
        cwd=workplace,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_generated_parts_are_current() -> None:
    """Commands, settings and metrics are those of the code."""
    done = subprocess.run(
        [sys.executable, "tools/readme.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_key_table_is_that_of_the_code() -> None:
    """Every derived key is in the table with its type, and no other."""
    table = dict(re.findall(r"^\| `base:([\w:]+)` \| (\w+) \|", README, re.MULTILINE))
    keys = Keys("values")
    assert table == {key.removeprefix(keys.base + ":"): kind for key, kind in keys.derived.items()}


def test_the_record_layout_is_that_of_the_code() -> None:
    """The offsets in the README are the fields' own."""
    assert HEADER.itemsize == 72
    documented = [int(start) for start in re.findall(r"^\| (\d+)–\d* \|", README, re.MULTILINE)]
    fields = HEADER.fields
    assert fields is not None
    names = ["magic", "state_size", "rejected", "model", "time_ms", "steps", "scored", "absolute_error"]
    assert documented == [*(fields[name][1] for name in names), HEADER.itemsize]


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder that looks like a clone to the commands of the README, without its virtual environment."""
    (tmp_path / "streamlstm" / "models").mkdir(parents=True)
    table = "streamlstm/models/airline-passengers.csv"
    (tmp_path / table).write_bytes((ROOT / table).read_bytes())
    return tmp_path


# Imported by every Python before anything else: on this machine Redis' usual port is another one, and taken.
ELSEWHERE = """
import socket
connect = socket.create_connection

def create_connection(address, *rest, **more):
    return connect((address[0], {port}) if address[1] == 6379 else address, *rest, **more)

socket.create_connection = create_connection
import streamlstm.store.embedded_server
streamlstm.store.embedded_server.USUAL_PORT = {port}
"""


def test_the_road_from_a_table_to_live_predictions_runs(workplace: Path, start_server: Callable[..., Server]) -> None:
    """The commands under 'From a table to live predictions', pasted as they stand, but for the set-up lines."""
    # Somebody else's Redis runs on the usual port: nothing goes into it, nothing even connects to it.
    script = next(block for block in blocks("sh") if "streamlstm serve" in block)
    port, foreign = free_port(), start_server()
    lines = [line for line in script.splitlines() if not line.startswith((". .venv", "pip install"))]
    text = "set -e\n" + "\n".join(lines).replace("9478", str(port)) + "\nwait\n"
    (workplace / "elsewhere").mkdir()
    (workplace / "elsewhere" / "sitecustomize.py").write_text(ELSEWHERE.format(port=foreign.port))
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
        "PYTHONPATH": os.pathsep.join([str(workplace / "elsewhere"), str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    with foreign.client() as client:
        before: Any = client.info("stats")
    done = run_script(text, workplace, environment, timeout_s=900)
    assert f":{foreign.port}/" not in done.stderr
    with foreign.client() as client:
        after: Any = client.info("stats")
    assert after["total_connections_received"] == before["total_connections_received"] + 1, "that of this test"
    assert len(re.findall(r"^\S+ +s1 ", done.stdout, re.MULTILINE)) == 1000, done.stdout[-2000:]
    assert re.search(r'streamlstm_predictions_total\{stream="values"\} 1144\.0', done.stdout), done.stdout[-500:]


def test_an_lstm_of_torch_is_served_as_it_says(workplace: Path) -> None:
    """The module under 'An nn.LSTM, …' is exported, imported, served and verified as it stands."""
    code = next(block for block in blocks("python") if "torch.onnx.export" in block)
    script = next(block for block in blocks("sh") if "export_lstm.py" in block)
    (workplace / "export_lstm.py").write_text(code)
    port = free_port()
    (workplace / "bin").mkdir()
    for name, command in (("streamlstm", "-m streamlstm"), ("python", "-W ignore")):
        (workplace / "bin" / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {command} "$@"\n')
        (workplace / "bin" / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(workplace / "bin"), os.environ["PATH"]]),
        "STREAMLSTM_HTTP": f"127.0.0.1:{port}",
        "PYTHONPATH": str(ROOT),
    }
    text = f"set -e\n{script}\nwait\n"
    done = run_script(text, workplace, environment, timeout_s=300)
    assert "layout BTF" in done.stderr
    assert done.stdout.count("yhat=") == 3, done.stdout
    assert "144 predictions, 0 dead letters" in done.stdout


def test_a_series_begins_with_its_history_as_it_says(workplace: Path) -> None:
    """The commands under 'Begin with history', beside a daemon: what is live is answered, and nothing else."""
    (workplace / "airline.onnx").write_bytes((ROOT / "streamlstm/models/airline.onnx").read_bytes())
    (workplace / "bin").mkdir()
    (workplace / "bin" / "streamlstm").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m streamlstm "$@"\n')
    (workplace / "bin" / "streamlstm").chmod(0o755)
    script = next(block for block in blocks("sh") if "--warm" in block)
    environment = {
        **os.environ,
        "PATH": os.pathsep.join([str(workplace / "bin"), os.environ["PATH"]]),
        "STREAMLSTM_HTTP": "127.0.0.1:0",
        "PYTHONPATH": str(ROOT),
    }
    text = f"set -e\nstreamlstm serve airline.onnx &\n{script}\nkill %1\nwait\n"
    done = run_script(text, workplace, environment, timeout_s=300)
    assert done.stdout.count("yhat=") == 36, done.stdout


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


def test_learning_again_runs(workplace: Path) -> None:
    """The block under 'Learn again', on the stream that the first steps make; waiting is cut short."""
    section = README[README.index("\n### Learn again") :].split("\n### ", 2)[1]
    (block,) = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    assert "--within 6h" in block
    (workplace / "bin").mkdir()
    (workplace / "bin" / "streamlstm").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m streamlstm "$@"\n')
    (workplace / "bin" / "streamlstm").chmod(0o755)
    model = workplace / "model.onnx"
    model.write_bytes((ROOT / "streamlstm/models/airline.onnx").read_bytes())
    path = os.pathsep.join([str(workplace / "bin"), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "STREAMLSTM_HTTP": f"127.0.0.1:{free_port()}"}
    serving = 'streamlstm serve model.onnx & daemon=$!; trap "kill $daemon" EXIT\n'
    push = "streamlstm push values streamlstm/models/airline-passengers.csv --wait 1m\n"
    # The table has a value a month.
    block = block.replace("--within 6h", "--within 1s").replace("--last 365d", "--last 3650d")
    text = f"set -e\n{serving}{push}{block}"
    done = run_script(text, workplace, environment, timeout_s=300)
    assert "0 of 10,000 values have been forecast by both" in done.stdout, done.stdout
    assert len((workplace / "values.csv").read_text().splitlines()) == 145


def test_what_is_done_from_python_runs(workplace: Path) -> None:
    """The blocks under 'From Python', beside the daemon they ask for."""
    section = README[README.index("\n## From Python") :].split("\n## ", 2)[1]
    first, second = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STREAMLSTM_")}
    environment = clean | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "PYTHONWARNINGS": "error"}

    def run(code: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=workplace, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "one step ahead, on the test part" in run(first)
    daemon = subprocess.Popen(
        [sys.executable, "-m", "streamlstm", "serve", "airline.onnx", "--http", "127.0.0.1:0"],
        cwd=workplace,
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        *predictions, states = run(second).splitlines()
    finally:
        daemon.terminate()
        assert daemon.wait(60) == 0
    assert len(predictions) == 145
    assert predictions[0].startswith("1977-01-01 00:00:00+00:00 passengers 1")
    assert "'steps': 145" in states
