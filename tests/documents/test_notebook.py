"""The example notebook in `docs/` runs from top to bottom, and shows what it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.paths import ROOT

NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))
# In a process of its own: what the kernel's client warns of is not this project's.
RUN = """
import sys
import nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=500, kernel_name="python3").execute()
nbformat.write(notebook, "done.ipynb")
"""


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    """Every cell, in an empty folder; frames, reports and pictures are there, and nothing is left running."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STREAMLSTM_")}
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(path)],
        cwd=tmp_path,
        env=clean | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    cells = json.loads((tmp_path / "done.ipynb").read_text())["cells"]
    outputs: list[dict[str, Any]] = [output for cell in cells for output in cell.get("outputs", ())]
    shown = {kind for output in outputs for kind in output.get("data", ())}
    assert {"image/png", "text/html"} <= shown
    texts = "".join("".join(output.get("text", "")) for output in outputs)
    found = re.search(r"36 months: ([0-9.]+), as evaluated: ([0-9.]+)", texts)
    assert found is not None, texts
    served, evaluated = map(float, found.groups())
    assert served == pytest.approx(evaluated, abs=0.01), "what is served is what was evaluated"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_without_what_it_showed(path: Path) -> None:
    """Outputs are made by whoever runs it: those of somebody's machine are not kept."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert cells
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]
