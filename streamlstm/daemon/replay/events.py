"""What entries correct of a series, and the series as it is to be by then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamlstm.engine import Correction, Known, SeriesCourse
from streamlstm.store.resp import EntryId


def at(way: Sequence[Known], place: EntryId) -> bytes | None:
    """The record that a series has after an entry, on a way that tells it, or has it before any entry behind that."""
    return [record for entry, record in way if entry <= place][-1]


@dataclass
class Event:
    """What one entry corrects of a series, or the leading ones."""

    series: bytes
    item: int  # that says so, or the last of those
    entry: int
    end: EntryId  # of the last entry before it
    asked: list[Correction]
    way: Sequence[Known] = ()  # records the series has on the way there; the last is that before the entry's values
    begin: Known | None = None  # of that way

    @property
    def record(self) -> bytes | None:
        """That of the series just before the entry's values."""
        return self.way[-1][1]

    def at(self, place: EntryId) -> bytes | None:
        """That after an entry behind the first that is corrected, which was asked for to be told."""
        assert self.begin is not None, "it was stepped"
        return at((self.begin, *self.way), place)

    @property
    def first(self) -> EntryId:
        """The first entry that is corrected."""
        return min(EntryId.parse(one.id) for one in self.asked)


@dataclass
class Series:
    """A series that is corrected: its entries as they are to be by now, and records it has on the way."""

    course: SeriesCourse
    known: list[Known]  # up to which entry, in order; None: it has no value

    def correct(self, event: Event) -> Known:
        """Put what is right in its place; where to begin, to step it again."""
        self.known = [one for one in self.known if one[0] < event.first]
        for one in event.asked:
            self.course.put(one.place, one.value)
        return self.known[-1]

    def learn(self, events: Sequence[Event]) -> None:
        """Take in the records of events that were stepped beside each other."""
        made, edge = list[Known](), None
        for event in reversed(events):
            made += [one for one in reversed(event.way) if edge is None or one[0] < edge]
            edge = event.first if edge is None else min(edge, event.first)
        self.known += made[::-1]
