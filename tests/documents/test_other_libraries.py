"""What docs/how-to/other-libraries.md shows runs, of the libraries that are installed."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import ROOT

PAGE = (ROOT / "docs" / "how-to" / "other-libraries.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
LIBRARIES = ("darts", "neuralforecast", "gluonts", "sktime")


def library_of(block: str) -> str:
    """The library that a block is about."""
    (found,) = {name for name in LIBRARIES if re.search(rf"^from {name}\b", block, re.MULTILINE)}
    return found


def test_each_library_has_a_block() -> None:
    """Whoever comes for one finds code."""
    assert {library_of(block) for block in BLOCKS} == set(LIBRARIES)


@pytest.mark.parametrize("block", BLOCKS, ids=[library_of(block) for block in BLOCKS])
def test_a_recipe_runs(block: str, tmp_path: Path) -> None:
    """Its last line holds the step model against the library's own forecast."""
    compile(block, "recipe", "exec")
    if importlib.util.find_spec(library_of(block)) is None:
        pytest.skip(f"{library_of(block)} is not installed; pip install {library_of(block)}")
    (tmp_path / "streamlstm" / "models").mkdir(parents=True)
    table = "streamlstm/models/airline-passengers.csv"
    (tmp_path / table).symlink_to(ROOT / table)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "import sys; sys.path.pop(0)\n" + block],
        cwd=tmp_path,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
