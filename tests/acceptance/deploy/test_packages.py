"""What is packed: an sdist as whole as a clone, wheels with the compiled parts, or without where none can be made."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from support.paths import ROOT
from support.programs import run

PARTS = {"engine/_kernels", "models/_integer_division", "store/resp/_codec"}
pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no clone")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git has or would take, beside leftovers of builds."""
    copy = tmp_path_factory.mktemp("clone")
    for name in files_of_git():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    for leftover in (
        "build/lib/streamlstm/gone.py",
        "streamlstm/_codec.other.so",
        "streamlstm/__pycache__/gone.pyc",
    ):
        (copy / leftover).parent.mkdir(parents=True, exist_ok=True)
        (copy / leftover).touch()
    return copy


def files_of_git() -> set[str]:
    """What git has or would take."""
    listed = run("git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard")
    return {name for name in listed.splitlines() if (ROOT / name).is_file()}


def built(root: Path, folder: Path, kind: str, **environment: str) -> Path:
    """The sdist or the wheel built from a folder."""
    command = [sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", str(folder)]
    subprocess.run(command, cwd=root, check=True, capture_output=True, env={**os.environ, **environment})
    [made] = folder.iterdir()
    return made


@pytest.fixture(scope="module")
def pure_wheel(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel without compiled parts."""
    return built(clone, tmp_path_factory.mktemp("pure"), "wheel", STREAMLSTM_PURE="1")


def test_the_sdist_has_every_file_that_git_has(clone: Path, tmp_path: Path) -> None:
    """Whatever `make test` reads: workflows, manifests, dashboards and what is generated from each other."""
    with tarfile.open(built(clone, tmp_path, "sdist")) as archive:
        packed = {member.name.partition("/")[2]: member for member in archive.getmembers() if member.isfile()}
    made = {name for name in packed if name in {"PKG-INFO", "setup.cfg"} or name.startswith("streamlstm.egg-info/")}
    wanted = files_of_git()
    assert packed.keys() - made == wanted
    runnable = {name for name in wanted if (ROOT / name).stat().st_mode & 0o100}
    assert {name for name, member in packed.items() if member.mode & 0o100} == runnable


@pytest.mark.parametrize(
    ("environment", "parts", "tag"),
    [
        pytest.param({"STREAMLSTM_STRICT": "1"}, PARTS, "linux", id="strict"),
        pytest.param({"CC": "no-such-compiler"}, set(), "linux", id="no compiler"),
        pytest.param(None, set(), "py3-none-any", id="pure"),  # beside what the others' builds have left
    ],
)
def test_a_wheel_serves_with_or_without_compiled_parts(
    request: pytest.FixtureRequest,
    clone: Path,
    tmp_path: Path,
    environment: dict[str, str] | None,
    parts: set[str],
    tag: str,
) -> None:
    """It has the package and what could be compiled, no sources in C, nothing left by other builds; its demo runs."""
    if environment is None:
        made: Path = request.getfixturevalue("pure_wheel")
    else:
        made = built(clone, tmp_path / "dist", "wheel", **environment)
    assert tag in made.name or sys.platform != "linux"
    with zipfile.ZipFile(made) as archive:
        names = {name for name in archive.namelist() if not name.startswith("streamlstm-")}
        archive.extractall(tmp_path / "installed")
    compiled = {name for name in names if name.endswith(".so")}
    assert {name.removeprefix("streamlstm/").partition(".")[0] for name in compiled} == parts
    of_package = {name for name in files_of_git() if name.startswith("streamlstm/")}
    assert names - compiled == {name for name in of_package if not name.endswith((".c", ".h"))}
    alone = {"PYTHONPATH": str(tmp_path / "installed"), "PYTHONSAFEPATH": "1"}
    check = "from streamlstm.engine import compiled; print(compiled.__file__, compiled.COMPILED)"
    for command, said in (
        (["-c", check], f"{tmp_path}/installed/streamlstm/engine/compiled.py {parts == PARTS}"),
        (["-m", "streamlstm", "inspect", "universal"], f"{tmp_path}/installed/streamlstm/models/universal.onnx"),
        (
            ["-m", "streamlstm", "demo", "--fast"],
            "airline",
        ),
    ):
        environ = {**os.environ, **alone}
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert said in done.stdout


def test_a_wheel_is_used_by_anybody_wherever_it_lies(pure_wheel: Path) -> None:
    """In a folder with spaces that nobody may write to, by a user without a home: what `make check-install` does."""
    # Not pytest's folder, which is only for whoever runs the tests.
    with tempfile.TemporaryDirectory(prefix="a place ") as name:
        place = Path(name)
        place.chmod(0o755)
        with zipfile.ZipFile(pure_wheel) as archive:
            archive.extractall(place / "installed here")
        shutil.copy(ROOT / "tools" / "check_install.sh", place)
        (place / "their work").mkdir()
        (place / "their work").chmod(0o777)
        (place / "streamlstm").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m streamlstm "$@"\n')
        (place / "streamlstm").chmod(0o755)
        for path in [place / "installed here", *(place / "installed here").rglob("*")]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        environ = {
            "PATH": f"{place}:{os.environ['PATH']}",
            "PYTHONPATH": str(place / "installed here"),
            "PYTHONSAFEPATH": "1",
            "HOME": "/nonexistent",
            "TMPDIR": str(place / "their work"),
        }
        done = subprocess.run(
            ["bash", place / "check_install.sh", "streamlstm"],
            cwd=place / "their work",
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            **somebody_else(),
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        assert done.stdout.count("yhat=") == 3
        assert "to the bit" in done.stdout
        assert "works here" in done.stdout
        assert not list((place / "their work").iterdir())
        assert "  streamlstm serve '" in done.stdout, "a path with a space can be pasted"
        for path in (place / "installed here").rglob("*"):
            path.chmod(0o755)


def somebody_else() -> dict[str, Any]:
    """How to be a user without rights, where the tests run as root and Python is for everybody."""
    if os.geteuid() != 0:
        return {}
    user = {"user": 65534, "group": 65534, "extra_groups": []}
    with contextlib.suppress(PermissionError):
        if subprocess.run([sys.executable, "-c", "import numpy"], check=False, cwd="/", **user).returncode == 0:  # type: ignore[call-overload]
            return user
    return {}


def test_a_strict_build_fails_without_a_compiler(clone: Path, tmp_path: Path) -> None:
    """As those of the wheels that are given out do."""
    with pytest.raises(subprocess.CalledProcessError):
        built(clone, tmp_path, "wheel", STREAMLSTM_STRICT="1", CC="no-such-compiler")
