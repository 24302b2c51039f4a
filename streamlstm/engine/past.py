"""What a stream's entries hold of some series, and series stepped again.

A state cannot be taken back, so a series whose value was wrong is stepped again from a place where its record is known,
over the entries of its own that came after that.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from streamlstm.engine.corrections import Entry, Place
from streamlstm.engine.effort import waits
from streamlstm.engine.engine import Engine
from streamlstm.engine.known_records import Known
from streamlstm.engine.parsing import ALL_SERIES, COMMANDS, CORRECTIONS, RESET, WARM, Parsed, parse
from streamlstm.engine.series_cache import NO_SLOT
from streamlstm.models import NO_GAPS, Gaps
from streamlstm.store import BEFORE_ANYTHING, About
from streamlstm.store.resp import EntryId, Table, encode_read

ENTRIES_AT_ONCE = 4_096  # stepped in one batch
BESIDE = 64  # courses that are stepped beside each other

_FIRST = EntryId(0, 0)
_TOLD = tuple(16 * 4**power for power in range(12))  # steps before the end of a course: a record is told there
_NO_LIMIT = 1 << 62  # whether a series had a place is seen by its record
_STREAM = "again"  # of the engine that steps once more; nothing of it is ever stored


class Past:
    """What a stream's entries hold of some series: values, resets, and corrections that were asked for."""

    def __init__(
        self,
        engine: Engine,
        series: Iterable[bytes],
        after: Mapping[bytes, bytes] | None = None,
        watch: Callable[[Parsed], None] | None = None,
    ) -> None:
        """`engine` has the model and the settings that the values are stepped with.

        Of series with an id in `after` only what comes after that counts. `watch` is shown what each reply holds.
        """
        self._engine, self.courses, self._watch = engine, {name: list[Entry]() for name in series}, watch
        self._after = {name: EntryId.parse(entry) for name, entry in (after or {}).items()}
        self._table = Table()  # of all that matters, so that an entry's other items take no time
        for number, name in enumerate((*self.courses, *COMMANDS)):
            self._table.put(0, name, number)
        self.asked: list[About] = []  # corrections of these series, in order
        self.items = 0  # and how much was taken in of them
        self.entries = 0  # that were read

    def take(self, reply: bytes, stream: str) -> tuple[int, bytes]:
        """Take in the entries of a reply to a read of the stream; how many there were, and the id of the last.

        (0, b"") if it has none.
        """
        engine, spec = self._engine, self._engine.model.spec
        most = engine.settings.max_entry_values
        found = parse(reply, self._table, {stream.encode(): 0}, len(spec.features), most, exact=spec.exact)
        if not found:
            return 0, b""
        [parsed] = found
        self.entries += parsed.entries
        if self._watch is not None:
            self._watch(parsed)
        self._add(parsed, np.flatnonzero(parsed.slots != NO_SLOT).tolist())
        return parsed.entries, parsed.position

    def take_parsed(self, parsed: Parsed) -> None:
        """Take in entries that are parsed already."""
        self._add(parsed, [item for item, name in enumerate(parsed.names) if name in self.courses or name in COMMANDS])

    def _add(self, parsed: Parsed, items: Iterable[int]) -> None:
        """Take in the items that matter."""
        last, warm, told = -1, list[bytes](), Counter[bytes]()  # the entry, its `!warm`s, and how many each series has
        for item in items:
            name, text, number = parsed.names[item], parsed.texts[item], int(parsed.entry[item])
            if number != last:
                last, warm, told = number, [], Counter()
            entry = parsed.ids[number]
            if name in CORRECTIONS:
                if text.rpartition(b" ")[0].rpartition(b" ")[0] in self.courses:
                    self.asked.append((entry, name, text))
                    self.items += 1
                continue
            if name == WARM:  # holds for all that follows in the entry
                warm.append(text)
                continue
            chosen: Iterable[bytes] = (name,)
            if name == RESET:
                chosen = self.courses if text == ALL_SERIES else self.courses.keys() & {text}
            for one in chosen:
                if self._after and EntryId.parse(entry) <= self.after(one):
                    continue
                course = self.courses[one]
                if not course or course[-1][0] != entry:
                    course.append((entry, []))
                fields = course[-1][1]
                fields.extend(part for said in warm[told[one] :] for part in (WARM, said))
                told[one] = len(warm)
                fields.extend((RESET, one) if name == RESET else (name, text))
                self.items += 1

    def after(self, name: bytes) -> EntryId:
        """After which entry that of a series counts."""
        return self._after.get(name, _FIRST)

    def has(self, name: bytes) -> bool:
        """Whether a series is one of these."""
        return name in self.courses

    def counts(self) -> Counter[tuple[bytes, bytes]]:
        """How many values each of the series has in each entry."""
        each = self.courses.items()
        return Counter(
            (entry, one) for name, course in each for entry, own in course for one in own[0::2] if one == name
        )


class SeriesCourse:
    """The entries of one series, in order, as they are by now."""

    def __init__(self, name: bytes, entries: Iterable[Entry] = ()) -> None:
        self.name = name
        self._entries, self._ids = list[Entry](), list[EntryId]()
        self.extend(entries)

    def extend(self, entries: Iterable[Entry]) -> None:
        """Add entries that come after all there are."""
        added = list(entries)
        self._entries += added
        self._ids += [EntryId.parse(entry) for entry, _ in added]

    @property
    def ids(self) -> Sequence[EntryId]:
        """Of the entries."""
        return self._ids

    def between(self, after: EntryId, end: EntryId) -> list[Entry]:
        """Those after one id up to another."""
        return self._entries[bisect_right(self._ids, after) : bisect_right(self._ids, end)]

    def has(self, entry: bytes) -> bool:
        """Whether the series has a value in an entry, not only a reset."""
        found = EntryId.parse(entry)
        own = self._entries[bisect_left(self._ids, found) : bisect_right(self._ids, found)]
        return any(self.name in fields[0::2] for _, fields in own)

    def counts_between(self, after: EntryId, ends: Iterable[EntryId]) -> list[int]:
        """How many there are after one id up to each of some others."""
        first = bisect_right(self._ids, after)
        return [bisect_right(self._ids, end) - first for end in ends]

    def waits_between(self, after: EntryId, end: EntryId, gaps: Gaps) -> int:
        """How many steps wait for the one before where what is between two ids is stepped."""
        if gaps == NO_GAPS:
            return 0
        found = self._ids[bisect_right(self._ids, after) : bisect_right(self._ids, end)]
        return int(waits(gaps, np.array([one.time_ms for one in found], np.int64)).sum())

    def put(self, place: Place, value: bytes) -> None:
        """Put a value in its place, or, where the series has none, between the others."""
        entry, name, left = place
        found = EntryId.parse(entry)
        for at in range(bisect_left(self._ids, found), bisect_right(self._ids, found)):
            fields = self._entries[at][1]
            for number in range(0, len(fields), 2):
                left -= fields[number] == name
                if not left:
                    changed = list(fields)  # a course that was handed out is as it was
                    changed[number + 1] = value
                    self._entries[at] = (entry, changed)
                    return
        at = bisect_right(self._ids, found)
        self._entries.insert(at, (entry, [name, value]))
        self._ids.insert(at, found)


class Again:
    """Steps series once more, apart from the engine that serves."""

    def __init__(self, engine: Engine) -> None:
        """`engine` has the model and the settings."""
        self._engine = Engine(engine.model, replace(engine.settings, max_series=_NO_LIMIT))

    def after(
        self, courses: Sequence[tuple[bytes | None, Sequence[Entry]]], told: Sequence[Iterable[int]] | None = None
    ) -> list[list[Known]]:
        """Records of each of some courses of one series, from the one it begins with: some on the way, and the last.

        None is that of a series without a value. Courses are stepped beside each other. Of each, records are `told`
        behind so many entries too.
        """
        made = list[list[Known]]()
        asked = told or [()] * len(courses)
        for first in range(0, len(courses), BESIDE):
            made += self._beside(courses[first : first + BESIDE], asked[first : first + BESIDE])
        return made

    def _beside(
        self, courses: Sequence[tuple[bytes | None, Sequence[Entry]]], asked: Sequence[Iterable[int]]
    ) -> list[list[Known]]:
        """The same of so many that a batch has some entries of each."""
        names, again = [b"%d" % number for number in range(len(courses))], self._engine
        stored = {name: record for name, (record, _) in zip(names, courses, strict=True) if record is not None}
        made: list[list[Known]] = [[] for _ in courses]
        again.open(_STREAM, replace(BEFORE_ANYTHING, series=len(stored)))
        ways = _in_turns(courses, again.gaps, asked)
        at, each = [0] * len(courses), max(1, ENTRIES_AT_ONCE // len(courses))
        for turn in range(len(ways[0]) if ways else 0):
            while entries := self._next(names, courses, at, [way[turn] for way in ways], each):
                self._step(entries, stored)
            for number, (_, course) in enumerate(courses):
                is_end = turn == len(ways[0]) - 1
                if not is_end and ways[number][turn] > 0 and ways[number][turn] not in ways[number][:turn]:
                    last = EntryId.parse(course[ways[number][turn] - 1][0])
                    made[number].append((last, stored.get(names[number])))
        for number, (record, course) in enumerate(courses):
            last = EntryId.parse(course[-1][0]) if course else _FIRST
            made[number].append((last, stored.get(names[number]) if course else record))
        return made

    @staticmethod
    def _next(
        names: Sequence[bytes],
        courses: Sequence[tuple[bytes | None, Sequence[Entry]]],
        at: list[int],
        ends: Sequence[int],
        each: int,
    ) -> list[Entry]:
        """The next entries of courses that stand `at` some of theirs, up to `ends`; moves them on."""
        found = list[Entry]()
        for number, (_, course) in enumerate(courses):
            first, at[number] = at[number], min(ends[number], at[number] + each)
            found += [(entry, _as(names[number], fields)) for entry, fields in course[first : at[number]]]
        return found

    def rejects(self, record: bytes | None, entry: Entry) -> bool:
        """Whether what an entry has of one series becomes a dead letter, where the series has such a record."""
        name, fields = b"0", entry[1]
        self._engine.open(_STREAM, replace(BEFORE_ANYTHING, series=int(record is not None)))
        return self._step([(entry[0], _as(name, fields))], {} if record is None else {name: record}) > 0

    def _step(self, entries: Sequence[Entry], stored: dict[bytes, bytes]) -> int:
        """Step entries, which are put into the records; how many dead letters they make."""
        again, first, dead = self._engine, 0, 0
        while first < len(entries):
            batch = again.parse(encode_read({_STREAM: entries[first:]}))
            for unknown in again.begin(batch).values():
                again.admit(_STREAM, unknown, [stored.get(name) for name in unknown])
            [result] = again.step(batch)
            first += result.entries
            dead += len(result.commit.dead)
            for name in result.commit.removed:
                stored.pop(name, None)
            stored.update(zip(result.commit.names, result.commit.records, strict=True))
        return dead


def _in_turns(
    courses: Sequence[tuple[bytes | None, Sequence[Entry]]], gaps: Gaps, asked: Sequence[Iterable[int]]
) -> list[list[int]]:
    """Behind how many entries each course stands at the end of each turn: where its records are told, then its end."""
    ways = [sorted([*_told(course, gaps), *more]) for (_, course), more in zip(courses, asked, strict=True)]
    most = max(map(len, ways), default=0)
    return [[*way, *[way[-1]] * (most - len(way))] for way in ways]


def _told(course: Sequence[Entry], gaps: Gaps) -> list[int]:
    """Behind how many entries of a course its records are told: for each turn, the last is the end.

    Steps before the end count, those of gaps too; where it does not have twice as many, none are told in that turn.
    """
    count = len(course)
    before = np.arange(1, count + 1)  # steps from before each of the last entries on to the end
    if gaps != NO_GAPS:
        times = np.array([int(entry.partition(b"-")[0]) for entry, _ in course], np.int64)
        before += np.cumsum(waits(gaps, times)[::-1])
    made = [0]
    for steps in reversed(_TOLD):
        is_told = count > 0 and before[-1] > 2 * steps
        made.append(count - 1 - int(np.searchsorted(before, steps)) if is_told else made[-1])
    return [*made[1:], count]


def _as(name: bytes, fields: Sequence[bytes]) -> list[bytes]:
    """What an entry holds of one series, by another name."""
    made = list(fields)
    for at in range(0, len(made), 2):
        if made[at] == RESET:
            made[at + 1] = name
        elif made[at] != WARM:
            made[at] = name
    return made
