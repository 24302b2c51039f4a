"""What the engine needs of a model: so many steps of so many series in one call, or one step of one series."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from streamlstm.models.spec import ModelSpec

Float32 = NDArray[np.float32]
Index = NDArray[np.int64]


class OneStep(Protocol):
    """One step of one series: what `x`, `state` and `time` hold is stepped to `y` and `next_state`, all in place."""

    x: Float32  # (1, 1, F)
    state: Float32  # (1, D)
    time: Index  # (1, 1), not read unless the model uses time
    y: Float32  # (1, 1, O)
    next_state: Float32  # (1, D)

    def step(self) -> None:
        """Step it; what is written is finite."""


class StepModel(Protocol):
    """What the engine needs of a model; `models.model.Model` is one."""

    spec: ModelSpec
    fingerprint: str

    def initial_state(self, batch: int = 1) -> Float32:
        """State before the first value, [batch, D]."""

    def one_step(self) -> OneStep:
        """One step of one series through arrays of its own, for one thread."""

    def advance(self, x: Float32, state: Float32, time: Index | None) -> tuple[Float32, Float32]:
        """T steps of B series whose x [T, B, F] and state [B, D] are known to be finite."""
