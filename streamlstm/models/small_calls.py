"""Calls of a few rows through arrays that stay where they are, as every live value takes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from streamlstm.models import interface
from streamlstm.models.spec import ModelSpec

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]


class SmallArrays:
    """Room for calls of up to `most` rows (T * B): what calls of different shapes have, they share."""

    def __init__(self, spec: ModelSpec, most: int) -> None:
        self.spec = spec
        self._x, self._y = np.zeros(most * spec.x_width, np.float32), np.zeros(most * spec.y_width, np.float32)
        self._state, self._next_state = np.zeros((2, most * spec.state_size), np.float32)
        self._time = np.zeros(most, np.int64)

    def shaped(self, steps: int, batch: int) -> tuple[Float32, Float32, Int64, Float32, Float32]:
        """Of a call of so many steps T of so many series B: x (T, B, F), state (B, D), time, y, next_state."""
        spec, rows = self.spec, steps * batch
        return (
            self._x[: rows * spec.x_width].reshape(steps, batch, spec.x_width),
            self._state[: batch * spec.state_size].reshape(batch, spec.state_size),
            self._time[:rows].reshape(steps, batch),
            self._y[: rows * spec.y_width].reshape(steps, batch, spec.y_width),
            self._next_state[: batch * spec.state_size].reshape(batch, spec.state_size),
        )


class SmallCall(ABC):
    """Write `x`, `state` and `time`, call `step`, read `y` and `next_state`; what is written is finite. One thread."""

    def __init__(self, arrays: SmallArrays, steps: int, batch: int) -> None:
        self.x: Float32  # (T, B, F), as for every call of a model
        self.state: Float32  # (B, D)
        self.time: Int64  # (T, B) ms since the epoch; not read unless the model uses time
        self.y: Float32  # (T, B, O)
        self.next_state: Float32  # (B, D)
        self.x, self.state, self.time, self.y, self.next_state = arrays.shaped(steps, batch)

    @abstractmethod
    def step(self) -> None:
        """Step the model; raises ModelError where the runtime fails."""


class CalledStep(SmallCall):
    """Through a function that takes and gives arrays: for what has no arrays to bind."""

    def __init__(
        self,
        arrays: SmallArrays,
        steps: int,
        batch: int,
        advance: Callable[[Float32, Float32, Int64 | None], tuple[Float32, Float32]],
    ) -> None:
        """`advance` is `streamlstm.models.model.Model.advance`, or alike."""
        super().__init__(arrays, steps, batch)
        self._advance, self._uses_time = advance, arrays.spec.uses_time

    def step(self) -> None:
        self.y[:], self.next_state[:] = self._advance(self.x, self.state, self.time if self._uses_time else None)


class SmallCalls:
    """Calls of a few rows, one object a shape, made when it is asked for first."""

    def __init__(self, make: Callable[[int, int], interface.SmallCall]) -> None:
        """`make` makes the call of so many steps of so many series; all it makes use the same arrays."""
        self._make = make
        self._made: dict[tuple[int, int], interface.SmallCall] = {}

    def shaped(self, steps: int, batch: int) -> interface.SmallCall:
        """The call of so many steps of so many series."""
        found = self._made.get((steps, batch))
        if found is None:
            found = self._made[steps, batch] = self._make(steps, batch)
        return found
