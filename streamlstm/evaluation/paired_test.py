"""Which of two forecasters is better on the same values, and how sure that is.

The test is that of Diebold and Mariano (1995) on the differences of absolute errors, whose variance is estimated with
their autocovariances, since errors of neighbouring values depend on each other: weights of Bartlett's kernel and as
many lags as Newey and West (1994) give for a sample's size. The small-sample factor is that of Harvey, Leybourne and
Newbold (1997) for forecasts one step ahead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST = 30  # values; below, nothing is said
_Z = 1.959964  # of the normal distribution's 97.5 %


@dataclass(frozen=True, kw_only=True)
class Difference:
    """By how much one forecaster's mean absolute error is below another's, as a share of the other's."""

    better: float  # above 0: it is the better one; 0.04 is 4 % below
    low: float  # 95 % interval of that
    high: float
    p: float  # of a difference at least as large, were both equally good


def compare_errors(errors: NDArray[np.float64], others: NDArray[np.float64]) -> Difference | None:
    """Hold absolute errors (n,) against another forecaster's of the same values, in order of time.

    None for fewer than 30 values, and where the other makes no errors.
    """
    count, scale = len(errors), float(np.mean(others)) if len(others) else 0.0
    if count < LEAST or scale == 0.0 or not math.isfinite(scale):
        return None
    gains = others - errors
    mean = float(np.mean(gains))
    spread = math.sqrt(_long_run_variance(gains - mean) / count)
    better = mean / scale
    if spread == 0.0:
        return Difference(better=better, low=better, high=better, p=1.0 if mean == 0.0 else 0.0)
    statistic = mean / spread * math.sqrt((count - 1) / count)
    width = _Z * spread / scale
    p = math.erfc(abs(statistic) / math.sqrt(2.0))
    return Difference(better=better, low=better - width, high=better + width, p=p)


def _long_run_variance(centred: NDArray[np.float64]) -> float:
    """The variance of a sum of dependent numbers (n,), a number; at least that of independent ones over a hundred."""
    count = len(centred)
    lags = min(count - 1, int(4 * (count / 100) ** (2 / 9)))
    own = float(centred @ centred) / count
    total = own
    for lag in range(1, lags + 1):
        total += 2 * (1 - lag / (lags + 1)) * float(centred[lag:] @ centred[:-lag]) / count
    return max(total, own / 100)
