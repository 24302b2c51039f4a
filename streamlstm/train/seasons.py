"""Which seasonal periods a training part may have: by the calendar, and by the autocorrelation of its changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from streamlstm.data import Panel
from streamlstm.forecaster.lags import MIN_WIDE_SEASON
from streamlstm.table import Series

MIN_PERIODS = 3  # a period must fit this often into the training part
MIN_STEPS = 3  # in a period
MIN_CORRELATION = 0.1  # of a peak; every candidate is tried out, so a weak one costs only time
MAX_SERIES = 20  # the longest ones stand for all
MOST_CANDIDATES = 4

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
YEAR_DAYS = 365
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


def season_candidates(panel: Panel, series: Sequence[Series] = ()) -> list[Seasons]:
    """Sets of at most two seasons worth trying, the empty set first; `series` are the panel's, for their times.

    The longest of a set is tried through wide windows too.
    """
    longest = int(panel.lengths.min()) // MIN_PERIODS
    found = [*_calendar_periods(series), *_correlation_peaks(panel)]
    periods = [m for m in dict.fromkeys(found) if MIN_STEPS <= m <= longest][:MOST_CANDIDATES]
    sets = [seasons for count in (0, 1, 2) for seasons in combinations(sorted(periods), count)]
    wide = [Seasons(one[:-1], one[-1:]) for one in sets if one and one[-1] >= MIN_WIDE_SEASON]
    return [*(Seasons(one) for one in sets), *wide]


def _calendar_periods(series: Sequence[Series]) -> list[int]:
    """The steps in an hour, a day, a week, or a year of months or days, if the spacing of the times says so."""
    spacings = [np.diff(one.times_ms) for one in series if one.times_ms is not None and len(one.times_ms) > 1]
    if not spacings:
        return []
    spacing = float(np.median(np.concatenate(spacings)))
    if 28 * DAY_MS <= spacing <= 31 * DAY_MS:
        return [12]
    if spacing == DAY_MS:
        return [7, YEAR_DAYS]
    return [round(period / spacing) for period in CALENDAR_MS if period % spacing == 0]


def _correlation_peaks(panel: Panel) -> list[int]:
    """The highest peak of the autocorrelation, and the first that is at least half as high."""
    correlation = autocorrelation_of_changes(panel)
    peaks = [
        lag
        for lag in range(MIN_STEPS, len(correlation) - 2)
        if correlation[lag] >= MIN_CORRELATION and correlation[lag] == correlation[lag - 2 : lag + 3].max()
    ]
    if not peaks:
        return []
    highest = max(peaks, key=lambda lag: correlation[lag])
    return [next(lag for lag in peaks if correlation[lag] >= 0.5 * correlation[highest]), highest]


def autocorrelation_of_changes(panel: Panel) -> NDArray[np.float64]:
    """Average the autocorrelation of first differences over series and features, for lags 0 to the longest season."""
    chosen = np.argsort(-panel.lengths, kind="stable")[:MAX_SERIES]
    most = int(panel.lengths[chosen].min()) // MIN_PERIODS
    total = np.zeros(most + 1)
    for series in chosen:
        changes = np.diff(panel.values[: panel.lengths[series], series], axis=0)  # (n - 1, F)
        # Outliers are cut at four deviations: one spike would hide every period.
        changes = changes - changes.mean(axis=0)
        changes = np.clip(changes / (changes.std(axis=0) + 1e-300), -4.0, 4.0)
        size = 2 ** int(np.ceil(np.log2(2 * len(changes))))
        power = np.abs(np.fft.rfft(changes, size, axis=0)) ** 2
        products = np.fft.irfft(power, size, axis=0)[: most + 1].sum(axis=1)
        products *= len(changes) / (len(changes) - np.arange(most + 1))  # long lags have fewer pairs
        total += products / max(products[0], 1e-300)
    return total / len(chosen)
