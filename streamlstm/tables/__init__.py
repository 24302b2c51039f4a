"""Tables in: series with their times and values from CSV and Parquet files, frames and arrays, errors naming the place.

Files (`csv_file`, `parquet_file`) become columns, `schema` decides which column is what, `series` makes series of
them. Parsing is our own rather than a data-frame library's: serving and pushing need it, and a refusal must name line,
column and text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from streamlstm.errors import TableError
from streamlstm.tables.cells import COMMA, MISSING_WORDS, POINT, decimal_sign, parse_number, shortened
from streamlstm.tables.columns import HEAD, Column, Grid
from streamlstm.tables.csv_file import (
    Dialect,
    find_dialect,
    is_header,
    likely_delimiter,
    read_csv,
    separator_of,
    split,
    split_all,
)
from streamlstm.tables.decimals import Decimals
from streamlstm.tables.files import BYTES_A_CELL, check_text, lines_of, read_text
from streamlstm.tables.foreign import refuse_foreign, refuse_json
from streamlstm.tables.frames import (
    Likeness,
    is_array,
    is_frame,
    is_path,
    likeness_of,
    read_arrays,
    read_frame,
    source_of,
)
from streamlstm.tables.headless import names_by_place
from streamlstm.tables.holes import Holes, find_holes
from streamlstm.tables.made import SeriesTable, read_made
from streamlstm.tables.names import ID_COLUMN, ID_NAMES, NO_ID, TIME_COLUMN, TIME_NAMES, VALUE_NAMES
from streamlstm.tables.options import (
    DECIMALS,
    DUPLICATES,
    TABLE_KINDS,
    TableArguments,
    TableOptions,
    take_table_options,
)
from streamlstm.tables.parquet_file import read_parquet
from streamlstm.tables.schema import Schema, resolve
from streamlstm.tables.series import Series, to_series
from streamlstm.tables.times import are_early, both_utc, find_zone, parse_serial_date, parse_time
from streamlstm.tables.writing import NUMBER, TEXT, TIME, table_writer

_BEGINNING = 1 << 18  # bytes by which it is told what a file is
_AS_FOUND = TableOptions()


def _say_nothing(message: str) -> None:
    del message


def read_table(
    table: Any, options: TableOptions = _AS_FOUND, *, say: Callable[[str], None] = _say_nothing
) -> list[Series]:
    """Read the series of a table, in the order they first appear.

    It is the path of a CSV or Parquet file (told by its suffix `.parquet`), a frame of pandas, Polars or Arrow, a
    mapping from series to values, the values of one series, (N,) or (N, F), or a SeriesTable.
    What `options` leave out is found as `schema.resolve` says; `say` is told, in a line each, what was taken for what
    and what was left out. Rows may come in any order. Raises TableError for a missing file or column, a cell that
    cannot be read, an empty table, and where two columns may be meant; MissingExtraError without pyarrow.
    """
    if isinstance(table, SeriesTable):
        return read_made(table, options, say)
    if is_frame(table):
        return read_frame(table, options, say)
    if not is_path(table):
        if not is_array(table):
            raise TableError(
                f"a {type(table).__name__} is no table; give the path of a CSV or Parquet file, a frame of pandas, "
                "Polars or Arrow, or a mapping from series to values"
            )
        return read_arrays(table, options, say)
    path = Path(table)
    if path.suffix.lower() in {".parquet", ".pq"}:
        grid = read_parquet(path, options.max_cells)
    else:
        try:
            data = read_text(path, options.max_cells)
            refuse_foreign(data[:_BEGINNING], str(path))
            refuse_json(data[:_BEGINNING], str(path))
            with lines_of(data) as lines:
                grid = read_csv(lines, str(path), options)
        except UnicodeDecodeError:
            raise TableError(f"{path} is not UTF-8 text; save it as UTF-8, or as .parquet") from None
    return to_series(grid, options, say)


def read_lines(
    lines: Iterable[str],
    source: str,
    options: TableOptions = _AS_FOUND,
    *,
    say: Callable[[str], None] = _say_nothing,
) -> list[Series]:
    """As `read_table`, for the lines of a CSV held elsewhere, e.g. standard input; `source` names it in errors."""
    return to_series(read_csv(lines, source, options), options, say)
