"""Models held against the promise of equal bits: in any cut over time, and for each series alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import ModelError

if TYPE_CHECKING:
    from streamlstm.models.model import Model


def check_bits(model: Model, x: NDArray[np.floating[Any]], time: NDArray[np.int64] | None) -> None:
    """ModelError unless x (T, B, F) at `time` (T, B) has the same bits in any cut over time, and each row alone."""
    steps, batch = x.shape[:2]
    stepped, state = step_by_step(model, x, time)
    if model.spec.chunking:
        for cut in {steps, steps // 2, 3, 1}:
            before, after = (None, None) if time is None else (time[:cut], time[cut:])
            first, carried = model.run(x[:cut], model.initial_state(batch), before)
            second, carried = model.run(x[cut:], carried, after)
            if not (np.array_equal(np.concatenate((first, second)), stepped) and np.array_equal(carried, state)):
                raise ModelError(f"the model gives other bits for {cut} steps in one call than in {cut} calls")
    for row in range(batch):
        alone, carried = step_by_step(model, x[:, row : row + 1], None if time is None else time[:, row : row + 1])
        if not (np.array_equal(alone[:, 0], stepped[:, row]) and np.array_equal(carried[0], state[row])):
            raise ModelError("the model gives a series other bits alone than among others")


def step_by_step(
    model: Model, x: NDArray[np.floating[Any]], time: NDArray[np.int64] | None
) -> tuple[NDArray[np.floating[Any]], NDArray[np.float32]]:
    """Forecasts (T, B, O) and the last state of x (T, B, F) at `time` (T, B), one step a call."""
    state = model.initial_state(x.shape[1])
    forecasts = []
    for step, values in enumerate(x):
        y, state = model.step(values, state, None if time is None else time[step])
        forecasts.append(y)
    return np.stack(forecasts), state
