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
from streamlstm.training.blending.ahead import Ahead, Earlier, find_ahead
from streamlstm.training.blending.arimas import fit_arimas
from streamlstm.training.blending.blend import Blend
from streamlstm.training.blending.graph import check_blended, with_blend
from support.simple_ahead import simple_forecasts
from tests.unit.training.blended import SMALL, seasonal, trained, trained_part

Float64 = NDArray[np.float64]


def only(blend: Blend, part: int) -> Blend:
    """The blend whose further steps are one of its parts' whatever it was wrong by, the season being 12."""
    assert blend.ahead is not None
    shares = (tuple(float(number == part) for number in range(len(blend.ahead.shares[0]))),) * 2
    return dataclasses.replace(blend, ahead=dataclasses.replace(blend.ahead, season=12, shares=shares, late_share=0.0))


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
    own = trained_part(values, horizon=3)
    x = values[:, None, None]
    assert result.blend.ahead is not None
    wanted = (
        step_by_step(Model(own), x, None)[0][:, 0],
        result.blend.arimas.further(values, 3),
        *simple_forecasts(values, 12, 3)[:3],
    )
    assert len(wanted) == len(result.blend.ahead.shares[0])
    check_parts(own, result.blend, values, wanted)


def shares_ahead(
    values: Float64, trained: Float64, other: Float64, season: int, start: int, earlier: Sequence[Earlier] = ()
) -> Ahead:
    """By errors on one series (N,) from `start` on, of what is said, (N, steps)."""
    one = values[:, None], np.ones((len(values), 1), bool), trained[:, None], other[:, None]
    return find_ahead(*one, season, np.array([start]), np.ones(1), earlier)


def test_further_steps_of_noise_are_little_worse_than_the_best_simple_ones() -> None:
    """What a model makes of a random walk loses its share at every step; a season that is all there is gets it."""
    random = np.random.default_rng(8)
    walk, season = np.cumsum(random.normal(size=300)), np.tile(random.normal(size=12) * 5, 25)
    arimas = fit_arimas(walk, {})
    assert arimas is not None
    wild = np.repeat(walk[:, None], 4, axis=1) + 3 * random.normal(size=(300, 4))
    said = arimas.further(walk, 4)
    found = shares_ahead(walk, wild, said, 0, 150)
    assert all(shares[0] < 0.1 for shares in found.shares)
    assert all(sum(shares) == pytest.approx(1, abs=1e-5) for shares in found.shares)
    found = shares_ahead(season, wild, arimas.further(season, 4), 12, 150)
    assert all(shares[3] + shares[4] > 0.8 for shares in found.shares)  # of one season before, of one and two
    few = shares_ahead(walk[:5], wild[:5], said[:5], 12, 5)
    assert len({*few.shares}) == 1, "without an error of a step there is what is likely beforehand"


def test_a_season_before_is_counted_in_whole_seasons() -> None:
    """Five steps ahead of a season of four is one, a season later; before the first value there is that one."""
    values = np.arange(20.0) ** 2
    last, before, both, moved = simple_forecasts(values, 4, 5)
    np.testing.assert_array_equal(last[18], np.full(5, 18**2))
    np.testing.assert_array_equal(before[18], np.array([15, 16, 17, 18, 15]) ** 2)
    np.testing.assert_array_equal(before[1], [0, 0, 0, 1, 0])
    older = np.array([11, 12, 13, 14, 7]) ** 2
    np.testing.assert_array_equal(both[18], (before[18] + older) / 2)
    begin = (np.array([14, 14, 14, 14, 10]) ** 2 + np.array([10, 10, 10, 10, 2]) ** 2) / 2
    np.testing.assert_array_equal(moved[18], values[18] + both[18] - begin)
    for said in simple_forecasts(values, 0, 2):
        np.testing.assert_array_equal(said[8], [64, 64])
    of_half_the_changes = simple_forecasts(np.arange(500.0), 200, 1)[:, 450, 0]
    np.testing.assert_array_equal(of_half_the_changes, [450, 251, 251, 451])  # two seasons before is not carried


def test_what_was_said_earlier_counts_where_little_is_known() -> None:
    """Two values of validation leave the ARIMA most; that it was bad at earlier times takes its share away."""
    walk = np.cumsum(np.random.default_rng(8).normal(size=200))
    wild = walk[:, None] + 5 * np.random.default_rng(9).normal(size=(200, 3))
    few = shares_ahead(walk, wild, wild, 0, 198)
    more = shares_ahead(walk, wild, wild, 0, 198, [Earlier(wild[:150], 60), Earlier(wild[:198], 150)])
    for little, much in zip(few.shares, more.shares, strict=True):
        assert little[1] > 0.3
        assert much[1] < 0.1 * sum(much[1:])


def test_of_many_series_the_simple_ones_count_more_far_ahead() -> None:
    """Without an error, twelve steps ahead each of them is as likely as two thirds of a trained one, else a third."""
    values, said = np.zeros((5, 3)), np.zeros((5, 3, 14))
    nothing = np.full(3, 5)
    found = find_ahead(values, np.ones((5, 3), bool), said, said, 4, nothing, np.ones(3)).shares
    assert found[0][2] < 0.7 * found[0][0]
    assert found[10] == found[12]
    assert found[0][2] < found[5][2] < found[10][2] < found[10][0]


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
        *simple_forecasts(values, 12, 3),
    )
    assert len(wanted) == len(result.blend.ahead.shares[0])
    check_parts(own, result.blend, values, wanted)


def test_changes_beyond_those_that_are_carried_are_no_fault() -> None:
    """Of values near the end of float32's range the universal model cuts changes, and with it the values before."""
    values = seasonal(level=0.0)
    values *= 3e37 / np.abs(np.diff(values)).max()
    result, _ = trained(values, horizon=3)
    own = trained_part(values, horizon=3)
    assert result.blend is not None
    before = only(result.blend, 3)
    check_blended(with_blend(own, before), before, own, values[:, None, None], None)
