"""The bytes of tables, with limits: how much there is to read is held against what was allowed before it is taken in.

What counts is cells, rows times columns, for those are what takes memory: a Parquet file of half a megabyte may hold
a hundred million of them. Parquet is read in a process of its own (`common.child_process`), which sends Arrow's own
stream back; text is only split here.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, Any

from streamlstm.common import MIB, Limits, Result, open_bounded, read_bounded, read_confined
from streamlstm.errors import MissingExtraError, TableError

# Cells of a table unless somebody allows more: while they are text, so many take 1 GB. Three years of minutes of one
# series have 3,200,000.
MAX_CELLS = 5_000_000
BYTES_A_CELL = 48  # allowed on average, delimiters included; a time with a zone has 25
MAX_COLUMNS = 20_000  # of Parquet, whose footer has hundreds of bytes a column, parsed before anything can be counted
BATCH_ROWS = 1 << 16
PERIODS = b"periods"  # by which a column of integers says that it counts periods since 1970, and how long they are

# Of a line: a header of 20,000 long names, or the values of half a million series at one time. What is longer, such as
# a sparse file, has no line ends, and one cell of it would be looked at letter by letter.
MAX_LINE_BYTES = 1 << 24

_DELIMITERS = b",;\t|"
_ALLOW = "--max-cells says how many may be"


def open_text(path: Path, max_cells: int = MAX_CELLS) -> IO[str]:
    """The text of a file or a pipe, to be read line by line; raises as `read_text` does."""
    return lines_of(read_text(path, max_cells))


def lines_of(data: bytes) -> IO[str]:
    """Text to be read line by line, line ends as they are: those of files, which are fewer than Unicode's."""
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")


def read_text(path: Path, max_cells: int = MAX_CELLS) -> bytes:
    """The bytes of a file or a pipe of text; raises TableError for what is none, or holds more cells than may be."""
    data = read_bounded(path, BYTES_A_CELL * max_cells, raises=TableError, pipes=True, remedy=_ALLOW)
    check_text(str(path), data, max_cells)
    return data


def check_text(source: str, data: bytes | bytearray, max_cells: int = MAX_CELLS) -> None:
    """Raise TableError for a text of more cells than may be.

    Their number is taken from the ends of lines and the delimiter there is most of, so quoted ones count too.
    """
    if len(data) > BYTES_A_CELL * max_cells:
        raise TableError(f"{source} has more than {BYTES_A_CELL * max_cells:,} bytes, and no more are read; {_ALLOW}")
    _check_lines(source, data)
    cells = 1 + max(data.count(b"\n"), data.count(b"\r")) + max(data.count(sign) for sign in _DELIMITERS)
    check_cells(source, cells, max_cells)


def _check_lines(source: str, data: bytes | bytearray) -> None:
    """Raise TableError for a line that is longer than may be; a JSON array, which `push` reads, may be one line."""
    if data[:MAX_LINE_BYTES].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        return
    first = 0
    while len(data) - first > MAX_LINE_BYTES:
        last = max(data.rfind(end, first, first + MAX_LINE_BYTES) for end in (b"\n", b"\r"))
        if last < 0:
            raise TableError(f"{source} has a line of more than {MAX_LINE_BYTES:,} bytes: it is no table of text")
        first = last + 1


def check_cells(source: str, cells: int, max_cells: int) -> None:
    """Raise TableError if a table has more cells than may be."""
    if cells > max_cells:
        raise TableError(f"{source} has about {cells:,} cells, and at most {max_cells:,} are read; {_ALLOW}")


def read_arrow(path: Path, max_cells: int = MAX_CELLS) -> Any:
    """The columns of a Parquet file as a pyarrow.Table whose texts are UTF-8.

    Raises TableError for what is no Parquet file, or too large; MissingExtraError without pyarrow.
    """
    try:
        import pyarrow as pa
    except ImportError:
        raise MissingExtraError(
            f"reading {path.name} needs pyarrow: pip install pyarrow, or pip install 'streamlstm[train]'"
        ) from None
    most = BYTES_A_CELL * max_cells
    with open_bounded(path, raises=TableError) as file:
        limits = Limits(memory=400 * MIB + 2 * most, seconds=5 + max_cells / 4e6, result=2 * most)
        arguments = {"max_cells": max_cells, "max_bytes": most}
        _, blocks = read_confined(
            "streamlstm.tables.files:read_parquet_here", file, str(path), arguments, limits, raises=TableError
        )
    return pa.ipc.open_stream(pa.py_buffer(blocks[0])).read_all()


def read_parquet_here(file: IO[bytes], source: str, arguments: dict[str, Any]) -> Result:
    """Read a Parquet file, in the process that `read_arrow` starts; the block is a stream of Arrow's."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(file, pre_buffer=False)
        rows, columns = parquet.metadata.num_rows, len(parquet.schema_arrow)
        if columns > MAX_COLUMNS:
            raise TableError(f"{source} has {columns:,} columns, and at most {MAX_COLUMNS:,} are read")
        check_cells(source, rows * columns, int(arguments["max_cells"]))
        sink, left, found = pa.BufferOutputStream(), int(arguments["max_bytes"]), 0
        schema = pa.schema([plain_field(field) for field in parquet.schema_arrow])
        with pa.ipc.new_stream(sink, schema) as stream:
            for read in parquet.iter_batches(batch_size=BATCH_ROWS):
                read.validate(full=True)
                batch = pa.record_batch(
                    [in_full(column, field.type) for column, field in zip(read.columns, schema, strict=True)],
                    schema=schema,
                )
                found, left = found + batch.num_rows, left - batch.nbytes
                if left < 0:
                    raise TableError(
                        f"{source} has more than {arguments['max_bytes']:,} bytes of cells, and no more are read; "
                        + _ALLOW
                    )
                stream.write_batch(batch)
    except pa.ArrowMemoryError:
        raise TableError(
            f"{source} takes more memory than {arguments['max_cells']:,} cells do, and no more are read; {_ALLOW}"
        ) from None
    except (pa.ArrowException, OSError) as error:
        words = next(iter(str(error).splitlines()), "")[:200]
        raise TableError(f"{source} is not a Parquet file, or a damaged one: {words}") from None
    if found != rows:
        raise TableError(f"{source} is damaged: it says that it has {rows:,} rows and has {found:,}")
    return {}, [memoryview(sink.getvalue())]


def plain_field(field: Any) -> Any:
    """What a column is sent as: under its name, with the length of its periods if those are what pandas wrote."""
    import pyarrow as pa

    noted = field.metadata or {}
    if isinstance(field.type, pa.BaseExtensionType):  # as where pandas is loaded: it knows its own types then
        serialized = field.type.__arrow_ext_serialize__() if hasattr(field.type, "__arrow_ext_serialize__") else b""
        noted = {b"ARROW:extension:name": field.type.extension_name.encode(), b"ARROW:extension:metadata": serialized}
    periods = noted.get(b"ARROW:extension:name") == b"pandas.period"
    kept = {PERIODS: noted.get(b"ARROW:extension:metadata", b"")} if periods else None
    return pa.field(field.name, _plain(field.type), metadata=kept)


def _plain(kind: Any) -> Any:
    """The type in which a column of some type is sent: with each cell in full, so that what it takes is counted."""
    import pyarrow as pa

    is_type = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(kind.storage_type)
    if is_type.is_dictionary(kind) or is_type.is_run_end_encoded(kind):
        return _plain(kind.value_type)
    return pa.large_string() if is_type.is_string_view(kind) else kind


def in_full(column: Any, kind: Any) -> Any:
    """A column as that type; one that is neither number, time nor text is no column of a table and sent as nulls."""
    import pyarrow as pa

    is_type = pa.types
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.cast(column.type.storage_type)
    if is_type.is_dictionary(column.type) and is_type.is_string_view(column.type.value_type):
        column = _looked_up(column, kind)
    if is_type.is_nested(kind) or is_type.is_binary_view(kind):
        return pa.nulls(len(column), kind)
    return column if column.type == kind else column.cast(kind)


def _looked_up(column: Any, kind: Any) -> Any:
    """A column of words by their numbers, as Polars has its categories, in a type that Arrow can look them up in."""
    import pyarrow as pa

    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [
        pa.DictionaryArray.from_arrays(one.indices, one.dictionary.cast(kind)).dictionary_decode() for one in chunks
    ]
    return pa.chunked_array(parts, kind)
