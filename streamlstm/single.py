"""The single way: one plain value of a series in memory, alone in its read, as live streams mostly bring them.

A batch's arrays take as long to make for one value as for a hundred, and a live value would wait for all of them. A
value a millisecond finds the processor's caches cold, so that what counts is how much code and memory it touches: it
goes from the reply to the model's input in one compiled call, its state in a second, the answer into the row in a
third, and all of the commit's commands are written by a fourth. Whatever is out of the ordinary (a gap, an answer that
is not finite) is left untouched for the other ways; all give the same bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlstm.arena import Arena
from streamlstm.carry import absorb_one, take_one
from streamlstm.codec import ID_AT, ID_LENGTH, SLOT, TIME, Table, scan_single
from streamlstm.errors import StepError
from streamlstm.record import RecordFormat
from streamlstm.scoring import SCALED_ERROR_EDGES, new_tally
from streamlstm.step_model import StepModel
from streamlstm.stepping import Stepper

Index = NDArray[np.int64]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


class Single:
    """What a read brought: one entry with one plain value of a series that is in memory; until the next is parsed."""

    __slots__ = ("found", "position", "reply", "slot", "stream")

    def __init__(self, stream: str, reply: bytes, found: Index) -> None:
        self.stream = stream
        self.reply = reply
        self.found = found  # (6,) see `codec_python.scan_single`
        at: int = found.item(ID_AT)
        self.position = reply[at : at + found.item(ID_LENGTH)]  # id of the entry
        self.slot: int = found.item(SLOT)  # where the series' record is


class SingleWay:
    """Steps single values through one model."""

    def __init__(self, model: StepModel, record_format: RecordFormat, stepper: Stepper) -> None:
        """What the stepper of batches knows is not worked out again."""
        layout = stepper.layout
        self._one = model.one_step()
        self._found = np.empty(6, np.int64)
        self.y = np.empty((1, layout.columns), np.float64 if layout.exact else np.float32)  # of the value stepped last
        self._value = self._one.x[0]  # (1, F)
        self._uses_time = model.spec.uses_time
        self._layout = layout
        self._constants = stepper.constants
        self._size, self._state_at = record_format.size, record_format.places()[2]
        self._parsed: Single | None = None  # whose value the model's input holds

    def parse(self, reply: bytes, table: Table, numbers: dict[bytes, int]) -> Single | None:
        """What a read's reply brought, if it is a single value, to be stepped before the next one; else None."""
        key = scan_single(reply, table, numbers, self._found, self._value, self._layout.exact)
        self._parsed = None if key is None else Single(key.decode(), reply, self._found)
        return self._parsed

    def step(self, single: Single, arena: Arena, silence_ms: int) -> Float64 | None:
        """Step the value parsed last, carry its series' row, write `y`; what was scored of it (TALLY_COLUMNS,).

        None, and nothing is touched, if it has to go another way, as after a longer silence of its series than
        `silence_ms`.
        """
        one, rows, found = self._one, arena.rows, single.found
        if single is not self._parsed or not take_one(rows, self._size, self._state_at, found, silence_ms, one.state):
            return None
        if self._uses_time:
            one.time[0, 0] = found[TIME]
        try:
            one.step()
        except StepError:
            return None
        arena.begin_batch()
        arena.touch(single.slot)
        tally = new_tally(1)
        layout, constants, edges = self._layout, self._constants, SCALED_ERROR_EDGES
        good = absorb_one(rows, layout, constants, edges, found, self._value, one.y, one.next_state, self.y, tally)
        return tally[0] if good else None
