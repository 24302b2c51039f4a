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
    option(
        "--interval",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        default=None,
        metavar="SHARE",
        help="Add lo,hi to each prediction: an interval that covers this share of the values, such as 0.9, calibrated "
        "online per series; nan,nan before ten values were scored.",
    ),
    option(
        "--score/--no-score",
        default=False,
        help="Add an anomaly score of the value answered: 0.99 or more is a false alarm once in a hundred values.",
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
    """Add `missing: str`, `interval: float | None`, `score: bool`, `max_series`, `max_series_memory: int` (bytes)."""
    for made in reversed(_OPTIONS):
        function = made(function)
    return function
