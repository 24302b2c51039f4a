"""Records kept aside every so many entries, so that values of long ago can be corrected without all of the input.

The entries of a stream are counted off in windows. The first time that a series is stepped in one, the record it had
just before goes with the commit into the window's hash. There are two, taken in turn: so of each series there is a
record from before any value of the last one to two windows, and what has to be read again for a correction is no more
than two. It costs a record a window for each series in it, and the memory of two records for one.

A window's hash says itself where the window began (WINDOW), so that whoever serves the stream next goes on in it, with
another size too, and does not keep later records in the place of those from before it. What is kept of a series leads
to where it is: a correction puts right, in the same commit, what is kept from behind the value, where it is
(`daemon.replay.kept_aside`). So what can be corrected does not shrink, neither by that nor by a restart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.corrected import Corrected, KeptAgain
from streamlstm.engine.series_cache import NO_SLOT, Arena
from streamlstm.engine.sorted_items import Work
from streamlstm.store import Head, Kept, KeptRecord
from streamlstm.store.record import RecordFormat
from streamlstm.store.resp import BEGINNING, EntryId

Index = NDArray[np.int64]
Texts = list[tuple[bytes, bytes]]

# Beside series' names, none of which begins so: where the window began, its size, how many entries came before, epoch.
WINDOW = b"!window"
_TOLD = re.compile(rb"([0-9]{1,18}) ([0-9]{1,18}) ([0-9]{1,18})")


class WindowHead(Protocol):
    """What `keep_aside` has to know of a stream that is stepped; `results.StreamHead` has it."""

    position: bytes
    answered: int
    window: Window
    corrected: Corrected


def epoch_told(text: bytes) -> int | None:
    """Of which states a hash has records, by its WINDOW; None if that says nothing."""
    found = _TOLD.fullmatch(text)
    return int(found[3]) if found else None


@dataclass(slots=True)
class Window:
    """Which of the windows one stream is in, and what is to be kept aside where the next one begins."""

    every: int = 0  # entries of a window; 0: nothing is kept
    epoch: int = 0  # of the stream's states: what was kept of others is not gone on with
    hash: int = 1  # which of the two it has
    number: int = -1  # as series are marked that are kept in it; -1 if nobody is known to have kept records in one
    entries: int = 0  # that came before it
    began: EntryId = field(default_factory=lambda: EntryId.parse(BEGINNING))  # the last of them
    doubtful: dict[bytes, int] = field(default_factory=dict)  # series that were loaded and may be kept in it, slots

    @classmethod
    def taken_up(cls, told: Iterable[KeptRecord], every: int, head: Head) -> Window:
        """The window that was served last, by what the hashes say of themselves."""
        found = [(one, text) for one in told if (text := _TOLD.fullmatch(one.record))]
        made = cls(every, head.epoch)
        if found and every:
            last, text = max(found, key=lambda one: EntryId.parse(one[0].position))
            made.hash = last.window
            if int(text[3]) == head.epoch:
                made.number, made.began = 0, EntryId.parse(last.position)
                # No less than a whole one comes before the next.
                made.entries = max(int(text[2]), head.answered - every)
        return made

    def is_over(self, answered: int) -> bool:
        """Whether the next one begins behind so many entries."""
        return self.number < 0 or answered - self.entries >= self.every

    def is_due(self, answered: int, kept_in: Index) -> bool:
        """Whether there is something to be done before series are stepped that were last kept in windows (n,)."""
        return self.is_over(answered) or bool((kept_in != self.number).any())

    def recall(self, arena: Arena, names: Sequence[bytes], slots: Index, times_ms: Index) -> None:
        """Note of series that were loaded again whether they are kept in this window: who had a value in it is.

        `times_ms` (n,) are of their last values. What is kept twice would be no more from before the first of these.
        Where that is of the time at which the window began, only the hash knows (`settle`).
        """
        if self.every and self.number >= 0:
            arena.kept_in[slots[times_ms > self.began.time_ms]] = self.number
            doubtful = np.flatnonzero(times_ms == self.began.time_ms).tolist()
            self.doubtful = {names[number]: int(slots[number]) for number in doubtful}

    def settle(self, arena: Arena, kept: Sequence[Sequence[KeptRecord]]) -> None:
        """Note the same of those that are doubtful, by what is kept of each."""
        for slot, found in zip(self.doubtful.values(), kept, strict=True):
            if any(one.window == self.hash for one in found):
                arena.kept_in[slot] = self.number
        self.doubtful.clear()

    def keep(self, work: Work, head: WindowHead, arena: Arena, record_format: RecordFormat) -> Kept | None:
        """The records that are kept before items are stepped: of series that have one, or that are corrected."""
        begins = self._begin(head) if self.every else None
        made = dict[int, Texts]({self.hash: [] if begins is None else [self._told()], 1 - self.hash: []})
        for where, one in self._corrected(work, head, begins).items():
            made[where[0]].append((one.series, one.position + b" " + (one.record or b"")))
        if self.every:
            names = self._due(work, arena, {one.series for one in head.corrected.kept})
            made[self.hash] += self._records(names, head.position, arena, record_format)
        return Kept(begins, made) if any(made.values()) else None

    def _corrected(self, work: Work, head: WindowHead, begins: int | None) -> dict[tuple[int, bytes], KeptAgain]:
        """What is kept again of series that are corrected, by hash and series; the last of each counts."""
        found = dict[tuple[int, bytes], KeptAgain]()
        for one in head.corrected.kept:
            is_due = one.window is None and self.every and not (one.is_kept and begins is None)
            if one.entry < work.parsed.entries and (is_due or one.window not in {None, begins}):
                found[self.hash if one.window is None else one.window, one.series] = one
        return {where: one for where, one in found.items() if one.window is not None or one.record is not None}

    def _begin(self, head: WindowHead) -> int | None:
        """Begin the next window if it is time for that: the hash that is emptied."""
        if not self.is_over(head.answered):
            return None
        self.entries = head.answered - (head.answered - self.entries) % self.every
        self.number, self.hash, self.began = self.number + 1, 1 - self.hash, EntryId.parse(head.position)
        return self.hash

    def _told(self) -> tuple[bytes, bytes]:
        return WINDOW, b"%b %d %d %d" % (bytes(self.began), self.every, self.entries, self.epoch)

    def _due(self, work: Work, arena: Arena, corrected: Iterable[bytes]) -> dict[int, bytes]:
        """The series of items that are to be kept, by slot; those of others that are corrected are seen to."""
        items = np.flatnonzero(work.slots >= 0)
        used, first = np.unique(work.slots[items], return_index=True)
        due = arena.kept_in[used] != self.number
        named = zip(used[due].tolist(), items[first[due]].tolist(), strict=True)
        names = {slot: work.parsed.series_at(item) for slot, item in named}
        found = (arena.find(work.parsed.stream, name) for name in corrected)
        seen = [slot for slot in found if slot != NO_SLOT]
        arena.kept_in[seen] = self.number
        return {slot: name for slot, name in names.items() if slot not in seen}

    def _records(self, names: Mapping[int, bytes], position: bytes, arena: Arena, record_format: RecordFormat) -> Texts:
        """The records that series have in slots, as they are kept; one that begins has none."""
        slots = np.array(list(names), np.int64)
        arena.kept_in[slots] = self.number
        known = slots[record_format.header(arena.rows)["steps"][slots] > 0]
        return [(names[slot], position + b" " + arena.rows[slot].tobytes()) for slot in known.tolist()]


def keep_aside(
    works: Sequence[Work], heads: Mapping[str, WindowHead], arena: Arena, record_format: RecordFormat
) -> list[Kept | None]:
    """What each stream's part of a batch keeps before it is stepped."""
    each = [(work, heads[work.parsed.stream]) for work in works]
    return [
        head.window.keep(work, head, arena, record_format) if head.window.every or head.corrected.kept else None
        for work, head in each
    ]
