"""What `!correct` takes: which entries of a batch are stepped with what they correct, and what is read again for it.

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

from streamlstm.engine import (
    MOST_TOGETHER,
    RESET,
    Correction,
    Engine,
    Parsed,
    Past,
    Place,
    SeriesCourse,
    commands_in,
    correcting_entries,
    corrections_in,
    read_correction,
)
from streamlstm.store import KeptRecord, Refused
from streamlstm.store.resp import BEGINNING, EntryId

PAGE = 4_096  # entries of one read
MOST_ENTRIES = 1_000_000  # read again for the corrections of one entry
MOST_ITEMS = 250_000  # values of the corrected series among them, and corrections that were asked for of these


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where what is to be read again of one stream lies."""

    read: Callable[[bytes, bytes, int], bytes]  # entries after one id up to another, as `Store.read`
    load: Callable[[Sequence[bytes]], Sequence[bytes | None]]  # records as of before the entry that asks
    letters: Callable[[], Refused]  # of corrections that were not made, and why
    begun: bytes = BEGINNING  # id of the last entry before those the states were made of
    records: Callable[[Sequence[bytes]], Sequence[bytes | None]] | None = None  # that they were begun with
    follows: bool = False  # whether the letters say what was made of the entry already
    most_entries: int | None = MOST_ENTRIES
    takes_late: bool = True  # whether values that come late are put in their place
    kept: Callable[[Sequence[bytes]], Sequence[Sequence[KeptRecord]]] | None = None  # as `Store.kept`


def cut(parsed: Parsed, *, among_values: bool) -> Parsed:
    """The first of some entries, as many as can be stepped as one with what they correct.

    Corrections `among_values` are made as they come, if the engine can; else only those of the first entry, with those
    behind it that do nothing else. A reset is not stepped with corrections of other entries.
    """
    asking = [] if parsed.plain else correcting_entries(parsed)
    if not asking:
        return parsed
    resets = [int(parsed.entry[item]) for item in commands_in(parsed, RESET)]
    if asking[0] > 0 and (not among_values or any(entry < asking[0] for entry in resets)):
        return parsed.first(asking[0])
    if not among_values:
        return parsed.first(leading(parsed))
    ends = [entry for entry in resets if entry > 0] + asking[MOST_TOGETHER:]
    ends += [leading(parsed)] if 0 in resets else []
    return parsed.first(min(ends)) if ends else parsed


def leading(parsed: Parsed) -> int:
    """How many entries, from the first, correct what they correct as one: it, with those that do nothing else."""
    asked, together = Counter(parsed.entry[corrections_in(parsed)].tolist()), 0
    if not asked[0]:
        return 0
    while together < min(parsed.entries, MOST_TOGETHER) and asked[together] == parsed.counts[together]:
        together += 1
    return max(1, together)


def first_entry(engine: Engine, stream: str, source: Source, after: bytes) -> EntryId | None:
    """The first entry that a stream retains behind an id, of those that are answered."""
    _, found = Past(engine, ()).take(source.read(after, engine.position(stream), 1), stream)
    return EntryId.parse(found) if found else None


def begun_with(source: Source, names: Sequence[bytes]) -> dict[bytes, bytes]:
    """The records that series were begun with."""
    if source.records is None:
        return {}
    found = zip(names, source.records(names), strict=True)
    return {name: record for name, record in found if record is not None}


def read_past(
    engine: Engine,
    stream: str,
    after: Mapping[bytes, bytes],
    source: Source,
    end: bytes,
    watch: Callable[[Parsed], None] | None = None,
) -> Past | None:
    """What a stream's entries up to an id hold of series, of each after an id of its own.

    None if that is more than may be read again. `watch` is shown each page.
    """
    past, position = Past(engine, after, after, watch), bytes(min(map(EntryId.parse, after.values())))
    entries, count = 0, 1
    while count:
        engine.model.beat()
        count, position = past.take(source.read(position, end, PAGE), stream)
        entries += count
        if source.most_entries is not None and (entries > source.most_entries or past.items > MOST_ITEMS):
            return None
    return past


def series_courses(engine: Engine, past: Past, letters: Callable[[], Refused]) -> dict[bytes, SeriesCourse]:
    """The entries of each series as they have been put right, each place as the last of them says."""
    spec, right = engine.model.spec, dict[Place, bytes]()
    there = past.counts() if past.asked else Counter[tuple[bytes, bytes]]()
    for asked in past.asked:
        found = read_correction(asked, len(spec.features))
        if (
            isinstance(found, Correction)
            and past.has(found.series)
            and EntryId.parse(found.id) > past.after(found.series)
            and found.is_of(there[found.place[:2]])
            and asked not in letters()
        ):
            right[found.place] = found.value
    courses = {name: SeriesCourse(name, entries) for name, entries in past.courses.items()}
    for place, value in right.items():
        courses[place[1]].put(place, value)
    return courses
