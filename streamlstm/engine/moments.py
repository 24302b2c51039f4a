"""Records that series had at some moments, so that the first correction of each need not begin with its first value.

What a process has in memory is copied, which takes a millisecond or two, and only when something is corrected: who
never corrects has none, and a value costs nothing more. Of several distances the last two are kept, so a value that is
corrected lies behind one that is not many times as far back as it is. As with other records that are remembered
(`engine.known_records`), nothing rests on them: what is begun with has to lead to where the series is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.series_cache import NO_SLOT, Arena
from streamlstm.store.record import Rows
from streamlstm.store.resp import EntryId

Index = NDArray[np.int64]

APART = (4_096, 65_536, 1 << 20)  # entries between two moments of each distance
MOST_BYTES = 2 << 20  # of one moment; where a stream has more in memory, the series that had a value last


class Moment(NamedTuple):
    """Where series were after an entry."""

    entry: EntryId
    batch: int  # of the arena
    slots: Index  # (n,) in order
    rows: Rows  # (n, words)


class Moments:
    """Those of one stream."""

    def __init__(self) -> None:
        self._of = {every: list[Moment]() for every in APART}  # the last two of each distance
        self._numbers = dict.fromkeys(APART, -1)  # of entries, counted in these distances, when the last was taken

    def take(self, arena: Arena, stream: str, entry: EntryId, answered: int) -> None:
        """Copy what is in memory after an entry, if that is far enough from the last time; so many were answered."""
        due = [every for every in self._of if answered // every != self._numbers[every]]
        if not due:
            return
        slots = arena.recent(stream, MOST_BYTES // arena.rows[:1].nbytes)
        moment = Moment(entry, arena.batch, slots, arena.rows.take(slots, axis=0))
        for every in due:
            self._numbers[every] = answered // every
            self._of[every] = [*self._of[every][-1:], moment]

    def before(self, arena: Arena, slot: int, entry: EntryId) -> tuple[EntryId, bytes] | None:
        """The last record from before an entry that the series in a slot is known to have had there."""
        if slot == NO_SLOT:
            return None
        for moment in sorted((one for each in self._of.values() for one in each), key=_entry_of, reverse=True):
            at = int(np.searchsorted(moment.slots, slot))
            is_there = at < len(moment.slots) and moment.slots[at] == slot
            if is_there and moment.entry < entry and arena.given_in[slot] <= moment.batch:
                return moment.entry, moment.rows[at].tobytes()
        return None


def _entry_of(moment: Moment) -> EntryId:
    return moment.entry
