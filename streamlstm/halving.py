"""Ask a model that may fail on some value: the series it fails on are found by halving the batch.

What a series is answered does not depend on which others are in the call, so the others get the bits they would have
got. Every step of the engine but the plain ways' goes through here; those leave what the model fails on to the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import StepError

if TYPE_CHECKING:
    from streamlstm.stepping import StepModel

Float32 = NDArray[np.float32]
Index = NDArray[np.int64]


class Halving:
    """A model whose failures are answers that are not finite."""

    def __init__(self, model: StepModel) -> None:
        self._model, self._uses_time = model, model.spec.uses_time
        self.failure: str | None = None  # what a series of the last call failed with; None if none did

    def advance(self, x: Float32, state: Float32, times: Index) -> tuple[Float32, Float32]:
        """T steps of B series as `StepModel.advance` does them; a series that the model fails on has NaN throughout."""
        self.failure = None
        return self._advance(x, state, times)

    def _advance(self, x: Float32, state: Float32, times: Index) -> tuple[Float32, Float32]:
        try:
            return self._model.advance(x, state, times if self._uses_time else None)
        except StepError as error:
            steps, batch = x.shape[:2]
            if batch == 1:
                self.failure = str(error)
                outputs = self._model.spec.y_width
                return np.full((steps, 1, outputs), np.nan, np.float32), np.full_like(state, np.nan)
        halves = (slice(0, batch // 2), slice(batch // 2, batch))
        parts = [self._advance(*map(np.ascontiguousarray, (x[:, cut], state[cut], times[:, cut]))) for cut in halves]
        return np.concatenate([y for y, _ in parts], axis=1), np.concatenate([after for _, after in parts])
