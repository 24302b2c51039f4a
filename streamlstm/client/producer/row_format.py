"""What a row of the input is, who reads lines into rows, and what the user said of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from streamlstm.client.producer.clock import Clock
from streamlstm.errors import TableError, UsageError
from streamlstm.tables import MISSING_WORDS, TableOptions, parse_number, shortened

# Time in ms since the epoch or None if the line has none, name of the series, text of the value.
Row = tuple[int | None, bytes, bytes]

MISSING = frozenset(word.encode() for word in MISSING_WORDS)


class RowParser(Protocol):
    """Reads whole lines; `number` is that of the first of them.

    Rows are appended, so that what stands before a line that cannot be read is there when the error is raised.
    """

    @property
    def together(self) -> bool:
        """Whether the rows of a line without a time belong in one entry."""

    @property
    def duplicates(self) -> str:
        """What becomes of a further value of a series at one time: first (it is left out), error or keep."""

    def __call__(self, lines: Sequence[bytes], number: int, rows: list[Row]) -> None:
        """Append the rows of the lines to `rows`; raises TableError naming source and line."""


def _say_nothing(message: str) -> None:
    del message


@dataclass(kw_only=True)
class Format:
    """What the user said of the input."""

    source: str  # names the input in errors
    series: str | None = None
    table: TableOptions = field(default_factory=TableOptions)
    in_order: bool = True  # refuse a time that goes back: a pipe cannot be sorted while it flows
    strict: bool = False  # refuse a value that is no number, rather than pass it on
    say: Callable[[str], None] = _say_nothing

    def value(self, text: bytes, number: int) -> bytes:
        """Pass a value's text on, missing words as empty; raises TableError for what is no number if `strict`."""
        if text.lower() in MISSING:
            return b""
        if self.strict:
            try:
                for part in text.decode("utf-8", "replace").split(","):
                    parse_number(part)
            except TableError as error:
                raise TableError(f"{self.source}, line {number}: {error}") from None
        return text

    def check_one_number(self, text: bytes, number: int) -> None:
        """Raise TableError for the text of a cell that the daemon would take for several numbers."""
        if b"," in text:
            shown = shortened(text.decode("utf-8", "replace"))
            raise TableError(f"{self.source}, line {number}: {shown!r} is not a finite number")

    def clock(self, *, serial: bool = False) -> Clock:
        """Reads the times of the lines."""
        return Clock(self.source, serial=serial, timezone=self.table.timezone, in_order=self.in_order, say=self.say)


def refuse_series(chosen: Format) -> None:
    """Raise UsageError if a series was named though the input names them."""
    if chosen.series is not None:
        raise UsageError(f"{chosen.source} names its series itself; leave --series out")
