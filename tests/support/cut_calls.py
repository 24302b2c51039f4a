"""The same values in one call for two series and in calls a value, of one series and of two."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlstm.models.model import Model


def states_agree(model: Model, values: list[float]) -> bool:
    """Whether states are the same to the bit behind one feature's values, in one call or several, alone or together."""
    x = np.array(values, np.float32)[:, None, None]
    _, once = model.run(x.repeat(2, axis=1), model.initial_state(2))
    return all(_stepped(model, x.repeat(rows, axis=1)).tobytes() == once[:rows].tobytes() for rows in (1, 2))


def _stepped(model: Model, x: NDArray[np.float32]) -> NDArray[np.float32]:
    state = model.initial_state(x.shape[1])
    for value in x:
        _, state = model.step(value, state)
    return state
