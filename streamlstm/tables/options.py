"""What a user says of a table; what is left out is found."""

from __future__ import annotations

from dataclasses import dataclass

from streamlstm.tables.files import MAX_CELLS

DUPLICATES = ("first", "last", "mean", "error")  # which value counts of several that a series has at one time
DECIMALS = ("auto", ".", ",")


@dataclass(frozen=True, kw_only=True)
class TableOptions:
    """Names of columns and the manners of their cells."""

    id_column: str | None = None  # of the series' names; `none`: the table is one series
    time_column: str | None = None
    target_columns: tuple[str, ...] = ()  # side by side as one value, or with `wide` a series each
    preferred_columns: tuple[str, ...] = ()  # taken as targets if the table has them all
    wide: bool = False  # each column of numbers is a series
    # One of DUPLICATES, or `keep`: all values; None: the first, after a look whether the rows are several series.
    duplicates: str | None = None
    timezone: str | None = None  # of times without an offset; None: UTC
    decimal: str = "auto"
    max_cells: int = MAX_CELLS  # what has more is not read
