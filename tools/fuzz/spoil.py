"""Wrong arguments of every kind that a compiled function must answer with an error, and never follow into memory."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
NUMBERS = (-(2**63), -(2**31), -1, 0, 1, 3, 2**31, 2**32, 2**62, 2**63 - 9, 2**63 - 1, 2**64)
BYTES = (bytearray(b"abc"), "abc", None, np.zeros(3, np.uint8), memoryview(b"abc"))


def misaligned(array: Array) -> Array:
    """The same numbers at an odd address."""
    room = np.zeros(array.nbytes + 1, np.uint8)
    moved: Array = np.ndarray(array.shape, array.dtype, buffer=room.data, offset=1)
    moved[...] = array
    return moved


def apart(array: Array) -> Array:
    """The same numbers with gaps between them."""
    room = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    room[..., ::2] = array
    return room[..., ::2]


def read_only(array: Array) -> Array:
    """The same numbers, not to be written to."""
    made = array.copy()
    made.setflags(write=False)
    return made


def as_other_type(array: Array) -> Array:
    """The same bytes as numbers of another type, of the same size where there is one."""
    kin = {"float32": "int32", "float64": "int64", "int64": "float64", "int32": "float32", "uint8": "int8"}
    return array.copy().view(kin.get(array.dtype.name, np.uint8))


def swapped(array: Array) -> Array:
    """The same numbers in the other byte order."""
    return array.astype(array.dtype.newbyteorder())


KINDS = {
    "misaligned": misaligned,
    "apart": apart,
    "read_only": read_only,
    "other_type": as_other_type,
    "swapped": swapped,
    "longer": lambda array: np.concatenate([array, np.zeros((1, *array.shape[1:]), array.dtype)]),
    "shorter": lambda array: array[:-1].copy(),
    "deeper": lambda array: array[None].copy(),
    "text": lambda array: array.tobytes(),
    "nothing": lambda _: None,
    "list": lambda array: array.tolist(),
}


def spoiled(value: Any, rng: random.Random) -> Any:
    """Something else in an argument's place: sometimes as good, mostly wrong."""
    if isinstance(value, tuple):
        at = rng.randrange(len(value))
        return (*value[:at], spoiled(value[at], rng), *value[at + 1 :])
    if isinstance(value, int):
        return rng.choice(NUMBERS)
    if isinstance(value, bytes):
        return rng.choice(BYTES)
    if not isinstance(value, np.ndarray) or not value.ndim:
        return rng.choice((None, 0, 1.5))
    if value.dtype == np.int64 and value.size and rng.random() < 0.4:
        made = value.copy()
        made.flat[rng.randrange(value.size)] = min(rng.choice(NUMBERS), 2**63 - 1)
        return made
    kinds = [kind for kind in KINDS if (kind, value.dtype.name) != ("text", "uint8")]  # bytes are uint8
    return KINDS[rng.choice(kinds)](value)
