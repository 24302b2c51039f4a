"""The single way: one plain value of a series in memory, alone in its read, as live streams mostly bring them.

A batch's arrays take as long to make for one value as for a hundred, and a live value would wait for all of them. A
value a millisecond finds the processor's caches cold, so that what counts is how much code and memory it touches: it
goes from the reply to the model's input in one compiled call, its state in a second, the answer into the row in a
third, and all of the commit's commands are written by a fourth. After a silence the row is a copy, which is written
back with the answer. Whatever is out of the ordinary (a missing value, an answer that is not finite) is left untouched
for `stepping`; both give the same bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.kernels import apply_output, gather_one
from streamlstm.engine.scoring import new_tally
from streamlstm.engine.series_cache import Arena
from streamlstm.engine.stepping import Stepper
from streamlstm.errors import StepError
from streamlstm.models import NEVER, StepModel
from streamlstm.store.record import Rows
from streamlstm.store.resp import ID_AT, ID_LENGTH, SLOT, TIME, Table, scan_single

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


class SinglePath:
    """Steps single values through one model."""

    def __init__(self, model: StepModel, stepper: Stepper) -> None:
        """What the stepper of batches knows is not worked out again."""
        layout = stepper.layout
        self._one = model.one_step()
        self._found = np.empty(6, np.int64)
        self.y = np.empty((1, layout.columns), np.float64 if layout.exact else np.float32)  # of the value stepped last
        self._value = self._one.x[0]  # (1, F)
        self._uses_time = model.spec.uses_time
        self._layout = layout
        self._numbers = stepper.numbers
        self._silences = stepper.silences.by(self._advance)
        self.told = self.y[:, : layout.told]  # what of it is told
        self._parsed: Single | None = None  # whose value the model's input holds

    @property
    def value(self) -> Float32:
        """What was parsed last, (1, F)."""
        value: Float32 = self._value
        return value

    def parse(self, reply: bytes, table: Table, numbers: dict[bytes, int]) -> Single | None:
        """What a read's reply brought, if it is a single value, to be stepped before the next one; else None."""
        key = scan_single(reply, table, numbers, self._found, self._value, self._layout.exact)
        self._parsed = None if key is None else Single(key.decode(), reply, self._found)
        return self._parsed

    def step(self, single: Single, arena: Arena, silence_ms: int) -> Float64 | None:
        """Step the value parsed last, carry its series' row, write `y`; what was scored of it (TALLY_COLUMNS,).

        None, and nothing is touched, if it has to go another way. Up to `silence_ms` its series was not silent.
        """
        one, rows, found = self._one, arena.rows, single.found
        if single is not self._parsed:
            return None
        if not gather_one(rows, self._layout.state_at, found, silence_ms, one.state):
            rows, found = self._after_silence(rows, found)
        if self._uses_time:
            one.time[0, 0] = found[TIME]
        try:
            one.step()
        except StepError:
            return None
        arena.begin_batch()
        arena.touch(single.slot)
        tally = new_tally(1)
        answer = (one.y, one.next_state)
        good = apply_output(rows, self._layout, self._numbers, found, self._value, answer, self.y, tally)
        if good and rows is not arena.rows:
            arena.rows[single.slot] = rows[0]
        return tally[0] if good else None

    def _after_silence(self, rows: Rows, found: Index) -> tuple[Rows, Index]:
        """A copy of the row, brought to just before the value, and what was found as if that row were the only one."""
        row, found, value = rows[found[SLOT] : found[SLOT] + 1].copy(), found.copy(), self._value.copy()
        found[SLOT] = 0
        self._silences.act(row, found[TIME : TIME + 1])
        self._value[:] = value
        gather_one(row, self._layout.state_at, found, NEVER, self._one.state)
        return row, found

    def _advance(self, x: Float32, state: Float32, times: Index) -> tuple[Float32, Float32]:
        """One step of one series, as `StepModel.advance` does it; NaN if the model fails."""
        one = self._one
        one.x[:], one.state[:] = x, state
        if self._uses_time:
            one.time[:] = times
        try:
            one.step()
        except StepError:
            return np.full_like(one.y, np.nan), state
        return one.y.copy(), one.next_state.copy()
