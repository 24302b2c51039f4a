"""The interval of `evaluate`: what the daemon's `--interval` would have given with each forecast of a series."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from streamlstm.evaluation.scores import Bounds
    from streamlstm.table import Series


def served_bounds(one: Series, forecasts: NDArray[np.float64], level: float) -> Bounds | None:
    """Bounds of the values 1 to N - 1 of a series from its forecasts (N - 1, F), each from the values before it.

    None as long as the daemon has no intervals.
    """
    del one, forecasts, level
    return None
