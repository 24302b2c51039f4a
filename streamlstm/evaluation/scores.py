"""What forecasts are worth on the last values of some series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from streamlstm.evaluation.split import training_length
from streamlstm.models import Model
from streamlstm.tables import Series

Float64 = NDArray[np.float64]


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


def forecasts_ahead(model: Model, outputs: Sequence[Float64], ahead: int = 1) -> list[Float64]:
    """For each series, of a model's outputs (N, O), the forecasts of its values 1 to N - 1 made `ahead` steps before.

    They are (N - 1, F); NaN stands where there is none: at the beginning, and for a feature that no output forecasts.
    """
    result = []
    later = (ahead - 1) * len(model.spec.forecast)
    for one in outputs:
        said = np.full((len(one) - 1, len(model.spec.features)), np.nan)
        for feature, target in enumerate(model.spec.targets):
            if target is not None:
                said[ahead - 1 :, feature] = one[:-ahead, target + later]
        result.append(said)
    return result


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
