"""Errors series by series and number by number: what the pooled figures hide."""

from __future__ import annotations

import numpy as np
import pytest

import streamlstm
from streamlstm.evaluation.breakdown import Breakdown
from streamlstm.evaluation.plot import draw_test_part
from streamlstm.tables import Series


def of(values: np.ndarray, said: np.ndarray, names: tuple[str, ...] = ("y",)) -> Breakdown | None:
    """One series (N, F) or several (S, N, F), and forecasts of the values 1 on."""
    several = values if values.ndim == 3 else values[None]
    series = [Series(f"s{place}", None, one) for place, one in enumerate(several)]
    return Breakdown.of(series, list(said if said.ndim == 3 else said[None]), 0.5, names)


def test_each_number_and_series_has_its_own_errors() -> None:
    """By hand: forecasts that are off by a known amount in the test part, wild before it."""
    values = np.zeros((2, 10, 2))
    values[0, :, 0] = np.arange(10)  # the naive forecast is off by 1
    values[0, :, 1] = 2 * np.arange(10)
    said = values[:, 1:].copy()
    said[:, :4] = 1e6  # not of the test part
    said[0, 4:, 0] += 0.5
    said[0, 4:, 1] += 3.0
    found = of(values, said, ("a", "b"))
    assert found is not None
    first, second = found.series
    assert (first.name, first.mae, first.naive_mae) == ("s0", 1.75, 1.5)
    assert first.rmse == pytest.approx(np.sqrt((0.25 + 9) / 2))
    assert not first.is_better
    assert (second.rmse, second.ratio) == (0.0, 1.0)
    a, b = found.numbers
    assert (a.name, a.mae, a.naive_mae) == ("a", 0.25, 0.5)
    assert (a.is_better, b.is_better) == (True, False)
    assert found.as_json()["series_better_than_naive"] == 0
    assert found.as_json()["by_output"]["a"]["mae"] == 0.25
    assert any("no better than naive" in line for line in found.lines())


def test_one_number_of_one_series_has_no_parts() -> None:
    """There is nothing to be told apart; what is better than naive needs no word."""
    values = np.arange(10.0)[:, None]
    found = of(values, values[1:])
    assert found is not None
    assert found.as_json() == {}
    assert list(found.lines()) == []


def test_of_many_series_the_worst_are_named() -> None:
    """Twenty, of which one is far off."""
    values = np.tile(np.arange(10.0)[None, :, None], (20, 1, 1))
    said = values[:, 1:].copy()
    said[7] += 5
    found = of(values, said)
    assert found is not None
    lines = list(found.lines())
    assert lines[0].startswith("better than naive for 19 of 20 series")
    assert lines[1].strip().startswith("s7")
    assert "5 of naive" in lines[1]


def test_what_is_missing_or_not_forecast_counts_for_nothing() -> None:
    """A number that no output forecasts has no part; a missing value none either."""
    values = np.arange(20.0).reshape(10, 2)
    values[7, 0] = np.nan
    said = values[1:].copy()
    said[:, 1] = np.nan
    found = of(values, said, ("a", "b"))
    assert found is not None
    assert found.numbers == ()
    assert found.whole.rmse == 0.0
    nothing = np.full((9, 2), np.nan)
    assert of(values, nothing, ("a", "b")) is None


def test_every_number_that_is_forecast_is_drawn() -> None:
    """A panel each, named; one that is only looked at has none."""
    series = [Series("s", None, np.random.default_rng(0).normal(size=(30, 3)))]
    said = series[0].values[1:].copy()
    said[:, 1] = np.nan
    plot = draw_test_part(series, [said], {}, 0.5, names=("load", "looked at", "price"))
    assert [axes.get_title(loc="left") for axes in plot.figure.axes] == ["s: load, test part", "s: price, test part"]


def test_evaluate_and_fit_tell_it() -> None:
    """Two numbers of two series: in the report, the JSON, and the table of further steps under a head of its own."""
    rng = np.random.default_rng(1)
    table = {name: np.cumsum(rng.normal(size=(120, 2)), axis=0) for name in ("one", "two")}
    fitted = streamlstm.fit(table, units=3, ensemble=1, epochs=1, horizon=2, season=6)
    found = streamlstm.evaluate(fitted, table)
    assert found.breakdown is not None
    assert [part.name for part in found.breakdown.series] == ["one", "two"]
    lines = found.report.splitlines()
    head = next(place for place, line in enumerate(lines) if line.startswith("2 steps ahead"))
    assert [line.split("  ")[0] for line in lines[head + 1 : head + 4]] == ["model", "naive", "seasonal naive, 6"]
    told = list(fitted.lines())
    assert [line.split()[0] for line in told if "of naive" in line] == ["y0", "y1", "one", "two"]
    assert fitted.facts()["series_better_than_naive"] <= 2
