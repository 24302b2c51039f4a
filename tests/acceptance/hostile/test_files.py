"""Whatever a file holds, a command ends with 0, or with one line and 1, in bounded time and memory.

FUZZ_SECONDS says for how long files are made, FUZZ_SEED where they begin: `make fuzz-files` for hours.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamlstm.errors import StreamlstmError
from streamlstm.models.importers.keras import file
from streamlstm.models.importers.keras.importer import import_keras
from streamlstm.models.model import Model
from streamlstm.store.snapshots.export_import import checked_pages
from streamlstm.store.snapshots.file_format import SnapshotReader
from streamlstm.tables import read_table
from support import models, mutants
from support.forked import Forked
from support.unconfined import read_here

SECONDS = float(os.environ.get("FUZZ_SECONDS", "4"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
MEGABYTES = 1024
CPU_SECONDS = 10
MODEL = models.lstm(3)
LOADED = Model(MODEL)
Run = Callable[[list[str]], dict[str, Any]]
TRAINING = ("--epochs", "0", "--ensemble", "1", "--units", "4", "--season", "none", "--scaling", "standard")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run a command to its end, with all loaded that any needs, in a folder with a model.

    Returns `status`, `stderr`, `seconds` of the processor and `megabytes` at most, its children's too.
    """
    folder = tmp_path_factory.mktemp("files")
    (folder / "model.onnx").write_bytes(MODEL)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STREAMLSTM_")}
    files = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "cwd": folder}
    limits = [(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))]  # what takes more is ended by the system

    def call(arguments: list[str]) -> dict[str, Any]:
        with Forked(arguments, env=clean, heavy=True, limits=limits, **files) as process:
            _, errors = process.communicate()
        return {"status": process.returncode, "stderr": errors.decode("utf-8", "backslashreplace"), **process.spent}

    return call


def commands(redis_url: str, folder: Path, rng: random.Random) -> tuple[list[str], Path]:
    """Write one file; returns a command that reads it, and its path."""
    kind = rng.choice(("keras", "keras", "h5", "h5", "state", "csv", "csv", "parquet", "parquet"))
    path = folder / f"file.{kind}"
    if kind in ("keras", "h5"):
        {"keras": mutants.keras_mutant, "h5": mutants.h5_mutant}[kind](path, rng)
        return ["import-keras", str(path), "-o", str(folder / "made.onnx")], path
    if kind == "state":
        mutants.state_mutant(path, rng, LOADED)
        return ["state", "import", "--force", "--from", str(path), "--redis", redis_url], path
    {"csv": mutants.csv_mutant, "parquet": mutants.parquet_mutant}[kind](path, rng)
    made = str(folder / "made.onnx")
    return rng.choice(
        (
            ["train", str(path), "-o", made, *TRAINING],
            ["evaluate", "model.onnx", str(path), "--baselines", "naive"],
            ["push", "values", str(path), "--series", "s", "--redis", redis_url],
            ["push", "values", str(path), "--redis", redis_url],
        )
    ), path


def check(run: Run, arguments: list[str], what: object) -> int:
    """Run a command and hold it to its end; returns its status."""
    found = run(arguments)
    lines = found["stderr"].splitlines()
    told = f"{what}: {arguments} ended with {found}"
    assert found["status"] in (0, 1, 2), told  # 2: what is not said has to be, e.g. --series
    assert all(line.startswith("streamlstm: ") for line in lines), told
    assert sum(line.startswith("streamlstm: error: ") for line in lines) == (found["status"] > 0), told
    assert found["status"] == 0 or max(map(len, lines)) < 2000, told
    assert found["megabytes"] < MEGABYTES, told
    return int(found["status"])


def test_files_from_seeds(run: Run, redis_url: str, tmp_path: Path) -> None:
    """Files made from one seed after the other, each given to a command that reads its kind."""
    seed, statuses, end = SEED, [0, 0, 0], time.monotonic() + SECONDS
    while time.monotonic() < end or seed - SEED < 20:
        arguments, path = commands(redis_url, tmp_path, random.Random(seed))
        statuses[check(run, arguments, f"FUZZ_SEED={seed}")] += 1
        path.unlink()
        seed += 1
    assert statuses[1] > statuses[0] / 10


def parsed(kind: str, path: Path, rng: random.Random) -> None:
    """Write one file and read it in this process."""
    if kind == "state":
        mutants.state_mutant(path, rng, LOADED)
        with path.open("rb") as file:
            for _ in checked_pages(SnapshotReader(file, str(path))):
                pass
    elif kind == "csv":
        mutants.csv_mutant(path, rng)
        read_table(path)
    else:
        {"keras": mutants.keras_mutant, "h5": mutants.h5_mutant}[kind](path, rng)
        import_keras(path)


@pytest.mark.parametrize("kind", ["keras", "h5", "state", "csv"])
def test_parsers_from_seeds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str) -> None:
    """Many more files than commands can be started for: what is wrong with each is an error of ours."""
    monkeypatch.setattr(file, "read_confined", read_here)
    seed, refused, wordy, end = SEED, 0, 0, time.monotonic() + SECONDS / 5
    while time.monotonic() < end or seed - SEED < 20:
        try:
            parsed(kind, tmp_path / f"file.{kind}", random.Random(seed))
        except StreamlstmError as error:
            refused += len(str(error)) < 2000
            wordy += len(str(error)) >= 2000
        except Exception as error:
            raise AssertionError(f"FUZZ_SEED={seed}: {kind}") from error
        (tmp_path / f"file.{kind}").unlink()
        seed += 1
    assert refused > 5
    assert not wordy


@pytest.mark.parametrize("command", ["train", "evaluate", "push", "import-keras", "state import"])
def test_a_device_is_no_file(run: Run, redis_url: str, command: str) -> None:
    """/dev/zero has no end, and no command looks for it."""
    arguments = {
        "train": ["train", "/dev/zero", "-o", "made.onnx"],
        "evaluate": ["evaluate", "model.onnx", "/dev/zero"],
        "push": ["push", "values", "/dev/zero", "--series", "s", "--redis", redis_url],
        "import-keras": ["import-keras", "/dev/zero", "-o", "made.onnx"],
        "state import": ["state", "import", "--from", "/dev/zero", "--redis", redis_url],
    }[command]
    assert check(run, arguments, command) == 1
