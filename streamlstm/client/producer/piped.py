"""The way of a pipe into streams: lines as they arrive, or sorted once they all have."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Protocol

from streamlstm.client.producer.clock import HaltError
from streamlstm.client.producer.doubts import SHOWN, Doubts
from streamlstm.client.producer.lines import Bare, open_lines
from streamlstm.client.producer.row_format import Format, Row, RowParser
from streamlstm.client.producer.sources import chunks, read_all, read_whole
from streamlstm.common import counted
from streamlstm.engine import RESET, is_decimal
from streamlstm.errors import TableError, UsageError
from streamlstm.tables import BYTES_A_CELL, check_text


class Sends(Protocol):
    """What takes the rows: one run of `push`."""

    @property
    def entries(self) -> int:
        """How many entries are known to be in."""

    def send(self, rows: list[Row], *, together: bool = False, close: bool = True) -> None:
        """Pack and send rows in order of time."""

    def send_rows(self, rows: list[Row], together: list[int] | None) -> None:
        """Send rows that are all there."""

    def flush(self, *, close: bool) -> None:
        """Send what is packed."""

    def duplicates(self, policy: str) -> None:
        """Say what becomes of a further value of a series at one time."""

    def settle(self) -> None:
        """Wait until all of it is in."""


def send_pipe(run: Sends, file: str, chosen: Format, *, sort_first: bool) -> None:
    """Send what a pipe holds, `-` for stdin; raises TableError at the end if not all of it was understood."""
    descriptor = sys.stdin.fileno() if file == "-" else os.open(file, os.O_RDONLY)
    if os.isatty(descriptor):
        chosen.say("reading values from the terminal, one line each; Ctrl-D ends")
    pipe = Pipe(run, chosen)
    if sort_first:
        pipe.take_whole(read_all(descriptor, chosen))
    elif chosen.table.duplicates in {"last", "mean"}:
        raise UsageError(
            f"what has been sent cannot be taken back, so --duplicates {chosen.table.duplicates} needs --sort beside it"
        )
    else:
        # So that a refusal is heard now and not with the next line.
        for lines, number in chunks(descriptor, run.settle, chosen.source):
            pipe.take(lines, number)
    pipe.end()


class Pipe:
    """What comes, line after line."""

    def __init__(self, run: Sends, chosen: Format) -> None:
        self._run, self._chosen = run, chosen
        self._doubts = Doubts(chosen.source, chosen.say)
        self._parser: RowParser | None = None
        self._first: list[bytes] = []  # lines that the parser is chosen by, until there are enough
        self._is_array = False  # one JSON array, in whatever lines: it is read to its end
        self._bytes = 0  # of it
        self._is_named = False  # the first line names the series, if a number follows
        self._any = False  # a value has been read

    def take(self, lines: list[bytes], number: int) -> None:
        """Send whole lines; after one that ends the reading, send what stands before it and raise."""
        if self._parser is not None:
            self._send(lines, number)
            return
        if not any(self._first) and next((line for line in lines if line), b"").startswith(b"["):
            self._is_array = True
            self._chosen.say(f"{self._chosen.source} is a JSON array: it is read to its end first")
        self._first += lines
        if self._is_array:
            self._bytes += sum(map(len, lines))
            if self._bytes > BYTES_A_CELL * self._chosen.table.max_cells:
                check_text(self._chosen.source, b"\n".join(self._first), self._chosen.table.max_cells)
        else:
            self._begin(complete=False)

    def take_whole(self, data: bytes) -> None:
        """Send what is all there, in order of time."""
        rows, lengths = read_whole(data, self._chosen)
        self._any = bool(rows)
        values = [value for _, series, value in rows if value and series != RESET]
        if values and not any(map(is_decimal, values)):
            raise self._not_understood(f"{values[0][:SHOWN].decode('utf-8', 'replace')!r} is no number, nor is another")
        self._doubts.look_at(rows, data.split(b"\n"), 1)
        self._run.send_rows(rows, lengths)

    def end(self) -> None:
        """Send the rest; raises TableError if something was not understood, or nothing was there."""
        if self._is_array:
            self.take_whole(b"\n".join(self._first))
        elif self._parser is None:
            self._begin(complete=True)
        self._run.settle()
        self._doubts.raise_if_any()
        if not self._any and any(self._first) and not self._is_array:
            raise self._not_understood("there is no value in it")

    def _begin(self, *, complete: bool) -> None:
        """Choose the parser and send the first lines; nothing is done while there are too few to tell."""
        there = [n for n, line in enumerate(self._first) if line]
        chosen = [self._first[n] for n in there]
        opened = open_lines(chosen, self._chosen, complete=complete) if there else None
        if opened is None:
            return
        self._parser, skip = opened
        self._is_named = skip > 0 and isinstance(self._parser, Bare)
        self._run.duplicates(self._parser.duplicates)
        start = there[skip] if skip < len(there) else len(self._first)
        self._send(self._first[start:], start + 1)

    def _send(self, lines: list[bytes], number: int) -> None:
        run, parser = self._run, self._parser
        assert parser is not None, "it was chosen"
        parts: list[list[Row]] = []
        halt = _understood(parser, lines, number, parts, self._doubts)
        rows = [row for part in parts for row in part]
        if rows and not self._any:
            self._any = True
            if self._is_named and not is_decimal(rows[0][2]):
                first = next(line for line in self._first if line).decode("utf-8", "replace")
                raise self._not_understood(f"after {first[:SHOWN]!r} comes no number")
        self._doubts.look_at(rows, lines, number)
        if parser.together:
            for part in parts:
                run.send(part, together=True, close=False)
        elif rows:
            run.send(rows)
        run.flush(close=True)
        if halt is not None:
            run.settle()
            raise TableError(f"{halt} ({counted(run.entries, 'entry', 'entries')} before it pushed)")

    def _not_understood(self, why: str) -> TableError:
        return TableError(
            f"{self._chosen.source} is not understood: {why}; values come as numbers, a line each, CSV or JSON lines"
        )


class _Followed(list[bytes]):
    """Lines of which is known how far they have been read."""

    at = 0

    def __iter__(self) -> Iterator[bytes]:
        for self.at, line in enumerate(super().__iter__()):
            yield line


def _understood(
    parser: RowParser, lines: list[bytes], number: int, parts: list[list[Row]], doubts: Doubts
) -> HaltError | None:
    """Append the rows of the lines that can be read: a list a line if those of a line belong together.

    Returns what ends the reading, if a line does.
    """
    step = 1 if parser.together else len(lines)
    first = 0
    while first < len(lines):
        part: list[Row] = []
        followed = _Followed(lines[first : first + step])
        try:
            parser(followed, number + first, part)
        except HaltError as error:
            parts.append(part)
            return error
        except TableError as error:
            doubts.left_out(error, followed[followed.at])
            first += followed.at + 1
        else:
            first += step
        if part:
            parts.append(part)
    return None
