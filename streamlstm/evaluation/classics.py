"""Exponential smoothing and ARIMA, chosen by Akaike's criterion on the training part; statsmodels fits them.

A season of up to 24 steps is part of either model. statsmodels takes hours for longer ones, so that exponential
smoothing then begins with a heuristic state that is not fitted, and ARIMA is fitted to what is left of the values after
their season is taken out: by its difference, or by waves of its period (dynamic harmonic regression: Hyndman and
Athanasopoulos, "Forecasting: principles and practice", chapter 10.5). Logarithms are tried too where values are
positive; likelihoods do not say what they are worth in the values' own unit (on elb_requests theirs is better and their
error 8 % larger), so that is chosen by the squared error on the second half of the training part.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

MOST_SEASON = 24  # steps that are part of a model; also how many waves there are of a longer season at most
MOST_FITTED = 4_000  # values at the end of the training part that ARIMA is fitted to
ORDERS = ((0, 1, 1), (1, 0, 0), (1, 1, 1), (2, 0, 1), (2, 1, 2), (3, 0, 2), (5, 0, 2), (5, 1, 2))  # (p, d, q)
TRIED_FIRST = (3, 0, 2)  # the way to take a season out is chosen with this order
FEWEST_FOR_A_WAVE = 20  # values


class _Fitted(NamedTuple):
    """One candidate."""

    criterion: float  # Akaike's, a value; lower is better
    error: float  # mean squared, in the values' own unit, on the second half of the training part
    forecast: Float64  # of all values, (N,)

    @classmethod
    def of(cls, values: Float64, end: int, forecast: Any, criterion: float) -> _Fitted:
        """A candidate fitted to the first `end` values."""
        said = np.asarray(forecast, np.float64)
        return cls(criterion, float(np.mean((values[end // 2 : end] - said[end // 2 : end]) ** 2)), said)


class _Smoothed(NamedTuple):
    """A candidate of exponential smoothing, with its states at every value."""

    criterion: float
    error: float
    forecast: Float64
    smoothed: Any


Candidate = TypeVar("Candidate", _Fitted, _Smoothed)


def ets(values: Float64, end: int, seasons: Sequence[int]) -> Float64:
    """Forecasts (N - 1,) of values 1 to N - 1 by additive exponential smoothing fitted to the first `end` of (N,)."""
    best = _best(_ets_candidates(values, end, _seasons(seasons, end)))
    return np.full(len(values) - 1, np.nan) if best is None else best.forecast[1:]


def arima(values: Float64, end: int, seasons: Sequence[int]) -> Float64:
    """Forecasts (N - 1,) of values 1 to N - 1 by ARIMA fitted to the first `end` of (N,)."""
    known = _seasons(seasons, end)
    short = [season for season in known if season <= MOST_SEASON]
    found = []
    for log in (False, True) if (values[:end] > 0).all() else (False,):
        if short:
            best = _best(_seasonal_arima(values, end, short[0], log=log))
        else:
            best = _arima_of_rest(values, end, known, log=log)
        found += [best] if best is not None else []
    chosen = min(found, key=lambda one: one.error, default=None)
    return np.full(len(values) - 1, np.nan) if chosen is None else chosen.forecast[1:]


def _arima_of_rest(values: Float64, end: int, seasons: tuple[int, ...], *, log: bool) -> _Fitted | None:
    """The best of one scale after the best way to take seasons out."""
    ways = [_Way(log, difference, ()) for difference in (0, *seasons)] + [_Way(log, 0, seasons)] * bool(seasons)
    first = {way: _best(_arima_candidates(values, end, way, [TRIED_FIRST])) for way in ways}
    fitted = {way: one for way, one in first.items() if one is not None}
    if not fitted:
        return None
    return _best(_arima_candidates(values, end, min(fitted, key=lambda way: fitted[way].criterion), ORDERS))


def _seasons(seasons: Sequence[int], end: int) -> tuple[int, ...]:
    """Those that fit into the training part three times, the shortest first."""
    return tuple(season for season in sorted(seasons) if 2 <= season <= end // 3)


def _best(candidates: Iterator[Candidate]) -> Candidate | None:
    """The candidate with the lowest criterion; None if none could be fitted."""
    usable = [one for one in candidates if np.isfinite(one.criterion) and np.isfinite(one.error)]
    return min(usable, key=lambda one: one.criterion, default=None)


def _quietly(fit: Callable[[], Candidate]) -> Iterator[Candidate]:
    """One candidate, or none where there is no such model of the series (too short for its season, for instance)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of optimisers that stopped early, and of starting values
        try:
            yield fit()
        except (ValueError, IndexError, np.linalg.LinAlgError):
            return


def ets_ahead(values: Float64, end: int, seasons: Sequence[int], steps: int) -> Callable[[int], Float64] | None:
    """A function from a moment to the forecasts (H,) made there, after so many of the values, by the `ets` of before.

    The parameters are those fitted to the first `end` values, the states those of the moment: level, damped trend and
    season go on. None if nothing could be fitted.
    """
    chosen = _best(_ets_candidates(values, end, _seasons(seasons, end)))
    if chosen is None:
        return None
    smoothed, season = chosen.smoothed, chosen.smoothed.model.seasonal_periods if chosen.smoothed.model.seasonal else 0
    level = np.asarray(smoothed.level, np.float64)
    slope = np.asarray(smoothed.slope, np.float64) if smoothed.model.trend else np.zeros(len(values))
    damping = float(smoothed.damping_trend) if smoothed.model.damped_trend else 1.0
    grown = np.cumsum(damping ** np.arange(1, steps + 1))
    seasonal = np.asarray(smoothed.season, np.float64) if season else np.zeros(len(values))

    def forecast(after: int) -> Float64:
        last = after - 1
        said: Float64 = level[last] + grown * slope[last]
        if season:
            at = last - season + 1 + np.arange(steps) % season
            said = said + np.where(at >= 0, seasonal[np.maximum(at, 0)], np.nan)
        return said

    return forecast


def _ets_candidates(values: Float64, end: int, seasons: Sequence[int]) -> Iterator[_Smoothed]:
    from statsmodels.tsa.exponential_smoothing.ets import ETSModel

    for season in (0, *seasons):
        for damped in (False, True):
            options: dict[str, Any] = {"error": "add"}
            options |= {"seasonal": "add", "seasonal_periods": season} if season else {}
            options |= {"trend": "add", "damped_trend": True} if damped else {}
            options |= {"initialization_method": "heuristic"} if season > MOST_SEASON else {}

            def fit(options: dict[str, Any] = options) -> _Smoothed:
                fitted = ETSModel(values[:end], **options).fit(disp=False)
                smoothed = ETSModel(values, **options).smooth(fitted.params)
                return _Smoothed(*_Fitted.of(values, end, smoothed.fittedvalues, fitted.aic), smoothed)

            yield from _quietly(fit)


def _seasonal_arima(values: Float64, end: int, season: int, *, log: bool) -> Iterator[_Fitted]:
    from statsmodels.tsa.arima.model import ARIMA

    first = max(0, end - MOST_FITTED)
    scaled = _logarithms(values) if log else values
    unit = float(np.std(np.diff(scaled[first:end]))) or 1.0  # its optimiser wants numbers of order one
    for p in (0, 1, 2):

        def fit(p: int = p) -> _Fitted:
            model = ARIMA(scaled[first:end] / unit, order=(p, 1, 1), seasonal_order=(0, 1, 1, season))
            fitted = model.fit(method_kwargs={"maxiter": 100})
            said = fitted.apply(scaled / unit).fittedvalues * unit
            return _Fitted.of(values, end, np.exp(said) if log else said, fitted.aic)

        yield from _quietly(fit)


class _Way(NamedTuple):
    """What is done to values before ARIMA is fitted to them."""

    log: bool
    difference: int  # steps; 0: none
    waves: tuple[int, ...]  # periods of waves taken out by least squares


def _arima_candidates(
    values: Float64, end: int, way: _Way, orders: Sequence[tuple[int, int, int]]
) -> Iterator[_Fitted]:
    from statsmodels.tsa.arima.model import ARIMA

    scaled = _logarithms(values) if way.log else values
    waves = _waves(len(values), end, way.waves)
    known = waves @ np.linalg.lstsq(waves[:end], scaled[:end], rcond=None)[0] if not way.difference else scaled * 0
    lag = way.difference
    known[lag:] += scaled[: len(scaled) - lag] if lag else 0.0
    left = (scaled - known)[lag:]
    last = end - lag
    first = max(0, last - MOST_FITTED)
    unit = float(np.std(np.diff(left[first:last]))) or 1.0
    for order in orders:

        def fit(order: tuple[int, int, int] = order) -> _Fitted:
            model = ARIMA(left[first:last] / unit, order=order, trend="n")
            fitted = model.fit(method_kwargs={"maxiter": 100})
            said = known.copy()
            said[lag:] += fitted.apply(left / unit).fittedvalues * unit
            said[:lag] = scaled[:lag]
            # Seasons taken out in another way leave another unit; a difference more costs a value, which is little.
            criterion = (fitted.aic + 2 * waves.shape[1] * (lag == 0)) / (last - first) + 2 * float(np.log(unit))
            return _Fitted.of(values, end, np.exp(said) if way.log else said, criterion)

        yield from _quietly(fit)


def _logarithms(values: Float64) -> Float64:
    """Logarithms; where a value after the training part has none, that of the smallest which has."""
    logarithms: Float64 = np.log(np.maximum(values, values[values > 0].min()))
    return logarithms


def _waves(length: int, end: int, periods: Sequence[int]) -> Float64:
    """A column of ones and sines and cosines of each period, (N, columns): as many as the training part can tell."""
    most = max(1, min(MOST_SEASON, end // FEWEST_FOR_A_WAVE // max(len(periods), 1)))
    rates = sorted({k / period for period in periods for k in range(1, min(most, period // 2) + 1)})
    angles = 2 * np.pi * np.arange(length)[:, None] * np.array(rates)
    return np.concatenate((np.ones((length, 1)), np.sin(angles), np.cos(angles)), axis=1)
