"""One-step forecasts of any step model, and what they are worth on the last values of some series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from streamlstm.errors import TableError
from streamlstm.evaluation.split import training_length
from streamlstm.model import Model
from streamlstm.tables import Series

Float64 = NDArray[np.float64]
Floats = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True)
class Errors:
    """Errors over all test values of all series, in raw units but for `mase`."""

    rmse: float  # root of the mean squared error
    mae: float  # mean absolute error
    # Mean of |error| / (mean absolute error of the seasonal naive forecast, or without a season the naive one, over
    # the series' training part): Hyndman and Koehler 2006. None where that naive error is zero everywhere.
    mase: float | None

    def as_json(self) -> dict[str, float | None]:
        """The three figures by name."""
        return {"rmse": self.rmse, "mae": self.mae, "mase": self.mase}


def one_step_forecasts(model: Model, one: Series, missing: str = "impute") -> Float64:
    """All outputs (N, O) of stepping a model through a series from its beginning; see `step_through`."""
    return step_through(model, one, missing)[0]


def step_through(model: Model, one: Series, missing: str = "impute") -> tuple[Float64, Float64]:
    """All outputs (N, O) of stepping a model through a series from its beginning, and what it was fed, (N, F).

    Row t forecasts what follows value t. With what is `missing` it does as serving: "impute" takes the model's own
    forecast of a number, or the last one where there is none, "hold" the last one; with "skip" a value of which a
    number is missing is not stepped, and the forecast before it holds on. Raises TableError if the model looks at
    times and the series has none.
    """
    times = one.times_ms if model.spec.uses_time else None
    if model.spec.uses_time and times is None:
        raise TableError(f"the model looks at the time of each value, and series {one.name!r} has no times")
    state = model.initial_state(1)
    result = np.empty((len(one.values), len(model.spec.outputs)))
    x = model.as_fed(one.values).copy()
    for first, last in _stretches(x):
        begin = first
        if np.isnan(x[first]).any():
            if first == 0:
                x[0] = np.nan_to_num(x[0])
            elif missing == "skip":
                x[first], result[first] = x[first - 1], result[first - 1]
                begin = first + 1
            else:
                _impute(model, x, result, first, hold=missing == "hold")
        if begin == last:
            continue
        cut = slice(begin, last)
        ys, state = model.run(x[cut, None], state, None if times is None else times[cut, None])
        result[cut] = ys[:, 0]
    return result, x.astype(np.float64)


def _stretches(x: Floats) -> list[tuple[int, int]]:
    """Where to cut x (N, F) so that a missing value stands at the beginning: what stands in for it is known then."""
    starts = sorted({0, *np.flatnonzero(np.isnan(x).any(axis=1)).tolist()}) if len(x) else []
    return list(zip(starts, [*starts[1:], len(x)], strict=True))


def _impute(model: Model, x: Floats, forecasts: Float64, row: int, *, hold: bool) -> None:
    """Fill in the missing numbers of row `row` of x."""
    for feature, target in enumerate(model.spec.targets):
        if np.isnan(x[row, feature]):
            own = target is not None and not hold
            x[row, feature] = forecasts[row - 1, target] if own else x[row - 1, feature]


def model_forecasts(model: Model, series: Sequence[Series], ahead: int = 1, missing: str = "impute") -> list[Float64]:
    """For each series, the forecasts of its values 1 to N - 1 made `ahead` steps before, (N - 1, F).

    NaN stands where there is none: at the beginning, and for a feature that no output forecasts.
    """
    result = []
    later = (ahead - 1) * len([target for target in model.spec.targets if target is not None])
    for one in series:
        outputs = as_written(one_step_forecasts(model, one, missing), exact=model.spec.exact)
        said = np.full((len(outputs) - 1, len(model.spec.features)), np.nan)
        for feature, target in enumerate(model.spec.targets):
            if target is not None:
                said[ahead - 1 :, feature] = outputs[:-ahead, target + later]
        result.append(said)
    return result


def horizon_of(model: Model) -> int:
    """How many steps ahead a model forecasts at once: 1 unless its training wrote down more."""
    horizon = model.spec.training.get("horizon", 1)
    targets = sum(target is not None for target in model.spec.targets)
    return horizon if isinstance(horizon, int) and horizon * targets == len(model.spec.outputs) else 1


def as_written(forecasts: Float64, *, exact: bool) -> Float64:
    """Forecasts, or ends of intervals, as whoever reads a daemon's texts has them: 0.1, not the float32 next to it."""
    if exact:
        return forecasts
    texts = orjson.dumps(forecasts.astype(np.float32), option=orjson.OPT_SERIALIZE_NUMPY)
    return np.array(orjson.loads(texts), np.float64).reshape(forecasts.shape)


def only_forecast(model: Model, forecasts: Sequence[Float64]) -> list[Float64]:
    """Forecasts (N - 1, F) with NaN in every feature that a model does not forecast, so that nobody is scored there."""
    forecast = np.array([target is not None for target in model.spec.targets])
    return [np.where(forecast, said, np.nan) for said in forecasts]


def score(
    series: Sequence[Series], forecasts: Sequence[Float64], test_size: float, season: int | None
) -> Errors | None:
    """Errors of forecasts (N - 1, F) a series over the test parts; None if no test value is there.

    Missing values, and forecasts that are NaN, count for nothing.
    """
    errors, scaled = [], []
    for one, forecast in zip(series, forecasts, strict=True):
        end = training_length(len(one.values), test_size)
        error = forecast[end - 1 :] - one.values[end:]  # (n, F)
        there = ~np.isnan(error)
        errors.append(error[there])
        unit = _mase_unit(one.values[:end], season or 1)
        usable = there & (unit > 0)
        scaled.append((np.abs(error) / np.where(unit > 0, unit, 1.0))[usable])
    pooled, pooled_scaled = np.concatenate(errors), np.concatenate(scaled)
    if not pooled.size:
        return None
    return Errors(
        rmse=float(np.sqrt(np.mean(pooled**2))),
        mae=float(np.mean(np.abs(pooled))),
        mase=float(np.mean(pooled_scaled)) if pooled_scaled.size else None,
    )


@dataclass(frozen=True)
class Bounds:
    """An interval for each of the values 1 to N - 1 of a series, known before the value is."""

    low: Float64  # (N - 1, F)
    high: Float64  # (N - 1, F)


def interval_scores(series: Sequence[Series], bounds: Sequence[Bounds], test_size: float) -> tuple[float, float] | None:
    """The share of test values inside of their intervals, and the intervals' mean width; None without any."""
    inside, widths = [], []
    for one, bound in zip(series, bounds, strict=True):
        end = training_length(len(one.values), test_size)
        value, low, high = one.values[end:], bound.low[end - 1 :], bound.high[end - 1 :]
        there = ~np.isnan(value + low + high)
        inside.append(((low <= value) & (value <= high))[there])
        widths.append((high - low)[there])
    pooled = np.concatenate(inside)
    return (float(pooled.mean()), float(np.concatenate(widths).mean())) if pooled.size else None


def _mase_unit(training: Float64, season: int) -> Float64:
    """Mean absolute change over a season in the training part, (F,); over one step if it is shorter than that."""
    lag = season if season < len(training) else 1
    changes = np.abs(training[lag:] - training[:-lag])
    there = ~np.isnan(changes)
    unit: Float64 = np.where(there, changes, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    return unit
