"""Arguments held against what a function demands of them, as the compiled parts hold theirs (`_arrays.h`).

The twins in Python would take an array of another type or shape and broadcast or convert it; where both answer with an
error, neither hides what the other would show.
"""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

_LARGEST = 2**63 - 1


def hold(name: str, array: Any, dtype: Any, dimensions: int | None = None, *, writable: bool = False) -> None:
    """Raise TypeError for what is no array of that type, ValueError for another shape, order, alignment or access."""
    dtype = np.dtype(dtype)
    if not isinstance(array, np.ndarray | np.void):
        raise TypeError(f"{name}: an array is needed")
    if array.dtype != dtype:
        raise TypeError(f"{name}: an array of {dtype.name} is needed")
    if not array.flags.c_contiguous or (writable and not array.flags.writeable):
        suffix = " that can be written to" if writable else ""
        raise ValueError(f"{name}: a C-contiguous array of numbers{suffix} is needed")
    if dimensions is not None and array.ndim != dimensions:
        raise ValueError(f"{name}: {array.ndim} dimensions do not fit, {dimensions} are needed")
    if isinstance(array, np.ndarray) and not _is_aligned(array):
        raise ValueError(f"{name}: the array is not aligned")


def _is_aligned(array: np.ndarray[Any, Any]) -> bool:
    alignment = 8 if array.dtype.names else array.dtype.alignment
    return not array.size or array.__array_interface__["data"][0] % alignment == 0


def hold_bytes(name: str, text: Any) -> None:
    """Raise TypeError for what is not bytes."""
    if not isinstance(text, bytes):
        raise TypeError(f"{name}: bytes are needed")


def hold_numbers(*numbers: Any) -> None:
    """Raise TypeError for what is no whole number, ValueError for one beyond 64 bits."""
    if any(not -_LARGEST - 1 <= index(number) <= _LARGEST for number in numbers):
        raise ValueError("a number is beyond 64 bits")


def hold_tuple(name: str, found: object, count: int) -> None:
    """Raise TypeError for what is no tuple of so many."""
    if not isinstance(found, tuple) or len(found) != count:
        raise TypeError(f"{name}: a tuple of {count} is needed")
