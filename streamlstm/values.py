"""Values as text: read many at once, write many at once.

Reading runs in bulk: all values of a batch are joined and read by one JSON parse, because a call of `float` per value
would be the slowest part of the daemon. Whatever that parse might take for something else than a decimal number
(words, blanks, brackets) is kept from it by one pass over the bytes, and read value by value instead.
"""

from __future__ import annotations

import re

import numpy as np
import orjson
from numpy.typing import NDArray

from streamlstm import flaw
from streamlstm.flaw import Flaw

Float32 = NDArray[np.float32]

_DECIMAL = re.compile(rb"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NUMBER_BYTES = b"0123456789+-.eE,"
_MINUS_ZERO = re.compile(rb"-0(?:,|$)").search  # to JSON it is an integer, and loses its sign
_FLOAT32_LIMIT = 2.0**128 - 2.0**103  # what is smaller rounds to a finite float32


def read_values(texts: list[bytes], features: int) -> tuple[Float32, dict[int, Flaw]]:
    """Values (n, F) of n texts, NaN where a number is missing; and for each bad text its index and what is wrong."""
    values = _read_bulk(texts, features)
    if values is not None:
        return values, {}
    # Something odd is among them. Whatever consists of a number's bytes alone can still be read in bulk.
    odd = [i for i, text in enumerate(texts) if not text or text.translate(None, _NUMBER_BYTES) or _MINUS_ZERO(text)]
    strange = set(odd)
    plain = [i for i in range(len(texts)) if i not in strange]
    values = np.full((len(texts), features), np.nan, np.float32)
    bulk = _read_bulk([texts[i] for i in plain], features)
    if bulk is None:
        odd = list(range(len(texts)))
    else:
        values[plain] = bulk
    wrong = {}
    for i in odd:
        found = _read_one(texts[i], values[i])
        if found is not None:
            wrong[i] = found
    return values, wrong


def _read_bulk(texts: list[bytes], features: int) -> Float32 | None:
    """All values (n, F) by one parse, or None if any needs a closer look."""
    joined = b",".join(texts)
    if _MINUS_ZERO(joined) or joined.translate(None, _NUMBER_BYTES):
        return None
    try:
        numbers = orjson.loads(b"[" + joined + b"]" if features == 1 else b"[[" + b"],[".join(texts) + b"]]")
        values = np.array(numbers, np.float64)
    except ValueError:  # not JSON's idea of a number (+1, .5, 007), empty, or a ragged row
        return None
    if values.size != len(texts) * features or not (np.abs(values) < _FLOAT32_LIMIT).all():
        return None
    return values.reshape(-1, features).astype(np.float32)


def _read_one(text: bytes, row: Float32) -> Flaw | None:
    """Read one value into `row` (F,); returns what is wrong with it, or None."""
    parts = text.split(b",")
    if len(parts) != len(row):
        wanted = "1 number" if len(row) == 1 else f"{len(row)} numbers joined by commas"
        return Flaw(flaw.WRONG_COUNT, f"the model takes {wanted} a value, this one has {len(parts)}")
    for feature, part in enumerate(parts):
        number, found = _read_number(part.strip())
        if found is not None:
            return found
        row[feature] = number
    return None


def _read_number(text: bytes) -> tuple[float, Flaw | None]:
    """A decimal number, NaN for a missing one, or a flaw."""
    if not text or text.lower() == b"nan":
        return np.nan, None
    if not _DECIMAL.fullmatch(text):
        return np.nan, Flaw(flaw.NOT_A_NUMBER, "not a decimal number")
    number = float(text)
    if abs(number) >= _FLOAT32_LIMIT:
        return np.nan, Flaw(flaw.OUT_OF_RANGE, "out of the range of float32")
    return number, None


def write_values(values: Float32) -> list[bytes]:
    """Texts of finite values (n, C): the shortest that parse back to the same float32, C of them joined by commas."""
    if not len(values):
        return []
    text = orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY)
    text = text.replace(b"e+", b"e").replace(b".0,", b",").replace(b".0]", b"]")
    return text[2:-2].split(b"],[")
