"""One step of one series through arrays that stay where they are, as every live value takes it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from streamlstm.models.spec import ModelSpec

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]


class OneStep(ABC):
    """Write `x`, `state` and `time`, call `step`, read `y` and `next_state`; what is written is finite. One thread."""

    def __init__(self, spec: ModelSpec) -> None:
        self.x = np.zeros((1, 1, spec.x_width), np.float32)  # (T, B, F), as for every call of a model
        self.state, self.next_state = np.zeros((2, 1, spec.state_size), np.float32)  # (B, D)
        self.time = np.zeros((1, 1), np.int64)  # (T, B) ms since the epoch; not read unless the model uses time
        self.y = np.zeros((1, 1, spec.y_width), np.float32)  # (T, B, O)

    @abstractmethod
    def step(self) -> None:
        """Step the model; raises ModelError where the runtime fails."""


class CalledStep(OneStep):
    """Through a function that takes and gives arrays: for what has no arrays to bind."""

    def __init__(self, spec: ModelSpec, advance: Callable[[Float32, Float32, Int64 | None], tuple[Float32, Float32]]):
        """`advance` is `streamlstm.models.model.Model.advance`, or alike."""
        super().__init__(spec)
        self._advance, self._uses_time = advance, spec.uses_time

    def step(self) -> None:
        self.y[:], self.next_state[:] = self._advance(self.x, self.state, self.time if self._uses_time else None)
