"""Where `push` reads from: a pipe as it flows, or a file as a whole, checked before anything is sent."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from streamlstm.client.producer.json_lines import repeated_name
from streamlstm.client.producer.lines import begins_table, open_lines
from streamlstm.client.producer.row_format import Format, Row
from streamlstm.client.producer.time_shift import written
from streamlstm.common import counted
from streamlstm.engine import RESET
from streamlstm.errors import TableError, UsageError
from streamlstm.tables import (
    BYTES_A_CELL,
    HEAD,
    Series,
    check_text,
    lines_of,
    parse_number,
    read_lines,
    read_table,
    read_text,
    refuse_foreign,
)

BLANK = b" \r"  # around a line; a tab may separate an empty cell
CHUNK_BYTES = 1 << 18  # read from a pipe at once; Linux gives 64 KiB at most
MAX_LINE_BYTES = 1 << 24  # of a pipe: the values of half a million series at one time; what is longer has no line ends


def chunks(descriptor: int, before_wait: Callable[[], None] | None, source: str) -> Iterator[tuple[list[bytes], int]]:
    """Give whole lines as they arrive, with the number of the first; `before_wait` is called when none is there yet.

    Raises TableError, which names `source`, for what begins as no text does.
    """
    rest, number = b"", 1
    while True:
        if before_wait is not None and not select.select([descriptor], [], [], 0)[0]:
            before_wait()
        chunk = os.read(descriptor, CHUNK_BYTES)
        if not chunk:
            break
        if number == 1:
            refuse_foreign(rest + chunk, source)
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        if len(rest) > MAX_LINE_BYTES:
            raise TableError(
                f"line {number + len(lines)} of the pipe has more than {MAX_LINE_BYTES:,} bytes; a line is a row of "
                "some values, so break it up"
            )
        if number == 1 and lines:
            lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
        if lines:
            yield [line.strip(BLANK) for line in lines], number
            number += len(lines)
    if rest.strip():
        text = rest.removeprefix(b"\xef\xbb\xbf") if number == 1 else rest
        yield [line.strip(BLANK) for line in (_lines(text) if number == 1 else [text])], number


def _lines(text: bytes) -> list[bytes]:
    """The lines of a whole text; old Macs, and who writes for them, end them with CR alone."""
    return text.split(b"\n" if b"\n" in text else b"\r")


def read_all(descriptor: int, chosen: Format) -> bytes:
    """Read to the end of a pipe; raises TableError once it has given more cells than may be."""
    data = bytearray()
    while part := os.read(descriptor, CHUNK_BYTES):
        data += part
        if len(data) > BYTES_A_CELL * chosen.table.max_cells:
            break
    check_text(chosen.source, data, chosen.table.max_cells)
    return bytes(data)


def read_file(path: Path, chosen: Format) -> tuple[list[Row], list[int] | None]:
    """Read and check a whole file: its rows, and for JSON lines how many rows each line has."""
    chosen.strict = True
    if path.suffix.lower() in {".parquet", ".pq"}:
        return table_rows(read_table(path, chosen.table, say=chosen.say), chosen)
    return read_whole(read_text(path, chosen.table.max_cells), chosen)


def read_whole(data: bytes, chosen: Format) -> tuple[list[Row], list[int] | None]:
    """As `read_file`, for text that is all there, of a file or of a pipe; a JSON array is its elements, a line each."""
    refuse_foreign(data[:CHUNK_BYTES], chosen.source)
    if data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"[":
        data = b"\n".join(array_elements(data, chosen))
        if not data:
            return [], None
    lines = _lines(data.removeprefix(b"\xef\xbb\xbf"))
    start = next((n for n, line in enumerate(lines) if line.strip()), None)
    if start is None:
        if chosen.strict:
            raise TableError(f"{chosen.source} is empty; it needs one line a value")
        return [], None
    head = [line.decode("utf-8", "replace").strip(" \r") for line in lines[start : start + 3]]
    if not begins_table(head, chosen):
        return _read_lines([line.strip(BLANK) for line in lines], start, chosen)
    try:
        return table_rows(read_lines(lines_of(data), chosen.source, chosen.table, say=chosen.say), chosen)
    except UnicodeDecodeError:
        raise TableError(f"{chosen.source} is not UTF-8 text; save it as UTF-8, or as .parquet") from None


def one_a_time(rows: list[Row], chosen: Format, policy: str) -> list[Row]:
    """Rows of lines, with one value a series and time as the policy (`--duplicates`) says."""
    if policy == "keep":
        return rows
    values: dict[tuple[int, bytes], list[bytes]] = {}
    for time, series, value in rows:
        if time is not None and series != RESET:
            values.setdefault((time, series), []).append(value)
    if len(values) == len(rows):
        return rows
    result = []
    for time, series, value in rows:
        if time is None or series == RESET:
            result.append((time, series, value))
            continue
        several = values.pop((time, series), None)
        if several is None:
            continue
        if policy == "error" and len(several) > 1:
            raise TableError(
                f"{chosen.source}: the series {series.decode('utf-8', 'replace')!r} has {len(several)} values of one "
                f"time, {written(time)}"
            )
        there = [one for one in several if one] or [b""]
        if policy == "mean" and len(there) > 1:
            numbers = [[parse_number(part) for part in one.decode().split(",")] for one in there]
            means = (sum(column) / len(column) for column in zip(*numbers, strict=True))
            result.append((time, series, ",".join(map(repr, means)).encode()))
        else:
            result.append((time, series, there[-1 if policy == "last" else 0]))
    if dropped := len(rows) - len(result):
        has = "has" if dropped == 1 else "have"
        chosen.say(
            f"{chosen.source}: {counted(dropped, 'value')} {has} a time that their series has already (--duplicates)"
        )
    return result


def array_elements(data: bytes, chosen: Format) -> list[bytes]:
    """The elements of a JSON array as lines, which `chosen` names its lines by from now on.

    Raises TableError for what is no array, or one of anything but objects, or numbers and null.
    """
    try:
        found = orjson.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except ValueError as error:
        raise TableError(
            f"{chosen.source} begins as a JSON array, but is not one: {error}; several values come as one array, or as "
            "JSON lines"
        ) from None
    kinds = {"objects" if isinstance(item, dict) else "numbers" if _is_number(item) else "others" for item in found}
    if len(kinds) > 1 or "others" in kinds:
        raise TableError(
            f"{chosen.source} is a JSON array, but not one of objects with the names of series (or unique_id, ds, y), "
            "nor one of numbers"
        )
    if kinds == {"objects"} and (twice := repeated_name(data, found)) is not None:
        raise TableError(f"{chosen.source} has an object with the name {twice!r} more than once")
    chosen.source += ", an element a line"
    return [b"nan" if item is None else orjson.dumps(item) for item in found]


def _is_number(item: Any) -> bool:
    return item is None or (isinstance(item, int | float) and not isinstance(item, bool))


def _read_lines(lines: list[bytes], start: int, chosen: Format) -> tuple[list[Row], list[int] | None]:
    """Rows of a text without a header, whose lines may come in any order of time."""
    chosen.in_order = False
    opened = open_lines([line for line in lines[start : start + HEAD + 2] if line], chosen, complete=True)
    assert opened is not None, "all lines are there"
    parser, skip = opened
    while skip:
        skip -= bool(lines[start])
        start += 1
    rows: list[Row] = []
    policy = chosen.table.duplicates or parser.duplicates
    if not parser.together:
        parser(lines[start:], start + 1, rows)
        return one_a_time(rows, chosen, policy), None
    lengths = []
    for n, line in enumerate(lines[start:], start + 1):
        before = len(rows)
        parser([line], n, rows)
        lengths.append(len(rows) - before)
    return one_a_time(rows, chosen, policy), lengths


def table_rows(tables: list[Series], chosen: Format) -> tuple[list[Row], list[int] | None]:
    """Rows of a table, series after series; of a wide one without times, line after line, as its entries will be."""
    if chosen.series is not None and len(tables) > 1:
        raise UsageError(f"{chosen.source} names {len(tables)} series itself; leave --series out")
    each: list[list[Row]] = []
    for table in tables:
        name = (chosen.series or table.name).encode()
        columns = [_texts(table.values[:, f]) for f in range(table.values.shape[1])]
        values = columns[0] if len(columns) == 1 else [b",".join(parts) for parts in zip(*columns, strict=True)]
        times = [None] * len(values) if table.times_ms is None else table.times_ms.tolist()
        each.append([(time, name, value) for time, value in zip(times, values, strict=True)])
    if chosen.table.wide and tables[0].times_ms is None:
        return [row for line in zip(*each, strict=True) for row in line], [len(tables)] * len(each[0])
    return [row for rows in each for row in rows], None


def _texts(column: Any) -> list[bytes]:
    """Write float64 numbers (N,) as the shortest text that reads back the same; NaN as nothing."""
    texts = orjson.dumps(column.copy(), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
    return [b"" if text == b"null" else text.removesuffix(b".0") for text in texts]
