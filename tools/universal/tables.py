"""Constant tables of the graph, by period."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from settings import COMMON, LAGS, LENGTH, READ, SEASONS, SHORTEST, SPAN, Settings

Float32 = NDArray[np.float32]


class Tables(NamedTuple):
    """What is looked up for a lag (rows as LAGS; a lag that is no period has zeros)."""

    places: NDArray[np.int64]  # (M, 8 * 4), of a profile's changes in the history
    shares: Float32  # (M, 4, 8), what each of 8 seasons counts in each profile
    before: Float32  # (M, LENGTH), what sums up to the latest value less the mean of those whole seasons ago


def tables(settings: Settings) -> Tables:
    """For every lag, what it is as a period."""
    places = np.zeros((len(LAGS), SEASONS, SPAN), np.int64)
    shares = np.zeros((len(LAGS), READ, SEASONS))
    before = np.zeros((len(LAGS), LENGTH))
    for row, period in enumerate(LAGS):
        if period < SHORTEST:
            continue
        fitting = [k for k in range(1, SEASONS + 1) if k * period + SPAN - 1 <= LENGTH]
        counts = np.array([settings.older_seasons**k for k in fitting])
        for season, share in zip(fitting, counts / counts.sum(), strict=True):
            places[row, season - 1] = LENGTH + 1 - np.arange(SPAN) - season * period
            shares[row, 1:, season - 1] = share, season == 1, season == 7
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
