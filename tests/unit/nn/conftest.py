"""Keras runs on torch in these tests, which compare with it number by number."""

from __future__ import annotations

import os

import pytest

os.environ["KERAS_BACKEND"] = "torch"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let pass what Keras 3.15 does in numpy 2's eyes: its variables have no `copy` in `__array__`."""
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("ignore:__array__ implementation doesn't:DeprecationWarning"))
