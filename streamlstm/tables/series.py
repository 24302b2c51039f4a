"""What a table is read into: series with their times and values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Series:
    """One time series as read: in order of time, all F columns of a value side by side."""

    name: str
    times_ms: NDArray[np.int64] | None  # (N,) ms since the epoch, strictly increasing; None: the table has no times
    values: NDArray[np.float64]  # (N, F); NaN is missing
