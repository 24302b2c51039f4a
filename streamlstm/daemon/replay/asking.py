"""What is asked for: whether there is such a value, and whether the states were made of it."""

from __future__ import annotations

from streamlstm.daemon.replay.corrections import Source
from streamlstm.engine import NOT_CORRECTED, Correction, Engine, Flaw, Parsed, Past, not_corrected
from streamlstm.errors import CorrectionError
from streamlstm.store import About, Refused
from streamlstm.store.resp import EntryId


class Asking:
    """The corrections of some entries, one after the other."""

    def __init__(self, engine: Engine, entries: Parsed, source: Source) -> None:
        self._engine, self._entries, self._source = engine, entries, source
        self._stream, self._own = entries.stream, entries.ids[0]
        self._base = EntryId.parse(engine.position(entries.stream))
        self._letters: Refused | None = None
        self._is_there = True  # the entry with the value looked at last
        self._places: dict[bytes, int] | None = None  # of the entries

    def flaw(self, asked: About, found: Correction) -> Flaw | None:
        """Why a correction is not made; None if it may be."""
        self._own = asked[0]
        why = self.letters().get(asked) if self._source.follows else None
        return self._refusal(found) if why is None else Flaw(NOT_CORRECTED, why)

    def letters(self) -> Refused:
        """Of corrections that were not made, and why."""
        if self._letters is None:
            self._letters = self._source.letters()
        return self._letters

    def matters(self, found: Correction) -> bool:
        """Whether the states were made of the value: what lies before their beginning is no part of them.

        Neither is what is not there any more where they are made once more. Raises CorrectionError where nobody knows.
        """
        if EntryId.parse(found.id) > EntryId.parse(self._source.begun):
            return self._is_there
        if self._source.records is not None:
            raise CorrectionError(
                f"the correction {self._own.decode()} of {self._stream!r} is of a value before the states of the file, "
                f"that of the entry {found.id.decode()}; give states that were exported before that"
            )
        return False

    def _refusal(self, found: Correction) -> Flaw | None:
        """Why there is no value to be corrected, or it is not to be, if that is so."""
        if found.is_late and not (self._source.takes_late or self._source.follows):
            return self.refused(self._own, "the value comes late, and those are not taken (--late correct)")
        values = self._values_at(found)
        self._is_there = values is not None or found.is_late
        if not self._is_there:
            gone = f"the input has no entry {found.id.decode()} (any more)"
            return None if self._source.follows else self.refused(self._own, gone)
        values = values or 0
        if found.is_of(values):
            return None
        if found.is_late:
            have = "has a value of this series, so that this one is not late: !correct puts it in its place"
            return self.refused(self._own, f"the entry {found.id.decode()} {have}")
        have = "no value of this series"
        if values:
            have = f"{values:,} value{'s' * (values > 1)} of this series, and none that is number {found.number}"
        if values and found.number is None:
            have = f"{values:,} values of this series: say which, {found.id.decode()}#1 for the first"
        return self.refused(self._own, f"the entry {found.id.decode()} has {have}")

    def _values_at(self, found: Correction) -> int | None:
        """How many values the series has in the entry that a correction names; None if there is no such entry."""
        entries = self._entries
        if EntryId.parse(found.id) > self._base:
            if self._places is None:
                self._places = {entry: number for number, entry in enumerate(entries.ids)}
            number = self._places.get(found.id)
            if number is None:
                return None
            items = range(int(entries.counts[:number].sum()), int(entries.counts[: number + 1].sum()))
            return [entries.names[item] for item in items].count(found.series)
        past = Past(self._engine, [found.series])
        before = bytes(EntryId.parse(found.id).before())
        there, _ = past.take(self._source.read(before, found.id, 1), self._stream)
        return past.counts()[found.place[:2]] if there else None

    def refused(self, own: bytes, why: str) -> Flaw:
        """The flaw of a correction; raises CorrectionError where it was made before."""
        if self._source.follows:
            asked = f"the correction {own.decode()} of {self._stream!r}"
            raise CorrectionError(f"{asked} was made, and cannot be made again: {why}")
        return not_corrected(why)
