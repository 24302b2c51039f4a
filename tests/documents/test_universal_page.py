"""What docs/universal.md shows runs, in its order, and what it says of the packaged model's size is so."""

from __future__ import annotations

import re
from pathlib import Path

import streamlstm
from support.pages import run_page
from support.paths import ROOT


def test_what_is_shown_runs(tmp_path: Path) -> None:
    """The first value of a series is its first forecast, on the command line and from Python; `verify` agrees."""
    done = run_page("universal.md", tmp_path)
    assert re.search(r"sensor-1 +yhat=21\.5", done.stdout)
    assert "to the bit" in done.stdout
    assert "[[21.5]]" in done.stdout


def test_the_size_of_a_state_is_that_of_the_model() -> None:
    """As the page says it."""
    page = (ROOT / "docs" / "universal.md").read_text(encoding="utf-8")
    assert f"A state has {streamlstm.load('universal').spec.state_size:,} numbers" in page
