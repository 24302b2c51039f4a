"""A table as columns of cells, as the readers of files hand it over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Grid:
    """A table as columns, before anything is known of their meaning."""

    source: str
    names: list[str]
    columns: list[Sequence[Any]]  # of text, or of numbers from Parquet
    place: Callable[[int], str]  # where the row of an index stands in the file, in words
