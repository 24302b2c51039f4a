"""Values as text: the odd ones, read one by one.

Plain decimal numbers are read by the codec while it scans a reply; what it leaves is read here: missing values, blanks
around a number, and everything that is wrong, with its reason.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine import rejection
from streamlstm.engine.rejection import Flaw
from streamlstm.models import split

Float32 = NDArray[np.float32]

_DECIMAL = re.compile(rb"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_FLOAT32_LIMIT = 2.0**128 - 2.0**103  # what is smaller rounds to a finite float32


def read_odd(text: bytes, row: Float32, *, exact: bool = False) -> Flaw | None:
    """Read one value into `row` (F,), NaN where a number is missing; returns what is wrong with it, or None.

    With `exact` the row (2F,) gets pairs.
    """
    parts, features = text.split(b","), len(row) // 2 if exact else len(row)
    if len(parts) != features:
        wanted = "1 number" if features == 1 else f"{features} numbers joined by commas"
        return Flaw(rejection.WRONG_COUNT, f"the model takes {wanted} a value, this one has {len(parts)}")
    numbers = []
    for part in parts:
        number, found = _read_number(part.strip())
        if found is not None:
            return found
        numbers.append(number)
    row[:] = split(numbers) if exact else numbers
    return None


def is_decimal(text: bytes) -> bool:
    """Whether a value can be stepped by a model of as many numbers: each of them decimal, or missing."""
    return all(_read_number(part.strip())[1] is None for part in text.split(b","))


def _read_number(text: bytes) -> tuple[float, Flaw | None]:
    """A decimal number, NaN for a missing one, or a flaw."""
    if not text or text.lower() == b"nan":
        return np.nan, None
    if not _DECIMAL.fullmatch(text):
        return np.nan, Flaw(rejection.NOT_A_NUMBER, "not a decimal number")
    number = float(text)
    if abs(number) >= _FLOAT32_LIMIT:
        return np.nan, Flaw(rejection.OUT_OF_RANGE, "out of the range of float32")
    return number, None
