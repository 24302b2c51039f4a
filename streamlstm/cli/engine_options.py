"""The options that change answers: the same for `serve`, which gives them, and `verify`, which gives them again."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from streamlstm.cli.options import option
from streamlstm.cli.quantities import DURATION, SIZE
from streamlstm.models import MISSING_POLICIES

if TYPE_CHECKING:
    from streamlstm.engine import EngineSettings

Function = Callable[..., Any]

_OPTIONS = (
    option(
        "--missing",
        type=click.Choice(MISSING_POLICIES),
        default=None,
        help="What stands in for a missing value: the last prediction, the last value, or no step at all. Default: as "
        "the model was trained, `impute` mostly.",
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
        "--max-entry-values",
        type=click.IntRange(1),
        default=65_536,
        help="Values of one entry that are stepped; all that it has beyond are one dead letter.",
    ),
    option(
        "--max-series-memory",
        type=SIZE,
        default="4GiB",
        help="Memory for records; the least used are loaded anew.",
    ),
    option(
        "--idle-after",
        type=DURATION,
        default=None,
        help="A series without a value for longer (such as 30d), by the ids of its entries, begins anew with its next "
        "one, and its record is removed. Default: never.",
    ),
    option(
        "--reset-after",
        type=DURATION,
        default=None,
        help="A series without a value for longer, by the ids of its entries, begins anew with its next one. "
        "Default: never.",
    ),
    option(
        "--gap-after",
        type=DURATION,
        default=None,
        help="A longer silence of a series stands for missing values, which it is stepped through before the next one, "
        "so that its season stays in phase; 0: never. Default: as the model was trained.",
    ),
    option(
        "--spacing",
        type=DURATION,
        default=None,
        help="Time between two values, for --gap-after. Default: the model's.",
    ),
)


def engine_options(function: Function) -> Function:
    """Add the options to a command, which is given them as one: `engine: EngineSettings`."""

    @functools.wraps(function)
    def with_settings(*arguments: Any, **given: Any) -> Any:
        settings = _settings(**{name: given.pop(name) for name in inspect.signature(_settings).parameters})
        return function(*arguments, engine=settings, **given)

    wrapped: Function = with_settings
    for made in reversed(_OPTIONS):
        wrapped = made(wrapped)
    return wrapped


def _settings(
    *,
    missing: str | None,
    interval: float | None,
    score: bool,
    max_series: int,
    max_entry_values: int,
    max_series_memory: int,
    idle_after: int | None,
    reset_after: int | None,
    gap_after: int | None,
    spacing: int | None,
) -> EngineSettings:
    from streamlstm.engine import EngineSettings
    from streamlstm.store.record import Extras

    return EngineSettings(
        missing=missing,
        max_series=max_series,
        max_entry_values=max_entry_values,
        max_series_memory_bytes=max_series_memory,
        idle_ms=idle_after,
        reset_after_ms=reset_after,
        gap_after_ms=gap_after,
        spacing_ms=spacing,
        extras=Extras(interval, score),
    )
