"""One stream's items, sorted out: which are values of which series, which are commands, and which are dead letters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine import rejection
from streamlstm.engine.dead_letters import MAX_DEAD_VALUE_BYTES
from streamlstm.engine.parsing import ALL_SERIES, COMMANDS, CORRECTIONS, RESET, WARM, Parsed, name_error
from streamlstm.engine.rejection import Flaw
from streamlstm.engine.schedule_python import GAP, MISSING, SKIPPED
from streamlstm.engine.schedule_python import RESET as IS_RESET
from streamlstm.engine.series_cache import NO_SLOT

Index = NDArray[np.int64]
Mask = NDArray[np.bool_]

NO_CORRECTION = Flaw(
    rejection.NOT_CORRECTED,
    "nothing is corrected: it has to be '<series> <id> <value>' with single spaces, of at most "
    f"{MAX_DEAD_VALUE_BYTES:,} bytes",
)
NO_PAST = Flaw(rejection.NO_PAST, "missing, and the series has no prediction yet that could stand in for it")


class Unknown(NamedTuple):
    """Series of a stream's items that are not in memory, each once."""

    beginners: list[bytes]  # with a value to begin with; in order of arrival, so that a limit bites the same ones
    others: list[bytes]  # that are served, or reset, only if there is a record; without one they are no series
    reset: list[int]  # slots of series that are in memory and reset

    @classmethod
    def of(cls, parsed: Parsed, find: Callable[[bytes], int]) -> Unknown:
        """Look through the items; `find` gives the slot of a series. A series cannot begin with a missing value."""
        items = np.flatnonzero(parsed.slots == NO_SLOT)
        names = parsed.names.take(items)
        beginners = dict.fromkeys(names)
        if parsed.plain and RESET not in beginners:
            return cls([name for name in beginners if name_error(name) is None], [], [])
        missing = set(np.flatnonzero(np.isnan(parsed.values).any(axis=1)).tolist())
        beginners, others, reset = {}, dict[bytes, None](), list[int]()
        for item, name in zip(items.tolist(), names, strict=True):
            if name == RESET:
                text = parsed.texts[item]
                if (slot := find(text)) != NO_SLOT:
                    reset.append(slot)
                elif text != ALL_SERIES:
                    others[text] = None
            elif item not in parsed.wrong:
                (others if item in missing else beginners)[name] = None
        found = [name for name in beginners if name_error(name) is None]
        return cls(found, [name for name in others if name not in beginners and name_error(name) is None], reset)


@dataclass
class Work:
    """One stream's items, sorted out: values by slot, resets, and dead letters with their reason."""

    parsed: Parsed
    slots: Index  # (n,) the series' slot; NO_SLOT for what is not stepped
    dead: dict[int, Flaw] = field(default_factory=dict)
    resets: list[int] = field(default_factory=list)  # items that reset one series; `slots` has which
    resets_all: list[int] = field(default_factory=list)  # items that reset every series
    removed: dict[int, bytes] = field(default_factory=dict)  # items that reset a series which is not in memory
    restarts: list[int] = field(default_factory=list)  # items from which on a series goes on from another record
    gaps: Mask | None = None  # (n,) items that may come after too long a silence of their series; None if none do

    @classmethod
    def of(cls, parsed: Parsed, find: Callable[[bytes], int], max_series: int, refused: Sequence[int] = ()) -> Work:
        """Sort out the items of a stream; `find` gives the slot of a series that was not in memory when it was read.

        `refused` are items that would begin a series where the stream has `max_series` of them.
        """
        work = cls(parsed, parsed.slots)
        if parsed.plain and parsed.all_known:
            return work
        for item in work._unknown():
            work.slots[item] = find(parsed.names[item])
        for item in work._unknown():
            if parsed.names[item] == RESET:
                work._take_reset(item, find)
            elif parsed.names[item] == WARM:  # one that is not understood
                work.dead[item] = parsed.wrong[item]
            elif parsed.names[item] in CORRECTIONS:
                flaw = parsed.corrections.get(item, NO_CORRECTION)
                if flaw is not None:
                    work.dead[item] = flaw
                elif item in parsed.restarts:
                    work.slots[item] = find(parsed.series_at(item))
                    work.restarts.append(item)
            else:
                work.dead[item] = work._unnamed(item) or work._unadmitted(item)
        for item, found_flaw in parsed.wrong.items():
            if item not in work.dead and parsed.names[item] not in COMMANDS:
                work.dead[item] = found_flaw
                work.slots[item] = NO_SLOT
        if refused:
            limit = f"too many series: the stream has reached its limit of {max_series} (--max-series)"
            work.dead.update(dict.fromkeys(refused, Flaw(rejection.TOO_MANY_SERIES, limit)))
            work.slots[refused] = NO_SLOT
        return work

    @property
    def is_plain(self) -> bool:
        """Whether nothing is out of the ordinary about any item that has a series."""
        return self.parsed.plain and not self.resets and not self.resets_all and self.gaps is None

    def _unknown(self) -> list[int]:
        """Items that are no values of series in memory."""
        items = np.flatnonzero(self.slots == NO_SLOT)
        if self.parsed.warm is not None:
            items = np.setdiff1d(items, self.parsed.warm.commands, assume_unique=True)
        return items.tolist()

    def marks(self, *, skip: bool) -> NDArray[np.uint8] | None:
        """What is out of the ordinary about each item, (n,): see `schedule_python.lay_out`; None if nothing is."""
        if self.is_plain:
            return None
        marks = np.zeros(len(self.slots), np.uint8)
        if not self.parsed.plain:
            missing = np.isnan(self.parsed.values).any(axis=1) & (self.slots != NO_SLOT)
            marks[missing] = SKIPPED if skip else MISSING
        if self.gaps is not None:
            marks[self.gaps] |= GAP
        marks[self.resets] = marks[self.resets_all] = marks[self.restarts] = IS_RESET
        return marks

    def first(self, entries: int) -> Work:
        """The same of the first entries."""
        parsed = self.parsed.first(entries)
        items = parsed.items
        return Work(
            parsed,
            self.slots[:items],
            {item: found for item, found in self.dead.items() if item < items},
            [item for item in self.resets if item < items],
            [item for item in self.resets_all if item < items],
            {item: name for item, name in self.removed.items() if item < items},
            [item for item in self.restarts if item < items],
            None if self.gaps is None else self.gaps[:items],
        )

    def markers(self) -> int:
        """How many `!reset` are carried out, whether or not their series are in memory, or there at all."""
        return len(self.resets) + len(self.resets_all) + len(self.removed)

    def removed_by(self, gone: Index) -> Sequence[bytes]:
        """The series to be removed: reset without being in memory, or, these slots, with nothing after it."""
        removed = list(dict.fromkeys(self.removed.values()))
        if not len(gone):
            return removed
        names = {int(self.slots[item]): self.parsed.series_at(item) for item in (*self.resets, *self.restarts)}
        return [*removed, *(names[slot] for slot in gone.tolist() if slot in names)]

    def _unnamed(self, item: int) -> Flaw | None:
        """Why an item names no series, if it does not; what stands for others of its entry has no name at all."""
        found = self.parsed.wrong.get(item)
        return (
            found
            if found is not None and found.kind == rejection.TOO_MANY_VALUES
            else name_error(self.parsed.names[item])
        )

    def _unadmitted(self, item: int) -> Flaw:
        """Why a series that has no row cannot begin with an item, unless it was refused."""
        return self.parsed.wrong.get(item, NO_PAST)

    def _take_reset(self, item: int, find: Callable[[bytes], int]) -> None:
        name = self.parsed.texts[item]
        if name == ALL_SERIES:
            self.resets_all.append(item)
        elif found := name_error(name):
            self.dead[item] = Flaw(found.kind, f"!reset names no series: {found.text}")
        elif (slot := find(name)) != NO_SLOT:
            self.slots[item] = slot
            self.resets.append(item)
        else:
            self.removed[item] = name
