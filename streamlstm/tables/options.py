"""What a user says of a table; what is left out is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from streamlstm.common import arguments
from streamlstm.errors import UsageError
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


class TableArguments(TypedDict, total=False):
    """What Python says of a table; each is the option of the command line of that name."""

    id_col: str | None
    time_col: str | None
    target_col: str | list[str] | tuple[str, ...]
    wide: bool
    duplicates: str | None
    timezone: str | None
    decimal: str
    max_cells: int


TABLE_KINDS: Mapping[str, arguments.Kind] = {
    "id_col": arguments.optional(arguments.text),
    "time_col": arguments.optional(arguments.text),
    "target_col": arguments.texts,
    "wide": arguments.flag,
    "duplicates": arguments.optional(arguments.one_of(*DUPLICATES, "keep")),
    "timezone": arguments.optional(arguments.text),
    "decimal": arguments.one_of(*DECIMALS),
    "max_cells": arguments.whole(1),
}


def take_table_options(
    settings: dict[str, Any], preferred: tuple[str, ...] = (), *, keep: bool = False
) -> TableOptions:
    """Take what is said of the table out of a command's settings; `preferred` are columns to take if there.

    `keep`: all values of one time may be kept. Raises UsageError if that was asked for and makes no sense.
    """
    given = {name: settings.pop(name) for name in TABLE_KINDS if name in settings}
    if given.get("duplicates") == "keep" and not keep:
        raise UsageError("--duplicates keep is for `push`: a series that is trained on has one value a time")
    return TableOptions(
        id_column=given.get("id_col"),
        time_column=given.get("time_col"),
        target_columns=tuple(given.get("target_col", ())),
        preferred_columns=preferred,
        wide=given.get("wide", False),
        duplicates=given.get("duplicates"),
        timezone=given.get("timezone"),
        decimal=given.get("decimal", "auto"),
        max_cells=given.get("max_cells", MAX_CELLS),
    )
