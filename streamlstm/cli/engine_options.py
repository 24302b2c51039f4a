"""The options that change answers: the same for `serve`, which gives them, and `verify`, which gives them again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from streamlstm.cli.options import option
from streamlstm.cli.quantities import SIZE

Function = Callable[..., Any]

_OPTIONS = (
    option(
        "--missing",
        type=click.Choice(["impute", "hold", "skip"]),
        default="impute",
        help="What stands in for a missing value: the last prediction, the last value, or no step at all.",
    ),
    option("--max-series", type=click.IntRange(1), default=1_000_000, help="Series of one stream at most."),
    option(
        "--max-series-memory",
        type=SIZE,
        default="4GiB",
        help="Memory for records; the least used are loaded anew.",
    ),
)


def engine_options(function: Function) -> Function:
    """Add `missing: str`, `max_series: int` and `max_series_memory: int` (bytes) to a command."""
    for made in reversed(_OPTIONS):
        function = made(function)
    return function
