"""The live way: a few entries with one plain value each, of series in memory, as live streams mostly bring them.

A batch's arrays take as long to make for one value as for a hundred, and a live value would wait for all of them. A
value a millisecond finds the processor's caches cold, so that what counts is how much code and memory it touches: a
read goes from the reply to the model's input in one compiled call, the states in a second, the answers into the rows in
a third, and all of the commit's commands are written by a fourth. The values are of different series, one call of the
model with a row each, or all of one, a call with a step each. After a silence the row of a value that comes alone is a
copy, which is written back with the answer. Whatever is out of the ordinary (a missing value, an answer that is not
finite, some values of the same series) is left untouched for `stepping`; both give the same bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.kernel_demands import FOUND_COLUMNS
from streamlstm.engine.kernels import apply_live, gather_live
from streamlstm.engine.scoring import new_tally
from streamlstm.engine.series_cache import Arena
from streamlstm.engine.stepping import Stepper
from streamlstm.errors import StepError
from streamlstm.models import NEVER, StepModel
from streamlstm.store.record import Rows
from streamlstm.store.resp import ID_AT, ID_LENGTH, SLOT, TIME, Table, scan_live

Index = NDArray[np.int64]
Float32 = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]  # float32, or float64 where numbers are pairs
Float64 = NDArray[np.float64]

MOST = 32  # entries of a read; not above `kernel_demands.MOST_LIVE`


class _Shape:
    """The arrays of reads of n values, T steps of B series; those of all shapes lie in the same memory."""

    def __init__(self, path: LivePath, steps: int, batch: int) -> None:
        count = steps * batch
        self.call = path.calls.shaped(steps, batch)
        self.series = batch
        # (6, n) see `codec_python.scan_live`
        self.found = path.found[: FOUND_COLUMNS * count].reshape(FOUND_COLUMNS, count)
        self.times = self.found[TIME].reshape(steps, batch)
        self.slots = self.found[SLOT, :batch]
        self.values: Float32 = self.call.x.reshape(count, -1)  # (n, F)
        self.y: Floats = path.numbers[: count * path.columns].reshape(count, path.columns)
        self.answer = (self.call.y, self.call.next_state)


class LiveRead:
    """What a read brought: some entries with one plain value each of series in memory; until the next is parsed."""

    __slots__ = ("count", "position", "reply", "shape", "stream")

    def __init__(self, stream: str, reply: bytes, count: int, shape: _Shape) -> None:
        self.stream = stream
        self.reply = reply
        self.count = count  # n
        self.shape = shape
        found, last = shape.found, count - 1
        at: int = found.item(ID_AT, last)
        self.position = reply[at : at + found.item(ID_LENGTH, last)]  # id of the last entry

    @property
    def slots(self) -> Index:
        """Where the records of its series are, (n,) of as many values."""
        return self.shape.slots


class LivePath:
    """Steps live values through one model."""

    def __init__(self, model: StepModel, stepper: Stepper) -> None:
        """What the stepper of batches knows is not worked out again."""
        layout = stepper.layout
        self.calls, self.columns, self.told = model.small_calls(MOST), layout.columns, layout.told
        self.found = np.empty(FOUND_COLUMNS * MOST, np.int64)
        self.numbers: Floats = np.empty(MOST * layout.columns, np.float64 if layout.exact else np.float32)
        self._shapes: dict[tuple[int, int], _Shape] = {}
        self._values = self.calls.shaped(1, MOST).x
        self._uses_time, self._runs_over_time = model.spec.uses_time, model.spec.chunking
        self._layout = layout
        self._edges = stepper.numbers
        self._silences = stepper.silences.by(self._advance)
        self._parsed: LiveRead | None = None  # whose values the model's input holds

    def parse(self, reply: bytes, table: Table, numbers: dict[bytes, int]) -> LiveRead | None:
        """What a read's reply brought, if it is live values, to be stepped before the next one; else None."""
        self._parsed = None
        scanned = scan_live(reply, table, numbers, self.found, self._values, self._layout.exact)
        if scanned is None:
            return None
        key, count, steps = scanned
        if steps > 1 and not self._runs_over_time:
            return None
        shape = self._shapes.get((count, steps))
        if shape is None:
            shape = self._shapes[count, steps] = _Shape(self, steps, count // steps)
        self._parsed = live = LiveRead(key.decode(), reply, count, shape)
        return live

    def step(self, live: LiveRead, arena: Arena, silence_ms: int) -> Float64 | None:
        """Step the values parsed last, carry their series' rows, write `y`; what was scored of them (TALLY_COLUMNS,).

        None, and nothing is touched, if they have to go another way. Up to `silence_ms` a series was not silent.
        """
        shape, rows = live.shape, arena.rows
        call, found = shape.call, shape.found
        if live is not self._parsed:
            return None
        if not gather_live(rows, self._layout.state_at, found, silence_ms, call.state):
            if live.count > 1:
                return None
            rows, found = self._after_silence(rows, shape)
        if self._uses_time:
            call.time[:] = shape.times
        try:
            call.step()
        except StepError:
            return None
        arena.begin_batch()
        arena.touch(shape.slots if live.count > 1 else shape.found.item(SLOT, 0))
        tally = new_tally(1)
        if not apply_live(rows, self._layout, self._edges, found, shape.values, shape.answer, shape.y, tally):
            return None
        if rows is not arena.rows:
            arena.rows[shape.slots] = rows
        scored: Float64 = tally[0]
        return scored

    def _after_silence(self, rows: Rows, shape: _Shape) -> tuple[Rows, Index]:
        """A copy of the row, brought to just before the value, and what was found as if that row were the only one."""
        row, found, value = rows[shape.slots], shape.found.copy(), shape.values.copy()
        found[SLOT] = 0
        self._silences.act(row, found[TIME])
        shape.values[:] = value
        gather_live(row, self._layout.state_at, found, NEVER, shape.call.state)
        return row, found

    def _advance(self, x: Float32, state: Float32, times: Index) -> tuple[Float32, Float32]:
        """One step of one series, as `StepModel.advance` does it; NaN if the model fails."""
        one = self.calls.shaped(1, 1)
        one.x[:], one.state[:] = x, state
        if self._uses_time:
            one.time[:] = times
        try:
            one.step()
        except StepError:
            return np.full_like(one.y, np.nan), state
        return one.y.copy(), one.next_state.copy()
