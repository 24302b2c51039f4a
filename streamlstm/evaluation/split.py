"""The chronological split: which values of a series train and which test, and what stands in for missing ones."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import TableError, UsageError
from streamlstm.table import Series


def training_length(length: int, test_size: float) -> int:
    """How many of a series' `length` values are its training part.

    `test_size` below 1 is the share, from 1 up the number of last values that are kept for the test; UsageError if
    it is negative or not a whole number from 1 up.
    """
    if not math.isfinite(test_size) or test_size < 0 or (test_size >= 1 and test_size != int(test_size)):
        raise UsageError(f"the test size is a share below 1 or a whole number of last values, not {test_size:g}")
    return length - (int(test_size) if test_size >= 1 else int(length * test_size))


def drop_leading_gap(series: Series) -> Series:
    """Cut the missing values off the beginning of a series; TableError if nothing is left."""
    there = ~np.isnan(series.values).any(axis=1)
    if not there.any():
        raise TableError(f"series {series.name!r} has no value at all; leave it out")
    first = int(np.argmax(there))
    times = None if series.times_ms is None else series.times_ms[first:]
    return Series(series.name, times, series.values[first:])


def fill_gaps(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fill each missing number of (N, F) with the one before it; the first row must be there."""
    last = np.where(np.isnan(values), 0, np.arange(len(values))[:, None])
    filled: NDArray[np.float64] = np.take_along_axis(values, np.maximum.accumulate(last, axis=0), axis=0)
    return filled
