"""The further steps of a blended forecast, of one series and of several."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlstm.models import UNIVERSAL_FILE, Model, step_by_step
from streamlstm.tables import Series
from streamlstm.training import train
from streamlstm.training.blending.ahead import Ahead, find_ahead, season_before
from streamlstm.training.blending.arimas import fit_arimas
from streamlstm.training.blending.blend import Blend
from streamlstm.training.blending.graph import check_blended, with_blend
from tests.unit.training.blended import SMALL, seasonal, trained

Float64 = NDArray[np.float64]


def only(blend: Blend, part: int) -> Blend:
    """The blend whose further steps are one of its four parts', the season being 12."""
    shares = (tuple(float(number == part) for number in range(4)),) * 2
    assert blend.ahead is not None
    return dataclasses.replace(blend, ahead=dataclasses.replace(blend.ahead, season=12, shares=shares))


def check_parts(own: bytes, blend: Blend, values: Float64, wanted: Sequence[Float64]) -> None:
    """Further steps that are one part's alone are what that part says, (N, 3)."""
    for part, said in enumerate(wanted):
        model = Model(with_blend(own, only(blend, part)))
        answered = step_by_step(model, values[:, None, None], None)[0][:, 0]
        np.testing.assert_allclose((answered - said)[30:, 1:] / np.std(np.diff(values)), 0.0, atol=2e-3)


@pytest.mark.parametrize(
    "values",
    [seasonal(), np.exp(seasonal(level=0.0) / 30), seasonal(level=1e10)],
    ids=["plain", "logarithms", "pairs"],
)
def test_further_steps_are_means_too(values: Float64) -> None:
    """Of the trained one's and the ARIMA's; of the ARIMA's alone they are those, of the trained one's alone those."""
    result, model = trained(values, horizon=3)
    assert result.blend is not None
    assert result.blend.arimas is not None
    assert model.spec.outputs == ("yhat", "yhat2", "yhat3")
    own = trained(values, horizon=3, blend=False)[0].model_bytes
    x = values[:, None, None]
    assert result.blend.ahead is not None
    wanted = (
        step_by_step(Model(own), x, None)[0][:, 0],
        result.blend.arimas.further(values, 3),
        np.repeat(values[:, None], 3, axis=1),
        season_before(values, 12, 3),
    )
    check_parts(own, result.blend, values, wanted)


def shares_ahead(values: Float64, trained: Float64, other: Float64, season: int, start: int) -> Ahead:
    """By errors on one series (N,) from `start` on, of what is said, (N, steps)."""
    one = values[:, None], np.ones((len(values), 1), bool), trained[:, None], other[:, None]
    return find_ahead(*one, season, np.array([start]), np.ones(1))


def test_further_steps_of_noise_are_little_worse_than_the_best_simple_ones() -> None:
    """What a model makes of a random walk loses its share at every step; a season that is all there is gets it."""
    random = np.random.default_rng(8)
    walk, season = np.cumsum(random.normal(size=300)), np.tile(random.normal(size=12) * 5, 25)
    arimas = fit_arimas(walk, [])
    assert arimas is not None
    wild = np.repeat(walk[:, None], 4, axis=1) + 3 * random.normal(size=(300, 4))
    said = arimas.further(walk, 4)
    found = shares_ahead(walk, wild, said, 0, 150)
    assert all(shares[0] < 0.1 for shares in found.shares)
    assert all(sum(shares) == pytest.approx(1, abs=1e-5) for shares in found.shares)
    found = shares_ahead(season, wild, arimas.further(season, 4), 12, 150)
    assert all(shares[3] > 0.8 for shares in found.shares)
    few = shares_ahead(walk[:5], wild[:5], said[:5], 12, 5)
    assert len({*few.shares}) == 1, "without an error of a step there is what is likely beforehand"


def test_a_season_before_is_counted_in_whole_seasons() -> None:
    """Five steps ahead of a season of four is one, a season later; before the first value there is that one."""
    values = np.arange(10.0)
    np.testing.assert_array_equal(season_before(values, 4, 5)[8], [5, 6, 7, 8, 5])
    np.testing.assert_array_equal(season_before(values, 4, 5)[1], [0, 0, 0, 1, 0])
    np.testing.assert_array_equal(season_before(values, 0, 2)[8], [8, 8])


def test_further_steps_of_series_of_several_sizes_are_judged_in_their_own_units() -> None:
    """The large series, which the trained one alone knows, does not outweigh those of which the other knows more."""
    random = np.random.default_rng(9)
    values = np.cumsum(random.normal(size=(200, 4)), axis=0) * np.array([1.0, 1.0, 1.0, 1e6])
    trained, other = np.zeros((2, 200, 4, 3))
    for step in range(3):
        following = np.roll(values, -1 - step, axis=0)
        trained[..., step] = following + random.normal(size=(200, 4)) * 5
        other[..., step] = following + random.normal(size=(200, 4)) * 0.1
    other[:, 3] = values[:, 3, None] + 3e6 * random.normal(size=(200, 3))
    starts, units = np.array([100, 100, 100, 100]), np.array([1.0, 1.0, 1.0, 1e6])
    found = find_ahead(values, np.ones(values.shape, bool), trained, other, 0, starts, units)
    assert len(found.shares) == 2
    assert all(4 * shares[0] < shares[1] for shares in found.shares)
    large = find_ahead(values, np.ones(values.shape, bool), trained, other, 0, starts, np.ones(4))
    assert all(shares[0] > 0.9 for shares in large.shares)


@pytest.mark.parametrize("level", [0.0, 1e10])
def test_further_steps_of_several_series_are_means_too(level: float) -> None:
    """Of the trained ones, these moved as the universal model moves the next, the last value and a season before."""
    series = [Series(str(number), None, seasonal(90 + number, level=500 + level)[:, None]) for number in range(2)]
    result = train(series, dataclasses.replace(SMALL, horizon=3))
    own = train(series, dataclasses.replace(SMALL, horizon=3, blend=False)).model_bytes
    assert result.blend is not None
    assert result.blend.ahead is not None
    assert result.blend.arimas is None
    assert Model(result.model_bytes).spec.exact == (level > 0)
    x = series[0].values[:, None, :]
    trained = step_by_step(Model(own), x, None)[0][:, 0]
    universal = step_by_step(Model(UNIVERSAL_FILE.read_bytes()), Model(UNIVERSAL_FILE.read_bytes()).as_fed(x), None)
    values = x[:, 0, 0]
    wanted = (
        trained,
        trained + universal[0][:, 0, :1] - trained[:, :1],
        np.repeat(values[:, None], 3, axis=1),
        season_before(values, 12, 3),
    )
    check_parts(own, result.blend, values, wanted)


def test_changes_beyond_those_that_are_carried_are_no_fault() -> None:
    """Of values near the end of float32's range the universal model cuts changes, and with it the values before."""
    values = seasonal(level=0.0)
    values *= 3e37 / np.abs(np.diff(values)).max()
    result, _ = trained(values, horizon=3)
    own = trained(values, horizon=3, blend=False)[0].model_bytes
    assert result.blend is not None
    before = only(result.blend, 3)
    check_blended(with_blend(own, before), before, own, values[:, None, None], None)
