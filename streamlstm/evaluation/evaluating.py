"""`streamlstm.evaluate`: a model's one-step errors on a table, beside the classics'."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, Unpack

import numpy as np

from streamlstm.common import DURATIONS, arguments, counted, options_are_arguments, split_settings, taken
from streamlstm.engine import HOLD, MOST_STEPS, Asked, Forecast
from streamlstm.errors import StepError, TableError, UsageError
from streamlstm.evaluation.ahead import forecast_after
from streamlstm.evaluation.baselines import BASELINES
from streamlstm.evaluation.comparison import Comparison, compare, scorable
from streamlstm.evaluation.evaluation import Evaluation
from streamlstm.evaluation.intervals import served_bounds
from streamlstm.evaluation.split import from_first_value, with_gaps
from streamlstm.evaluation.steps_ahead import MOST_SCORED, compare_ahead
from streamlstm.models import MISSING_POLICIES, NO_GAPS, Gaps, Model, load, missing_policy
from streamlstm.tables import (
    TABLE_KINDS,
    Series,
    TableArguments,
    find_holes,
    is_path,
    likeness_of,
    read_table,
    source_of,
    take_table_options,
)

if TYPE_CHECKING:
    Say = Callable[[str], None]

BUILT_IN = ("naive", "seasonal_naive", "ar")


class HasModel(Protocol):
    """What a training gives: it has the model."""

    @property
    def model(self) -> Model:
        """The model."""


class EvaluateArguments(TableArguments, total=False):
    """The options of `streamlstm.evaluate`: those of `streamlstm evaluate`, by their names."""

    test_size: float
    season: int | Sequence[int] | str
    baselines: str | list[str] | tuple[str, ...] | None
    interval: float
    gap_after: str | int | timedelta | None
    missing: str | None
    steps: int


KINDS: Mapping[str, arguments.Kind] = {
    **TABLE_KINDS,
    "test_size": arguments.real(0, above=True),
    "season": arguments.whole_numbers(words={"auto": None, "none": ()}),
    "baselines": arguments.some_of(*BASELINES),
    "interval": arguments.real(0, above=True, below=1),
    "gap_after": arguments.optional(arguments.duration),
    "missing": arguments.optional(arguments.one_of(*MISSING_POLICIES)),
    "steps": arguments.whole(1, MOST_STEPS),
}


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """How a model is evaluated, whatever the table."""

    test_size: float = 0.2
    season: tuple[int, ...] | None = None  # None: the model's
    baselines: tuple[str, ...] = BUILT_IN
    interval: float = 0.9
    gap_after: int | None = None  # ms
    missing: str | None = None
    steps: int = 1  # ahead; from 2 on they are scored besides

    def __post_init__(self) -> None:
        if not self.test_size:
            raise UsageError("a --test-size of 0 leaves nothing to score")
        if self.steps > MOST_SCORED:
            raise UsageError(f"at most {MOST_SCORED:,} steps ahead (--steps) are scored, not {self.steps:,}")


def evaluate(
    model: Model | HasModel | str | os.PathLike[str], table: Any, **options: Unpack[EvaluateArguments]
) -> Evaluation:
    """Score a model on the end of each series of a table, beside simple and classical methods; needs no torch.

    The model (loaded, just fitted, or the path of its file) is stepped by the daemon's own engine from the beginning of
    the table, so each value is forecast from all true values before it. The table is a path, a frame of pandas, Polars
    or Arrow, a mapping from series to values, or the values (N,) or (N, F) of one series. The options are those of
    `streamlstm evaluate`.

    Raises TableError for a table that cannot be read or scored, UsageError for an option that makes no sense,
    ModelError for a file that is no step model, StepError for a value the model fails on, MissingExtraError where a
    package is not installed.

    >>> import streamlstm
    >>> found = streamlstm.evaluate("airline.onnx", "airline-passengers.csv", test_size=36)
    >>> print(f"{found['model'].errors.rmse:.1f} against {found['naive'].errors.rmse:.1f}")
    14.5 against 50.3
    """
    with options_are_arguments():
        settings, of_table = split_settings(EvaluateSettings, taken("evaluate", KINDS, options))
        name = os.fspath(model) if is_path(model) else "the model"  # type: ignore[arg-type]
        loaded = model if isinstance(model, Model) else load(name) if is_path(model) else _model_of(model)
        return evaluate_with(loaded, table, settings, of_table, name=str(name), say=lambda _: None)


def _model_of(given: Any) -> Model:
    found = getattr(given, "model", None)
    if not isinstance(found, Model):
        raise UsageError(f"a {type(given).__name__} is no model; give a path, or what streamlstm.load or fit gave")
    return found


def evaluate_with(
    model: Model, table: Any, settings: EvaluateSettings, of_table: dict[str, Any], *, name: str, say: Say
) -> Evaluation:
    """As `evaluate`, with all settings, and what is said of the table; `say` is told what is worth a word.

    `name` is the model's in errors.
    """
    source, test_size, notes = source_of(table), settings.test_size, list[str]()

    def noted(message: str) -> None:
        notes.append(message)
        say(message)

    def of_the_table(message: str) -> None:
        noted(f"{source}: {message}")

    series = _read(table, model, of_table, noted)
    seasons = settings.season
    if seasons is None:
        seasons = tuple(model.spec.training.get("seasons") or [model.spec.season] * (model.spec.season is not None))
    level, exact = settings.interval, model.spec.exact
    try:
        series = scorable(series, test_size, of_the_table)
        missing = missing_policy(model.spec, settings.missing)
        series = _with_gaps(series, model, settings.gap_after, missing, of_the_table)
        found = compare(
            model,
            series,
            test_size=test_size,
            seasons=seasons,
            baselines=settings.baselines,
            interval=lambda one, said: served_bounds(one, said, level, exact=exact),
            level=level,
            missing=missing,
        )
        if settings.steps > 1:
            found = _with_steps(found, model, series, settings, seasons, missing)
    except TableError as error:
        raise TableError(f"{source}: {error}") from None
    except StepError as error:
        raise StepError(f"{name!r} fails on a value of {source}: {error}; `serve` would leave it out") from None
    _warn_of_training(model, test_size, noted)
    return Evaluation(
        found,
        series=tuple(series),
        spec=model.spec,
        test_size=test_size,
        seasons=seasons,
        level=level,
        notes=tuple(notes),
        likeness=likeness_of(table),
    )


def forecast_table(
    model: Model, table: Any, of_table: dict[str, Any], steps: int, interval: float | None
) -> list[Forecast]:
    """Forecast what comes after the end of each series of a table, as it would be served; raises as `evaluate`.

    Features that are only looked at are held at their last values.
    """
    asked = Asked(steps=steps, level=interval, future=HOLD)
    series = [begun for one in _read(table, model, of_table, _hushed) if (begun := from_first_value(one)) is not None]
    missing = missing_policy(model.spec, None)
    return forecast_after(model, _with_gaps(series, model, None, missing, _hushed), asked, missing=missing)


def _hushed(message: str) -> None:
    del message


def _with_steps(
    found: Mapping[str, Comparison],
    model: Model,
    series: Sequence[Series],
    settings: EvaluateSettings,
    seasons: Sequence[int],
    missing: str,
) -> dict[str, Comparison]:
    """The same with what the methods are worth over the steps ahead, as far as they go there."""
    ahead = compare_ahead(
        model,
        series,
        settings.steps,
        test_size=settings.test_size,
        seasons=seasons,
        baselines=settings.baselines,
        level=settings.interval,
        missing=missing,
    )
    return {name: dataclasses.replace(one, ahead=tuple(ahead.get(name, ()))) for name, one in found.items()}


def _read(table: Any, model: Model, of_table: dict[str, Any], say: Say) -> list[Series]:
    """Read the table, with the model's own columns if it has them."""
    features = model.spec.features
    chosen = take_table_options(of_table, preferred=() if of_table.get("wide") else features)
    series = read_table(table, chosen, say=say)
    width = series[0].values.shape[1]
    if width != len(features):
        raise UsageError(
            f"the model takes {counted(len(features), 'number')} a value ({', '.join(features)}) and "
            f"{source_of(table)} gives {width}; name the columns with --target-col"
        )
    return series


def _warn_of_training(model: Model, test_size: float, say: Say) -> None:
    """Say so if the model was trained on part of what it is tested on."""
    trained = model.spec.training.get("test_size")
    if isinstance(trained, float | int) and (trained < test_size if (trained < 1) == (test_size < 1) else False):
        say(
            f"the model was trained with --test-size {trained:g}, so if on this table, then on values that are scored "
            f"here with {test_size:g}"
        )


def _with_gaps(series: list[Series], model: Model, gap_after: int | None, missing: str, say: Say) -> list[Series]:
    """Series with missing values where a daemon would step through them; `say` is told of holes that it would not."""
    if not gap_after and any(one.times_ms is None for one in series):
        return series
    gaps = Gaps.of(model.spec, gap_after, None, missing)
    if gaps is NO_GAPS and gap_after is None and (holes := find_holes(series)) is not None:
        say(
            f"{holes}; the model takes what follows for the next value, as it does when it is served (--gap-after "
            f"{DURATIONS.text(holes.after_ms)}: for missing ones)"
        )
    _warn_of_long_gaps(series, gaps, say)
    return [with_gaps(one, gaps) for one in series]


def _warn_of_long_gaps(series: Sequence[Series], gaps: Gaps, say: Say) -> None:
    """Say so if a daemon would begin a series anew where it is gone on with here."""
    for one in series:
        longest = 0 if one.times_ms is None or len(one.times_ms) < 2 else int(np.diff(one.times_ms).max())
        if longest > gaps.longest_ms:
            steps = f"{longest // gaps.spacing_ms:,} steps"
            say(f"{one.name} is silent for {steps}, after which `serve` begins it anew: its own figures will differ")
