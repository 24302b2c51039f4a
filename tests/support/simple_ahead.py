"""What is said of further steps without any model, after every value of a series."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlstm.training.blending.ahead import simple_at


def simple_forecasts(values: NDArray[np.float64], season: int, steps: int) -> NDArray[np.float64]:
    """What each of `simple_parts` says of 1 to `steps` after each of values (N,), (4, N, steps)."""
    now = np.arange(len(values))
    said = [simple_at(values[:, None], np.zeros_like(now), now, season, step + 1) for step in range(steps)]
    return np.stack(said, axis=2)
