"""Decimal commas and grouped thousands in cells that come one by one, where no column can be looked at as a whole."""

from __future__ import annotations

import re
from collections.abc import Sequence

from streamlstm.errors import TableError
from streamlstm.tables.cells import COMMA, POINT, plain_number, shortened

_WITH_COMMA = re.compile(rb"[+-]?[0-9]+,[0-9]+").fullmatch  # most numbers with a decimal comma


class Decimals:
    """Turns cells into numbers as the daemon reads them; what is no number stays as it is.

    The first cell that shows the decimal sign decides. `1.234` and `1,234` before it are taken for little more than
    one, and a cell that then shows otherwise is an error.
    """

    def __init__(self, source: str, sign: str | None, lone_comma: str) -> None:
        """`sign` is the decimal sign if it is known, `lone_comma` the sign that a comma alone makes likely."""
        self.sign = sign
        self._source = source
        self._lone_comma = lone_comma
        self._guess: tuple[str, str] | None = None  # a cell that could be either, and the sign it was read with

    def leaves(self, cells: Sequence[bytes]) -> bool:
        """Whether `plain` would leave all of these as they are; quick."""
        text = b"".join(cells)
        return not (
            b"," in text or b" " in text or b"'" in text or (b"." in text and self.sign != POINT) or not text.isascii()
        )

    def plain(self, cell: bytes, number: int) -> bytes:
        """A cell as a number with a point; raises TableError where line `number` shows that others were misread."""
        if self.sign == COMMA and _WITH_COMMA(cell):
            return cell.replace(b",", b".")
        if self.leaves((cell,)):
            return cell
        try:
            word = cell.decode()
        except UnicodeDecodeError:
            return cell
        sign = self.sign or self._decided(word, number)
        plain = plain_number(word, sign)
        return cell if plain is None else plain.encode()

    def _decided(self, word: str, number: int) -> str:
        if "," not in word and "." not in word:
            return POINT
        point, comma = plain_number(word, POINT), plain_number(word, COMMA)
        if (point is None) != (comma is None):
            self.sign = COMMA if point is None else POINT
            if self._guess is not None and self._guess[1] != self.sign:
                raise TableError(
                    f"{self._source}, line {number}: {shortened(word)!r} shows that the decimal sign is {self.sign!r}, "
                    f"and {self._guess[0]!r} before it was read otherwise; say it with --decimal"
                )
            return self.sign
        guess = self._lone_comma if "," in word else POINT
        if point is not None and self._guess is None:
            self._guess = shortened(word), guess
        return guess
