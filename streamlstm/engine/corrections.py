"""What `!correct` and `!late` ask for, and entries with what is right in its place."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from streamlstm.engine import rejection
from streamlstm.engine.dead_letters import MAX_DEAD_VALUE_BYTES as MOST_TEXT_BYTES
from streamlstm.engine.parsing import CORRECTIONS, LATE, Parsed, name_error
from streamlstm.engine.rejection import Flaw
from streamlstm.engine.series_cache import NO_SLOT
from streamlstm.engine.sorted_items import NO_CORRECTION
from streamlstm.engine.values import read_numbers
from streamlstm.errors import StoreError
from streamlstm.store import About
from streamlstm.store.resp import EntryId

Entry = tuple[bytes, list[bytes]]  # an id, and names with texts in turn
Place = tuple[bytes, bytes, int]  # id of an entry, a series that has values there, and which of them, from 1 on

MOST_DIGITS = 9  # of the number of a value in its entry


class Correction(NamedTuple):
    """A value that is to stand in the place of another, or, as it came late, where its series has none."""

    series: bytes
    id: bytes  # of the entry it belongs to
    value: bytes
    is_late: bool
    number: int | None = None  # which of the series' values in the entry; None where it has to have one only
    is_missing: bool = False  # whether the value is, or a part of it

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


def read_correction(item: About, features: int) -> Correction | Flaw:
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
    numbers = read_numbers(value, features)
    flaw = not_corrected(f"the value given is wrong: {numbers.text}") if isinstance(numbers, Flaw) else None
    is_missing = not isinstance(numbers, Flaw) and any(map(math.isnan, numbers))
    if sign and (command == LATE or len(which) > MOST_DIGITS or not which.isdigit() or not int(which)):
        flaw = not_corrected("behind the # of an id stands which value it is, from 1 on, and nothing of a late one")
    return flaw or Correction(series, bytes(found), value, command == LATE, int(which) if sign else None, is_missing)


def correcting_entries(parsed: Parsed) -> list[int]:
    """Which of some entries ask for corrections, in order."""
    return sorted({int(parsed.entry[item]) for item in corrections_in(parsed)})


def corrections_in(parsed: Parsed) -> list[int]:
    """The items that ask for corrections; none of them is a plain number, unless it is one that is not understood."""
    return commands_in(parsed, *CORRECTIONS)


def commands_in(parsed: Parsed, *commands: bytes) -> list[int]:
    """The items that are such commands."""
    if parsed.plain:
        return []
    asking = np.flatnonzero(parsed.odd & (parsed.slots == NO_SLOT))
    return [item for item in asking.tolist() if parsed.names[item] in commands]


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
