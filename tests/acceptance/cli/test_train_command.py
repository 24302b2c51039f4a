"""The command `train`: what it writes, prints and refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import streamlstm
from streamlstm.models.providers import fingerprint
from support import forked

AIRLINE = Path(streamlstm.__file__).parent / "models" / "airline-passengers.csv"
QUICK = ["--units", "8", "--epochs", "3", "--ensemble", "1"]
READ = f"streamlstm: {AIRLINE}: times 'time', one series, value 'passengers'\n"  # what is said of the table


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`streamlstm train` as a user runs it."""
    return forked.run(["train", *arguments], env=os.environ | environment, timeout=300, text=True)


def test_the_json_errors_are_those_of_the_written_model(tmp_path: Path) -> None:
    """Stepping the file through the airline table gives the errors the command printed, and the naive ones too."""
    path = tmp_path / "airline.onnx"
    done = run(str(AIRLINE), "-o", str(path), "--test-size", "36", "--season", "12", "--json", *QUICK)
    assert (done.returncode, done.stderr) == (0, READ)
    facts = json.loads(done.stdout)
    values = np.loadtxt(AIRLINE, delimiter=",", skiprows=1, usecols=1)
    model = streamlstm.load(path)
    state, forecasts = model.initial_state(1), []
    for value in values[:-1]:
        y, state = model.step([[value]], state)
        forecasts.append(float(str(y[0, 0])))  # as it is written
    unit = np.mean(np.abs(values[12:108] - values[:96]))
    for name, said in {
        "model": np.array(forecasts)[107:],
        "naive": values[107:-1],
        "seasonal_naive_12": values[96:132],
    }.items():
        error = said - values[108:]
        assert facts["errors"][name]["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-9)
        assert facts["errors"][name]["mae"] == pytest.approx(np.mean(np.abs(error)), rel=1e-9)
        assert facts["errors"][name]["mase"] == pytest.approx(np.mean(np.abs(error)) / unit, rel=1e-9)
    assert facts["errors"]["model"]["rmse"] < 20 < facts["errors"]["seasonal_naive_12"]["rmse"]
    assert facts["fingerprint"] == fingerprint(path.read_bytes()) == model.fingerprint
    assert os.listdir(tmp_path) == ["airline.onnx"]


def test_people_get_a_table_and_a_picture(tmp_path: Path) -> None:
    """Without --json the errors stand in a table; --plot writes a PNG; nothing is drawn on a pipe's stderr."""
    picture = tmp_path / "test.png"
    done = run(str(AIRLINE), "-o", str(tmp_path / "m.onnx"), "--plot", str(picture), *QUICK)
    assert (done.returncode, done.stderr) == (0, READ)
    for word in ("RMSE", "MASE", "model", "naive", "seasonal naive, 12"):
        assert word in done.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_settings_come_from_the_environment_too(tmp_path: Path) -> None:
    """STREAMLSTM_UNITS stands in for --units."""
    path = tmp_path / "m.onnx"
    settings = {"UNITS": "4,3", "SEASON": "none", "EPOCHS": "1", "ENSEMBLE": "1"}
    done = run(str(AIRLINE), "-o", str(path), **{f"STREAMLSTM_{name}": value for name, value in settings.items()})
    assert done.returncode == 0, done.stderr
    spec = streamlstm.load(path).spec
    assert spec.training["units"] == [4, 3]
    assert spec.season is None


@pytest.mark.parametrize(
    ("arguments", "status", "pieces"),
    [
        (["nothing.csv", "-o", "m.onnx"], 1, ["nothing.csv", "No such file"]),
        ([str(AIRLINE), "-o", "m.onnx", "--target-col", "pilots"], 1, ["'pilots'", "'passengers'"]),
        ([str(AIRLINE), "-o", "m.onnx", "--test-size", "130"], 1, ["airline-passengers.csv", "too short"]),
        ([str(AIRLINE), "-o", "no/m.onnx"], 2, ["no/m.onnx", "does not exist"]),
        ([str(AIRLINE), "-o", "m.onnx", "--units", "many"], 2, ["'many'", "whole number"]),
        ([str(AIRLINE), "-o", "m.onnx", "--season", "1"], 2, ["season"]),
        ([str(AIRLINE), "-o", "m.onnx", "--test-size", "1.5"], 2, ["test size"]),
        ([str(AIRLINE)], 2, ["--output"]),
        ([str(AIRLINE), "-o", str(AIRLINE)], 2, ["airline-passengers.csv is read"]),
        ([str(AIRLINE), "-o", "m.onnx", "--plot", str(AIRLINE)], 2, ["airline-passengers.csv is not .png"]),
        ([str(AIRLINE), "-o", "m.onnx", "--bidirectional"], 2, ["--bidirectional", "add --lookback"]),
        ([str(AIRLINE), "-o", "m.onnx", "--recurrent-dropout", "0.5"], 2, ["--recurrent-dropout"]),
        ([str(AIRLINE), "-o", "m.onnx", "--seed", "9" * 20], 2, ["--seed", "range"]),
        ([str(AIRLINE), "-o", "m.onnx", "--horizon", "500"], 1, ["airline-passengers.csv", "too few", "500 steps"]),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: list[str], status: int, pieces: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong file, column, option or too short a table: one line on stderr, exit 1 or 2, and no file."""
    monkeypatch.chdir(tmp_path)
    done = run(*arguments, PYTHONPATH=str(Path(streamlstm.__file__).parents[1]))
    assert done.returncode == status
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    for piece in pieces:
        assert piece in done.stderr
    assert os.listdir(tmp_path) == []


def test_without_torch_one_line_says_what_to_install(tmp_path: Path) -> None:
    """Where torch is not installed, the command names the extra, and does so before it reads anything."""
    script = (
        "import importlib.util, sys\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "from streamlstm.cli import main\n"
        "assert 'torch' not in sys.modules\n"
        f"main(['train', 'nothing.csv', '-o', {str(tmp_path / 'm.onnx')!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "pip install 'streamlstm[train]'" in done.stderr


def test_ctrl_c_still_writes_the_model(tmp_path: Path) -> None:
    """SIGINT during the epochs ends the training, and the best weights so far are exported."""
    script = (
        "import os, signal, sys\n"
        "import streamlstm.training.truncated_bptt as loop\n"
        "epoch = loop.Trainer.epoch\n"
        "def interrupted(self, batches):\n"
        "    epoch(self, batches)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "loop.Trainer.epoch = interrupted\n"
        "from streamlstm.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    path = tmp_path / "m.onnx"
    done = subprocess.run(
        [sys.executable, "-c", script, "train", str(AIRLINE), "-o", str(path), "--json"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert done.returncode == 0, done.stderr
    assert "interrupted" in done.stderr
    assert json.loads(done.stdout)["interrupted"] is True
    assert streamlstm.load(path).spec.training["interrupted"] is True
