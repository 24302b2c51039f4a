"""Records kept aside every so many entries, so that values of long ago can be corrected without all of the input.

The entries of a stream are counted off in windows. The first time that a series is stepped in one, the record it had
just before goes with the commit into the window's hash. There are two, taken in turn: so of each series there is a
record from before any value of the last one to two windows, and what has to be read again for a correction is no more
than two. It costs a record a window for each series in it, and the memory of two records for one. What is in the hashes
is held against what the input gives (`daemon.replay.corrections`), so nothing rests on when they were written.

A window's hash says itself where the window began (WINDOW), so that whoever serves the stream next goes on in it and
does not keep later records in the place of those from before it. What is kept of a series leads to where it is: where a
correction puts it elsewhere, a record of that place goes with the same commit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.corrected import Corrected
from streamlstm.engine.series_cache import Arena
from streamlstm.engine.sorted_items import Work
from streamlstm.models import NEVER
from streamlstm.store import Kept
from streamlstm.store.record import RecordFormat
from streamlstm.store.resp import EntryId

Index = NDArray[np.int64]

WINDOW = b"!window"  # beside series' names, none of which begins so: where the window began, its size, number and epoch
_TOLD = re.compile(rb"([0-9]{1,18}) ([0-9]{1,18}) ([0-9]{1,18})")


class WindowHead(Protocol):
    """What `keep_aside` has to know of a stream that is stepped; `results.StreamHead` has it."""

    position: bytes
    answered: int
    window: Window
    corrected: Corrected


@dataclass(slots=True)
class Window:
    """Which of the windows one stream is in, and what is to be kept aside where the next one begins."""

    every: int = 0  # entries of a window; 0: nothing is kept
    epoch: int = 0  # of the stream's states: what was kept of others is not gone on with
    number: int = -1  # of the one that the last commit was in; -1 if nobody is known to have kept records in one
    began_ms: int = NEVER  # time of the last entry before records were kept in it; NEVER if that is not known

    @classmethod
    def taken_up(cls, told: Iterable[tuple[bytes, bytes]], every: int, epoch: int) -> Window:
        """The window that was served last, by what the hashes say: positions, and what stands behind them."""
        made = cls(every, epoch)
        for position, text in told:
            found = _TOLD.fullmatch(text)
            size, number, of = map(int, found.groups()) if found else (0, 0, 0)
            if every and (size, of) == (every, epoch) and number > made.number:
                made.number, made.began_ms = number, EntryId.parse(position).time_ms
        return made

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
        """The records that are kept before items are stepped: of series that have one, or that are corrected."""
        former, self.number = self.number, head.answered // self.every
        told = list[tuple[bytes, bytes]]()
        if former != self.number:
            self.began_ms = EntryId.parse(head.position).time_ms
            told = [(WINDOW, b"%b %d %d %d" % (head.position, self.every, self.number, self.epoch))]
        items = np.flatnonzero(work.slots >= 0)
        used, first = np.unique(work.slots[items], return_index=True)
        due = arena.kept_in[used] != self.number
        named = zip(used[due].tolist(), items[first[due]].tolist(), strict=True)
        names = {slot: work.parsed.series_at(item) for slot, item in named}
        names |= {slot: name for name, slot in head.corrected.slots.items() if arena.kept_in[slot] != self.number}
        records = self._records(names, head.position, arena, record_format)
        return Kept(self.number % 2, former >= 0 and bool(told), [*told, *records])

    def keep_restarted(self, kept: Kept, work: Work, arena: Arena, record_format: RecordFormat) -> Kept:
        """The same with what series come to that are corrected among the items, once those are stepped."""
        names = {int(work.slots[item]): work.parsed.series_at(item) for item in work.restarts}
        if not names:
            return kept
        records = self._records(names, work.parsed.position, arena, record_format)
        return replace(kept, records=[*kept.records, *records])

    def _records(
        self, names: Mapping[int, bytes], position: bytes, arena: Arena, record_format: RecordFormat
    ) -> list[tuple[bytes, bytes]]:
        """The records that series have in slots, as they are kept; one that begins has none."""
        slots = np.array(list(names), np.int64)
        arena.kept_in[slots] = self.number
        known = slots[record_format.header(arena.rows)["steps"][slots] > 0]
        return [(names[slot], position + b" " + arena.rows[slot].tobytes()) for slot in known.tolist()]


def keep_aside(
    works: Sequence[Work], heads: Mapping[str, WindowHead], arena: Arena, record_format: RecordFormat
) -> list[Kept]:
    """What each stream's part of a batch keeps before it is stepped."""
    each = [(work, heads[work.parsed.stream]) for work in works]
    return [head.window.keep(work, head, arena, record_format) for work, head in each]


def keep_restarted(
    kept: Sequence[Kept],
    works: Sequence[Work],
    heads: Mapping[str, WindowHead],
    arena: Arena,
    record_format: RecordFormat,
) -> list[Kept]:
    """The same with what each keeps once it is stepped."""
    each = [(one, work, heads[work.parsed.stream]) for one, work in zip(kept, works, strict=False)]
    return [head.window.keep_restarted(one, work, arena, record_format) for one, work, head in each]
