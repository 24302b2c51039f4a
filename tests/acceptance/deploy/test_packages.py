"""What is packed: an sdist as whole as a clone, wheels with the compiled parts, or without where none can be made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

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
        pytest.param({"STREAMLSTM_PURE": "1"}, set(), "py3-none-any", id="pure"),
    ],
)
def test_a_wheel_serves_with_or_without_compiled_parts(
    clone: Path, tmp_path: Path, environment: dict[str, str], parts: set[str], tag: str
) -> None:
    """It has the package and what could be compiled, no sources in C, nothing left by other builds; its demo runs."""
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


def test_a_strict_build_fails_without_a_compiler(clone: Path, tmp_path: Path) -> None:
    """As those of the wheels that are given out do."""
    with pytest.raises(subprocess.CalledProcessError):
        built(clone, tmp_path, "wheel", STREAMLSTM_STRICT="1", CC="no-such-compiler")
