"""The inner parts of stepping: compiled (`engine._kernels`) where they were built, else `engine.kernels_python`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from streamlstm.engine import kernels_python as _kernels

    COMPILED = False
else:
    try:
        from streamlstm.engine import _kernels

        COMPILED = True
    except ImportError:
        from streamlstm.engine import kernels_python as _kernels

        COMPILED = False

Index = NDArray[np.int64]

gather_columns = _kernels.gather_columns
gather_steps = _kernels.gather_steps
all_finite = _kernels.all_finite
apply_outputs = _kernels.apply_outputs
step_tiles = _kernels.step_tiles
gather_live = _kernels.gather_live
apply_live = _kernels.apply_live
calibrate = _kernels.calibrate


def lay_out(
    slots: Index, marks: NDArray[np.uint8] | None, scratch: NDArray[np.int32], offsets: Index
) -> tuple[Index, ...]:
    """Items laid out for staircases, by the slots of their series: the columns that `schedule_python.lay_out` tells of.

    So are the arguments; each column, bytes or an array there, is an array of int64 here.
    """
    return tuple(np.frombuffer(column, np.int64) for column in _kernels.lay_out(slots, marks, scratch, offsets))
