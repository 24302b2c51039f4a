"""Records that series go on from because a value of theirs was corrected: put in place, and stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.parsing import Parsed
from streamlstm.engine.series_cache import NO_SLOT, Arena
from streamlstm.store import Commit
from streamlstm.store.record import RecordFormat, Records
from streamlstm.store.resp import Texts

Index = NDArray[np.int64]


class KeptAgain(NamedTuple):
    """What is to be kept aside of a series that is corrected, by one of the next entries or before them."""

    entry: int  # as soon as this one is stepped; later ones count
    series: bytes
    window: int | None  # the hash it lies in; None: it is from just before the next entries, for the window of then
    position: bytes
    record: bytes | None  # None: the series has no value there
    is_kept: bool = False  # whether the window of now has one already


@dataclass(slots=True)
class Corrected:
    """Of one stream, for its next batch. `Parsed.restarts` are in the midst of it, of series that are among these."""

    records: Mapping[bytes, bytes | None] = field(default_factory=dict)  # None: the series begins anew
    begun: int = 0  # of these series, how many had no record
    kept: Sequence[KeptAgain] = ()  # in order
    slots: Mapping[bytes, int] = field(default_factory=dict)  # where they are

    def place(self, arena: Arena, record_format: RecordFormat, stream: str) -> Index:
        """Put the records in the place of the series' own, for this batch; the slots of those that begin anew."""
        found = dict[bytes, int]()
        for name, record in self.records.items():
            row = record_format.fresh if record is None else np.frombuffer(record, np.float32)
            slot = arena.find(stream, name)
            if slot == NO_SLOT:
                slot = int(arena.put(stream, [name], row[None])[0])
            else:
                arena.touch(slot)
                arena.rows[slot] = row
            arena.begin_anew(slot)
            found[name] = slot
        self.slots = found
        return np.array([found[name] for name, record in self.records.items() if record is None], np.int64)

    def add_to(self, commit: Commit, gone: Index, steps: NDArray[np.uint64]) -> None:
        """Have a commit store what else it would not, and remove what has no value any more.

        `gone` are slots of series that the commit removes, `steps` (rows,) those of all records.
        """
        done = {*commit.records.slots.tolist(), *gone.tolist()}
        left = {name: slot for name, slot in self.slots.items() if slot not in done}
        stored = {} if commit.reset_all else {name: slot for name, slot in left.items() if steps[slot]}
        slots = np.array(list(stored.values()), np.int64)
        commit.names = Texts.of([*commit.names, *stored])
        commit.records = Records(commit.records.rows, np.concatenate([commit.records.slots, slots]))
        commit.removed = [*commit.removed, *(name for name, slot in left.items() if not steps[slot])]


class CorrectedHead(Protocol):
    """What `place_corrected` has to know of a stream that is stepped; `results.StreamHead` has it."""

    series: int
    begun: Index  # slots of series that begin in this batch without a good record
    corrected: Corrected


def place_corrected(
    batch: Sequence[Parsed], heads: Mapping[str, CorrectedHead], arena: Arena, record_format: RecordFormat
) -> None:
    """Put the records that series of a batch are to go on from in the place of their own."""
    chosen = [parsed for parsed in batch if heads[parsed.stream].corrected.records]
    for parsed in batch if chosen else ():
        arena.touch(parsed.slots[parsed.slots != NO_SLOT])
    for parsed in chosen:
        head = heads[parsed.stream]
        head.begun = head.corrected.place(arena, record_format, parsed.stream)
        head.series += head.corrected.begun
        for item in np.flatnonzero(parsed.slots == NO_SLOT).tolist():
            parsed.slots[item] = head.corrected.slots.get(parsed.names[item], NO_SLOT)
