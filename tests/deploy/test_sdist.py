"""The source distribution is whole: what is unpacked from it is what git has, so its tests run as those of a clone."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from support.programs import run

ROOT = Path(__file__).parent.parent.parent


def test_the_sdist_has_every_file_that_git_has(tmp_path: Path) -> None:
    """Whatever `make test` reads: workflows, manifests, dashboards and what is generated from each other."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    listed = run("git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard")
    wanted = {name for name in listed.splitlines() if (ROOT / name).is_file()}
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    [made] = tmp_path.glob("*.tar.gz")
    with tarfile.open(made) as archive:
        packed = {member.name.partition("/")[2]: member for member in archive.getmembers() if member.isfile()}
    assert packed.keys() - {"PKG-INFO"} == wanted
    runnable = {name for name in wanted if (ROOT / name).stat().st_mode & 0o100}
    assert {name for name, member in packed.items() if member.mode & 0o100} == runnable
