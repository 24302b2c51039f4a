"""Values as text: the odd ones, read one by one.

Plain decimal numbers are read by the codec while it scans a reply; what it leaves is read here: missing values, blanks
around a number, and everything that is wrong, with its reason.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine import rejection
from streamlstm.engine.rejection import Flaw
from streamlstm.models import OVERFLOW, split
from streamlstm.store.resp import DECIMAL

Float32 = NDArray[np.float32]


def read_odd(text: bytes, row: Float32, *, exact: bool = False) -> Flaw | None:
    """Read one value into `row` (F,), NaN where a number is missing; returns what is wrong with it, or None.

    With `exact` the row (2F,) gets pairs.
    """
    numbers = read_numbers(text, len(row) // 2 if exact else len(row))
    if isinstance(numbers, Flaw):
        return numbers
    if len(row) == 1:  # as most values; through a list it takes three times as long
        row[0] = numbers[0]
    else:
        row[:] = split(numbers) if exact else numbers
    return None


def read_numbers(text: bytes, features: int) -> list[float] | Flaw:
    """The numbers (F,) of one value as float64, NaN where one is missing; or what is wrong with it."""
    parts = text.split(b",")
    if len(parts) != features:
        wanted = "1 number" if features == 1 else f"{features} numbers joined by commas"
        return Flaw(rejection.WRONG_COUNT, f"the model takes {wanted} a value, this one has {len(parts)}")
    numbers = []
    for part in parts:
        number, found = _read_number(part.strip())
        if found is not None:
            return found
        numbers.append(number)
    return numbers


def is_decimal(text: bytes) -> bool:
    """Whether a value can be stepped by a model of as many numbers: each of them decimal, or missing."""
    return all(_read_number(part.strip())[1] is None for part in text.split(b","))


def _read_number(text: bytes) -> tuple[float, Flaw | None]:
    """A decimal number, NaN for a missing one, or a flaw."""
    if not text or text.lower() == b"nan":
        return np.nan, None
    if not DECIMAL.fullmatch(text):
        return np.nan, Flaw(rejection.NOT_A_NUMBER, "not a decimal number")
    number = float(text)
    if abs(number) >= OVERFLOW:
        return np.nan, Flaw(rejection.OUT_OF_RANGE, "out of the range of float32")
    return number, None
