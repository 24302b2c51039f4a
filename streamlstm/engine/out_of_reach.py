"""What a stream's beginning is known not to lead to, so that a correction that is refused costs next to nothing.

To find that a value cannot be corrected, what a stream retains is read from its beginning, and whoever is told so may
well ask for the next one, of that series or of any other. So such a reading counts what the entries have of all series
(`engine.item_counts`), and what comes later is counted once: a series that has taken more steps than it has values
there began before them. Of one that was read and not led to where it is, that is noted: as long as it has taken more
steps than values came since, it is what it was then and a few values more. And of a stream that has more entries than
may be read, the ends of the pages that were are kept. Nothing rests on any of that but what a refusal costs.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

from streamlstm.engine.item_counts import Counts, ItemCounts
from streamlstm.engine.parsing import ALL_SERIES, Parsed
from streamlstm.store.resp import EntryId

MOST_NOTES = 50_000  # series of a stream


class Note(NamedTuple):
    """That a stream's beginning did not lead to where a series was."""

    counts: Counts  # of its items, up to then
    time_ms: int  # of the last entry by then


class OutOfReach:
    """What the beginning of one stream is known not to lead to."""

    def __init__(self) -> None:
        self.ends: list[EntryId] = []  # of full pages of entries, in order from the stream's beginning on
        self.counts: ItemCounts | None = None  # None: it was not read from its beginning
        self._notes: dict[bytes, Note] = {}

    def take(self, parsed: Parsed) -> None:
        """Count the next entries."""
        assert self.counts is not None, "the others were counted"
        reset = self.counts.take(parsed)
        if ALL_SERIES in reset:
            self._notes.clear()
        for name in reset:
            self._notes.pop(name, None)

    def renew(self, counts: ItemCounts) -> None:
        """Go on with what was counted from a later beginning on; what was noted up to the same entry stays."""
        former, names = self.counts, list(self._notes)
        self.counts = counts
        if former is None or former.position != counts.position:
            self._notes.clear()
        elif names:
            moved = counts.of_each(names) - former.of_each(names)
            self._notes = {
                name: note._replace(counts=note.counts + more)
                for (name, note), more in zip(self._notes.items(), moved.T, strict=True)
            }

    def note(self, name: bytes, time_ms: int) -> None:
        """The beginning does not lead to where a series is, up to what was counted last."""
        if self.counts is not None:
            self._notes.pop(name, None)
            self._notes[name] = Note(self.counts.of(name), time_ms)
        while len(self._notes) > MOST_NOTES:
            del self._notes[next(iter(self._notes))]

    def noted(self, name: bytes) -> Note | None:
        """What was noted of a series."""
        return self._notes.get(name)

    def ends_from(self, first: EntryId) -> list[EntryId]:
        """The ends of pages that are left where a stream begins with this entry by now."""
        del self.ends[: bisect_left(self.ends, first)]
        return self.ends
