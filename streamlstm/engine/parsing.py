"""From entries to micro-batches: lay the fields of a run of entries out flat, and see what is wrong with each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.common import MOST_ENTRY_VALUES
from streamlstm.engine import rejection
from streamlstm.engine.rejection import Flaw
from streamlstm.engine.series_cache import NO_SLOT
from streamlstm.engine.values import read_odd
from streamlstm.errors import StoreUnavailableError
from streamlstm.store.resp import Scan, Table, Texts, scan_read

Index = NDArray[np.int64]
Float32 = NDArray[np.float32]

MAX_NAME_BYTES = 256
# Missing values of one series in one entry that are stepped: each waits for the step before it, and nobody can do
# anything else meanwhile.
MOST_ENTRY_MISSING = 4_096
RESET = b"!reset"
WARM = b"!warm"  # see `engine.warm`
CORRECT, LATE = b"!correct", b"!late"  # a value in the place of another, and one that comes after later ones
CORRECTIONS = frozenset((CORRECT, LATE))
COMMANDS = CORRECTIONS | {RESET, WARM}
ALL_SERIES = b"*"


class Warm(NamedTuple):
    """Items that are not answered (`engine.warm`)."""

    values: NDArray[np.bool_]  # (n,) which are of those, if they can be stepped
    commands: Index  # (k,) the items that say so

    def first(self, items: int) -> Warm:
        return Warm(self.values[:items], self.commands[self.commands < items])


@dataclass(kw_only=True)  # frozen ones take three times as long to make, which every live value would wait for
class Parsed:
    """The fields of a run of entries of one stream, flat: item i belongs to entry `entry[i]`."""

    stream: str
    ids: Texts  # of the entries
    times_ms: Index  # of the entries
    names: Texts  # of the items: series names, or commands that begin with `!`
    texts: Texts  # of the items
    counts: Index  # items of each entry
    slots: Index  # (n,) where the series' record is; NO_SLOT for what is not in memory, or no series
    values: Float32  # (n, F), (n, 2F) where numbers are pairs; NaN where a feature is missing
    odd: NDArray[np.bool_]  # (n,) whether the text is anything else than F finite decimal numbers
    plain: bool  # whether none is
    wrong: dict[int, Flaw]  # items that hold no value, and why
    exact: bool = False  # whether numbers are pairs
    warm: Warm | None = None  # None if none is
    # What became of items that correct a value: why they could not, or None for one that is carried out.
    corrections: dict[int, Flaw | None] = field(default_factory=dict)
    # Of these, items from which on a series goes on from another record (None: it begins anew), for what follows in the
    # run. All of the series in their entry comes after them.
    restarts: dict[int, tuple[bytes, bytes | None]] = field(default_factory=dict)
    _all_known: bool = field(default=False, init=False)

    @property
    def position(self) -> bytes:
        return self.ids[len(self.ids) - 1]

    @property
    def entries(self) -> int:
        return len(self.ids)

    @property
    def items(self) -> int:
        return len(self.slots)

    @cached_property
    def entry(self) -> Index:
        """Which entry an item is in, (n,)."""
        return np.repeat(np.arange(len(self.ids)), self.counts)

    @cached_property
    def item_times_ms(self) -> Index:
        """Time of each item, (n,): its entry's, unless `engine.warm` gives it another."""
        return self.times_ms if len(self.slots) == len(self.ids) == 1 else np.repeat(self.times_ms, self.counts)

    @property
    def all_known(self) -> bool:
        """Whether every item is of a series in memory, found when it was read."""
        if not self._all_known:  # what is not may become so
            self._all_known = not len(self.slots) or bool(np.minimum.reduce(self.slots) > NO_SLOT)
        return self._all_known

    @property
    def is_bare(self) -> bool:
        """Whether there is nothing but plain values: what a batch says is the same for every model then."""
        return self.plain and self.warm is None and not self.wrong and not self.corrections

    def series_at(self, item: int) -> bytes:
        """The series that an item is of: of a command the one it names, if it is carried out."""
        if item in self.restarts:
            return self.restarts[item][0]
        return self.texts[item] if self.names[item] == RESET else self.names[item]

    def elsewhere(self, slots: Index) -> Parsed:
        """The same where the series' records are in other places (n,); of what is bare."""
        return replace(self, slots=slots, wrong={}, corrections={})

    def first(self, entries: int) -> Parsed:
        items = int(self.counts[:entries].sum())
        odd = self.odd[:items]
        part = Parsed(
            stream=self.stream,
            ids=self.ids[:entries],
            times_ms=self.times_ms[:entries],
            names=self.names[:items],
            texts=self.texts[:items],
            counts=self.counts[:entries],
            slots=self.slots[:items],
            values=self.values[:items],
            odd=odd,
            plain=not odd.any(),
            wrong={number: found for number, found in self.wrong.items() if number < items},
            exact=self.exact,
            corrections={number: found for number, found in self.corrections.items() if number < items},
            restarts={number: found for number, found in self.restarts.items() if number < items},
        )
        if self.warm is not None:
            part.warm, part.item_times_ms = self.warm.first(items), self.item_times_ms[:items]
        return part


def parse(
    reply: bytes,
    table: Table,
    numbers: dict[bytes, int],
    features: int,
    most: int = MOST_ENTRY_VALUES,
    *,
    exact: bool = False,
) -> list[Parsed]:
    """Lay out the entries of a read's reply; nothing raises for what is wrong with a value, it is in `wrong`.

    `numbers` gives the number in the table of every stream that was asked for; of an entry `most` values are taken.
    With `exact` values are pairs. Raises StoreUnavailableError for what is no answer to a read of these streams.
    """
    try:
        scans = scan_read(reply, table, numbers, features, exact=exact)
    except (ValueError, KeyError) as error:
        raise StoreUnavailableError(f"the Redis server answered a read with something else: {error}") from None
    if not all(len(scan.ids) for scan in scans):
        raise StoreUnavailableError("the Redis server answered a read with a stream of no entries")
    return [_parsed(scan, most, exact) for scan in scans]


def _parsed(scan: Scan, most: int, exact: bool) -> Parsed:
    wrong: dict[int, Flaw] = {}
    if len(scan.slots) > most and scan.counts.max() > most:
        scan, wrong = _cut(scan, most)
    plain = scan.plain
    for item in () if plain else np.flatnonzero(scan.odd).tolist():
        found = None if item in wrong else read_odd(scan.texts[item], scan.values[item], exact=exact)
        if found is not None:
            wrong[item] = found
    if not plain and scan.counts.max() > MOST_ENTRY_MISSING:
        _refuse_missing(scan, wrong)
    return Parsed(
        stream=scan.key.decode(),
        ids=scan.ids,
        times_ms=scan.times_ms,
        names=scan.names,
        texts=scan.texts,
        counts=scan.counts,
        slots=scan.slots,
        values=scan.values,
        odd=scan.odd,
        plain=plain,
        wrong=wrong,
        exact=exact,
    )


def _cut(scan: Scan, most: int) -> tuple[Scan, dict[int, Flaw]]:
    """The same with `most` items of each entry, and after those of a longer one a nameless item for all the others."""
    number = np.arange(len(scan.slots)) - np.repeat(np.cumsum(scan.counts) - scan.counts, scan.counts)
    kept = np.flatnonzero(number <= most)
    beyond = number[kept] == most
    too_many = scan.counts[scan.counts > most].tolist()
    limit = f"{most:,} are taken (--max-entry-values)"
    flaws = [
        Flaw(
            rejection.TOO_MANY_VALUES,
            f"the entry has {count:,} values, {limit}; this is for all the others",
            count - most,
        )
        for count in too_many
    ]
    names, texts = (
        Texts(source.data, source.at[kept], np.where(beyond, 0, source.length[kept]))
        for source in (scan.names, scan.texts)
    )
    cut = scan._replace(
        counts=np.minimum(scan.counts, most + 1),
        names=names,
        texts=texts,
        slots=np.where(beyond, NO_SLOT, scan.slots[kept]),
        values=np.where(beyond[:, None], np.float32(np.nan), scan.values[kept]),
        odd=scan.odd[kept] | beyond,
        plain=False,
    )
    return cut, dict(zip(np.flatnonzero(beyond).tolist(), flaws, strict=True))


def _refuse_missing(scan: Scan, wrong: dict[int, Flaw]) -> None:
    """Note what is beyond MOST_ENTRY_MISSING of a series."""
    missing = scan.odd & np.isnan(scan.values).any(axis=1)
    ends = np.cumsum(scan.counts).tolist()
    text = f"one of more than {MOST_ENTRY_MISSING:,} missing values of a series in one entry; so many are taken"
    too_many = Flaw(rejection.TOO_MANY_VALUES, text)
    for end, count in zip(ends, scan.counts.tolist(), strict=True):
        items = np.flatnonzero(missing[end - count : end]) + (end - count)
        if len(items) <= MOST_ENTRY_MISSING:
            continue
        seen = Counter[bytes]()
        for item in items.tolist():
            name = scan.names[item]
            if item not in wrong and name not in COMMANDS:
                seen[name] += 1
                if seen[name] > MOST_ENTRY_MISSING:
                    wrong[item] = too_many


def name_error(name: bytes) -> Flaw | None:
    """Why a field cannot name a series, or None if it can."""
    if not name:
        return Flaw(rejection.BAD_NAME, "the series name is empty")
    if len(name) > MAX_NAME_BYTES:
        return Flaw(rejection.BAD_NAME, f"the series name has {len(name)} bytes, {MAX_NAME_BYTES} are allowed")
    if name.startswith(b"!"):
        return Flaw(
            rejection.UNKNOWN_COMMAND,
            f"unknown command {name.decode('utf-8', 'replace')}; there are !reset, !warm, !correct and !late",
        )
    try:
        name.decode()
    except UnicodeDecodeError:
        return Flaw(rejection.BAD_NAME, "the series name is not UTF-8")
    return None
