"""What an engine keeps of each stream, and what it says came of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.checkpoints import Window
from streamlstm.engine.corrected import Corrected
from streamlstm.engine.dead_letters import first_items
from streamlstm.engine.known_records import KnownRecords
from streamlstm.engine.parsing import Parsed
from streamlstm.engine.series_cache import Arena
from streamlstm.store import Commit

Index = NDArray[np.int64]
Float64 = NDArray[np.float64]


@dataclass
class StreamHead:
    """Where a stream stands, by what was handed out for commit."""

    position: bytes
    answered: int
    series: int
    unreadable: dict[bytes, str] = field(default_factory=dict)  # series with a bad record and why, for the next commit
    beginners: int = 0  # of the series to be loaded, how many come with a value they could begin with; the first ones
    new: list[bytes] = field(default_factory=list)  # of these, the ones without a record; to be admitted
    begun: Index = field(
        default_factory=lambda: np.empty(0, np.int64)
    )  # slots of series that began in this batch without a good record
    window: Window = field(default_factory=Window)
    corrected: Corrected = field(default_factory=Corrected)  # series that go on from other records with the next batch
    known: KnownRecords = field(default_factory=KnownRecords)

    def leave_out(self, parsed: Parsed, arena: Arena) -> None:
        """Forget bad records of series that are not among the entries that are left: they are loaded again later."""
        if not self.unreadable:
            return
        asked = first_items(parsed, self.unreadable)
        gone = [name for name in self.unreadable if name not in asked]
        slots = np.array([arena.find(parsed.stream, name) for name in gone], np.int64)
        arena.drop(slots)
        self.begun = np.setdiff1d(self.begun, slots)
        for name in gone:
            del self.unreadable[name]


@dataclass(slots=True, kw_only=True)
class Result:
    """What one stream's part of a batch came to."""

    commit: Commit
    tally: Float64  # what was scored: see `scoring`
    entries: int
    items: int
    predictions: int
    resets: int = 0  # markers carried out; `!reset *` is one
    warm: int = 0  # values stepped and not answered
    corrections: int = 0  # likewise, of values
    anew: Sequence[bytes] = ()  # series that began anew because too many values of theirs had no answer
    challenger: Result | None = None  # what the stream's challenger came to, in the same commit


class Moved(TypedDict):
    """The part of a commit that says from where to where it moves its stream."""

    stream: str
    base: bytes
    position: bytes
    model: str
    columns: str
    answered: int
