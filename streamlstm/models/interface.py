"""What the engine needs of a model: so many steps of so many series in one call, or a few through arrays that stay."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamlstm.models.spec import ModelSpec

Float32 = NDArray[np.float32]
Index = NDArray[np.int64]


class SmallCall(Protocol):
    """T steps of B series: what `x`, `state` and `time` hold is stepped to `y` and `next_state`, all in place."""

    x: Float32  # (T, B, F)
    state: Float32  # (B, D)
    time: Index  # (T, B), not read unless the model uses time
    y: Float32  # (T, B, O)
    next_state: Float32  # (B, D)

    def step(self) -> None:
        """Step it; what is written is finite."""


class SmallCalls(Protocol):
    """Calls of a few rows through arrays that they share."""

    def shaped(self, steps: int, batch: int) -> SmallCall:
        """The call of so many steps of so many series; the same each time."""


class StepModel(Protocol):
    """What the engine needs of a model; `models.model.Model` is one."""

    spec: ModelSpec
    fingerprint: str

    def initial_state(self, batch: int = 1) -> Float32:
        """State before the first value, [batch, D]."""

    def small_calls(self, most: int) -> SmallCalls:
        """Calls of at most so many rows (T * B) through arrays of their own, for one thread."""

    def advance(self, x: Float32, state: Float32, time: Index | None) -> tuple[Float32, Float32]:
        """T steps of B series whose x [T, B, F] and state [B, D] are known to be finite."""
