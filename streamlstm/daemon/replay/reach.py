"""What of a stream can be stepped again from its beginning, as far as this process knows without reading all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from streamlstm.daemon.replay.corrections import MOST_ITEMS, PAGE, Source, courses_of, read_past
from streamlstm.engine import Again, Engine, Past
from streamlstm.store import About
from streamlstm.store.record import steps_of
from streamlstm.store.resp import EntryId


class Reach:
    """Where a stream is now; what is found is remembered with the stream (`engine.out_of_reach`)."""

    def __init__(
        self,
        again: Again,
        engine: Engine,
        stream: str,
        source: Source,
        letters: Callable[[], Mapping[About, str]],
    ) -> None:
        """`again` steps series once more, `letters` are of corrections that were not made."""
        self._again, self._engine, self._stream = again, engine, stream
        self._source, self._letters = source, letters
        self._base = EntryId.parse(engine.position(stream))
        self._known = engine.known(stream).out_of_reach

    @property
    def ends(self) -> list[EntryId]:
        """Where a reading from the beginning notes the ends of full pages."""
        return self._known.ends

    def within(self, names: Sequence[bytes], stored: Mapping[bytes, bytes]) -> tuple[list[bytes], bool]:
        """The series that may be found to lead to their records of now, and whether it is too much to find out of some.

        What is followed, and not asked for, may be read without bound.
        """
        if self._source.most_entries is None or not names:
            return list(names), False
        left = self._not_known(names, stored)
        few = [name for name in left if steps_of(stored.get(name, b"")) <= MOST_ITEMS]
        if few and self._is_too_long(self._source.most_entries):
            few = []
        return few, len(few) < len(left)

    def learn(self, names: Sequence[bytes], stored: Mapping[bytes, bytes]) -> None:
        """Remember of series that the beginning does not lead to where they are now."""
        for name in names:
            if name in stored:
                self._known.put(name, self._base, stored[name])

    def _not_known(self, names: Sequence[bytes], stored: Mapping[bytes, bytes]) -> list[bytes]:
        """Those that the beginning may lead to; of the others there is a record that led to where they are."""
        found = {name: known for name in names if (known := self._known.record(name)) is not None}
        if not found:
            return list(names)
        after = {name: bytes(entry) for name, (entry, _) in found.items()}
        past = read_past(self._engine, self._stream, after, self._source, bytes(self._base))
        courses = {} if past is None else courses_of(self._engine, past, self._letters)
        both = [
            (record, course.between(entry, self._base))
            for name, course in courses.items()
            for entry, record in (found[name], (found[name][0], None))
        ]
        ways = iter(self._again.after(both))
        gone = set[bytes]()
        for name, then, anew in zip(courses, ways, ways, strict=True):
            now = stored.get(name)
            if now is not None and then[-1][1] == now != anew[-1][1]:
                gone.add(name)
                self._known.put(name, self._base, now)
        for name in found.keys() - gone:
            self._known.forget(name)
        return [name for name in names if name not in gone]

    def _is_too_long(self, most: int) -> bool:
        """Whether the stream has more entries up to now than may be read, by what was read of it and what has come."""
        if not self._known.ends:
            return False
        past = Past(self._engine, ())
        first = past.take(self._source.read(self._source.begun, bytes(self._base), 1), self._stream)[1]
        ends = self._known.ends_from(EntryId.parse(first)) if first else []
        count = PAGE
        while ends and (len(ends) - 1) * PAGE <= most and count == PAGE:
            self._engine.model.beat()
            count, position = past.take(self._source.read(bytes(ends[-1]), bytes(self._base), PAGE), self._stream)
            if count == PAGE:
                ends.append(EntryId.parse(position))
        return (len(ends) - 1) * PAGE > most
