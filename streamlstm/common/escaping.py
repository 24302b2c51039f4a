"""Text of others on a terminal, in a log or in a column: nothing in it acts, breaks a line or parts columns."""

from __future__ import annotations

import re
from collections.abc import Sequence

MOST_NAMED = 6  # in a sentence
_EDGE_SPACE = re.compile(r"^ | $|(?<= ) ")


def printable(text: str) -> str:
    r"""Text on one line, what does not print written as Python does (`\x1b`, `\n`, `\u202e`)."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in text)


def as_column(name: str) -> str:
    r"""A name as one column of a line: `printable`, told apart from what stands beside it, and readable back.

    A backslash is doubled, and a space at an edge or beside another is `\x20`, for columns are parted by two spaces.
    """
    return _EDGE_SPACE.sub(r"\\x20", printable(name.replace("\\", "\\\\")))


def _escaped(sign: str) -> str:
    code = ord(sign)
    # Bytes that are not UTF-8 come as lone surrogates (PEP 383).
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else sign.encode("unicode_escape").decode()


def listed(names: Sequence[str]) -> str:
    """Names for a sentence: all of a few, the first of many."""
    shown = ", ".join(map(repr, names[:MOST_NAMED]))
    return shown if len(names) <= MOST_NAMED else f"{shown} and {len(names) - MOST_NAMED:,} more"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Write a number with its noun: `1 entry`, `1,000 values`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
