"""A model that says before each call that work goes on, and that takes no call for longer than a beat may take."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from streamlstm.models import StepModel

Float32 = NDArray[np.float32]
Index = NDArray[np.int64]

MOST_STEPS = 4_096  # in one call: some seconds of the slowest models there are, a millisecond a step


class BeatingModel:
    """A step model; whoever sets `beat` is called before each call but the small ones of live values."""

    def __init__(self, model: StepModel) -> None:
        self._model = model
        self.beat: Callable[[], bool] = lambda: False
        self.spec, self.fingerprint = model.spec, model.fingerprint
        self.initial_state, self.small_calls = model.initial_state, model.small_calls

    def say(self) -> None:
        """Call whoever is to be called now."""
        self.beat()

    def advance(self, x: Float32, state: Float32, time: Index | None) -> tuple[Float32, Float32]:
        """The model's own, in parts of at most MOST_STEPS; a model gives the same bits however its steps are cut."""
        if len(x) <= MOST_STEPS:
            self.beat()
            return self._model.advance(x, state, time)
        parts = []
        for first in range(0, len(x), MOST_STEPS):
            self.beat()
            cut = slice(first, first + MOST_STEPS)
            y, state = self._model.advance(x[cut], state, None if time is None else time[cut])
            parts.append(y)
        return np.concatenate(parts), state
