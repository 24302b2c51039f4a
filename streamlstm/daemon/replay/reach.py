"""What of a stream can be stepped again from its beginning, as far as this process knows without reading all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from streamlstm.daemon.replay.corrections import MOST_ITEMS, PAGE, Source, first_entry
from streamlstm.engine import Engine, ItemCounts, Parsed, Past
from streamlstm.store import Refused
from streamlstm.store.record import steps_of
from streamlstm.store.resp import EntryId


class Reach:
    """Where a stream is now; what is found is remembered with the stream (`engine.out_of_reach`)."""

    def __init__(self, engine: Engine, stream: str, source: Source, letters: Callable[[], Refused]) -> None:
        """`letters` are of corrections that were not made."""
        self._engine, self._stream, self._source, self._letters = engine, stream, source, letters
        self._base = EntryId.parse(engine.position(stream))
        self._known = engine.known(stream).out_of_reach
        self._is_bounded = source.most_entries is not None
        self._is_counted = False  # up to now
        self._new: ItemCounts | None = None  # of a reading that is under way, from another beginning
        self._is_begun = False

    def within(self, names: Sequence[bytes], stored: Mapping[bytes, bytes]) -> tuple[list[bytes], bool]:
        """The series that may be found to lead to their records of now, and whether it is too much to find out of some.

        What is followed, and not asked for, may be read without bound.
        """
        if not self._is_bounded or not names:
            return list(names), False
        self._count()
        left = [name for name in names if not self._leads_elsewhere(name, steps_of(stored.get(name, b"")))]
        few = [name for name in left if steps_of(stored.get(name, b"")) <= MOST_ITEMS and not self._is_hot(name)]
        if few and self._is_too_long():
            few = []
        return few, len(few) < len(left)

    def empty(self, first: Mapping[bytes, EntryId]) -> list[bytes]:
        """Series without a record that the entries say nothing of, or nothing that matters behind `first` of each."""
        if not self._is_bounded or not first or self._known.counts is None:
            return []
        self._count()
        counts = self._known.counts
        return [
            name
            for name, entry in first.items()
            if counts is not None and not counts.most(name) and (counts.all_reset is None or counts.all_reset < entry)
        ]

    def begin(self) -> None:
        """The stream is about to be read from its beginning."""
        self._known.ends.clear()
        self._new, self._is_begun = None, False

    def watch(self, parsed: Parsed) -> None:
        """Take in the next page of that reading."""
        counts = self._known.counts
        if not self._is_begun and (counts is None or counts.first != EntryId.parse(parsed.ids[0])):
            self._new = ItemCounts()
        self._is_begun = True
        if self._new is not None:
            self._new.take(parsed)
        if parsed.entries == PAGE:
            self._known.ends.append(EntryId.parse(parsed.position))

    def end(self, *, is_whole: bool) -> None:
        """The reading is over, and was one up to now if it is whole."""
        has_more = not is_whole and self._has_too_many_ends()
        if self._new is not None and (is_whole or self._known.counts is None) and not has_more:
            self._count_late(self._new)
            self._known.renew(self._new)
            self._is_counted = is_whole

    def learn(self, names: Sequence[bytes], stored: Mapping[bytes, bytes]) -> None:
        """Remember of series that the beginning does not lead to where they are now."""
        for name in names:
            if name in stored:
                self._known.note(name, self._base.time_ms)

    def _leads_elsewhere(self, name: bytes, steps: int) -> bool:
        """Whether the beginning is known not to lead to where a series is."""
        counts, note = self._known.counts, self._known.noted(name)
        if counts is None or counts.first is None or not steps:
            return False
        if steps > counts.most_since(name) + self._filled(counts, counts.first.time_ms):
            return True
        return note is not None and steps > counts.most_since(name, note.counts) + self._filled(counts, note.time_ms)

    def _filled(self, counts: ItemCounts, since_ms: int) -> int:
        """How many steps stand for values that were missing in gaps since then, at most."""
        gaps = self._engine.gaps
        if counts.has_warm and gaps.most_missing(1 << 62):
            return 1 << 62  # whose values have any time
        return gaps.most_missing(self._base.time_ms - since_ms)

    def _is_hot(self, name: bytes) -> bool:
        counts = self._known.counts
        return counts is not None and counts.most_read(name) > MOST_ITEMS

    def _count(self) -> None:
        """Count what has come since the last time."""
        counts, past = self._known.counts, Past(self._engine, (), watch=self._known.take)
        if self._is_counted or counts is None or counts.position is None:
            return
        entries, count, position = 0, 1, bytes(counts.position)
        while count and entries <= (self._source.most_entries or 0):
            self._engine.model.beat()
            count, position = past.take(self._source.read(position, bytes(self._base), PAGE), self._stream)
            entries += count
        if count:  # by so much a reading from the beginning is no dearer
            self._known.counts = None
            return
        self._count_late(counts)
        self._is_counted = True

    def _count_late(self, counts: ItemCounts) -> None:
        """Count values that came late, but not those that were refused."""
        for asked in counts.late:
            if asked not in self._letters():
                counts.add(asked[2].rsplit(b" ", 2)[0])
        counts.late.clear()

    def _is_too_long(self) -> bool:
        """Whether the stream has more entries up to now than may be read, by what was read of it and what has come."""
        if not self._known.ends:
            return False
        past, first = Past(self._engine, ()), first_entry(self._engine, self._stream, self._source, self._source.begun)
        ends = [] if first is None else self._known.ends_from(first)
        count = PAGE
        while ends and not self._has_too_many_ends() and count == PAGE:
            self._engine.model.beat()
            count, position = past.take(self._source.read(bytes(ends[-1]), bytes(self._base), PAGE), self._stream)
            if count == PAGE:
                ends.append(EntryId.parse(position))
        return self._has_too_many_ends()

    def _has_too_many_ends(self) -> bool:
        return (len(self._known.ends) - 1) * PAGE > (self._source.most_entries or 0)
