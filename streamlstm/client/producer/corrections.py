"""Corrections as `push --corrections` reads them: series, entry or time, and the right value."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

from streamlstm.client.producer.records import RecordReader
from streamlstm.client.producer.row_format import Format, Row
from streamlstm.client.producer.sources import read_all, read_file, read_whole
from streamlstm.client.producer.time_shift import Shift, earliest, shift_years
from streamlstm.engine import CORRECT, MOST_TEXT_BYTES
from streamlstm.errors import TableError
from streamlstm.tables import read_text

ID = re.compile(
    r"(?![0-9]{4}-(?:0[1-9]|1[0-2])$)[0-9]{1,20}-[0-9]{1,20}(?:#[0-9]{1,9})?"
)  # and no month; #2: its second value
AT_ONCE = 1_000  # corrections of one entry

_FIRST_BYTES = 1 << 16  # by which it is told whether entries are named by their ids
_WORDS = re.compile(r"[,;\s\"]+")
_NAMES = {"series": ("series", "unique_id"), "id": ("id", "entry"), "value": ("value", "y")}


def read_corrections(file: str, chosen: Format, years: int | None) -> list[Row]:
    """The rows that ask for the corrections of a file, `-` for stdin.

    Three columns, or JSON lines, of series, id and value; or a table as `push` reads it, whose times are the ids.
    Raises TableError for what is no correction: then nothing is to be sent.
    """
    path = Path(file)
    chosen.strict = True
    if path.suffix.lower() in {".parquet", ".pq"}:
        rows, _ = read_file(path, chosen)
        return timed(rows, chosen.source, years)
    data = read_all(sys.stdin.fileno(), chosen) if file == "-" else read_text(path, chosen.table.max_cells)
    if any(map(ID.fullmatch, _WORDS.split(data[:_FIRST_BYTES].decode("utf-8", "replace")))):
        return [asking(chosen.source, *one) for one in _with_ids(data, chosen.source)]
    rows, _ = read_whole(data, chosen)
    return timed(rows, chosen.source, years)


def together_by(rows: Sequence[Row]) -> list[int]:
    """How many rows each entry has: what they need is read once for all of an entry."""
    return [len(rows[first : first + AT_ONCE]) for first in range(0, len(rows), AT_ONCE)]


def timed(rows: Iterable[Row], source: str, years: int | None) -> list[Row]:
    """Rows with times as rows that ask for what stands there to be put right; raises TableError for one without."""
    rows = list(rows)
    first = earliest(time for time, _, _ in rows)
    shift = Shift(years if years is not None else shift_years(min(0, first or 0)), in_order=False)
    made = []
    for time_ms, series, value in rows:
        if time_ms is None:
            raise TableError(f"{source}: a correction needs a time, or an entry's id, and there is none")
        made.append(asking(source, series, f"{shift(time_ms)}-0", value))
    return made


def asking(source: str, series: bytes, entry: str, value: bytes) -> Row:
    """The row that asks for one correction; raises TableError for what is too long."""
    text = b"%b %b %b" % (series, entry.encode(), value.replace(b" ", b"") or b"nan")
    if len(text) > MOST_TEXT_BYTES:
        raise TableError(f"{source}: the correction of {entry} has {len(text):,} bytes, {MOST_TEXT_BYTES:,} are taken")
    return None, CORRECT, text


def one_correction(series: str, when: Any, value: Any, chosen: Format) -> Row:
    """The row that asks for one value to be put right, of an entry by its id, or by its time as records have it.

    Raises TableError.
    """
    is_id = isinstance(when, str) and ID.fullmatch(when)
    chosen.in_order = False
    [(time_ms, name, text)] = RecordReader(chosen)((series, "2000-01-01" if is_id else when, value))
    if is_id:
        return asking(chosen.source, name, when, text)
    return timed([(time_ms, name, text)], chosen.source, None)[0]


def _with_ids(data: bytes, source: str) -> Iterable[tuple[bytes, str, bytes]]:
    """Series, id and value of each line."""
    lines = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff").splitlines()
    read: Callable[[str], list[str]] = _object if lines and lines[0].lstrip().startswith("{") else _cells
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        cells = read(line)
        if len(cells) != 3 or not ID.fullmatch(cells[1].strip()):
            if number == 1 and len(cells) == 3:
                continue  # a header
            raise TableError(f"{source}, line {number}: a correction is series, id (ms-sequence) and value")
        series, entry, value = cells
        yield series.encode("utf-8", "surrogateescape"), entry.strip(), value.strip().encode("utf-8", "surrogateescape")


def _cells(line: str) -> list[str]:
    delimiter = next((sign for sign in "\t;" if line.count(sign) == 2), ",")
    return next(csv.reader([line], delimiter=delimiter))


def _object(line: str) -> list[str]:
    try:
        found = orjson.loads(line)
    except ValueError:
        return []
    if not isinstance(found, dict):
        return []
    cells = [next((found[name] for name in names if name in found), None) for names in _NAMES.values()]
    return ["" if one is None else str(one) for one in cells]
