"""Carry out `!correct`: read again what the input holds of a series, and have it go on as if the right value had come.

A correction is an entry of its own right in the order of the stream, and what comes of it is stored by that entry's
commit, with the position: so it is made once, whoever is killed. One that cannot be made is a dead letter of the same
commit. Whoever steps the entry again (`verify`, a challenger that catches up, another model) holds to that letter: what
could be read then may not be there any more, or what could not may be known from elsewhere.

What was looked at: an index of each series' entries would write as much as the values themselves, for every value,
though next to none is ever corrected. Reading again costs nothing until then, and is bounded: MOST_ENTRIES, in a second
or so, and a daemon beats between the pages. Where a stream retains more, or its series began before what it retains,
records kept aside now and then (`engine.checkpoints`, `--checkpoint-every`) are where to begin. What cannot be reached
from there is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from streamlstm.common import counted
from streamlstm.engine import (
    NOT_CORRECTED,
    Correction,
    Engine,
    Flaw,
    Parsed,
    Past,
    Place,
    correcting_entries,
    corrections_in,
    not_corrected,
    read_correction,
    step_again,
)
from streamlstm.errors import CorrectionError
from streamlstm.store import About
from streamlstm.store.record import idle_edge, time_of
from streamlstm.store.resp import BEGINNING, EntryId

PAGE = 4_096  # entries of one read
MOST_ENTRIES = 1_000_000  # read again for the corrections of one entry
MOST_ITEMS = 250_000  # values of the corrected series among them
MOST_TOGETHER = 1_000  # entries whose corrections are made as one


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where what is to be read again of one stream lies."""

    read: Callable[[bytes, bytes, int], bytes]  # entries after one id up to another, as `Store.read`
    load: Callable[[Sequence[bytes]], Sequence[bytes | None]]  # records as of before the entry that asks
    letters: Callable[[], Mapping[About, str]]  # of corrections that were not made, and why
    begun: bytes = BEGINNING  # id of the last entry before those the states were made of
    records: Callable[[Sequence[bytes]], Sequence[bytes | None]] | None = None  # that they were begun with
    follows: bool = False  # whether the letters say what was made of the entry already
    most_entries: int | None = MOST_ENTRIES
    takes_late: bool = True  # whether values that come late are put in their place
    kept: Callable[[Sequence[bytes]], Sequence[Sequence[tuple[bytes, bytes]]]] | None = None  # as `Store.kept`


def cut(parsed: Parsed) -> Parsed:
    """The first of some entries: up to one that asks for corrections, or it, with those behind that do nothing else."""
    asking = [] if parsed.plain else correcting_entries(parsed)
    if not asking or asking[0] > 0:
        return parsed.first(asking[0]) if asking else parsed
    asked, together = Counter(parsed.entry[corrections_in(parsed)].tolist()), 0
    while together < min(parsed.entries, MOST_TOGETHER) and asked[together] == parsed.counts[together]:
        together += 1
    return parsed.first(max(1, together))


def prepare(engine: Engine, parsed: Parsed, source: Source) -> Parsed:
    """What `cut` gives, or less; if that asks for corrections, once they are made.

    Those of several entries are made as one, so that what they need is read once for all of them, where that comes to
    the same: none of them is refused for what is read. The engine steps it next. Raises CorrectionError if a correction
    that was made once cannot be made again.
    """
    first = cut(parsed)
    while not first.plain and correcting_entries(first):
        try:
            Making(engine, first, source).run()
        except _ApartError as found:
            first = parsed.first(max(1, found.entry))
        else:
            break
    return first


class _ApartError(Exception):
    """Of corrections made as one something is to be refused, first in an entry; those before it are made first."""

    def __init__(self, entry: int) -> None:
        super().__init__()
        self.entry = entry


def begun_with(source: Source, names: Sequence[bytes]) -> dict[bytes, bytes]:
    """The records that series were begun with."""
    if source.records is None:
        return {}
    found = zip(names, source.records(names), strict=True)
    return {name: record for name, record in found if record is not None}


def read_past(engine: Engine, stream: str, after: Mapping[bytes, bytes], source: Source, end: bytes) -> Past | None:
    """What a stream's entries up to an id hold of series, of each after an id of its own.

    None if that is more than may be read again.
    """
    past, position = Past(engine, after, after), bytes(min(map(EntryId.parse, after.values())))
    entries, count = 0, 1
    while count:
        engine.model.beat()
        count, position = past.take(source.read(position, end, PAGE), stream)
        entries += count
        if source.most_entries is not None and (entries > source.most_entries or past.items > MOST_ITEMS):
            return None
    return past


def right_of(engine: Engine, past: Past, letters: Callable[[], Mapping[About, str]]) -> dict[Place, bytes]:
    """What entries have put right, each place as the last of them says."""
    spec, right, there = engine.model.spec, dict[Place, bytes](), past.counts()
    for asked in past.asked:
        found = read_correction(asked, len(spec.features), exact=spec.exact)
        if (
            isinstance(found, Correction)
            and past.has(found.series)
            and EntryId.parse(found.id) > past.after(found.series)
            and found.is_of(there[found.place[:2]])
            and asked not in letters()
        ):
            right[found.place] = found.value
    return right


class Making:
    """The corrections that an entry asks for, or several that do nothing else."""

    def __init__(self, engine: Engine, entry: Parsed, source: Source) -> None:
        self._engine, self._entry, self._source = engine, entry, source
        self._stream, self._own = entry.stream, entry.ids[0]
        self._base = engine.position(entry.stream)
        self._letters: Mapping[About, str] | None = None
        self._is_there = True  # the entry with the value looked at last
        self._asked: dict[int, Correction] = {}  # by item; those that may yet be made

    def run(self) -> None:
        """Say of each item what becomes of it, and give the engine the records to go on from."""
        spec = self._engine.model.spec
        for item in corrections_in(self._entry):
            self._own = self._entry.ids[int(self._entry.entry[item])]
            asked = self._own, self._entry.names[item], self._entry.texts[item]
            found = read_correction(asked, len(spec.features), exact=spec.exact)
            flaw = self._answered_before(asked) or self._refusal(found) if isinstance(found, Correction) else found
            self._entry.corrections[item] = flaw
            if isinstance(found, Correction) and flaw is None and self._matters(found):
                self._asked[item] = found
        if self._asked:
            self._own = self._entry.ids[0]
            self._make()

    def _answered_before(self, asked: About) -> Flaw | None:
        """What the letters say of a correction."""
        why = self._known_letters().get(asked) if self._source.follows else None
        return None if why is None else Flaw(NOT_CORRECTED, why)

    def _known_letters(self) -> Mapping[About, str]:
        if self._letters is None:
            self._letters = self._source.letters()
        return self._letters

    def _matters(self, found: Correction) -> bool:
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
            return self._refused("the value comes late, and those are not taken (--late correct)")
        before = bytes(EntryId.parse(found.id).before())
        past = Past(self._engine, [found.series])
        entries, _ = past.take(self._source.read(before, found.id, 1), self._stream)
        self._is_there = entries > 0 or found.is_late
        if not self._is_there:
            gone = f"the input has no entry {found.id.decode()} (any more)"
            return None if self._source.follows else self._refused(gone)
        values = past.counts()[found.place[:2]]
        if found.is_of(values):
            return None
        if found.is_late:
            have = "has a value of this series, so that this one is not late: !correct puts it in its place"
            return self._refused(f"the entry {found.id.decode()} {have}")
        have = "no value of this series"
        if values:
            have = f"{counted(values, 'value')} of this series, and none that is number {found.number}"
        if values and found.number is None:
            have = f"{values:,} values of this series: say which, {found.id.decode()}#1 for the first"
        return self._refused(f"the entry {found.id.decode()} has {have}")

    def _refused(self, why: str) -> Flaw:
        """The flaw of a correction; raises CorrectionError where it was made before."""
        if self._source.follows:
            asked = f"the correction {self._own.decode()} of {self._stream!r}"
            raise CorrectionError(f"{asked} was made, and cannot be made again: {why}")
        return not_corrected(why)

    def _refuse(self, is_meant: Callable[[Correction], bool], why: str) -> None:
        for item, one in list(self._asked.items()):
            if is_meant(one):
                if self._entry.entries > 1:
                    raise _ApartError(int(self._entry.entry[item]))
                self._entry.corrections[item] = self._refused(why)
                del self._asked[item]

    def _make(self) -> None:
        """Step the series again, from the latest of the places where their records are known."""
        names = list(dict.fromkeys(one.series for one in self._asked.values()))
        stored = self._stored(names)
        kept = dict(zip(names, self._source.kept(names) if self._source.kept else [()] * len(names), strict=True))
        made = self._step_from(kept, stored)
        left = [name for name in names if name not in made]
        if left:
            found = self._step(stored, dict.fromkeys(left, self._source.begun), begun_with(self._source, left))
            made |= found or {}
            why = (
                "what the input retains of this series does not lead to its state of now (it began before that, or "
                "its state came from elsewhere), so it cannot be stepped again"
            )
            if found is None:
                most = self._source.most_entries or 0
                why = f"that would take reading more than {most:,} entries, or {MOST_ITEMS:,} values, again"
            # What is older than the records that are kept is out of reach, what is younger may not be.
            edges = {name: EntryId.parse(kept[name][-1][0]) for name in left if name not in made and kept[name]}
            self._refuse(lambda one: one.series in edges and EntryId.parse(one.id) <= edges[one.series], why)
            made |= self._step_from({name: kept[name] for name in edges}, stored)
            self._refuse(lambda one: one.series not in made, why)
        self._put(stored, {name: record for name, record in made.items() if record is not None})

    def _step_from(
        self, kept: Mapping[bytes, Sequence[tuple[bytes, bytes]]], stored: Mapping[bytes, bytes]
    ) -> dict[bytes, bytes | None]:
        """Step series again from records that were kept before all that is asked of them, the latest ones first."""
        made = dict[bytes, bytes | None]()
        for turn in range(max(map(len, kept.values()), default=0)):
            asked = list(self._asked.values())
            chosen = {
                name: found[turn]
                for name, found in kept.items()
                if turn < len(found)
                and name not in made
                and all(EntryId.parse(one.id) > EntryId.parse(found[turn][0]) for one in asked if one.series == name)
                and any(one.series == name for one in asked)
            }
            positions = {name: position for name, (position, _) in chosen.items()}
            records = {name: record for name, (_, record) in chosen.items()}
            made |= (self._step(stored, positions, records) if chosen else None) or {}
        return made

    def _step(
        self, stored: Mapping[bytes, bytes], after: Mapping[bytes, bytes], records: Mapping[bytes, bytes]
    ) -> dict[bytes, bytes | None] | None:
        """Step series again from records after some ids, as they were and as they are to be.

        The new records of those that come to be where they are, None of one that has no value; None for too much.
        """
        past = read_past(self._engine, self._stream, after, self._source, self._base)
        if past is None:
            return None
        right = right_of(self._engine, past, self._known_letters)
        was = step_again(self._engine, past.entries, right, records)
        agreed = [name for name in after if self._agree(stored.get(name), was.get(name))]
        right |= {one.place: one.value for one in self._asked.values() if one.series in agreed}
        made = step_again(self._engine, past.entries, right, records) if agreed else {}
        return {name: made.get(name) for name in agreed}

    def _put(self, stored: Mapping[bytes, bytes], made: Mapping[bytes, bytes]) -> None:
        """Give the engine the records that are others than before."""
        engine, names = self._engine, dict.fromkeys(one.series for one in self._asked.values())
        beginning = [name for name in names if name in made and name not in stored and not self._is_idle(made[name])]
        room = max(0, engine.settings.max_series - engine.series(self._stream))
        if len(beginning) > room:
            limit = f"{engine.settings.max_series} (--max-series)"
            beyond = beginning[room:]
            why = f"the series would begin, and the stream has reached its limit of {limit}"
            self._refuse(lambda one: one.series in beyond, why)
            beginning = beginning[:room]
            names = dict.fromkeys(one.series for one in self._asked.values())
        changed = {name: made.get(name) for name in names if name in stored or name in beginning}
        engine.correct(self._stream, changed, len(beginning))

    def _stored(self, names: Sequence[bytes]) -> dict[bytes, bytes]:
        """The records of now."""
        found = {name: self._engine.record(self._stream, name) for name in names}
        unknown = [name for name, record in found.items() if record is None]
        found |= zip(unknown, self._source.load(unknown) if unknown else (), strict=True)
        return {name: record for name, record in found.items() if record is not None}

    def _agree(self, stored: bytes | None, was: bytes | None) -> bool:
        """Whether a series is where its values lead; the record of one that is idle may be there or not."""
        return stored == was or (stored is None and was is not None and self._is_idle(was))

    def _is_idle(self, record: bytes) -> bool:
        idle_ms = self._engine.settings.idle_after_ms
        edge = None if idle_ms is None else idle_edge(self._own, idle_ms)
        return edge is not None and time_of(record, edge) < edge
