"""The options of every command that reads a table: which column is what, and how its cells are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from streamlstm.cli.options import note, option

Function = TypeVar("Function", bound=Callable[..., Any])

# As in streamlstm.tables.options, which is not imported for `--help`.
DUPLICATES = ("first", "last", "mean", "error", "keep")
DECIMALS = ("auto", ".", ",")
MAX_CELLS = 5_000_000


class Notes:
    """What is to be said of a table once it is clear that it serves: an error stands alone."""

    def __init__(self) -> None:
        self._messages: list[str] = []

    def __call__(self, message: str) -> None:
        self._messages.append(message)

    def flush(self) -> None:
        for message in self._messages:
            note(message)
        self._messages.clear()


def table_options() -> Callable[[Function], Function]:
    """Declare the options; the command gives them, by their names in the program, to
    `tables.take_table_options`.
    """
    declared = [
        option(
            "--id-col",
            metavar="NAME",
            help="Column of the series' names; `none`: it is one series. Default: unique_id, item_id, series_id, "
            "id or sensor.",
        ),
        option(
            "--time-col",
            metavar="NAME",
            help="Column of the times. Default: ds, timestamp, time, date or datetime, or the one with times in it.",
        ),
        option(
            "--target-col",
            multiple=True,
            metavar="NAME",
            help="Column of the values; again for several numbers a value. Default: y, value or target, or the "
            "only one left.",
        ),
        option("--wide", is_flag=True, help="Take each column of numbers (or --target-col) for a series."),
        option(
            "--duplicates",
            type=click.Choice(DUPLICATES),
            help="Which value counts of several that a series has at one time. Default: the first, and how many is "
            "said.",
        ),
        option("--timezone", metavar="ZONE", help="Zone of times without one, such as Europe/Berlin. Default: UTC."),
        option(
            "--decimal",
            type=click.Choice(DECIMALS),
            default="auto",
            help="The decimal sign, where the cells do not show it.",
        ),
        option(
            "--max-cells",
            type=click.IntRange(min=1),
            default=MAX_CELLS,
            metavar="N",
            help="Rows times columns of a file at most; 5,000,000 take about 1 GB.",
        ),
    ]

    def declare(function: Function) -> Function:
        for one in reversed(declared):
            function = one(function)
        return function

    return declare
