"""The baselines: fitted to the training part, forecasting every value from those before it only."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from streamlstm.errors import MissingExtraError, UsageError
from streamlstm.evaluation.baselines import baseline_forecasts
from streamlstm.evaluation.scores import Bounds, interval_scores, score
from streamlstm.tables import Series

NAMES = ["naive", "seasonal_naive_6", "ar", "ets", "arima"]


def seasonal(length: int = 150, seed: int = 0) -> Series:
    """A season of six steps around a slow autoregression, with two values missing."""
    random = np.random.default_rng(seed)
    noise = np.zeros(length)
    for t in range(1, length):
        noise[t] = 0.7 * noise[t - 1] + random.normal()
    values = 20 + 5 * np.sin(2 * np.pi * np.arange(length) / 6) + noise
    values[[30, 140]] = np.nan
    return Series("s", None, values[:, None])


@pytest.mark.parametrize("name", NAMES)
def test_a_baseline_knows_nothing_of_what_comes_after(name: str) -> None:
    """Other values from a place in the test part on change no forecast of any value up to it."""
    if name in {"ets", "arima"}:
        pytest.importorskip("statsmodels")
    one = seasonal()
    other = Series("s", None, one.values.copy())
    other.values[131:] += 100.0
    [before], [after] = (baseline_forecasts(name, [each], 0.2, (6,)) for each in (one, other))
    assert before.shape == after.shape == (149, 1)
    np.testing.assert_allclose(before[:131], after[:131], rtol=1e-9)
    if name != "seasonal_naive_6":
        assert not np.allclose(before[131:], after[131:])


@pytest.mark.parametrize("name", ["ar", "ets", "arima"])
def test_the_fitted_baselines_beat_the_naive_forecast(name: str) -> None:
    """On a seasonal series each of them is better than repeating the last value, or that of a season ago."""
    if name in {"ets", "arima"}:
        pytest.importorskip("statsmodels")
    one = seasonal(400)
    errors = {
        method: score([one], baseline_forecasts(method, [one], 0.2, (6,)), 0.2, 6)
        for method in ("naive", "seasonal_naive_6", name)
    }
    best = min(error.rmse for method, error in errors.items() if error is not None and method != name)
    assert errors[name] is not None
    assert errors[name].rmse < 0.95 * best


@pytest.mark.parametrize("name", ["ets", "arima"])
def test_a_long_season_is_taken_out(name: str) -> None:
    """A season of 40 steps, too long to be part of a model, is known to both: they halve the error without it."""
    pytest.importorskip("statsmodels")
    random = np.random.default_rng(0)
    shape = np.cumsum(random.normal(0, 3, 40))
    values = np.tile(shape - shape.mean(), 15) + random.normal(0, 1, 600)
    one = Series("s", None, values[:, None])
    found = {season: baseline_forecasts(name, [one], 0.2, season) for season in ((), (40,))}
    without, told = (score([one], found[season], 0.2, None) for season in ((), (40,)))
    assert without is not None
    assert told is not None
    assert told.rmse < 0.5 * without.rmse


def test_a_logarithm_is_taken_where_it_helps() -> None:
    """Growth by a share a step is forecast within its noise by ARIMA; a series with zeros has no logarithm."""
    pytest.importorskip("statsmodels")
    random = np.random.default_rng(0)
    values = np.exp(0.02 * np.arange(300) + 0.05 * np.cumsum(random.normal(0, 1, 300)))
    [said] = baseline_forecasts("arima", [Series("s", None, values[:, None])], 0.2, ())
    ratio = said[240:, 0] / values[241:]
    assert float(np.std(np.log(ratio))) < 0.06
    values[::50] = 0.0
    [said] = baseline_forecasts("arima", [Series("s", None, values[:, None])], 0.2, ())
    assert np.isfinite(said[241:]).all()


def test_the_regression_is_that_of_its_definition() -> None:
    """Without noise a series of two lags is forecast exactly from the first value all lags are there for."""
    values = np.ones(60)
    for t in range(2, 60):
        values[t] = 1.6 * values[t - 1] - 0.9 * values[t - 2] + 0.5
    [said] = baseline_forecasts("ar", [Series("s", None, values[:, None])], 20, ())
    np.testing.assert_allclose(said[20:, 0], values[21:], atol=0.02)


def test_short_and_constant_series_have_forecasts_too() -> None:
    """Where nothing can be fitted the regression repeats the last value; a constant is forecast as itself."""
    [said] = baseline_forecasts("ar", [Series("s", None, np.array([[1.0], [2.0], [4.0]]))], 1, (12,))
    assert said[0, 0] == 1.0
    [said] = baseline_forecasts("ar", [Series("s", None, np.full((50, 1), 3.0))], 0.2, ())
    np.testing.assert_allclose(said, 3.0)


def test_what_cannot_be_had_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A baseline nobody knows is a usage error; ETS without statsmodels names the extra."""
    with pytest.raises(UsageError, match="no baseline 'prophet'"):
        baseline_forecasts("prophet", [seasonal()], 0.2, ())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"streamlstm\[evaluate\]"):
        baseline_forecasts("ets", [seasonal()], 0.2, ())


def test_coverage_counts_the_test_values_inside() -> None:
    """Of four test values, one of them missing, one lies outside of its interval; widths are averaged."""
    values = np.array([0.0, 0.0, 0.0, 1.0, 2.0, np.nan, 9.0])[:, None]
    low = np.array([5.0, 5.0, 0.5, 0.0, 0.0, 0.0])[:, None]
    high = np.array([5.0, 5.0, 1.0, 4.0, 1.0, 8.0])[:, None]
    found = interval_scores([Series("s", None, values)], [Bounds(low, high)], 4)
    assert found == (pytest.approx(2 / 3), pytest.approx((0.5 + 4.0 + 8.0) / 3))
    nothing = Bounds(np.full((6, 1), np.nan), high)
    assert interval_scores([Series("s", None, values)], [nothing], 4) is None
