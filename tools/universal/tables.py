"""Constant tables of the graph, by period."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from settings import COMMON, LAGS, LENGTH, READ, READ_SEASONS, SEASONS, SHORTEST, SPAN, Settings

Float32 = NDArray[np.float32]


class Tables(NamedTuple):
    """What is looked up for a lag (rows as LAGS; a lag that is no period has zeros)."""

    places: NDArray[np.int64]  # (M, 9 * 4), of a profile's changes in the history
    shares: Float32  # (M, 4, 9), what each of 9 seasons counts in each profile
    before: Float32  # (M, LENGTH), what sums up to the latest value less the mean of those whole seasons ago


def tables(settings: Settings) -> Tables:
    """For every lag, what it is as a period."""
    places = np.zeros((len(LAGS), len(READ_SEASONS), SPAN), np.int64)
    shares = np.zeros((len(LAGS), READ, len(READ_SEASONS)))
    before = np.zeros((len(LAGS), LENGTH))
    for row, period in enumerate(LAGS):
        if period < SHORTEST:
            continue
        fitting = [season for season in READ_SEASONS if season * period + SPAN - 1 <= LENGTH]
        counts = {season: settings.older_seasons**season for season in fitting if season <= SEASONS}
        weeks = {season: settings.older_week ** (season // 7) for season in fitting if season % 7 == 0}
        for at, season in enumerate(fitting):
            share = counts.get(season, 0.0) / sum(counts.values())
            week = weeks[season] / sum(weeks.values()) if season in weeks else 0.0
            places[row, at] = LENGTH + 1 - np.arange(SPAN) - season * period
            shares[row, 1:, at] = share, season == 1, week
            before[row, LENGTH - season * period :] += share
    return Tables(places.reshape(len(LAGS), -1), shares.astype(np.float32), before.astype(np.float32))


def thresholds(settings: Settings) -> tuple[Float32, Float32]:
    """How large a share of the variance a lag's correlation has to be above (M,), and what is added to it, over count.

    Lag 0 correlates with itself, and nothing of that is left: so it wins where no other stands out.
    """
    common = np.array([lag in COMMON for lag in LAGS])
    fixed = np.where(common, settings.common_threshold, settings.threshold)
    fixed += settings.longer * (np.log2(np.maximum(LAGS, 2)) - 3)
    young = np.where(common, settings.common_young, settings.young)
    fixed[:SHORTEST], young[:SHORTEST] = 2.0, 0.0
    fixed[0] = 1.0
    return fixed.astype(np.float32), young.astype(np.float32)
