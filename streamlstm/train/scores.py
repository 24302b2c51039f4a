"""One-step errors of any step model and of the naive forecasts, on the last values of some series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamlstm.data import fill_gaps, training_length
from streamlstm.model import Model
from streamlstm.table import Series


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


def one_step_forecasts(model: Model, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Forecasts (N, O) by stepping a model through values (N, F); row t forecasts row t + 1.

    A missing number is imputed as serving does it: with the model's own forecast of it, where it makes one.
    """
    state = model.initial_state(1)
    result = np.empty((len(values), len(model.spec.outputs)), np.float32)
    x = np.ascontiguousarray(values, np.float32)
    gaps = np.flatnonzero(np.isnan(x).any(axis=1))
    done = 0
    for gap in [*gaps.tolist(), len(x)]:
        if gap > done:
            ys, state = model.run(x[done:gap, None], state)
            result[done:gap] = ys[:, 0]
        if gap < len(x):
            y, state = model.step(_imputed(model, x, result, gap), state)
            result[gap] = y[0]
        done = gap + 1
    return result.astype(np.float64)


def _imputed(model: Model, x: NDArray[np.float32], forecasts: NDArray[np.float32], row: int) -> NDArray[np.float32]:
    """Row `row` of x with its missing numbers filled in, and filled in x too, (1, F)."""
    for feature, target in enumerate(model.spec.targets):
        if np.isnan(x[row, feature]):
            before = x[row - 1, feature] if row else 0.0
            x[row, feature] = before if target is None or row == 0 else forecasts[row - 1, target]
    return x[row : row + 1]


def model_forecasts(model: Model, series: Sequence[Series]) -> list[NDArray[np.float64]]:
    """For each series, the forecasts of its values 1 to N - 1 by the step before: (N - 1, O)."""
    return [one_step_forecasts(model, one.values)[:-1] for one in series]


def naive_forecasts(series: Sequence[Series], season: int = 1) -> list[NDArray[np.float64]]:
    """For each series, the values one season before values 1 to N - 1 (N - 1, F); where there is none, the last one."""
    result = []
    for one in series:
        filled = fill_gaps(one.values)
        lagged = filled[:-1].copy()
        lagged[season - 1 :] = filled[: len(filled) - season] if season <= len(filled) - 1 else lagged[season - 1 :]
        result.append(lagged)
    return result


def score(
    series: Sequence[Series], forecasts: Sequence[NDArray[np.float64]], test_size: float, season: int | None
) -> Errors | None:
    """Errors of forecasts (N - 1, F) a series over the test parts; None if no test value is there."""
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


def _mase_unit(training: NDArray[np.float64], season: int) -> NDArray[np.float64]:
    """Mean absolute change over a season in the training part, (F,); over one step if it is shorter than that."""
    lag = season if season < len(training) else 1
    changes = np.abs(training[lag:] - training[:-lag])
    there = ~np.isnan(changes)
    unit: NDArray[np.float64] = np.where(there, changes, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    return unit
