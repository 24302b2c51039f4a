"""Records kept aside every so many entries, so that values of long ago can be corrected without all of the input.

The entries of a stream are counted off in windows. The first time that a series is stepped in one, the record it had
just before goes with the commit into the window's hash. There are two, taken in turn: so of each series there is a
record from before any value of the last one to two windows, and what has to be read again for a correction is no more
than two. It costs a record a window for each series in it, and the memory of two records for one. What is in the hashes
is held against what the input gives (`daemon.replay.corrections`), so nothing rests on when they were written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.series_cache import Arena
from streamlstm.engine.sorted_items import Work
from streamlstm.models import NEVER
from streamlstm.store import Kept
from streamlstm.store.record import RecordFormat
from streamlstm.store.resp import EntryId

Index = NDArray[np.int64]


class WindowHead(Protocol):
    """What `keep_aside` has to know of a stream that is stepped; `results.StreamHead` has it."""

    position: bytes
    answered: int
    window: Window


@dataclass(slots=True)
class Window:
    """Which of the windows one stream is in, and what is to be kept aside where the next one begins."""

    every: int = 0  # entries of a window; 0: nothing is kept
    number: int = -1  # of the one that the last commit was in; -1 if this process has seen none
    began_ms: int = NEVER  # time of the last entry before it; NEVER if this process has not seen it begin

    def is_due(self, answered: int, kept_in: Index) -> bool:
        """Whether there is something to be done before series are stepped that were last kept in windows (n,)."""
        number = answered // self.every
        return number != self.number or bool((kept_in != number).any())

    def recall(self, arena: Arena, slots: Index, times_ms: Index) -> None:
        """Note of series that were loaded again whether they are kept in this window: who had a value in it is.

        `times_ms` (n,) are of their last values. What is kept twice would be no more from before the first of these.
        """
        if self.every:
            arena.kept_in[slots[times_ms > self.began_ms]] = self.number

    def keep(self, work: Work, head: WindowHead, arena: Arena, record_format: RecordFormat) -> Kept:
        """The records that are kept before items are stepped."""
        former, self.number = self.number, head.answered // self.every
        begins = former >= 0 and former != self.number
        if begins:
            self.began_ms = EntryId.parse(head.position).time_ms
        items = np.flatnonzero(work.slots >= 0)
        used, first = np.unique(work.slots[items], return_index=True)
        due = arena.kept_in[used] != self.number
        used, first = used[due], items[first[due]]
        arena.kept_in[used] = self.number
        known = record_format.header(arena.rows)["steps"][used] > 0  # a series that begins has none
        names = list(work.parsed.names.take(first[known]))
        records = [head.position + b" " + arena.rows[slot].tobytes() for slot in used[known].tolist()]
        return Kept(self.number % 2, begins, list(zip(names, records, strict=True)))


def keep_aside(
    works: Sequence[Work], heads: Mapping[str, WindowHead], arena: Arena, record_format: RecordFormat
) -> list[Kept]:
    """What each stream's part of a batch keeps before it is stepped."""
    each = [(work, heads[work.parsed.stream]) for work in works]
    return [head.window.keep(work, head, arena, record_format) for work, head in each]
