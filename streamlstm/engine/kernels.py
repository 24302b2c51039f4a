"""The inner parts of stepping: compiled (`engine._kernels`) where they were built, else `engine.kernels_python`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from streamlstm.engine import kernels_python as _carry

    COMPILED = False
else:
    try:
        from streamlstm.engine import _kernels as _carry

        COMPILED = True
    except ImportError:
        from streamlstm.engine import kernels_python as _carry

        COMPILED = False

Index = NDArray[np.int64]

take_parts = _carry.take_parts
take_steps = _carry.take_steps
all_finite = _carry.all_finite
absorb = _carry.absorb
take_one = _carry.take_one
absorb_one = _carry.absorb_one
calibrate = _carry.calibrate


def lay_out(
    slots: Index, plain: NDArray[np.uint8] | None, scratch: NDArray[np.int32], offsets: Index
) -> tuple[Index, ...]:
    """See `lay_out_python.lay_out`."""
    return tuple(np.frombuffer(column, np.int64) for column in _carry.lay_out(slots, plain, scratch, offsets))
