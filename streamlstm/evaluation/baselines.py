"""What forecasts are held against: naive, seasonal naive, a ridge regression on lags, ETS and ARIMA.

Each is fitted to the training part of every series alone, and then forecasts every value from all true values before
it without being fitted again. ETS and ARIMA are statsmodels' (the extra `evaluate`).
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import MissingExtraError, UsageError
from streamlstm.evaluation.ridge import ridge
from streamlstm.evaluation.split import fill_gaps, training_length
from streamlstm.table import Series

Float64 = NDArray[np.float64]

BASELINES = ("naive", "seasonal_naive", "ar", "ets", "arima")
NEEDS_STATSMODELS = ("ets", "arima")

AR_LAGS = 24  # the last values of the regression
AR_NEIGHBOURS = 1  # on each side of the value one season before the target
AR_PENALTY = 0.01  # on standardised lags
MOST_STATSMODELS_SEASON = 24  # steps; its models with longer seasons take hours
ARIMA_ORDERS = tuple(product((0, 1, 2, 3, 5), (0, 1), (0, 1, 2)))  # (p, d, q), chosen by AIC
MOST_FITTED = 4_000  # values at the end of the training part that ARIMA is fitted to


def baseline_forecasts(name: str, series: Sequence[Series], test_size: float, seasons: Sequence[int]) -> list[Float64]:
    """For each series, a baseline's forecasts of its values 1 to N - 1, (N - 1, F); NaN where it makes none.

    Raises UsageError for a name nobody knows, MissingExtraError where statsmodels is not installed.
    """
    if name == "naive":
        return naive_forecasts(series)
    if name.startswith("seasonal_naive_"):
        return naive_forecasts(series, int(name.rpartition("_")[2]))
    if name in NEEDS_STATSMODELS and importlib.util.find_spec("statsmodels") is None:
        raise MissingExtraError(f"{name} needs statsmodels: pip install 'streamlstm[evaluate]'")
    methods: dict[str, Callable[[Float64, int, Sequence[int]], Float64]] = {
        "ar": _ar,
        "ets": _ets,
        "arima": _arima,
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


def _ets(values: Float64, end: int, seasons: Sequence[int]) -> Float64:
    """Additive exponential smoothing, with or without damped trend by AIC, with the shortest season if it is short."""
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    season = _short_season(seasons, end)
    seasonal: dict[str, Any] = {"seasonal": "add", "seasonal_periods": season} if season else {}

    def candidates() -> Any:
        for trend in ({}, {"trend": "add", "damped_trend": True}):
            fitted = ETSModel(values[:end], error="add", **trend, **seasonal).fit(disp=False)
            yield (
                fitted.aic,
                lambda fitted=fitted, trend=trend: (
                    ETSModel(values, error="add", **trend, **seasonal).smooth(fitted.params).fittedvalues
                ),
            )

    return _best(candidates, values)


def _arima(values: Float64, end: int, seasons: Sequence[int]) -> Float64:
    """ARIMA(p, d, q) by AIC; with a short season (0, 1, 1)(0, 1, 1) besides."""
    from statsmodels.tsa.arima.model import ARIMA

    season = _short_season(seasons, end)
    fitted_to = values[max(0, end - MOST_FITTED) : end]
    scale = float(np.std(np.diff(fitted_to))) or 1.0  # its optimiser wants numbers of order one

    def candidates() -> Any:
        orders: list[dict[str, Any]] = [{"order": order} for order in ARIMA_ORDERS]
        if season:
            orders = [{"order": (p, 1, 1), "seasonal_order": (0, 1, 1, season)} for p in (0, 1)]
        for order in orders:
            fitted = ARIMA(fitted_to / scale, **order).fit(method_kwargs={"maxiter": 100})
            # AIC compares models of the same differences only; a difference more costs a value, which is little here.
            yield fitted.aic, lambda fitted=fitted: fitted.apply(values / scale).fittedvalues * scale

    return _best(candidates, values)


def _best(candidates: Callable[[], Any], values: Float64) -> Float64:
    """The forecasts of the candidate with the lowest AIC; NaN if none could be fitted."""
    best: tuple[float, Any] | None = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of optimisers that stopped early, and of starting values
        try:
            for aic, forecast in candidates():
                if np.isfinite(aic) and (best is None or aic < best[0]):
                    best = aic, forecast
            if best is not None:
                return np.asarray(best[1](), np.float64)[1:]
        except (ValueError, np.linalg.LinAlgError):  # a series it has no model for, e.g. too short for its season
            pass
    return np.full(len(values) - 1, np.nan)


def _short_season(seasons: Sequence[int], end: int) -> int | None:
    return next((m for m in sorted(seasons) if 2 <= m <= min(MOST_STATSMODELS_SEASON, end // 3)), None)
