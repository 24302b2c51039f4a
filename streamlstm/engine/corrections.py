"""What `!correct` and `!late` ask for, and series stepped again with what is right in its place.

A state cannot be taken back, so a series whose value was wrong is stepped again from a place where its record is known.
It is stepped twice: as it was, which has to give the very record there is now, and as it is to be. So whatever else may
have happened to the series (its beginning was trimmed, its states came from elsewhere), a correction either gives what
would be there had the right value come at first, to the bit, or it is not made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from streamlstm.engine import rejection
from streamlstm.engine.dead_letters import MAX_DEAD_VALUE_BYTES as MOST_TEXT_BYTES
from streamlstm.engine.engine import Engine
from streamlstm.engine.parsing import ALL_SERIES, COMMANDS, CORRECTIONS, LATE, RESET, WARM, Parsed, name_error, parse
from streamlstm.engine.rejection import Flaw
from streamlstm.engine.series_cache import NO_SLOT
from streamlstm.engine.sorted_items import NO_CORRECTION
from streamlstm.engine.values import read_odd
from streamlstm.errors import StoreError
from streamlstm.store import BEFORE_ANYTHING, About
from streamlstm.store.resp import EntryId, Table, encode_read

Entry = tuple[bytes, list[bytes]]  # an id, and names with texts in turn
Place = tuple[bytes, bytes, int]  # id of an entry, a series that has values there, and which of them, from 1 on

MOST_DIGITS = 9  # of the number of a value in its entry

_FIRST = EntryId(0, 0)
ENTRIES_AT_ONCE = 4_096  # stepped in one batch
_NO_LIMIT = 1 << 62  # whether a series had a place is seen by its record
_STREAM = "again"  # of the engine that steps once more; nothing of it is ever stored


class Correction(NamedTuple):
    """A value that is to stand in the place of another, or, as it came late, where its series has none."""

    series: bytes
    id: bytes  # of the entry it belongs to
    value: bytes
    is_late: bool
    number: int | None = None  # which of the series' values in the entry; None where it has to have one only

    @property
    def place(self) -> Place:
        return self.id, self.series, self.number or 1

    def is_of(self, values: int) -> bool:
        """Whether it says which it means where the entry has so many values of the series."""
        if self.is_late:
            return values == 0
        return values == 1 if self.number is None else self.number <= values


def not_corrected(why: str) -> Flaw:
    """The flaw of a correction that is not made."""
    return Flaw(rejection.NOT_CORRECTED, f"nothing is corrected: {why}")


def read_correction(item: About, features: int, *, exact: bool = False) -> Correction | Flaw:
    """Read `<series> <id> <value>`; what is wrong with it if it is none. Names may have spaces.

    `<id>#2` is the second value of the series in its entry.
    """
    own, command, text = item
    parts = text.rsplit(b" ", 2)
    if len(text) > MOST_TEXT_BYTES or len(parts) != 3:
        return NO_CORRECTION
    series, entry, value = parts
    entry, sign, which = entry.partition(b"#")
    wrong = name_error(series)
    if wrong is not None:
        return not_corrected(wrong.text)
    try:
        found = EntryId.parse(entry)
    except StoreError as error:
        return not_corrected(str(error))
    if found >= EntryId.parse(own):
        return not_corrected(f"the entry {found} does not lie before the correction, {own.decode()}")
    wrong = read_odd(value, np.empty(2 * features if exact else features, np.float32), exact=exact)
    flaw = not_corrected(f"the value given is wrong: {wrong.text}") if wrong is not None else None
    if sign and (command == LATE or len(which) > MOST_DIGITS or not which.isdigit() or not int(which)):
        flaw = not_corrected("behind the # of an id stands which value it is, from 1 on, and nothing of a late one")
    return flaw or Correction(series, bytes(found), value, command == LATE, int(which) if sign else None)


def correcting_entries(parsed: Parsed) -> list[int]:
    """Which of some entries ask for corrections, in order."""
    return sorted({int(parsed.entry[item]) for item in corrections_in(parsed)})


def corrections_in(parsed: Parsed) -> list[int]:
    """The items that ask for corrections; none of them is a plain number, unless it is one that is not understood."""
    if parsed.plain:
        return []
    asking = np.flatnonzero(parsed.odd & (parsed.slots == NO_SLOT))
    return [item for item in asking.tolist() if parsed.names[item] in CORRECTIONS]


class Past:
    """What a stream's entries hold of some series: values, resets, and corrections that were asked for."""

    def __init__(self, engine: Engine, series: Iterable[bytes], after: Mapping[bytes, bytes] | None = None) -> None:
        """`engine` has the model and the settings that the values are stepped with.

        Of series with an id in `after` only what comes after that counts.
        """
        self._engine, self._series = engine, frozenset(series)
        self._after = {name: EntryId.parse(entry) for name, entry in (after or {}).items()}
        self._table = Table()  # of all that matters, so that an entry's other items take no time
        for number, name in enumerate((*self._series, *COMMANDS)):
            self._table.put(0, name, number)
        self.entries: list[Entry] = []
        self.asked: list[About] = []  # corrections, in order
        self.items = 0

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
        last, warm = -1, (-1, b"")  # the entry at work, and that of the last `!warm` with its text
        for item in np.flatnonzero(parsed.slots != NO_SLOT).tolist():
            name, text, number = parsed.names[item], parsed.texts[item], int(parsed.entry[item])
            if name in CORRECTIONS:
                self.asked.append((parsed.ids[number], name, text))
                continue
            if name == WARM:
                warm = (number, text)
                continue
            chosen: Iterable[bytes] = (name,)
            if name == RESET:
                chosen = sorted(self._series) if text == ALL_SERIES else self._series & {text}
            if self._after:
                at = EntryId.parse(parsed.ids[number])
                chosen = [one for one in chosen if at > self.after(one)]
            if not chosen:
                continue
            if number != last:
                self.entries.append((parsed.ids[number], []))
                last = number
            if number == warm[0]:  # holds for all that follows in the entry
                self.entries[-1][1].extend((WARM, warm[1]))
                warm = (-1, b"")
            pairs = [(RESET, one) for one in chosen] if name == RESET else [(name, text)]
            self.entries[-1][1].extend(part for pair in pairs for part in pair)
            self.items += len(pairs)
        return parsed.entries, parsed.position

    def after(self, name: bytes) -> EntryId:
        """After which entry that of a series counts."""
        return self._after.get(name, _FIRST)

    def has(self, name: bytes) -> bool:
        """Whether a series is one of these."""
        return name in self._series

    def counts(self) -> Counter[tuple[bytes, bytes]]:
        """How many values each of the series has in each entry."""
        return Counter((entry, name) for entry, fields in self.entries for name in fields[0::2] if name not in COMMANDS)


def step_again(
    engine: Engine, entries: Sequence[Entry], right: Mapping[Place, bytes], records: Mapping[bytes, bytes]
) -> dict[bytes, bytes]:
    """The records of series after entries, from those they begin with, with what is `right` in its places."""
    again = Engine(engine.model, replace(engine.settings, max_series=_NO_LIMIT))
    stored = dict(records)
    again.open(_STREAM, replace(BEFORE_ANYTHING, series=len(stored)))
    entries, first = with_right(entries, right), 0
    while first < len(entries):
        batch = again.parse(encode_read({_STREAM: entries[first : first + ENTRIES_AT_ONCE]}))
        for names in again.begin(batch).values():
            again.admit(_STREAM, names, [stored.get(name) for name in names])
        [result] = again.step(batch)
        first += result.entries
        if result.commit.reset_all:
            stored.clear()
        for name in result.commit.removed:
            stored.pop(name, None)
        stored.update(zip(result.commit.names, result.commit.records, strict=True))
    return stored


def with_right(entries: Sequence[Entry], right: Mapping[Place, bytes]) -> Sequence[Entry]:
    """The same with what is right: in the place of what is there, or between the others."""
    if not right:
        return entries
    left, made, chosen = dict(right), list[Entry](), {entry for entry, _, _ in right}
    for entry, fields in entries:
        if entry not in chosen:
            made.append((entry, fields))
            continue
        changed, seen = list(fields), Counter[bytes]()
        for at, name in enumerate(fields[0::2]):
            seen[name] += 1
            changed[2 * at + 1] = left.pop((entry, name, seen[name]), fields[2 * at + 1])
        made.append((entry, changed))
    made += [(entry, [series, value]) for (entry, series, _), value in left.items()]
    return sorted(made, key=lambda one: EntryId.parse(one[0])) if left else made
