"""Carry out corrections: series are stepped again, and go on as if the right values had come at first.

A series is stepped again from a place where its record is known: its beginning, a record kept aside
(`engine.checkpoints`), or one that is remembered from the last correction (`engine.known_records`). First as it was,
which has to give the very record there is now; so whatever else may have happened to it (its beginning was trimmed, its
states came from elsewhere), a correction either gives what would be there had the right value come at first, to the
bit, or it is not made. Then as it is to be, once for each entry that corrects it: what such an entry makes of a series
does not rest on what the entries before it made, only on what they say, so several are stepped beside each other, and
the values between them with the rest of their batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from streamlstm.daemon.replay.asking import Asking
from streamlstm.daemon.replay.beginnings import RetainedInput, agree, begun_anew, is_idle, is_whole, may_join
from streamlstm.daemon.replay.corrections import (
    MOST_ITEMS,
    Source,
    begun_with,
    leading,
    read_past,
    series_courses,
)
from streamlstm.daemon.replay.events import Event, Series, at
from streamlstm.daemon.replay.kept_aside import KeptAside
from streamlstm.daemon.replay.missing_values import WHY, without_past
from streamlstm.daemon.replay.reach import Reach
from streamlstm.engine import (
    Again,
    Correction,
    Engine,
    Entry,
    Known,
    Parsed,
    Past,
    SeriesCourse,
    corrections_in,
    read_correction,
)
from streamlstm.store.record import steps_of
from streamlstm.store.resp import EntryId

AT_ONCE = 8  # entries that correct a series, whose courses are stepped beside each other
MOST_AGAIN = 32_768  # entries that are stepped again for one batch, beyond those for its first entry
MOST_WAITS = 8_192  # of the steps for these, one after the other: those of gaps


class ApartError(Exception):
    """Of corrections made as one something is to be refused, first in an entry; those before it are made first."""

    def __init__(self, entry: int) -> None:
        super().__init__()
        self.entry = entry


class Making:
    """The corrections that some entries ask for: those of the leading ones, and those among the values behind them."""

    def __init__(self, engine: Engine, entries: Parsed, source: Source) -> None:
        """What `cut` gives."""
        self._engine, self._entries, self._source = engine, entries, source
        self._stream, self._own = entries.stream, entries.ids[0]
        self._base = EntryId.parse(engine.position(entries.stream))
        self._known = engine.known(entries.stream)
        self._aside = KeptAside(engine, entries.stream, source)
        self._is_too_much = False  # to be read again
        self.is_parted = False  # whether entries are left because one of them asks for what cannot be made
        self._leading = leading(entries)
        self._limit = entries.entries  # how many entries are stepped
        self._asking = Asking(engine, entries, source)
        self._reach = Reach(engine, entries.stream, source, self._asking.letters)
        self._retained = RetainedInput(engine, entries.stream, source)
        self._asked: dict[int, Correction] = {}  # by item; those that may yet be made
        self._series: dict[bytes, Series] = {}
        self._agreeing = set[bytes]()  # series that were led to where they are, whether that proves their past or not

    def run(self) -> Parsed:
        """Say of each item what becomes of it, give the engine the records to go on from; what is to be stepped."""
        spec = self._engine.model.spec
        for item in corrections_in(self._entries):
            entry = int(self._entries.entry[item])
            if entry >= self._limit:
                break
            asked = self._entries.ids[entry], self._entries.names[item], self._entries.texts[item]
            found = read_correction(asked, len(spec.features))
            flaw = self._asking.flaw(asked, found) if isinstance(found, Correction) else found
            if isinstance(found, Correction) and flaw is None and self._asking.matters(found):
                if entry >= self._leading and self._is_behind(found.series, item):
                    self._end_before(entry)
                    break
                if found.is_late and found.is_missing and not self._source.follows:  # alone (`missing_values`)
                    self._end_before(max(1, entry))
                    if entry:
                        break
                self._asked[item] = found
            self._entries.corrections[item] = flaw
        if self._asked:
            self._make()
        return self._entries if self._limit == self._entries.entries else self._entries.first(self._limit)

    @cached_property
    def _again(self) -> Again:
        """Made when something is stepped again."""
        return Again(self._engine)

    def _is_behind(self, series: bytes, item: int) -> bool:
        """Whether a value of the series comes before an item in its entry, which has to be answered after it."""
        first = int(self._entries.counts[: self._entry_of(item)].sum())
        return any(self._entries.names[before] == series for before in range(first, item))

    def _refuse(self, is_meant: Callable[[Correction], bool], why: str) -> None:
        for item, one in list(self._asked.items()):
            if is_meant(one):
                if self._limit > 1:
                    raise ApartError(self._entry_of(item))
                self._entries.corrections[item] = self._asking.refused(self._entries.ids[self._entry_of(item)], why)
                del self._asked[item]

    def _end_before(self, entry: int) -> None:
        """Leave entries to be read again."""
        self._limit = min(self._limit, entry)
        self._leading = min(self._leading, self._limit)
        self._asked = {item: one for item, one in self._asked.items() if self._entries.entry[item] < self._limit}

    def _make(self) -> None:
        """Step the series again, from the latest of the places where their records are known."""
        stored = self._stored(self._names())
        for item, one in self._asked.items():
            if one.series not in stored and self._entry_of(item) >= self._leading:
                self._end_before(self._entry_of(item))  # made when there is a record
                break
        self._prove(stored)
        self._prove_from_the_beginning(stored)
        if left := self._left():
            # What is asked before the first that cannot be made is made; that one is refused when it is alone.
            self.is_parted = self._limit > 1
            self._end_before(max(1, min(map(self._entry_of, left))))
            if self._limit == 1:
                self._refuse_what_is_left(stored)
        if self._limit == 1 and not self._source.follows:
            missing = without_past(list(self._asked.values()), self._series, self._again)
            self._refuse(lambda one: one in missing, WHY)
        events = self._step(self._events())
        self._put(stored, events)
        for name, series in self._series.items():
            self._known.put(name, series.known, series.course.ids)
        self._known.moments.take(self._engine.arena, self._stream, self._base, self._engine.answered(self._stream))

    def _names(self) -> list[bytes]:
        return list(dict.fromkeys(one.series for one in self._asked.values()))

    def _entry_of(self, item: int) -> int:
        return int(self._entries.entry[item])

    def _left(self) -> list[int]:
        """Items that ask for what was not proved."""
        return [item for item, one in self._asked.items() if one.series not in self._series]

    def _late(self) -> set[bytes]:
        """Series that may lie otherwise behind a silence or a reset, as they are put right."""
        each = () if self._source.follows else self._asked.values()
        return {one.series for one in each if one.is_late or may_join(self._engine, is_late=one.is_late)}

    def _may_lack(self, name: bytes, after: EntryId, *, is_sure: bool) -> bool:
        """Whether entries may be gone that matter to a series which is stepped again from a record after an id."""
        asked = [one for one in self._asked.values() if one.series == name]
        return self._retained.may_lack(asked, after, is_sure=is_sure)

    def _firsts(self) -> dict[bytes, EntryId]:
        """The first entry that is to be corrected of each series."""
        found = dict[bytes, EntryId]()
        for one in self._asked.values():
            entry = EntryId.parse(one.id)
            found[one.series] = min(entry, found.get(one.series, entry))
        return found

    def _prove(self, stored: Mapping[bytes, bytes]) -> None:
        """Find what leads series to their records of now, from records that they are known to have had."""
        first = {name: entry for name, entry in self._firsts().items() if name not in self._series}
        for name, entry in first.items():
            if name in stored and entry > self._base:  # nothing before these entries is touched
                self._series[name] = Series(SeriesCourse(name), [(self._base, stored[name])])
        self._aside.read(first)
        known = {name: self._known.before(name, entry) for name, entry in first.items()}
        self._try_all(stored, known, is_sure=False)
        self._try_moments(stored, first)
        names = [name for name in first if name not in self._series]
        for name in names:
            self._known.drop(name, first[name])
        for are_sure in (True, False):
            kept = {name: self._aside.before(name, first[name], are_sure=are_sure) for name in names}
            self._try_all(stored, kept, is_sure=are_sure)

    def _try_all(
        self, stored: Mapping[bytes, bytes], known: Mapping[bytes, Sequence[Known]], *, is_sure: bool = True
    ) -> None:
        """Begin with each of the records of series, in order, the last ones first, until one is proved."""
        for turn in range(1, 1 + max(map(len, known.values()), default=0)):
            chosen = {name: each[-turn] for name, each in known.items() if turn <= len(each)}
            left = {name: one for name, one in chosen.items() if name not in self._series}
            self._try(stored, left, is_sure=is_sure)

    def _try_moments(self, stored: Mapping[bytes, bytes], first: Mapping[bytes, EntryId]) -> None:
        """Begin with what series that are not proved yet were at some moment; what leads nowhere is tried once."""
        arena, tried = self._engine.arena, dict[bytes, Known]()
        for name in first.keys() - self._series.keys():
            found = self._known.moments.before(arena, arena.find(self._stream, name), first[name])
            if found is not None and steps_of(found[1]):
                tried[name] = found
        self._try(stored, tried)
        for name in tried.keys() - self._series.keys():
            arena.give_up_copies(arena.find(self._stream, name))

    def _prove_from_the_beginning(self, stored: Mapping[bytes, bytes]) -> None:
        """The same from where the states were begun."""
        items, seen = 0, dict[bytes, None]()
        for item in self._left():
            name = self._asked[item].series
            if name in seen:
                continue
            items += steps_of(stored[name]) if name in stored else 0
            if seen and items > MOST_ITEMS and self._entry_of(item) > 0:
                self._end_before(self._entry_of(item))
                break
            seen[name] = None
        asked = set(self._names())
        begun, firsts = EntryId.parse(self._source.begun), self._firsts()
        new = {name: firsts[name] for name in seen if name in asked and name not in stored}
        if new and not self._source.follows:
            new = {name: entry for name, entry in new.items() if not self._may_lack(name, begun, is_sure=False)}
        for name in self._reach.empty(new):
            self._series[name] = Series(SeriesCourse(name), [(begun, None), (firsts[name].before(), None)])
        names = [name for name in seen if name in asked and name not in self._series]
        names, self._is_too_much = self._reach.within(names, stored)
        if not names:
            return
        records = begun_with(self._source, names)
        self._reach.begin()
        was_read = self._try(
            stored, {name: (begun, records.get(name)) for name in names}, self._reach.watch, is_sure=False
        )
        self._reach.end(is_whole=was_read)
        self._is_too_much = self._is_too_much or not was_read
        if was_read:
            self._reach.learn([name for name in names if name not in self._agreeing], stored)

    def _refuse_what_is_left(self, stored: Mapping[bytes, bytes]) -> None:
        """Refuse what cannot be made of the first entry, which is alone now."""
        if self._is_too_much:
            self._prove_from_the_beginning(stored)
        why = (
            "what the input retains of this series does not lead to its state of now (it began before that, or "
            "its state came from elsewhere), so it cannot be stepped again"
        )
        if self._is_too_much:
            most = self._source.most_entries or 0
            why = f"that would take reading more than {most:,} entries, or {MOST_ITEMS:,} values, again"
        # What is older than the records that are kept is out of reach, what is younger may not be.
        names = {self._asked[item].series for item in self._left()}
        edges = {name: edge for name in names if (edge := self._aside.first(name)) is not None}
        self._refuse(lambda one: one.series in edges and EntryId.parse(one.id) <= edges[one.series], why)
        self._prove(stored)
        self._refuse(lambda one: one.series not in self._series, why)

    def _try(
        self,
        stored: Mapping[bytes, bytes],
        chosen: Mapping[bytes, Known],
        watch: Callable[[Parsed], None] | None = None,
        *,
        is_sure: bool = True,
    ) -> bool:
        """Step series again from records after some ids, as they were; whether that is not too much.

        Those that come to be where they are are proved; if it is not sure that they had these, or that all that came
        since is there, those that begin anew on the way are not, where that may be another way then.
        """
        if not chosen:
            return True
        after = {name: bytes(entry) for name, (entry, _) in chosen.items()}
        past = read_past(self._engine, self._stream, after, self._source, bytes(self._base), watch)
        if past is None:
            return False
        courses = series_courses(self._engine, past, self._asking.letters)
        firsts = self._firsts()
        edges = {name: min(firsts[name].before(), self._base) for name in chosen}
        before = self._again.after(
            [(record, courses[name].between(after, edges[name])) for name, (after, record) in chosen.items()]
        )
        unsure = set[bytes]()
        late = chosen.keys() & self._late()
        if late and not is_whole(past, after.values(), self._engine.answered(self._stream)):
            lacking = {name: edges[name] for name in late if self._may_lack(name, chosen[name][0], is_sure=is_sure)}
            unsure = begun_anew(self._again, courses, lacking, stored)
        aside = [self._aside.behind(name, firsts[name]) for name in chosen]
        pairs, places = zip(chosen, before, strict=True), zip(chosen, aside, strict=True)
        was = self._again.after(
            [(way[-1][1], courses[name].between(edges[name], self._base)) for name, way in pairs],
            [courses[name].counts_between(edges[name], [entry for entry, _ in kept]) for name, kept in places],
        )
        for name, kept, *ways in zip(chosen, aside, before, was, strict=True):
            now = ways[1][-1][1]
            if not agree(self._engine, stored.get(name), now, self._own):
                continue
            self._agreeing.add(name)
            on_the_way = [(edges[name], ways[0][-1][1]), *ways[1][:-1]]
            if name not in unsure and all(at(on_the_way, entry) == record for entry, record in kept):
                known = [chosen[name], *ways[0][:-1], *on_the_way, (self._base, now)]
                self._series[name] = Series(courses[name], known)
        return True

    def _events(self) -> list[Event]:
        """What is asked, by entry and series; what the leading entries ask for is one."""
        found = dict[tuple[int, bytes], Event]()
        for item, one in self._asked.items():
            entry = max(self._entry_of(item), self._leading - 1)
            end = EntryId.parse(self._entries.ids[entry]).before()
            event = found.setdefault((entry, one.series), Event(one.series, item, entry, end, []))
            event.item = item
            event.asked.append(one)
        events = list(found.values())
        if events and events[-1].entry >= self._leading:
            past = Past(self._engine, self._series)
            past.take_parsed(self._entries)
            for name, series in self._series.items():
                series.course.extend(past.courses[name])
        return events

    def _step(self, events: Sequence[Event]) -> list[Event]:
        """Step series again as they are to be; the events that have their record, which may be fewer."""
        done, stepped, waited, gaps = list[Event](), 0, 0, self._engine.gaps
        while len(done) < len(events):
            taken, courses = dict[bytes, list[Event]](), list[tuple[bytes | None, Sequence[Entry]]]()
            told = list[Sequence[int]]()
            longest = 0  # of those that are stepped beside each other
            for event in events[len(done) :]:
                series, mine = self._series[event.series], taken.setdefault(event.series, [])
                if len(mine) == AT_ONCE:
                    break
                after, record = event.begin = series.correct(event)
                course = series.course.between(after, event.end)
                stepped += len(course)
                longest = max(longest, series.course.waits_between(after, event.end, gaps))
                is_too_much = stepped > MOST_AGAIN or waited + longest > MOST_WAITS
                if event.entry >= self._leading and is_too_much and len(done) + len(courses):
                    self._end_before(event.entry)
                    break
                mine.append(event)
                courses.append((record, course))
                told.append(series.course.counts_between(after, self._aside.positions(event)))
            now = events[len(done) : len(done) + len(courses)]
            for event, made in zip(now, self._again.after(courses, told), strict=True):
                event.way = [*made[:-1], (event.end, made[-1][1])]
            for name, mine in taken.items():
                self._series[name].learn(mine)
            done += now
            waited += longest
            if len(done) < len(events) and events[len(done)].entry >= self._limit:
                break
        ended = [event.entry for event in done if event.record is None]
        if ended:  # who has no value any more leaves its place to the series of later entries
            self._end_before(max(ended[0], self._leading))
        return [event for event in done if event.entry < self._limit]

    def _put(self, stored: Mapping[bytes, bytes], events: Sequence[Event]) -> None:
        """Give the engine the records that series go on from: at the first of the entries, and at others."""
        engine, made = self._engine, {one.series: one.record for one in events if one.entry < self._leading}
        beginning = [
            name
            for name, record in made.items()
            if record is not None and name not in stored and not is_idle(self._engine, record, self._own)
        ]
        room = max(0, engine.settings.max_series - engine.series(self._stream))
        beginning, beyond = beginning[:room], set(beginning[room:])
        if beyond:
            limit = f"{engine.settings.max_series} (--max-series)"
            why = f"the series would begin, and the stream has reached its limit of {limit}"
            self._refuse(lambda one: one.series in beyond, why)
        allowed = stored.keys() | set(beginning)
        changed = {name: record for name, record in made.items() if name in allowed}
        among = [one for one in events if one.entry >= self._leading]
        changed |= {one.series: stored[one.series] for one in among if one.series not in made}
        self._entries.restarts = {one.item: (one.series, one.record) for one in among}
        # A series that is idle has no record, and may have some that are kept aside.
        done = [one for one in events if one.series not in beyond]
        kept = self._aside.again(done, self._leading, stored, changed.keys())
        engine.correct(self._stream, changed, len(beginning), kept)

    def _stored(self, names: Sequence[bytes]) -> dict[bytes, bytes]:
        """The records of now."""
        found = {name: self._engine.record(self._stream, name) for name in names}
        unknown = [name for name, record in found.items() if record is None]
        found |= zip(unknown, self._source.load(unknown) if unknown else (), strict=True)
        return {name: record for name, record in found.items() if record is not None}
