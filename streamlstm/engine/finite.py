"""Which series a model answered with nothing but finite numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def finite_answers(outputs: NDArray[np.float32], state: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which series (B,) have nothing but finite numbers in a model's outputs (T, B, O) and state (B, D)."""
    return np.asarray(np.isfinite(outputs).all(axis=(0, 2)) & np.isfinite(state).all(axis=1), bool)
