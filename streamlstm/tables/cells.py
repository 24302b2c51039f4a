"""Cells of text as numbers: what is one, what is missing, how a refusal shows it."""

from __future__ import annotations

import math
import re

import numpy as np

from streamlstm.errors import TableError

LARGEST = float(np.finfo(np.float32).max)  # what models are fed is float32
LONGEST_SHOWN = 60  # characters of a cell that an error quotes
MISSING_WORDS = frozenset({"", "nan", "na", "n/a", "null", "none"})  # in lower case

# Digits are those of ASCII: the daemon, too, takes no others.
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def shortened(text: str) -> str:
    """A text that fits on a line."""
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def parse_number(text: str) -> float:
    """Read a cell as a number; NaN if it is empty or says `nan`, `NA`, `null`, `none`; raises TableError otherwise."""
    word = text.strip()
    if word.lower() in MISSING_WORDS:
        return math.nan
    if not NUMBER.fullmatch(word) or not math.isfinite(number := float(word)):
        raise TableError(f"{shortened(word)!r} is not a finite number")
    return number


def is_number(cell: str) -> bool:
    """Whether a cell is a number, or a word for a missing one."""
    word = cell.strip()
    return bool(NUMBER.fullmatch(word)) or word.lower() in MISSING_WORDS - {""}
