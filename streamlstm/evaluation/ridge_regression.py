"""Ridge regression in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ridge(
    features: NDArray[np.float64], targets: NDArray[np.float64], penalty: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Solve min |X w + b - y|^2 + penalty * |w|^2 for features (N, K) and targets (N, O): weight (K, O), bias (O).

    The bias is not penalised (Hoerl and Kennard 1970, on centred data).
    """
    centre, level = features.mean(axis=0), targets.mean(axis=0)
    x, y = features - centre, targets - level
    weight = np.linalg.solve(x.T @ x + penalty * np.eye(x.shape[1]), x.T @ y)
    return weight, level - centre @ weight
