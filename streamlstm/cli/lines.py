"""Lines of text into rows `(time, series, value)`: the formats `push` understands, told apart by the first line.

| first line | meaning of every line |
|---|---|
| `21.5` | one value of `--series`; a first line that is no number names the series instead |
| `unique_id,ds,y` | CSV with a header (other names by option), also two columns: time, value |
| `sensor-1,21.5` | series, value; with `--series`: time, value |
| `sensor-1,2024-01-31,21.5` | series, time, value |
| `{"sensor-1": 21.5, "ds": "2024-01-31"}` | JSON: series and their values, with or without a time |

A value's text is passed on unchanged, for the daemon decides what a number is and keeps the rest as dead letters; only
the words that `streamlstm.tables` takes as missing become empty. What a line cannot do without (its fields, its time)
is an error with the line's number.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from streamlstm.batch import RESET
from streamlstm.errors import TableError, UsageError
from streamlstm.tables.cells import MISSING_WORDS, parse_number, shortened
from streamlstm.tables.csv_file import likely_delimiter
from streamlstm.tables.names import ID_COLUMN, TARGET_COLUMN, TIME_COLUMN, TIME_NAMES
from streamlstm.tables.times import parse_time_ms

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

    def __call__(self, lines: Sequence[bytes], number: int, rows: list[Row]) -> None:
        """Append the rows of the lines to `rows`; raises TableError naming source and line."""


@dataclass(kw_only=True)
class Format:
    """What the user said of the input, and the memory of the last time read."""

    source: str  # names the input in errors
    series: str | None = None
    id_column: str | None = None
    time_column: str | None = None
    target_columns: tuple[str, ...] = ()
    in_order: bool = True  # refuse a time that goes back: a pipe cannot be sorted while it flows
    strict: bool = False  # refuse a value that is no number, rather than pass it on
    _last_text: str = field(default="", init=False)
    _last_ms: int | None = field(default=None, init=False)

    def time_ms(self, text: str, number: int) -> int:
        """Read the time of line `number`; raises TableError if it is none, or goes back and must not."""
        if text == self._last_text and self._last_ms is not None:
            return self._last_ms
        try:
            time_ms = parse_time_ms(text)
        except TableError as error:
            raise TableError(f"{self.source}, line {number}: {error}") from None
        if self.in_order and self._last_ms is not None and time_ms < self._last_ms:
            raise TableError(
                f"{self.source}, line {number}: the time goes back from {self._last_text} to {text}; "
                "sort the lines by time, or add --sort"
            )
        self._last_text, self._last_ms = text, time_ms
        return time_ms

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


def begins_table(first: str) -> bool:
    """Whether a file that begins with this line is a table with a header, which `read_table` reads as a whole."""
    if first.startswith("{"):
        return False
    cells = first.split(likely_delimiter(first))
    return len(cells) > 1 and _is_header(cells)


def open_lines(first: bytes, chosen: Format) -> tuple[RowParser, bool]:
    """Choose the parser by the first line that is not blank; also says whether that line is a header to skip.

    Raises UsageError if the series has no name, TableError for a column that is not there.
    """
    text = first.decode("utf-8", "surrogateescape").strip()
    if text.startswith("{"):
        _refuse_series(chosen)
        return _JsonLines(chosen), False
    delimiter = likely_delimiter(text)
    cells = _split(text, delimiter, f"{chosen.source}, first line")
    if len(cells) == 1:
        header = chosen.series is None and not _is_number(text)
        name = text if header else chosen.series
        return _Bare(chosen, _named(chosen, name)), header
    if _is_header(cells):
        return _with_header(chosen, [cell.strip() for cell in cells], delimiter), True
    return _without_header(chosen, cells, delimiter), False


@dataclass(frozen=True)
class _Bare:
    """One value a line."""

    chosen: Format
    series: bytes
    together: bool = False

    def __call__(self, lines: Sequence[bytes], number: int, rows: list[Row]) -> None:
        series, value = self.series, self.chosen.value
        if self.chosen.strict:
            rows.extend((None, series, value(line, n)) for n, line in enumerate(lines, number) if line)
        else:
            rows += [(None, series, b"" if line.lower() in MISSING else line) for line in lines if line]


@dataclass(frozen=True, kw_only=True)
class _Delimited:
    """Lines of cells: where name, time and values stand in them."""

    chosen: Format
    delimiter: str
    width: int
    targets: tuple[int, ...]
    name: int | None = None  # None: all lines are of `series`
    time: int | None = None
    series: bytes = b""
    together: bool = False

    def __call__(self, lines: Sequence[bytes], number: int, rows: list[Row]) -> None:
        chosen, delimiter, width = self.chosen, self.delimiter.encode(), self.width
        single = self.targets[0] if len(self.targets) == 1 else None
        for n, line in enumerate(lines, number):
            if not line:
                continue
            cells = line.split(delimiter) if b'"' not in line else self._quoted(line, n)
            if len(cells) != width:
                raise TableError(f"{chosen.source}, line {n}: {len(cells)} cells where the first line has {width}")
            time_ms = None if self.time is None else chosen.time_ms(cells[self.time].decode("utf-8", "replace"), n)
            name = self.series if self.name is None else cells[self.name].strip()
            if not name:
                raise TableError(f"{chosen.source}, line {n}: the series has no name")
            if single is not None:
                value = self._cell(cells[single], n)
            else:
                value = b",".join([self._cell(cells[i], n) for i in self.targets])
            rows.append((time_ms, name, value))

    def _cell(self, cell: bytes, number: int) -> bytes:
        cell = cell.strip()
        if self.delimiter == ";" and cell.count(b",") == 1:  # where ; separates cells, a decimal comma is usual
            cell = cell.replace(b",", b".")
        return self.chosen.value(cell, number)

    def _quoted(self, line: bytes, number: int) -> list[bytes]:
        text = line.decode("utf-8", "surrogateescape")
        cells = _split(text, self.delimiter, f"{self.chosen.source}, line {number}")
        return [cell.encode("utf-8", "surrogateescape") for cell in cells]


def _with_header(chosen: Format, names: list[str], delimiter: str) -> RowParser:
    for name in (chosen.id_column, chosen.time_column, *chosen.target_columns):
        if name is not None and name not in names:
            raise TableError(f"{chosen.source} has no column {name!r}; it has {', '.join(map(repr, names))}")
    id_column = chosen.id_column or (ID_COLUMN if ID_COLUMN in names else None)
    left = [name for name in names if name != id_column and name not in chosen.target_columns]
    if id_column is not None:
        _refuse_series(chosen)
    time_column = chosen.time_column or next((name for name in left if name.lower() in TIME_NAMES), None)
    if time_column is None and len(left) == 2 and len(names) == 2:
        time_column = left[0]
    left = [name for name in left if name != time_column]
    targets = chosen.target_columns or ((TARGET_COLUMN,) if TARGET_COLUMN in left else tuple(left))
    if len(targets) != 1 and not chosen.target_columns:
        which = f"one of {', '.join(map(repr, targets))}" if targets else "a column besides the names and the times"
        raise TableError(f"{chosen.source}: which column holds the values? Name {which} (--target-col)")
    return _Delimited(
        chosen=chosen,
        delimiter=delimiter,
        width=len(names),
        targets=tuple(map(names.index, targets)),
        name=None if id_column is None else names.index(id_column),
        time=None if time_column is None else names.index(time_column),
        series=_named(chosen, chosen.series or "+".join(targets)),
    )


def _without_header(chosen: Format, cells: list[str], delimiter: str) -> RowParser:
    width = len(cells)
    if width == 2 and chosen.series is not None:
        series = _named(chosen, chosen.series)
        return _Delimited(chosen=chosen, delimiter=delimiter, width=2, time=0, targets=(1,), series=series)
    if width == 2:
        if _looks_like_date(cells[0]):
            raise UsageError(f"{chosen.source}: the lines have a time and a value but no series; name it with --series")
        return _Delimited(chosen=chosen, delimiter=delimiter, width=2, name=0, targets=(1,))
    _refuse_series(chosen)
    targets = tuple(range(2, width))
    return _Delimited(chosen=chosen, delimiter=delimiter, width=width, name=0, time=1, targets=targets)


class _JsonLines:
    """One JSON object a line: `{"s1": 21.5, "s2": null, "ds": …}`, or the long form with `unique_id` and `y`."""

    together = True

    def __init__(self, chosen: Format) -> None:
        self._chosen = chosen
        self._id = chosen.id_column or ID_COLUMN
        self._time = chosen.time_column or TIME_COLUMN
        self._targets = chosen.target_columns or (TARGET_COLUMN,)
        self._timed: bool | None = None  # whether the lines have times; all or none of them must

    def __call__(self, lines: Sequence[bytes], number: int, rows: list[Row]) -> None:
        for n, line in enumerate(lines, number):
            if line:
                rows.extend(self._object(line, n))

    def _object(self, line: bytes, number: int) -> Iterator[Row]:
        chosen = self._chosen
        item = _parse_json(line)
        if not isinstance(item, dict):
            found = shortened(line.decode("utf-8", "replace"))
            raise TableError(f'{chosen.source}, line {number}: not a JSON object such as {{"sensor-1": 21.5}}: {found}')
        time = item.pop(self._time, None)
        if self._timed is None:
            self._timed = time is not None
        if self._timed != (time is not None):
            raise TableError(
                f"{chosen.source}, line {number}: either all lines have a time ({self._time!r}) or none has; "
                f"this one {'has none' if self._timed else 'has one'}"
            )
        time_ms = None if time is None else chosen.time_ms(str(time), number)
        if self._id in item:
            name = str(item[self._id])
            values = [item.get(target) for target in self._targets]
            item = {name: values if len(values) > 1 else values[0]}
        for name, value in item.items():
            yield time_ms, self._name(name, number), self._value(value, number)

    def _name(self, name: str, number: int) -> bytes:
        if not name:
            raise TableError(f"{self._chosen.source}, line {number}: the series has no name")
        return name.encode("utf-8", "surrogatepass")

    def _value(self, value: Any, number: int) -> bytes:
        parts = value if isinstance(value, list) else [value]
        text = b",".join(_json_number(part) for part in parts)
        return text if len(parts) > 1 and not self._chosen.strict else self._chosen.value(text, number)


def _json_number(value: Any) -> bytes:
    """One number of a value as text; what is neither a number, text nor null is passed on as JSON."""
    if value is None:
        return b""
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else json.dumps(value).encode()


def _parse_json(line: bytes) -> Any:
    """Parse with orjson, and with the standard library what only that takes: NaN, and integers beyond 64 bits."""
    try:
        return orjson.loads(line)
    except ValueError:
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            return None


def _named(chosen: Format, series: str | None) -> bytes:
    if not series:
        raise UsageError(f"{chosen.source}: the values have no series; name it with --series, e.g. --series s1")
    return series.encode("utf-8", "surrogateescape")


def _refuse_series(chosen: Format) -> None:
    if chosen.series is not None:
        raise UsageError(f"{chosen.source} names its series itself; leave --series out")


def _split(line: str, delimiter: str, place: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter))
    except csv.Error as error:
        raise TableError(f"{place}: not CSV ({error})") from None


def _is_header(cells: Sequence[str]) -> bool:
    """Whether the last cell, where a value would stand, is neither a number nor missing (`1,5` is one behind `;`)."""
    if cells[0].encode("utf-8", "surrogateescape") == RESET:
        return False
    last = cells[-1].strip()
    if last.count(",") == 1:
        last = last.replace(",", ".")
    return not _is_number(last) and last.lower() not in MISSING_WORDS


def _is_number(text: str) -> bool:
    try:
        parse_number(text)
    except TableError:
        return False
    return True


def _looks_like_date(cell: str) -> bool:
    """Whether a cell is a written date or time, and not just digits (which may well be the name of a series)."""
    try:
        parse_time_ms(cell)
    except TableError:
        return False
    return not _is_number(cell)
