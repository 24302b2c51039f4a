"""One wrong value is not forecast to come again a season later, by no part of a trained model; what recurs is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlstm.models import Model
from streamlstm.training.blending.ahead import Ahead
from streamlstm.training.blending.arima import carried_changes
from streamlstm.training.blending.seasons_before import MOST_ALONE, SeasonsBefore, SeasonValue
from streamlstm.training.forecaster import LagFeatures
from tests.unit.training.blended import trained

Float64 = NDArray[np.float64]

LENGTH, SEASON, TRAINED, WRONG = 1100, 24, 400, 600
KINDS = {
    "blend": {"horizon": 6},
    "alone": {"blend": False},
    "in units of its own": {"blend": False, "scaling": "series"},
    "ratios": {"blend": False, "scaling": "log"},
}


def hours() -> Float64:
    """A day's season of 10 up and down around 50."""
    noise = np.random.default_rng(1).normal(size=LENGTH) * 0.3
    return 50 + 10 * np.sin(np.arange(LENGTH) * 2 * np.pi / SEASON) + noise


def model_of(kind: str) -> Model:
    """Trained on values among which there is none that is wrong."""
    return trained(hours()[:TRAINED], **KINDS[kind])[1]


def errors(model: Model, values: Float64, step: int = 1) -> Float64:
    """Absolute errors of what was said so many steps ahead of each of values (N,); 0 of the first ones."""
    said = model.run(model.as_fed(values[:, None, None]), model.initial_state(1))[0][:, 0]
    found = np.zeros(len(values))
    found[step:] = np.abs(said[:-step, step - 1] - values[step:])
    return found


@pytest.mark.parametrize("size", [1e2, 1e4, 1e9])
@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_value_is_not_forecast_to_come_again(kind: str, size: float) -> None:
    """What is said from some steps behind it on, of a day later and of a week later too, is as near as the season."""
    model, values = model_of(kind), hours()
    values[WRONG] += size
    for step in (1, 2, 6)[: len(model.spec.outputs)]:
        found = errors(model, values, step)
        assert found[WRONG + SEASON - 4 :].max() < 25
        assert found[WRONG + 2 * SEASON :].mean() < 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_forecasts_fed_back_do_not_have_it_either(kind: str) -> None:
    """As `forecast` does: ten steps behind a wrong value the model goes on by its own forecasts for two days."""
    model, values = model_of(kind), hours()
    values[WRONG] += 1e4
    answers, state = model.run(model.as_fed(values[: WRONG + 10, None, None]), model.initial_state(1))
    said = answers[-1]
    for _ in range(2 * SEASON):
        assert np.abs(said[:, 0] - 50).max() < 30
        said, state = model.step(model.as_fed(said[:, :1]), state)


@pytest.mark.parametrize("kind", KINDS)
def test_a_spike_that_comes_each_day_is_forecast(kind: str) -> None:
    """A job that runs at three, twice as high as all else: the third time it is half known, then wholly."""
    model, values = model_of(kind), hours()
    begin = WRONG // SEASON * SEASON + 3
    values[begin::SEASON] += 80.0
    for step in (1, 2, 6)[: len(model.spec.outputs)]:
        found = errors(model, values, step)
        assert found[begin + 3 * SEASON :: SEASON].max() < 0.2 * 80
        assert found[begin + 4 * SEASON :].mean() < 5


def test_a_value_of_a_season_before_counts_as_far_as_others_say_the_same() -> None:
    """A wrong one is moved to the largest around it and some room; where the season before that has it, it is whole."""
    before = SeasonsBefore(Ahead(season=12, shares=((0.2,) * 5,) * 3))
    values = np.tile(np.arange(12.0), 10)
    once, twice = values.copy(), values.copy()
    once[100] += 1e6
    twice[[88, 100]] += 1e6
    place = before.places.index(SeasonValue(back=9, seen_from=0))
    looked = [before.limited(each, np.ones(120))[109, place] + values[109] for each in (values, once, twice)]
    assert looked[0] == values[100]
    assert looked[1] == values[100] + 2 + MOST_ALONE
    assert looked[2] == twice[100]


def test_changes_are_carried_whole_the_second_time() -> None:
    """Of thirty units those that come alone are five; a season later they are all there."""
    moved = np.zeros(60)
    moved[[10, 22, 34]] = 30.0
    np.testing.assert_array_equal(carried_changes(moved, (12,))[[10, 22, 34]], [5.0, 30.0, 30.0])
    np.testing.assert_array_equal(carried_changes(moved, (11,))[[10, 22, 34]], [5.0, 5.0, 5.0])


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("size", [1e2, 1e9])
def test_a_wrong_value_does_not_lead_the_unit_of_a_series_astray(size: float, exact: bool) -> None:
    """It is in the mean of absolute changes with so much as fifty usual ones, twice: up and down."""
    values = hours()
    values[WRONG] += size
    lags = LagFeatures(1, local=True, exact=exact)
    unit = lags(lags.taken(values[:, None, None]), lags.initial_state(1)).unit[:, 0, 0]
    assert float(unit[WRONG + 1]) < 2.5 * float(unit[WRONG - 1])
