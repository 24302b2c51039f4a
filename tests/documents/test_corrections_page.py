"""What docs/corrections.md shows runs, in its order."""

from __future__ import annotations

import re
from pathlib import Path

from support.pages import run_page


def test_what_is_shown_runs(tmp_path: Path) -> None:
    """Each block after the one before, as a reader would paste them; nothing but what is said is a dead letter."""
    done = run_page("corrections.md", tmp_path)
    assert "to the bit" in done.stdout
    assert "nothing is corrected" not in done.stdout + done.stderr
    assert re.search(r"passengers", done.stdout)
