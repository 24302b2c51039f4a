"""The chronological split: which values of a series train and which test, and what stands in for missing ones."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import TableError, UsageError
from streamlstm.models import NO_GAPS, Gaps, filled_time
from streamlstm.tables import Series


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
    begun = from_first_value(series)
    if begun is None:
        raise TableError(f"series {series.name!r} has no value at all; leave it out")
    return begun


def from_first_value(series: Series) -> Series | None:
    """A series without the missing values at its beginning; None if nothing is left."""
    there = ~np.isnan(series.values).any(axis=1)
    if not there.any():
        return None
    first = int(np.argmax(there))
    times = None if series.times_ms is None else series.times_ms[first:]
    return Series(series.name, times, series.values[first:])


def with_gaps(series: Series, gaps: Gaps) -> Series:
    """A series with missing values (NaN) where its times leave some out, as serving with `--gap-after` sees it.

    TableError if the series has no times.
    """
    if gaps is NO_GAPS:
        return series
    if series.times_ms is None:
        raise TableError(f"series {series.name!r} has no times, and gaps are seen by them; leave --gap-after out")
    rows, times = [np.full(0, 0, np.int64)], [np.empty(0, np.int64)]
    silences = np.diff(series.times_ms, prepend=series.times_ms[:1])
    first = 0
    for row in np.flatnonzero(silences > gaps.after_ms).tolist():
        count = gaps.missing(int(silences[row]))
        begin, end = int(series.times_ms[row - 1]), int(series.times_ms[row])
        rows += [np.arange(first, row), np.full(count, -1)]
        times += [series.times_ms[first:row], _filled(begin, end, count)]
        first = row
    rows.append(np.arange(first, len(silences)))
    times.append(series.times_ms[first:])
    chosen = np.concatenate(rows)
    values = np.where(chosen[:, None] >= 0, series.values[chosen], np.nan)
    return Series(series.name, np.concatenate(times), values)


def _filled(begin: int, end: int, count: int) -> NDArray[np.int64]:
    return np.array([filled_time(begin, end, count, number) for number in range(1, count + 1)], np.int64)


def fill_gaps(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fill each missing number of (N, F) with the one before it; the first row must be there."""
    last = np.where(np.isnan(values), 0, np.arange(len(values))[:, None])
    filled: NDArray[np.float64] = np.take_along_axis(values, np.maximum.accumulate(last, axis=0), axis=0)
    return filled
