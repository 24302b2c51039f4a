"""The single way: one plain value of a series in memory, alone in its read, as live streams mostly bring them.

A batch's arrays take as long to make for one value as for a hundred, and a live value would wait for all of them. Here
a value goes from the reply to the model in one call and into its series' row in another. Whatever is out of the
ordinary (a gap, an answer that is not finite) is left untouched for the other ways; all give the same bits.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.arena import Arena
from streamlstm.carry import absorb, all_finite
from streamlstm.carry_python import Layout
from streamlstm.codec import Table, Texts, scan_single
from streamlstm.gaps import NEVER
from streamlstm.record import RecordFormat
from streamlstm.scoring import SCALED_ERROR_EDGES, new_tally
from streamlstm.stepping import StepModel

Index = NDArray[np.int64]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

_ID_AT, _ID_LENGTH, _TIME, _NAME_AT, _NAME_LENGTH, _SLOT = range(6)  # of what `scan_single` finds
_TIME_AND_STEPS = struct.Struct("=qQ")
_TIME_AT = 16  # of these in a record: see `record`
_ZERO, _ONE = np.zeros(1, np.int64), np.ones(1, np.int64)


class Single:
    """What a read brought: one entry with one plain value of a series that is in memory."""

    __slots__ = ("found", "reply", "stream", "values")
    entries = items = 1

    def __init__(self, stream: str, reply: bytes, found: Index, values: Float32) -> None:
        self.stream = stream
        self.reply = reply
        self.found = found  # (6,) see `codec_python.scan_single`
        self.values = values  # (1, 1, F)

    @property
    def position(self) -> bytes:
        """Id of the entry."""
        at = int(self.found[_ID_AT])
        return self.reply[at : at + int(self.found[_ID_LENGTH])]

    @property
    def ids(self) -> Texts:
        """Id of the entry, (1,)."""
        return Texts(self.reply, self.found[_ID_AT : _ID_AT + 1], self.found[_ID_LENGTH : _ID_LENGTH + 1])

    @property
    def names(self) -> Texts:
        """Name of the series, (1,)."""
        return Texts(self.reply, self.found[_NAME_AT : _NAME_AT + 1], self.found[_NAME_LENGTH : _NAME_LENGTH + 1])

    @property
    def counts(self) -> Index:
        """Values of the entry, (1,)."""
        return _ONE

    @property
    def slots(self) -> Index:
        """Where the series' record is, (1,)."""
        return self.found[_SLOT : _SLOT + 1]

    @property
    def times_ms(self) -> Index:
        """Time of the entry, (1,)."""
        return self.found[_TIME : _TIME + 1]


def parse_single(reply: bytes, table: Table, numbers: dict[bytes, int], features: int) -> Single | None:
    """What a read's reply brought, if it is a single value; else None."""
    found, values = np.empty(6, np.int64), np.empty(features, np.float32)
    key = scan_single(reply, table, numbers, found, values)
    return None if key is None else Single(key.decode(), reply, found, values.reshape(1, 1, features))


class Answer(NamedTuple):
    """What stepping came to."""

    y: Float32  # (1, columns)
    tally: Float64  # (TALLY_COLUMNS,)


class SingleWay:
    """Steps single values through one model."""

    def __init__(self, model: StepModel, record_format: RecordFormat, layout: Layout, constants: Float64) -> None:
        """`layout` and `constants` are those of the plain way."""
        self._model = model
        self._layout = layout
        self._constants = constants
        self._size = record_format.size
        first = record_format.places()[2] // 4
        self._state = slice(first, first + record_format.state_size)

    def step(self, single: Single, arena: Arena, silence_ms: int) -> Answer | None:
        """Step a value and carry its series' row; None, and nothing is touched, if it has to go another way.

        A value after a longer silence of its series than `silence_ms` has.
        """
        rows, slot, times = arena.rows, int(single.found[_SLOT]), single.times_ms
        if silence_ms != NEVER:
            last_ms, steps = _TIME_AND_STEPS.unpack_from(rows.data, slot * self._size + _TIME_AT)
            if steps and int(times[0]) - last_ms > silence_ms:
                return None
        time = times[None] if self._model.spec.uses_time else None
        outputs, state = self._model.advance(single.values, rows[slot : slot + 1, self._state], time)
        if not (all_finite(outputs) and all_finite(state)):
            return None
        y, tally = np.empty((1, self._layout.columns), np.float32), new_tally(1)
        absorb(
            rows,
            self._layout,
            self._constants,
            SCALED_ERROR_EDGES,
            _ZERO,
            _ZERO,
            single.slots,
            _ZERO,
            0,
            1,
            0,
            single.values,
            times,
            outputs,
            state,
            y,
            tally,
        )
        return Answer(y, tally[0])
