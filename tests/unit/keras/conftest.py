"""Keras runs on torch in these tests, which compare with it number by number."""

from __future__ import annotations

import os

import pytest

from streamlstm.models.importers.keras import file
from support.unconfined import read_here

os.environ["KERAS_BACKEND"] = "torch"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let pass what Keras 3.15 does in numpy 2's eyes: its variables have no `copy` in `__array__`."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("ignore:__array__ implementation doesn't:DeprecationWarning"))


@pytest.fixture(autouse=True)
def _read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take files apart in this process; tests/acceptance/hostile does it as the program does."""
    monkeypatch.setattr(file, "read_confined", read_here)
