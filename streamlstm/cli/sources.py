"""Where `push` reads from: a pipe as it flows, or a file as a whole, checked before anything is sent."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from streamlstm.cli.lines import Format, Row, begins_table, open_lines
from streamlstm.errors import TableError, UsageError
from streamlstm.tables import read_table
from streamlstm.tables.files import read_text

CHUNK_BYTES = 1 << 18  # read from a pipe at once; Linux gives 64 KiB at most
MAX_LINE_BYTES = 1 << 24  # of a pipe: the values of half a million series at one time; what is longer has no line ends


def chunks(descriptor: int, before_wait: Callable[[], None] | None) -> Iterator[tuple[list[bytes], int]]:
    """Give whole lines as they arrive, with the number of the first; `before_wait` is called when none is there yet."""
    rest, number = b"", 1
    while True:
        if before_wait is not None and not select.select([descriptor], [], [], 0)[0]:
            before_wait()
        chunk = os.read(descriptor, CHUNK_BYTES)
        if not chunk:
            break
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
            yield [line.strip() for line in lines], number
            number += len(lines)
    if rest.strip():
        yield [rest.removeprefix(b"\xef\xbb\xbf").strip() if number == 1 else rest.strip()], number


def read_file(path: Path, chosen: Format) -> tuple[list[Row], list[int] | None]:
    """Read and check a whole file: its rows, and for JSON lines how many rows each line has."""
    if path.suffix.lower() not in {".parquet", ".pq"}:
        lines = read_text(path).removeprefix(b"\xef\xbb\xbf").split(b"\n")
        start = next((n for n, line in enumerate(lines) if line.strip()), None)
        if start is None:
            raise TableError(f"{path} is empty; it needs one line a value")
        if not begins_table(lines[start].decode("utf-8", "replace").strip()):
            return _read_lines([line.strip() for line in lines], start, chosen)
    return _read_table(path, chosen), None


def _read_lines(lines: list[bytes], start: int, chosen: Format) -> tuple[list[Row], list[int] | None]:
    """Rows of a file without a header; its lines may come in any order of time, and every value must be a number."""
    chosen.in_order, chosen.strict = False, True
    parser, is_header = open_lines(lines[start], chosen)
    start += is_header
    rows: list[Row] = []
    if not parser.together:
        parser(lines[start:], start + 1, rows)
        return rows, None
    lengths = []
    for n, line in enumerate(lines[start:], start + 1):
        before = len(rows)
        parser([line], n, rows)
        lengths.append(len(rows) - before)
    return rows, lengths


def _read_table(path: Path, chosen: Format) -> list[Row]:
    """Rows of a table with a header, series after series."""
    tables = read_table(
        path,
        id_column=chosen.id_column,
        time_column=chosen.time_column,
        target_columns=chosen.target_columns,
    )
    if chosen.series is not None and len(tables) > 1:
        raise UsageError(f"{path} names {len(tables)} series itself; leave --series out")
    rows: list[Row] = []
    for table in tables:
        name = (chosen.series or table.name).encode()
        columns = [_texts(table.values[:, f]) for f in range(table.values.shape[1])]
        values = columns[0] if len(columns) == 1 else [b",".join(parts) for parts in zip(*columns, strict=True)]
        times = [None] * len(values) if table.times_ms is None else table.times_ms.tolist()
        rows.extend((time, name, value) for time, value in zip(times, values, strict=True))
    return rows


def _texts(column: Any) -> list[bytes]:
    """Write float64 numbers (N,) as the shortest text that reads back the same; NaN as nothing."""
    texts = orjson.dumps(column.copy(), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
    return [b"" if text == b"null" else text.removesuffix(b".0") for text in texts]
