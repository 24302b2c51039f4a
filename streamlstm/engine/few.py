"""The short way of a few plain values of different series, as live streams bring them in one read.

What lays a large batch out, cuts it and puts its answers together again takes longer than a few values themselves: 40
of 115 us for ten. They are one call of the model, whose answers are in their order. Whatever is out of the ordinary is
left untouched for `stepping`; both give the same bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.answers import Answers
from streamlstm.engine.kernel_demands import Answer, BatchArrays
from streamlstm.engine.kernels import all_finite, apply_outputs, gather_columns
from streamlstm.engine.scoring import new_tally
from streamlstm.engine.series_cache import Arena
from streamlstm.engine.sorted_items import Work
from streamlstm.engine.stepping import Stepper
from streamlstm.errors import StepError
from streamlstm.models import StepModel

Index = NDArray[np.int64]

MOST = 64  # values; below the fewest series of a tile
ONE_STREAM = np.array([0, MOST])  # in the place of where the items of each stream begin

_NONE = np.empty(0, np.int64)
_NUMBERS, _ZEROS = np.arange(MOST), np.zeros(MOST, np.int64)


class FewPath:
    """Steps a few values through one model."""

    def __init__(self, model: StepModel, stepper: Stepper) -> None:
        """What the stepper of batches knows is not worked out again."""
        self._model, self._uses_time = model, model.spec.uses_time
        self._layout, self._numbers = stepper.layout, stepper.numbers
        self._y_dtype = np.float64 if model.spec.exact else np.float32

    def step(self, work: Work, arena: Arena) -> Answers | None:
        """Step one stream's values and carry their series' rows; None, and nothing is touched, if they go another way.

        The model may fail on them, or they are too many, of one series twice, or not all plain values.
        """
        slots, parsed, count = work.slots, work.parsed, len(work.slots)
        if count > MOST or not count or not work.is_plain:
            return None
        found = set(slots.tolist())
        if len(found) < count or min(found) < 0:
            return None
        values, times, rows, layout = parsed.values, parsed.item_times_ms, arena.rows, self._layout
        state = np.empty((count, layout.state_size), np.float32)
        gather_columns(rows, layout.state_at, slots, state)
        try:
            outputs, state = self._model.advance(values[None], state, times[None] if self._uses_time else None)
        except StepError:
            return None
        if not (all_finite(outputs) and all_finite(state)):
            return None
        y, tally = np.empty((count, layout.columns), self._y_dtype), new_tally(1)
        numbers, zeros = _NUMBERS[:count], _ZEROS[:count]
        arrays = BatchArrays(numbers, values, times, None, y, tally)
        apply_outputs(rows, layout, self._numbers, arrays, Answer(numbers, slots, zeros, outputs, state, 0, 1, ends=0))
        return Answers(y, None, slots, zeros, numbers, _NONE, _NONE, _NONE, {}, _NONE, tally)
