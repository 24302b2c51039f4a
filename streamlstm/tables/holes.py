"""Holes in the times of a table: where its series are silent for longer than their spacing, and for how long.

A series that is silent by a schedule (trading hours, working days) has no holes: it goes on where it was. So a silence
that comes again and again after the same time, and takes much of it, is none; nor has a table holes whose times are not
regular, or that is silent for longer than not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamlstm.tables.series import Series

LEAST_REGULAR = 0.9  # of a series' spacings lie near a multiple of the usual one
NEAR = 0.25  # of the usual spacing: months are 28 to 31 days
MOST_MISSING = 0.5  # of all steps
# A schedule: so many silences follow each other after the same time, and so much of the time is silent.
FEWEST_ROUNDS, SCHEDULED, LEAST_SILENT = 4, 0.5, 0.2

_UNITS = {"days": 86_400_000, "hours": 3_600_000, "minutes": 60_000, "seconds": 1_000}


@dataclass(frozen=True, kw_only=True)
class Holes:
    """The holes of a table's series."""

    spacing_ms: int  # the usual time from one value to the next
    count: int
    missing: int  # values that are not there
    longest_ms: int
    series: str  # with the longest hole
    begin_ms: int  # the last value before it

    @property
    def after_ms(self) -> int:
        """What is longer than this between two values is a hole."""
        return self.spacing_ms * 3 // 2

    def __str__(self) -> str:
        """What is missing, in words."""
        when = np.datetime_as_string(np.datetime64(self.begin_ms, "ms").astype("datetime64[s]"))
        many = "1 hole" if self.count == 1 else f"{self.count:,} holes"
        values = "1 value" if self.missing == 1 else f"{self.missing:,} values"
        where = f"{_length(self.longest_ms)} in {self.series!r} after {when}Z"
        return f"{many} of {values} in the times, {'' if self.count == 1 else 'the longest '}{where}"


def find_holes(series: Sequence[Series]) -> Holes | None:
    """The holes of series whose times are regular; None where there are none, or nobody can tell."""
    timed = [(one, np.diff(one.times_ms)) for one in series if one.times_ms is not None and len(one.times_ms) > 2]
    if not timed:
        return None
    spacing = max(1, round(float(np.median(np.concatenate([gaps for _, gaps in timed])))))
    if not all(_is_regular(gaps, spacing) for _, gaps in timed):
        return None
    holes = [hole for one, gaps in timed for hole in _holes(one, gaps, spacing)]
    missing = sum(hole.missing for hole in holes)
    if not holes or missing > MOST_MISSING * (missing + sum(len(gaps) for _, gaps in timed)):
        return None
    longest = max(holes, key=lambda hole: hole.longest_ms)
    return Holes(
        spacing_ms=spacing,
        count=len(holes),
        missing=missing,
        longest_ms=longest.longest_ms,
        series=longest.series,
        begin_ms=longest.begin_ms,
    )


def _is_regular(gaps: NDArray[np.int64], spacing: int) -> bool:
    steps = np.maximum(np.round(gaps / spacing), 1)
    return float(np.mean(np.abs(gaps - steps * spacing) <= NEAR * spacing)) >= LEAST_REGULAR


def _holes(one: Series, gaps: NDArray[np.int64], spacing: int) -> Iterator[Holes]:
    """Each hole of one series, unless they are its schedule."""
    assert one.times_ms is not None, "series without times have been left out"
    rows = np.flatnonzero(gaps > spacing * 3 // 2)
    begins = one.times_ms[rows]
    missing = (gaps[rows] + spacing // 2) // spacing - 1
    if len(rows) > FEWEST_ROUNDS and missing.sum() >= LEAST_SILENT * (missing.sum() + len(gaps)):
        _, counts = np.unique(np.round(np.diff(begins) / spacing), return_counts=True)
        if counts.max() >= SCHEDULED * (len(rows) - 1):
            return
    for row, begin, count in zip(rows.tolist(), begins.tolist(), missing.tolist(), strict=True):
        yield Holes(
            spacing_ms=spacing,
            count=1,
            missing=count,
            longest_ms=int(gaps[row]),
            series=one.name,
            begin_ms=begin,
        )


def _length(span_ms: int) -> str:
    for name, size in _UNITS.items():
        if span_ms >= 2 * size:
            return f"{span_ms / size:.4g} {name}"
    return f"{span_ms} ms"
