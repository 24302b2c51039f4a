"""Cells of text as numbers: what is one, what is missing, how a refusal shows it, and which sign is the decimal one.

In `1,5` the comma is a decimal sign and in `1.234,56` the point groups thousands, in `1,234.56` it is the other way
round; `1.234` and `1,234` alone may be either. So a column is looked at as a whole, and a pipe from its beginning.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import TableError

LARGEST = float(np.finfo(np.float32).max)  # what models are fed is float32
LONGEST_SHOWN = 60  # characters of a cell that an error quotes
MISSING_WORDS = frozenset({"", "nan", "na", "n/a", "null", "none"})  # in lower case
POINT, COMMA = ".", ","

# Digits are those of ASCII: the daemon, too, takes no others.
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WITH_COMMA = re.compile(r"[+-]?([0-9]+,[0-9]*|,[0-9]+)([eE][+-]?[0-9]+)?")
_SPACES = " '\u2019\u00a0\u202f"  # group thousands wherever they stand: 1 234,56 and 1'234.56
_GROUPED = {  # never behind a zero: 0,123 is a fraction
    POINT: re.compile(rf"[+-]?[1-9][0-9]{{0,2}}([,{_SPACES}])[0-9]{{3}}(\1[0-9]{{3}})*(\.[0-9]*)?"),
    COMMA: re.compile(rf"[+-]?[1-9][0-9]{{0,2}}([.{_SPACES}])[0-9]{{3}}(\1[0-9]{{3}})*(,[0-9]*)?"),
}
_TO_PLAIN = {
    POINT: str.maketrans(dict.fromkeys("," + _SPACES)),
    COMMA: str.maketrans(dict.fromkeys("." + _SPACES) | {",": "."}),
}
_PLAIN = frozenset("0123456789+-.eE")  # of what `float` reads, nothing else is made of these


def shortened(text: str) -> str:
    """A text that fits on a line."""
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def is_number(cell: str) -> bool:
    """Whether a cell is a number with a decimal point, or a word for a missing one."""
    word = cell.strip()
    return bool(NUMBER.fullmatch(word)) or word.lower() in MISSING_WORDS - {""}


def is_any_number(cell: str) -> bool:
    """Whether a cell is a number with either decimal sign, thousands grouped or not; not if it is missing."""
    word = cell.strip()
    return bool(
        NUMBER.fullmatch(word)
        or _WITH_COMMA.fullmatch(word)
        or _GROUPED[POINT].fullmatch(word)
        or _GROUPED[COMMA].fullmatch(word)
    )


def parse_number(text: str, decimal: str = POINT) -> float:
    """Read a cell as a number; NaN if it is empty or says `nan`, `NA`, `null`, `none`; raises TableError otherwise."""
    word = text.strip()
    if word.lower() in MISSING_WORDS:
        return math.nan
    plain = word if decimal == POINT and NUMBER.fullmatch(word) else plain_number(word, decimal)
    if plain is None or not math.isfinite(number := float(plain)):
        raise TableError(f"{shortened(word)!r} is not a finite number")
    return number


def plain_number(word: str, decimal: str) -> str | None:
    """A number as `float` and the daemon read it, without grouped thousands; None for what is no number."""
    if _GROUPED[decimal].fullmatch(word):
        return word.translate(_TO_PLAIN[decimal])
    if decimal == COMMA and _WITH_COMMA.fullmatch(word):
        return word.replace(",", ".")
    # An integer is one whatever the sign; `1.5` among decimal commas is not.
    return word if NUMBER.fullmatch(word) and (decimal == POINT or "." not in word) else None


def decimal_sign(cells: Iterable[str]) -> str | None:
    """The decimal sign of a column, by the first cell that only one of the two makes a number of; None without one."""
    for cell in cells:
        if "," in cell or "." in cell:
            word = cell.strip()
            point, comma = plain_number(word, POINT), plain_number(word, COMMA)
            if (point is None) != (comma is None):
                return COMMA if point is None else POINT
    return None


def parse_numbers(cells: Sequence[str], decimal: str) -> NDArray[np.float64] | None:
    """A column (N,) in one go where all of its cells are plain numbers in range; None: look at each."""
    if decimal != POINT or not _PLAIN.issuperset("".join(cells)):
        return None
    try:
        numbers = np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        return None
    return numbers if (np.abs(numbers) <= LARGEST).all() else None
