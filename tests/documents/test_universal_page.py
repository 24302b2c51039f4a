"""What docs/explanation/universal.md says of the packaged model's size is so."""

from __future__ import annotations

import streamlstm
from support.paths import ROOT


def test_the_size_of_a_state_is_that_of_the_model() -> None:
    """As the page says it."""
    page = (ROOT / "docs" / "explanation" / "universal.md").read_text(encoding="utf-8")
    assert f"A state has {streamlstm.load('universal').spec.state_size:,} numbers" in page
