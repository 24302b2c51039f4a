"""The source distribution is whole: what is unpacked from it is what git has, so its tests run as those of a clone."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from support.programs import run

ROOT = Path(__file__).parent.parent.parent


def test_the_sdist_has_every_file_that_git_has(tmp_path: Path) -> None:
    """Whatever `make test` reads: workflows, manifests, dashboards and what is generated from each other."""
    wanted = files_of_git()
    packed = built(ROOT, tmp_path)
    assert packed.keys() == wanted
    runnable = {name for name in wanted if (ROOT / name).stat().st_mode & 0o100}
    assert {name for name, member in packed.items() if member.mode & 0o100} == runnable


def test_links_in_ignored_folders_keep_nothing_out(tmp_path: Path) -> None:
    """`make sanitize` leaves a package of links in `build`, which stands before `streamlstm` in the alphabet."""
    wanted = files_of_git()
    copy = tmp_path / "copy"
    for name in wanted:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    run(sys.executable, copy / "hatch_build.py", "--sanitized", copy / "build" / "sanitized")
    assert (copy / "build" / "sanitized" / "streamlstm" / "cli").is_symlink()
    assert built(copy, tmp_path).keys() == wanted


def files_of_git() -> set[str]:
    """What git has or would take."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    listed = run("git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard")
    return {name for name in listed.splitlines() if (ROOT / name).is_file()}


def built(root: Path, folder: Path) -> dict[str, tarfile.TarInfo]:
    """The files of the sdist built from a folder, but for what is made for it."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    [made] = folder.glob("*.tar.gz")
    with tarfile.open(made) as archive:
        packed = {member.name.partition("/")[2]: member for member in archive.getmembers() if member.isfile()}
    del packed["PKG-INFO"]
    return packed
