"""Trainings of these tests measure and check less besides."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _smaller(smaller: None) -> None:
    pass
