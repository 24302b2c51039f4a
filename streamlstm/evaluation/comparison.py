"""A model beside the baselines on the test part of a table, all by one protocol."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import TableError
from streamlstm.evaluation.baselines import baseline_forecasts, last_values
from streamlstm.evaluation.first_values import FirstValues, score_first_values
from streamlstm.evaluation.scores import (
    Bounds,
    Errors,
    forecasts_ahead,
    interval_scores,
    only_forecast,
    score,
)
from streamlstm.evaluation.served import Figures, serve
from streamlstm.evaluation.split import from_first_value, training_length
from streamlstm.evaluation.steps_ahead import StepScore
from streamlstm.models import Model
from streamlstm.tables import Series

Float64 = NDArray[np.float64]
NOTHING_TO_TEST = "there is no value to test on; use a larger --test-size"
NO_FORECAST = (
    "none of the values to test on has a forecast: what the model answers before them is not finite, or none of its "
    "outputs forecasts a column (`targets`)"
)
MOST_NAMED = 6  # series left out that are named
# One series and its forecasts of values 1 to N - 1, (N - 1, F), to the interval of each; None if there are none.
Interval = Callable[[Series, Float64], Bounds | None]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What one method forecast, and what it is worth."""

    forecasts: tuple[Float64, ...]  # a series: of its values 1 to N - 1, (N - 1, F)
    bounds: tuple[Bounds, ...] | None  # a series: the interval of each of these, where there are intervals
    errors: Errors
    coverage: float | None  # share of the test values inside of their interval
    width: float | None  # mean width of the intervals, in raw units
    seconds: float  # to fit (the baselines) and to forecast every value of the table
    values: int  # of the table
    served: Figures | None = None  # of the model: what a daemon says of the same values
    first: FirstValues | None = None  # of the model: what it is worth while series are young
    ahead: tuple[StepScore, ...] = ()  # over the steps ahead, where they were asked for

    def as_json(self) -> dict[str, Any]:
        """The figures by name; `values_per_second` counts every value of the table."""
        return {
            **self.errors.as_json(),
            **(self.served.as_json() if self.served else {}),
            **(self.first.as_json() if self.first else {}),
            "coverage": self.coverage,
            "width": self.width,
            "seconds": self.seconds,
            "values_per_second": self.values / max(self.seconds, 1e-9),
            **({"ahead": [score.as_json() for score in self.ahead]} if self.ahead else {}),
        }


def compare(
    model: Model,
    series: Sequence[Series],
    *,
    test_size: float,
    seasons: Sequence[int],
    baselines: Sequence[str],
    interval: Interval,
    level: float | None = None,
    missing: str | None = None,
) -> dict[str, Comparison]:
    """Forecast every value of every series from those before it, by the model (`model`) and by the baselines.

    `missing` says what the model is fed in place of missing values, as with `serve`, and `level` what its served
    intervals are to cover (None: there are none). `seasonal_naive` stands for one
    method a season. What a model says of further steps is scored as `model_ahead_2` and so on, beside the last value
    then known as `naive_ahead_2`, and the last of its season as `seasonal_naive_12_ahead_2`. A feature the model does
    not forecast is scored for nobody. A baseline that cannot
    be fitted is left out. Raises TableError where there is nothing to score.
    """
    count = sum(len(one.values) for one in series)
    began = time.perf_counter()
    served = serve(model, series, missing, level=level, test_size=test_size)
    serving = time.perf_counter() - began
    found = {}
    for name in _methods(baselines, seasons, model.spec.horizon):
        began = time.perf_counter()
        method, _, ahead = name.partition("_ahead_")
        if method == "model":
            said = forecasts_ahead(model, served.outputs, int(ahead or 1))
        else:
            said = _said_by(method, int(ahead or 1), series, test_size, seasons)
        seconds = time.perf_counter() - began + (serving if method == "model" else 0.0)
        said = only_forecast(model, said)
        errors = score(series, said, test_size, min(seasons, default=None))
        if errors is None:
            if method == "model":
                raise TableError(_why_unscored(series, test_size))
            continue
        bounds = [None if ahead else interval(one, forecast) for one, forecast in zip(series, said, strict=True)]
        # A series too short to be forecast has no interval, which takes it from no other.
        none = [Bounds(*np.full((2, *forecast.shape), np.nan)) for forecast in said]
        both = tuple(b or n for b, n in zip(bounds, none, strict=True)) if any(bounds) else None
        covered = interval_scores(series, both, test_size) if both is not None else None
        found[name] = Comparison(
            forecasts=tuple(said),
            bounds=both,
            errors=errors,
            coverage=covered[0] if covered else None,
            width=covered[1] if covered else None,
            seconds=seconds,
            values=count,
            served=served.figures if name == "model" else None,
        )
    ours = found["model"]
    first = score_first_values(model, series, ours.forecasts, test_size=test_size, missing=missing)
    return {**found, "model": replace(ours, first=first)}


def _said_by(
    method: str, ahead: int, series: Sequence[Series], test_size: float, seasons: Sequence[int]
) -> list[Float64]:
    """A baseline's forecasts so many steps ahead; of more than one step there are naive ones only."""
    if ahead == 1:
        return baseline_forecasts(method, series, test_size, seasons)
    season = int(method.removeprefix("naive").removeprefix("seasonal_naive_") or 1)
    return last_values(series, season * math.ceil(ahead / season))


def _why_unscored(series: Sequence[Series], test_size: float) -> str:
    tested = (one.values[training_length(len(one.values), test_size) :] for one in series)
    return NOTHING_TO_TEST if all(np.isnan(values).all() for values in tested) else NO_FORECAST


def _methods(baselines: Sequence[str], seasons: Sequence[int], horizon: int) -> list[str]:
    """The names of all that is compared."""
    names = ["model"]
    for name in baselines:
        names += [f"seasonal_naive_{season}" for season in seasons] if name == "seasonal_naive" else [name]
    further = [name for name in names if name == "model" or "naive" in name]
    return names + [f"{name}_ahead_{step}" for step in range(2, horizon + 1) for name in further]


def scorable(series: Sequence[Series], test_size: float, say: Callable[[str], None]) -> list[Series]:
    """The series that have more than their test part, each from its first value on; `say` is told of the others.

    Raises TableError where none is left.
    """
    begun = [(one, from_first_value(one)) for one in series]
    kept = [rest for _, rest in begun if rest is not None and training_length(len(rest.values), test_size) >= 1]
    short = [
        f"series {one.name!r} has no value at all"
        if rest is None
        else f"series {one.name!r} has {len(rest.values)} values, which is no more than its test part of {test_size:g}"
        for one, rest in begun
        if rest is None or training_length(len(rest.values), test_size) < 1
    ]
    if not kept:
        raise TableError(f"{short[0]}; use a smaller --test-size" if short else "there is no series to score")
    if all(training_length(len(one.values), test_size) == len(one.values) for one in kept):
        raise TableError(NOTHING_TO_TEST)
    for reason in short[:MOST_NAMED]:
        say(f"{reason}: it is left out")
    if len(short) > MOST_NAMED:
        say(f"{len(short) - MOST_NAMED:,} more series are too short and left out")
    return kept
