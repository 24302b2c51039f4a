"""How much of a run of entries is stepped in one go, so that a stream that takes long holds no other up for long.

Values are stepped beside each other, but what stands in for a missing one is known only after the step before it, and a
silence of a series is stepped through missing value by missing value. So a few kilobytes of input can ask for hours of
steps one after the other. Entries that ask for more than their share are left for later: read again after the position,
when the other streams have had their turn. One entry at least is always taken.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.parsing import Parsed
from streamlstm.models import MOST_FILLED, NO_GAPS, Gaps

Index = NDArray[np.int64]

MOST_STEPS = 8_192  # one after the other, of a third of a millisecond each on a slow machine
BESIDE = 64  # steps of several series in one call that take as long as a call more


class Effort(NamedTuple):
    """What the items of a stream's entries ask for beyond a plain step."""

    slots: Index  # (n,) of series; below 0 is none
    entry: Index  # (n,)
    calls: Index  # (n,) steps that wait for the one before, 0 for a plain value

    @classmethod
    def of(cls, parsed: Parsed, slots: Index, silences: Index | None, gaps: Gaps, *, skip: bool) -> Effort | None:
        """Of entries whose series have these slots and come after these silences; None if there is nothing of it."""
        if parsed.plain and silences is None:
            return None
        missing = parsed.odd & np.isnan(parsed.values).any(axis=1) & (slots >= 0)
        calls = np.zeros(len(slots), np.int64) if skip else missing.astype(np.int64)
        if silences is not None:
            calls += _missing(gaps, silences)
        return cls(slots, parsed.entry, calls) if calls.any() else None

    def entries(self) -> int:
        """How many entries, from the first, are within one go."""
        total = int(self.entry[-1]) + 1
        if self.calls.sum() <= MOST_STEPS // 2 or self._cost(len(self.slots)) <= MOST_STEPS:  # the first is nearly free
            return total
        ends = np.searchsorted(self.entry, np.arange(total), side="right")  # of items, by entry
        return max(1, bisect_right(range(total), MOST_STEPS, key=lambda number: self._cost(int(ends[number]))))

    def _cost(self, items: int) -> int:
        """In steps one after the other, of the first so many items: see `schedule` for what a level is."""
        calls = self.calls[:items]
        asking = np.flatnonzero(calls)
        order = asking[np.argsort(self.slots[asking], kind="stable")]
        slots, calls = self.slots[order], calls[order]
        number = np.arange(len(order))
        begins = np.append(True, slots[1:] != slots[:-1]) if len(order) else np.empty(0, bool)
        level = number - np.maximum.accumulate(np.where(begins, number, 0))
        longest = np.zeros(len(order), np.int64)
        np.maximum.at(longest, level, calls)
        return int(longest.sum() + calls.sum() // BESIDE)


def waits(gaps: Gaps, times_ms: Index) -> Index:
    """How many steps wait for the one before in the silence before each value of one series (n,), from the second on.

    `times_ms` (n,) are of its values.
    """
    if gaps == NO_GAPS:
        return np.zeros(len(times_ms), np.int64)
    return _missing(gaps, np.diff(times_ms, prepend=times_ms[:1]))


def _missing(gaps: Gaps, silences_ms: Index) -> Index:
    """How many values are missing in silences (n,): `Gaps.missing`, and none where the series begins anew."""
    many = (silences_ms + gaps.spacing_ms // 2) // gaps.spacing_ms - 1
    are_gaps = (silences_ms > gaps.after_ms) & (silences_ms <= gaps.longest_ms)
    return np.where(are_gaps, np.clip(many, 0, MOST_FILLED), 0)
