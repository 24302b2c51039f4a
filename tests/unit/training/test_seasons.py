"""Which seasons `train` picks: the true period, not its multiples or neighbours, and none where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlstm.tables import Series
from streamlstm.training import plan
from streamlstm.training.gap_filling import with_gaps_in_season, with_holes_filled
from streamlstm.training.panel import make_panel
from streamlstm.training.plan import make_plan
from streamlstm.training.seasons import season_candidates

HOUR_MS = 3_600_000


def repeated(
    *periods: int, shape: str = "wave", noise: float = 0.1, length: int = 0, seed: int = 1
) -> NDArray[np.float64]:
    """Patterns of these periods, each ten times or more, added up under noise."""
    random = np.random.default_rng(seed)
    length = length or max(600, 10 * max(periods))
    total = noise * random.normal(size=length)
    for period in periods:
        angle = 2 * np.pi * np.arange(period) / period
        wave = np.sin(angle) + 0.5 * np.cos(2 * angle + 1) + 0.3 * np.sin(3 * angle)
        total += np.resize({"wave": wave, "sine": np.sin(angle), "any": random.normal(size=period)}[shape], length)
    return 50 + 10 * total


def picked(*columns: NDArray[np.float64], step_ms: int | None = None) -> tuple[int, ...]:
    """The seasons that training plans for some series."""
    series = [
        Series(str(name), None if step_ms is None else np.arange(len(x)) * step_ms, x[:, None])
        for name, x in enumerate(columns)
    ]
    return make_plan(make_panel(series, 0.2), series).seasons.all


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("shape", ["wave", "sine", "any"])
@pytest.mark.parametrize("period", [7, 12, 24, 48, 144, 168, 365])
def test_the_true_period_is_picked(period: int, shape: str, noise: float) -> None:
    """A series of one period is given that one and no other, whatever its shape, with noise and without."""
    assert picked(repeated(period, shape=shape, noise=noise)) == (period,)


@pytest.mark.parametrize("seed", range(5))
def test_24_is_not_taken_for_its_multiples(seed: int) -> None:
    """Neither 47 nor 48, 97 or 168 is found in a wave of period 24, with the hours known or not."""
    values = repeated(24, length=2000, noise=0.05, seed=seed)
    assert picked(values) == picked(values, step_ms=HOUR_MS) == (24,)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("shape", ["wave", "any"])
@pytest.mark.parametrize("periods", [(24, 168), (48, 336)])
def test_two_seasons_are_both_seen(periods: tuple[int, int], shape: str, noise: float) -> None:
    """A day and a week at once are picked as both, or as the week, which holds the day."""
    assert picked(repeated(*periods, shape=shape, noise=noise)) in (periods, periods[1:])


@pytest.mark.parametrize("period", [7, 24, 168])
def test_a_trend_gaps_and_spikes_hide_no_season(period: int) -> None:
    """The period is found in a rising series, in one with missing values, and beside spikes."""
    random = np.random.default_rng(3)
    values = repeated(period)
    assert picked(values + 0.05 * np.arange(len(values))) == (period,)
    assert picked(np.where((random.random(len(values)) < 0.05) & (np.arange(len(values)) > 0), np.nan, values)) == (
        period,
    )
    assert picked(values + 200 * (random.random(len(values)) < 0.005)) == (period,)


def test_series_of_different_sizes_share_their_season() -> None:
    """One model over series of different sizes, lengths and phases is given their common period."""
    columns = [np.roll(repeated(24, length=600 + 50 * i, seed=i), 5 * i) * 10.0**i for i in range(4)]
    assert picked(*columns) == (24,)


@pytest.mark.parametrize("seed", range(3))
def test_no_season_is_found_where_there_is_none(seed: int) -> None:
    """White noise, a trend under noise, a random walk and counts have no season."""
    random = np.random.default_rng(seed)
    white = random.normal(size=1500)
    for values in (white, 0.1 * np.arange(1500) + white, np.cumsum(white), random.poisson(3, size=1500).astype(float)):
        assert picked(values) == ()


def test_flat_series_have_no_season() -> None:
    """A series that never changes, alone or beside another, is no error and has no period of its own."""
    assert picked(np.full(200, 3.0)) == ()
    assert picked(np.full(600, 3.0), repeated(12)) == (12,)


def test_a_weak_period_beside_the_calendars_is_the_calendars() -> None:
    """A week under a day, in one of two series, is 168 hours, and not the 167 that noise makes as good."""
    random, hours = np.random.default_rng(5), np.arange(900)
    day = np.sin(hours * 2 * np.pi / 24)
    week = np.where(hours // 24 % 7 < 5, 3, 0)
    first = 20 + 5 * day + week + random.normal(0, 0.5, 900)
    assert picked(first, 100 + 20 * day + random.normal(0, 2, 900), step_ms=HOUR_MS) == (24, 168)


@pytest.mark.parametrize("shape", ["wave", "any"])
def test_a_strong_period_beside_the_calendars_is_found_as_it_is(shape: str) -> None:
    """A machine's 170 hours explain too much to be a week badly measured; and it is planned as found."""
    values = repeated(170, shape=shape, length=2000)
    series = [Series("a", np.arange(2000) * HOUR_MS, values[:, None])]
    assert list(season_candidates(make_panel(series, 0.2), series)[1]) == [170]
    assert picked(values, step_ms=HOUR_MS) == (170,)


@pytest.mark.parametrize("begin", [100, 300, 500, 650])
def test_a_hole_of_thirty_hours_hides_no_season(begin: int) -> None:
    """In 900 values of hours with a day and a week, wherever it is, both are found as without it."""
    random, hours = np.random.default_rng(1), np.arange(900)
    values = 20 + 5 * np.sin(hours * 2 * np.pi / 24) + np.where(hours // 24 % 7 < 5, 3, 0) + random.normal(0, 0.5, 900)
    there = np.r_[:begin, begin + 30 : 900]
    holed = [Series("a", hours[there] * HOUR_MS, values[there][:, None])]
    filled, gap_after_ms, holes = with_holes_filled(holed, None, HOUR_MS, lambda _: None)
    assert holes is not None
    assert gap_after_ms is not None
    panel = with_gaps_in_season(make_panel(filled, 0.2), filled)
    assert make_plan(panel, filled).seasons.all == (24, 168)


@pytest.mark.parametrize(("count", "picks"), [(1, ()), (3, (12,))])
def test_several_series_may_have_a_season_that_costs_a_little(
    monkeypatch: pytest.MonkeyPatch, count: int, picks: tuple[int, ...]
) -> None:
    """Of one series a season has to pay, be it by chance; of several it may be 2 % worse in validation."""

    def validated(scaling: object, seasons: tuple[int, ...], *rest: object) -> tuple[float, float]:
        return 1.02 if seasons == (12,) else 1.0 if not seasons else 1.1, 1.0

    monkeypatch.setattr(plan, "LagFeatures", lambda count, *, seasons, **rest: seasons)
    monkeypatch.setattr(plan, "_validate", validated)
    monkeypatch.setattr(plan, "STRONG_SEASON_HANDICAP", plan.SHORT_SEASON_HANDICAP)
    assert picked(*(repeated(12, seed=seed) for seed in range(count))) == picks
