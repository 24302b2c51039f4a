"""When the values to come are due: evenly spaced, by the calendar where values lie months or years apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlstm.store.record import LATEST_MS

Index = NDArray[np.int64]
# The time between two values, ms: of all series, or (n,) of each; 0 and None: nobody knows.
Spacing = int | Index | None

UNKNOWN_MS = -1  # a time that nobody knows
DAY_MS = 86_400_000
# Days that a month, a quarter, half a year, a year may have -> how many months that is.
CALENDAR_STEPS = {(28, 31): 1, (89, 92): 3, (181, 184): 6, (365, 366): 12}
END_OF_CALENDAR_MS = 253_402_300_800_000  # the year 10000, and later ids are no times


def times_ahead(last_ms: Index, steps: int, spacing_ms: int | Index) -> Index:
    """The times (n, H) of the H values after those at `last_ms` (n,), in ms since the epoch.

    They are `spacing_ms` apart; with a spacing of 28 to 31 days (89 to 92, 181 to 184, 365 or 366) one calendar month
    (three, six, twelve), on the same day and at the same time, or on the last day of months where the last was one.
    Of series (n,) with a spacing each those with 0 have `UNKNOWN_MS`.
    """
    if isinstance(spacing_ms, int):
        return _evenly_ahead(last_ms, steps, spacing_ms)
    found = np.full((len(last_ms), steps), UNKNOWN_MS, np.int64)
    for one in np.unique(spacing_ms[spacing_ms > 0]).tolist():
        chosen = spacing_ms == one
        found[chosen] = _evenly_ahead(last_ms[chosen], steps, one)
    return found


def _evenly_ahead(last_ms: Index, steps: int, spacing_ms: int) -> Index:
    number = np.arange(1, steps + 1)
    months = _months(spacing_ms)
    if months is None or (last_ms.size and last_ms.max() >= END_OF_CALENDAR_MS):
        room = (LATEST_MS - last_ms[:, None]) // spacing_ms
        even: Index = last_ms[:, None] + np.minimum(number, room) * spacing_ms
        return even
    when = last_ms.astype("datetime64[ms]")
    month, day = when.astype("datetime64[M]"), when.astype("datetime64[D]")
    place = (day - month.astype("datetime64[D]")).astype(np.int64)
    is_last = (day + 1).astype("datetime64[M]") != month
    later = month[:, None] + months * number
    length = ((later + 1).astype("datetime64[D]") - later.astype("datetime64[D]")).astype(np.int64)
    chosen = np.where(is_last[:, None], length - 1, np.minimum(place[:, None], length - 1))
    of_day = (when - day.astype("datetime64[ms]")).astype(np.int64)
    days: Index = (later.astype("datetime64[D]") + chosen).astype("datetime64[ms]").astype(np.int64)
    return np.asarray(days + of_day[:, None], np.int64)


def _months(spacing_ms: int) -> int | None:
    """How many calendar months a spacing stands for; None where it is a time like any other."""
    return next(
        (months for (least, most), months in CALENDAR_STEPS.items() if least <= spacing_ms / DAY_MS <= most), None
    )
