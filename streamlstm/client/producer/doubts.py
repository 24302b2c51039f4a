"""What of a pipe was not understood: counted, the first of it said at once, and a failure at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import orjson

from streamlstm.client.producer.row_format import Row
from streamlstm.common import counted
from streamlstm.engine import RESET, is_decimal
from streamlstm.errors import TableError

SHOWN = 60  # characters of what is quoted


class Doubts:
    """Counts lines that were left out, and values that went on to the daemon though they are no numbers."""

    def __init__(self, source: str, say: Callable[[str], None]) -> None:
        self._source, self._say = source, say
        self._lines, self._values = 0, 0
        self._first = ""

    def left_out(self, error: TableError, line: bytes) -> None:
        """Count a line that cannot be read; the error says where it is and what is expected."""
        self._begin(f"{error} ({_quoted(line)}); it is left out")
        self._lines += 1

    def look_at(self, rows: Sequence[Row], lines: Sequence[bytes], number: int) -> None:
        """Count values that are no numbers; `rows` are of these lines, the first of which has that number."""
        texts = [value for _, series, value in rows if value and series != RESET]
        if _are_numbers(texts):
            return
        for text in texts:
            if not is_decimal(text):
                where = next((n for n, line in enumerate(lines, number) if text in line), number)
                self._begin(
                    f"{self._source}, line {where}: {_quoted(text)} is not a decimal number; it goes on, to be kept "
                    "as a dead letter"
                )
                self._values += 1

    def raise_if_any(self) -> None:
        """Raise TableError if anything was not understood."""
        found = [counted(self._lines, "line") + " left out"] * bool(self._lines)
        found += [counted(self._values, "value") + " sent on as no number"] * bool(self._values)
        if found:
            raise TableError(f"{self._source} was not all understood: {', '.join(found)}; the first: {self._first}")

    def _begin(self, what: str) -> None:
        if not self._first:
            self._first = what
            self._say(f"not understood: {what}")


def _are_numbers(texts: Sequence[bytes]) -> bool:
    """Whether all are numbers as JSON has them, as nearly all are: asked of all at once, that costs next to nothing."""
    try:
        found = orjson.loads(b"[%b]" % b",".join(texts))
    except ValueError:
        return False
    return all(type(number) in {int, float} for number in found)


def _quoted(text: bytes) -> str:
    """The beginning of a text, fit for a message."""
    shown = text.decode("utf-8", "replace")
    return repr(shown if len(shown) <= SHOWN else shown[:SHOWN] + "…")
