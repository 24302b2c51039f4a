"""Tables in: series with their times and values from CSV and Parquet files, every error naming its place.

Three layouts are read, told apart by the columns: the long form `unique_id,ds,y` (other names by argument), a time
and a value (the series is named after the value's column), and one column of values without times. Parsing is our
own rather than a data-frame library's: serving and pushing need it, and a refusal must name line, column and text.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import MissingExtraError, TableError

ID_COLUMN, TIME_COLUMN, TARGET_COLUMN = "unique_id", "ds", "y"  # the names of the long form
TIME_NAMES = (TIME_COLUMN, "time", "timestamp", "date", "datetime")  # also taken for the time column
LARGEST = float(np.finfo(np.float32).max)  # what models are fed is float32
LONGEST_SHOWN = 60  # characters of a cell that an error quotes
MISSING_WORDS = frozenset({"", "nan", "na", "n/a", "null", "none"})  # in lower case

csv.field_size_limit(2**31 - 1)  # of characters in a cell: names may be giants; what a line takes is there already

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
# Digits are those of ASCII: the daemon, too, takes no others.
_INTEGER = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_MONTH = re.compile(r"([0-9]{4})-([0-9]{2})")
_COMPACT_DATE = re.compile(r"(19|20)[0-9]{6}([0-9]{6})?")
_LONGEST_TIME = 19  # characters of an integer; no more fit into 64 bits
_MS_FROM = 10**11  # integers from here on are ms (after March 1973), those below are s (before the year 5138)


@dataclass(frozen=True)
class Series:
    """One time series as read: in order of time, all F columns of a value side by side."""

    name: str
    times_ms: NDArray[np.int64] | None  # (N,) ms since the epoch, strictly increasing; None: the table has no times
    values: NDArray[np.float64]  # (N, F); NaN is missing


def parse_time_ms(text: str) -> int:
    """Read a written time as milliseconds since 1970-01-01T00:00Z; negative before that.

    Read are ISO 8601 dates and datetimes (`1949-01-31`, `1949-01-31 12:00:00.5`, `...T12:00Z`, `...+02:00`; without
    an offset they are UTC), months (`1949-01`), eight or fourteen digits that are a date or a time of 1900 to 2099
    (`19490131`, `19490131120000`), and numbers since the epoch: seconds below 10^11 (so all ten-digit ones, and with
    decimals), milliseconds from there on (so all thirteen-digit ones) to the year 5138. A bare year is a number.
    Raises TableError for anything else, such as microseconds.
    """
    text = text.strip()
    if _INTEGER.fullmatch(text):
        if _COMPACT_DATE.fullmatch(text):
            try:
                form = "%Y%m%d" if len(text) == 8 else "%Y%m%d%H%M%S"
                return (datetime.strptime(text, form).replace(tzinfo=UTC) - _EPOCH) // _MS
            except ValueError:
                pass  # not a date after all: a number of seconds, or of milliseconds
        if len(text) <= _LONGEST_TIME and abs(number := int(text)) < 1000 * _MS_FROM:
            return number if abs(number) >= _MS_FROM else number * 1000
        raise _not_a_time(text)
    if _NUMBER.fullmatch(text) and abs(float(text)) < _MS_FROM:
        return round(float(text) * 1000)
    try:
        when = datetime.fromisoformat(text + "-01" if _MONTH.fullmatch(text) else text)
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return (when - _EPOCH) // _MS
    except (ValueError, OverflowError):
        raise _not_a_time(text) from None


def _not_a_time(text: str) -> TableError:
    return TableError(
        f"{shortened(text)!r} is not a time: write ISO 8601 (1949-01, 1949-01-31, 1949-01-31T12:00:00Z) "
        "or seconds or milliseconds since 1970"
    )


def shortened(text: str) -> str:
    """A text that fits on a line."""
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def parse_number(text: str) -> float:
    """Read a cell as a number; NaN if it is empty or says `nan`, `NA`, `null`, `none`; raises TableError otherwise."""
    word = text.strip()
    if word.lower() in MISSING_WORDS:
        return math.nan
    if not _NUMBER.fullmatch(word) or not math.isfinite(number := float(word)):
        raise TableError(f"{shortened(word)!r} is not a finite number")
    return number


def read_table(
    path: Path | str,
    *,
    id_column: str | None = None,
    time_column: str | None = None,
    target_columns: Sequence[str] = (),
    preferred_columns: Sequence[str] = (),
) -> list[Series]:
    """Read the series of a CSV or Parquet file (told by its suffix `.parquet`), in the order they first appear.

    A name left out is looked for: `unique_id`; `ds` or another usual name of a time, or a first column that holds
    times; `preferred_columns` if all of them are there, `y`, or the one column that is left. Rows may come in any
    order. Raises TableError for a missing file or column, a cell that cannot be read, a time twice in one series, an
    empty table; MissingExtraError where pyarrow is not installed.
    """
    path = Path(path)
    if path.suffix.lower() in {".parquet", ".pq"}:
        grid = _read_parquet(path)
    else:
        try:
            with path.open(encoding="utf-8-sig", newline="") as lines:
                grid = _read_csv(lines, str(path))
        except OSError as error:
            raise TableError(f"cannot read {path}: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise TableError(f"{path} is not UTF-8 text; save it as UTF-8, or as .parquet") from None
    targets = tuple(target_columns)
    if not targets and set(preferred_columns) <= set(grid.names):
        targets = tuple(preferred_columns)
    return _series(grid, id_column, time_column, targets)


def read_lines(
    lines: Iterable[str],
    source: str,
    *,
    id_column: str | None = None,
    time_column: str | None = None,
    target_columns: Sequence[str] = (),
) -> list[Series]:
    """As `read_table`, for the lines of a CSV held elsewhere, e.g. standard input; `source` names it in errors."""
    return _series(_read_csv(lines, source), id_column, time_column, tuple(target_columns))


class _Ms(int):
    """Milliseconds since the epoch that are nothing else, however few."""


@dataclass(frozen=True)
class _Grid:
    """A table as columns, before anything is known of their meaning."""

    source: str
    names: list[str]
    columns: list[Sequence[Any]]  # of text, or of numbers from Parquet
    place: Callable[[int], str]  # where the row of an index stands in the file, in words


def _read_csv(lines: Iterable[str], source: str) -> _Grid:
    rows: list[list[str]] = []
    numbers: list[int] = []
    iterator = iter(lines)
    first, skipped = "", -1
    while not first.strip():  # blank lines count for nothing
        skipped += 1
        try:
            first = next(iterator)
        except StopIteration:
            raise TableError(f"{source} is empty; it needs one line a value") from None
    delimiter = likely_delimiter(first)

    def all_lines() -> Iterable[str]:
        yield first
        yield from iterator

    reader = csv.reader(all_lines(), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if row:
                rows.append(row)
                numbers.append(reader.line_num + skipped)
    except csv.Error as error:
        raise TableError(f"{source}, line {reader.line_num + skipped}: not CSV ({error})") from None
    width = len(rows[0])
    for row, number in zip(rows, numbers, strict=True):
        if len(row) != width:
            raise TableError(f"{source}, line {number}: {len(row)} cells where the first line has {width}")
    names = _header(rows[0])
    if names is None:
        names = _names_without_header(source, width)
    else:
        del rows[0], numbers[0]
    if not rows:
        raise TableError(f"{source} has a header but no values")
    columns: list[Sequence[Any]] = [list(column) for column in zip(*rows, strict=True)]
    if delimiter == ";":  # where ; separates cells, a decimal comma is usual
        columns = [[_decimal_point(cell) for cell in column] for column in columns]
    return _Grid(source, names, columns, lambda row: f"line {numbers[row]}")


def likely_delimiter(line: str) -> str:
    """What separates the cells of a line; where there are as many commas as semicolons, they may be decimal ones."""
    last = line.rpartition(";")[2].strip()
    if line.count(",") == line.count(";") and last.count(",") == 1 and _NUMBER.fullmatch(last.replace(",", ".")):
        return ";"
    return max(",;\t", key=line.count)


def _header(cells: list[str]) -> list[str] | None:
    """Give the column names, if the first line is a header: none of its cells is a number or a time."""
    return None if any(_is_number(cell) or _is_time(cell) for cell in cells) else [cell.strip() for cell in cells]


def _names_without_header(source: str, width: int) -> list[str]:
    names = {1: [TARGET_COLUMN], 2: [TIME_COLUMN, TARGET_COLUMN], 3: [ID_COLUMN, TIME_COLUMN, TARGET_COLUMN]}.get(width)
    if names is None:
        raise TableError(f"{source} has {width} columns but no header; put their names in the first line")
    return names


def _decimal_point(cell: str) -> str:
    return cell.replace(",", ".") if cell.count(",") == 1 and _is_number(cell.replace(",", ".")) else cell


def _is_number(cell: str) -> bool:
    word = cell.strip()
    return bool(_NUMBER.fullmatch(word)) or word.lower() in MISSING_WORDS - {""}


def _is_time(cell: str) -> bool:
    try:
        parse_time_ms(cell)
    except TableError:
        return False
    return True


def _read_parquet(path: Path) -> _Grid:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError(
            f"reading {path.name} needs pyarrow: pip install pyarrow, or pip install 'streamlstm[train]'"
        ) from None
    try:
        table = pq.ParquetFile(path).read()
    except OSError as error:
        raise TableError(f"cannot read {path}: {error.strerror or error}") from None
    except pa.ArrowException as error:
        raise TableError(f"{path} is not a Parquet file: {str(error).splitlines()[0]}") from None
    if table.num_rows == 0:
        raise TableError(f"{path} has no rows")
    columns: list[Sequence[Any]] = []
    for column in table.columns:
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            known = column.cast(pa.timestamp("ms"), safe=False).cast(pa.int64()).to_pylist()
            columns.append([None if time_ms is None else _Ms(time_ms) for time_ms in known])
        else:
            columns.append(column.to_pylist())
    return _Grid(str(path), list(table.column_names), columns, lambda row: f"row {row + 1}")


def _series(grid: _Grid, id_column: str | None, time_column: str | None, targets: tuple[str, ...]) -> list[Series]:
    repeated = sorted({name for name in grid.names if grid.names.count(name) > 1})
    if repeated:
        raise TableError(f"{grid.source} has the column {repeated[0]!r} twice; rename one")
    for name in (id_column, time_column, *targets):
        if name is not None and name not in grid.names:
            raise TableError(f"{grid.source} has no column {name!r}; it has {', '.join(map(repr, grid.names))}")
    if id_column is None and ID_COLUMN in grid.names and ID_COLUMN not in (time_column, *targets):
        id_column = ID_COLUMN
    left = [name for name in grid.names if name != id_column and name not in targets]
    if time_column is None:
        time_column = _find_time(grid, left)
    if not targets:
        targets = _find_target(grid, [name for name in left if name != time_column])
    values = np.stack([_numbers(grid, name) for name in targets], axis=1)  # (N, F)
    times = None if time_column is None else _times(grid, time_column)
    if id_column is None:
        ids: Sequence[Any] = []
        groups = {"+".join(targets): np.arange(len(values))}
    else:
        ids = grid.columns[grid.names.index(id_column)]
        groups = _groups(grid, id_column, ids)
    return [_one_series(grid, name, rows, times, values) for name, rows in groups.items()]


def _find_time(grid: _Grid, left: list[str]) -> str | None:
    """Find the time column: by its name, else the first one left that holds written times, else the first of two."""
    lower = {name.lower(): name for name in reversed(left)}
    for name in TIME_NAMES:
        if name in lower:
            return lower[name]
    if not left:
        return None
    first = grid.columns[grid.names.index(left[0])][0]
    holds_times = isinstance(first, str) and not _is_number(first) and _is_time(first)
    return left[0] if holds_times or (len(left) == 2 and len(grid.names) < 4) else None


def _find_target(grid: _Grid, left: list[str]) -> tuple[str, ...]:
    if TARGET_COLUMN in left:
        return (TARGET_COLUMN,)
    if len(left) != 1:
        which = f"one of {', '.join(map(repr, left))}" if left else "a column besides the names and the times"
        raise TableError(f"{grid.source}: which column holds the values? Name {which} (--target-col)")
    return (left[0],)


def _numbers(grid: _Grid, name: str) -> NDArray[np.float64]:
    """One column as float64 (N,), NaN where missing."""
    cells = grid.columns[grid.names.index(name)]
    result = np.empty(len(cells))
    for row, cell in enumerate(cells):
        try:
            number = parse_number(cell if isinstance(cell, str) else "" if cell is None else repr(cell))
            if abs(number) > LARGEST:
                raise TableError(f"{number:g} is out of the range of float32")
            result[row] = number
        except TableError as error:
            raise TableError(f"{grid.source}, {grid.place(row)}, column {name!r}: {error}") from None
    return result


def _times(grid: _Grid, name: str) -> NDArray[np.int64]:
    """One column as ms since the epoch (N,)."""
    cells = grid.columns[grid.names.index(name)]
    result = np.empty(len(cells), np.int64)
    for row, cell in enumerate(cells):
        try:
            result[row] = cell if isinstance(cell, _Ms) else parse_time_ms("" if cell is None else str(cell))
        except TableError as error:
            raise TableError(f"{grid.source}, {grid.place(row)}, column {name!r}: {error}") from None
    return result


def _groups(grid: _Grid, id_column: str, ids: Sequence[Any]) -> dict[str, NDArray[np.int64]]:
    """Gather the rows of each series, series in the order they first appear."""
    rows: dict[str, list[int]] = {}
    for row, cell in enumerate(ids):
        name = "" if cell is None else str(cell).strip()
        if not name:
            raise TableError(f"{grid.source}, {grid.place(row)}, column {id_column!r}: the series has no name")
        rows.setdefault(name, []).append(row)
    return {name: np.asarray(numbers) for name, numbers in rows.items()}


def _one_series(
    grid: _Grid,
    name: str,
    rows: NDArray[np.int64],
    times: NDArray[np.int64] | None,
    values: NDArray[np.float64],
) -> Series:
    if times is None:
        return Series(name, None, values[rows])
    rows = rows[np.argsort(times[rows], kind="stable")]
    twice = np.flatnonzero(np.diff(times[rows]) == 0)
    if twice.size:
        first, second = sorted((int(rows[twice[0]]), int(rows[twice[0] + 1])))
        raise TableError(
            f"{grid.source}, {grid.place(second)}: series {name!r} has this time already in {grid.place(first)}; "
            "keep one value a time"
        )
    return Series(name, times[rows], values[rows])
