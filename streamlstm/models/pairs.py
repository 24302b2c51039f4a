"""Numbers as pairs of float32: the number rounded to float32, and what rounding left of it, rounded too.

A pair holds some 48 bits, so a meter at 2,500,000,123.5 keeps every digit where one float32 keeps steps of 256 (Dekker
1971, "A floating-point technique for extending the available precision"). Models whose metadata says `exact` take and
give pairs: first the F high parts of a value, then the F low ones, and alike for the O numbers of a forecast.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

MOST_ROUNDED = 2.0**-24  # by how much of its size a number moves at most when it is rounded to float32


def split(numbers: ArrayLike) -> Float32:
    """Pairs (…, 2F) of numbers (…, F); infinite where a number is out of float32's range, NaN where it is NaN."""
    exact = np.asarray(numbers, np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        high = exact.astype(np.float32)
        low = (exact - high).astype(np.float32)
    return np.concatenate([high, low], axis=-1)


def as_told(pairs: NDArray[Any]) -> Float32:
    """Pairs (…, 2F) as those of the float64 that is told of them, which a small low part has more bits than."""
    return split(join(pairs))


def join(pairs: NDArray[Any]) -> Float64:
    """Numbers (…, F) of pairs (…, 2F)."""
    count = pairs.shape[-1] // 2
    numbers: Float64 = pairs[..., :count].astype(np.float64) + pairs[..., count:]
    return numbers
