"""What forecasts are held against: naive, seasonal naive, a ridge regression on lags, ETS and ARIMA.

Each is fitted to the training part of every series alone, and then forecasts every value from all true values before
it without being fitted again. ETS and ARIMA (`classics`) are statsmodels' (the extra `evaluate`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import MissingExtraError, UsageError
from streamlstm.evaluation.classics import arima, ets
from streamlstm.evaluation.ridge_regression import ridge
from streamlstm.evaluation.split import fill_gaps, training_length
from streamlstm.tables import Series

Float64 = NDArray[np.float64]

BASELINES = ("naive", "seasonal_naive", "ar", "ets", "arima")
NEEDS_STATSMODELS = ("ets", "arima")
INSTALL_STATSMODELS = "pip install 'streamlstm[evaluate]'"

AR_LAGS = 24  # the last values of the regression
AR_NEIGHBOURS = 1  # on each side of the value one season before the target
AR_PENALTY = 0.01  # on standardised lags


def in_words(method: str) -> str:
    """The name of a method for people: `seasonal naive, 12` of `seasonal_naive_12`."""
    return method.replace("seasonal_naive_", "seasonal naive, ")


def has_statsmodels() -> bool:
    """Whether those that need it can be fitted."""
    return importlib.util.find_spec("statsmodels") is not None


def baseline_forecasts(name: str, series: Sequence[Series], test_size: float, seasons: Sequence[int]) -> list[Float64]:
    """For each series, a baseline's forecasts of its values 1 to N - 1, (N - 1, F); NaN where it makes none.

    Raises UsageError for a name nobody knows, MissingExtraError where statsmodels is not installed.
    """
    if name == "naive":
        return naive_forecasts(series)
    if name.startswith("seasonal_naive_"):
        return naive_forecasts(series, int(name.rpartition("_")[2]))
    if name in NEEDS_STATSMODELS and not has_statsmodels():
        raise MissingExtraError(f"{name} needs statsmodels: {INSTALL_STATSMODELS}")
    methods: dict[str, Callable[[Float64, int, Sequence[int]], Float64]] = {
        "ar": _ar,
        "ets": ets,
        "arima": arima,
    }
    if name not in methods:
        raise UsageError(f"there is no baseline {name!r}; choose of {', '.join(BASELINES)}")
    return [_each_feature(methods[name], one, test_size, seasons) for one in series]


def last_values(series: Sequence[Series], ahead: int) -> list[Float64]:
    """For each series, the values `ahead` steps before its values 1 to N - 1, (N - 1, F); NaN where there is none."""
    result = []
    for one in series:
        said = np.full((len(one.values) - 1, one.values.shape[1]), np.nan)
        said[ahead - 1 :] = fill_gaps(one.values)[:-ahead]
        result.append(said)
    return result


def naive_forecasts(series: Sequence[Series], season: int = 1) -> list[Float64]:
    """For each series, the values one season before values 1 to N - 1 (N - 1, F); where there is none, the last one."""
    result = []
    for one in series:
        filled = fill_gaps(one.values)
        lagged = filled[:-1].copy()
        lagged[season - 1 :] = filled[: len(filled) - season] if season <= len(filled) - 1 else lagged[season - 1 :]
        result.append(lagged)
    return result


def _each_feature(
    method: Callable[[Float64, int, Sequence[int]], Float64], one: Series, test_size: float, seasons: Sequence[int]
) -> Float64:
    filled = fill_gaps(one.values)
    end = training_length(len(filled), test_size)
    return np.stack([method(column, end, seasons) for column in filled.T], axis=1)


def _ar(values: Float64, end: int, seasons: Sequence[int]) -> Float64:
    """Ridge regression on the last 24 values and those around one season before, fitted to the first `end` values."""
    most = max(1, min(AR_LAGS, end // 4))
    around = [m + j for m in seasons for j in range(-AR_NEIGHBOURS, AR_NEIGHBOURS + 1)]
    lags = sorted({*range(1, most + 1), *(lag for lag in around if most < lag <= end // 2)})
    first, longest = max(lags), len(values) - 1
    result = values[:-1].copy()  # the last value, until there are all lags
    if end - first < 2:
        return result
    columns = np.stack([values[first - lag : len(values) - lag] for lag in lags], axis=1)  # targets first .. N - 1
    fitted = columns[: end - first]
    centre, scale = fitted.mean(axis=0), fitted.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    weight, bias = ridge((fitted - centre) / scale, values[first:end, None], AR_PENALTY)
    result[first - 1 : longest] = ((columns - centre) / scale @ weight + bias)[:, 0]
    return result
