"""Ask a model that may fail on some value: the series it fails on are found by halving the batch.

What a series is answered does not depend on which others are in the call, so the others get the bits they would have
got. Every step of the engine but that of a lone value goes through here; that one is left to the others where it fails.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import StepError

if TYPE_CHECKING:
    from streamlstm.models import StepModel

Float32 = NDArray[np.float32]
Index = NDArray[np.int64]
# x [T, B, F], state [B, D], times [T, B] to y [T, B, O] and the state after it.
Advance = Callable[[Float32, Float32, Index], tuple[Float32, Float32]]


def advance_of(model: StepModel) -> Advance:
    """`StepModel.advance` for who gives times whether the model uses them or not."""
    if model.spec.uses_time:
        return model.advance
    return lambda x, state, _: model.advance(x, state, None)


class Halving:
    """A model whose failures are answers that are not finite."""

    def __init__(self, model: StepModel) -> None:
        self._advance_all, self._y_width = advance_of(model), model.spec.y_width
        self.failures: dict[int, str] = {}  # what series of the last call failed with, by their place in it

    def advance(self, x: Float32, state: Float32, times: Index) -> tuple[Float32, Float32]:
        """T steps of B series as `StepModel.advance` does them; a series that the model fails on has NaN throughout."""
        self.failures = {}
        return self._advance(x, state, times, 0)

    def _advance(self, x: Float32, state: Float32, times: Index, first: int) -> tuple[Float32, Float32]:
        try:
            return self._advance_all(x, state, times)
        except StepError as error:
            steps, batch = x.shape[:2]
            if batch == 1:
                self.failures[first] = str(error)
                return np.full((steps, 1, self._y_width), np.nan, np.float32), np.full_like(state, np.nan)
        halves = (slice(0, batch // 2), slice(batch // 2, batch))
        parts = [
            self._advance(
                np.ascontiguousarray(x[:, cut]),
                np.ascontiguousarray(state[cut]),
                np.ascontiguousarray(times[:, cut]),
                first + cut.start,
            )
            for cut in halves
        ]
        return np.concatenate([y for y, _ in parts], axis=1), np.concatenate([after for _, after in parts])
