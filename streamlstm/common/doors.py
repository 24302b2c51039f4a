"""What a folder's `__init__` gives out without loading it before it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def imported_later(folder: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a folder: names of its `modules` (name to module), imported when one is asked for."""

    def find(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {folder!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{folder}.{modules[name]}"), name)

    return find
