"""Times before 1970 moved to where Redis can hold them: entry ids are milliseconds since 1970 and never negative.

The Gregorian calendar repeats its weekdays every 28 years as long as no century year that is no leap year lies
between (so within 1901 to 2099), hence history is moved by the smallest multiple of 28 years that suffices: month,
day, time of day and there also the weekday stay, and a model that looks at the calendar sees the same calendar.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import numpy as np

from streamlstm.errors import UsageError

CYCLE_YEARS = 28
CYCLE_MS = (28 * 365 + 7) * 86_400_000
# Between these times 28 years are always CYCLE_MS: 1901-01-01 and 2100-01-01, in ms.
_PLAIN_FROM_MS, _PLAIN_UNTIL_MS = -2_177_452_800_000, 4_102_444_800_000


class Shift:
    """Moves times by whole years, 0 leaves them as they are; those given in order stay so."""

    def __init__(self, years: int, *, in_order: bool = True) -> None:
        self.years, self._in_order = years, in_order
        self._latest = 0
        cycles, rest = divmod(years, CYCLE_YEARS)
        self._plain_ms = cycles * CYCLE_MS if rest == 0 else None

    def __call__(self, time_ms: int) -> int:
        """Move one time (ms since 1970); raises UsageError if it is still before 1970.

        A 29 February that the target year lacks becomes 1 March; what it then overtakes is put level with it, so
        that times in order stay in order.
        """
        if self.years == 0:
            moved = time_ms
        elif (
            self._plain_ms is not None
            and _PLAIN_FROM_MS <= time_ms < _PLAIN_UNTIL_MS
            and _PLAIN_FROM_MS <= time_ms + self._plain_ms < _PLAIN_UNTIL_MS
        ):
            moved = time_ms + self._plain_ms
        else:
            moved = _add_years(time_ms, self.years)
        if moved < 0:
            raise UsageError(
                f"{written(time_ms)} moved by {self.years} years is before 1970, which no entry id can be; "
                f"use --shift-years {shift_years(time_ms)} or leave it out"
            )
        self._latest = max(self._latest, moved) if self._in_order else moved
        return self._latest


def shift_years(earliest_ms: int) -> int:
    """Give the smallest multiple of 28 years that brings the earliest time to 1970 or later; 0 if it is there."""
    years = 0
    while _add_years(earliest_ms, years) < 0:
        years += CYCLE_YEARS
    return years


def written(time_ms: int) -> str:
    """Write a time (ms since 1970) in ISO 8601, UTC, no longer than it must be: `1949-01-31`, `…T12:00:00.5Z`."""
    try:
        when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms)
    except OverflowError:
        return f"{time_ms} ms"
    if time_ms % 86_400_000 == 0:
        return when.strftime("%Y-%m-%d") if when.year >= 1000 else when.date().isoformat()
    return when.isoformat(timespec="milliseconds" if time_ms % 1000 else "seconds").replace("+00:00", "Z")


def moved_note(before_ms: int, after_ms: int, years: int) -> str:
    """Say to a person what was moved, for stderr."""
    return (
        f"times before 1970 cannot be entry ids: moved by {years} years, {written(before_ms)} became "
        f"{written(after_ms)} (--shift-years sets it)"
    )


def earliest(times: Iterable[int | None]) -> int | None:
    """Give the earliest time there is, None if there is none."""
    return min((time for time in times if time is not None), default=None)


def _add_years(time_ms: int, years: int) -> int:
    """Move a time by calendar years: month, day and time of day stay; 29 February may become 1 March."""
    time = np.datetime64(time_ms, "ms")
    month = time.astype("datetime64[M]")
    moved = (month + np.timedelta64(12 * years, "M")).astype("datetime64[ms]") + (time - month.astype("datetime64[ms]"))
    return int(moved.astype(np.int64))
