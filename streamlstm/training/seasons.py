"""Which seasonal periods a training part may have: by the calendar, and by what they explain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from streamlstm.tables import Series
from streamlstm.training.forecaster.lags import MIN_WIDE_SEASON
from streamlstm.training.panel import Panel
from streamlstm.training.seasonality import MIN_PERIODS, MIN_STEPS, are_near, found_periods

MOST_CANDIDATES = 4
STRONG_SHARE = 0.5  # of the variance around a moving mean, that a period explains
BESIDE = 0.03  # of a period; tides of 24.8 hours and moons of 354 days are farther from the calendar

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
YEAR_DAYS = 365
# Days between two values, at least and at most, and the periods they have: quarters, months, weeks, days.
CALENDAR_DAYS = ((89, 93, (4,)), (28, 31, (12,)), (7, 7, (52,)), (1, 1, (7, YEAR_DAYS)))
CALENDAR_MS = (HOUR_MS, DAY_MS, 7 * DAY_MS)


@dataclass(frozen=True)
class Seasons:
    """Seasons to look back at: through single values, and through wide windows (`LagFeatures`)."""

    single: tuple[int, ...] = ()
    wide: tuple[int, ...] = ()

    @property
    def all(self) -> tuple[int, ...]:
        """Every period once, the shortest first."""
        return tuple(sorted({*self.single, *self.wide}))


def season_candidates(panel: Panel, series: Sequence[Series] = ()) -> tuple[list[Seasons], dict[int, float]]:
    """Sets of at most two seasons worth trying, the empty set first; `series` are the panel's, for their times.

    The longest of a set is tried through wide windows too, unless it is neither of the calendar nor strong: the cycle
    of sunspots is not steady enough for it. The dict says what share of the variance a period explains, of those that
    the values show by themselves.

    Twice a season beside it was tried for noisy ones: no better over 42 kinds of series (1.004 of the root mean square
    before with it as without), 7 % better on a long season and 12 % worse on a saw tooth.
    """
    usual = usual_periods(series)
    found = {_measured(m, share, usual): share for m, share in found_periods(panel, usual).items()}
    strong = [m for m, share in found.items() if share >= STRONG_SHARE]
    longest = min(strong, default=int(panel.lengths.min()) // MIN_PERIODS)
    # What is longer than a strong period and does not show beside it would be taken for the mean of two that it gives;
    # what lies beside one, and is not it, for that one: a machine's 170 hours are no week.
    calendar = [
        m
        for m in usual
        if m in found or (MIN_STEPS <= m <= longest and not any(are_near(m, other) for other in strong))
    ]
    others = [m for m in found if not any(are_near(m, other) for other in calendar)]
    periods = [*calendar, *others][:MOST_CANDIDATES]
    sets = [seasons for count in (0, 1, 2) for seasons in combinations(sorted(periods), count)]
    steady = {m for m in periods if m >= MIN_WIDE_SEASON and (m in calendar or found[m] >= STRONG_SHARE)}
    wide = [Seasons(one[:-1], one[-1:]) for one in sets if one and one[-1] in steady]
    return [*(Seasons(one) for one in sets), *wide], found


def _measured(period: int, share: float, calendar: Sequence[int]) -> int:
    """The calendar's period that a weak one beside it is, badly measured: 168 for 167 where noise chose of the two."""
    beside = (other for other in calendar if abs(other - period) <= other * BESIDE)
    return next(beside, period) if share < STRONG_SHARE else period


def usual_periods(series: Sequence[Series]) -> list[int]:
    """The steps in an hour, a day, a week, or a year of quarters, months, weeks or days, if the times say so."""
    spacings = [np.diff(one.times_ms) for one in series if one.times_ms is not None and len(one.times_ms) > 1]
    if not spacings:
        return []
    spacing = float(np.median(np.concatenate(spacings)))
    for least, most, periods in CALENDAR_DAYS:
        if least * DAY_MS <= spacing <= most * DAY_MS:
            return list(periods)
    return [round(period / spacing) for period in CALENDAR_MS if period % spacing == 0]
