"""Trainings of these tests measure and check less besides."""

from __future__ import annotations

import pytest

from support.smaller import SMALLER


@pytest.fixture(autouse=True)
def _smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SMALLER.items():
        monkeypatch.setattr(name, value)
