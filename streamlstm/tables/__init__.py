"""Tables in: series with their times and values from CSV and Parquet files, every error naming its place.

Three layouts are read, told apart by the columns: the long form `unique_id,ds,y` (other names by argument), a time
and a value (the series is named after the value's column), and one column of values without times. Parsing is our
own rather than a data-frame library's: serving and pushing need it, and a refusal must name line, column and text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from streamlstm.errors import TableError
from streamlstm.tables.csv_file import read_csv
from streamlstm.tables.files import open_text
from streamlstm.tables.parquet_file import read_parquet
from streamlstm.tables.schema import to_series
from streamlstm.tables.series import Series

__all__ = ["Series", "read_lines", "read_table"]


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
        grid = read_parquet(path)
    else:
        try:
            with open_text(path) as lines:
                grid = read_csv(lines, str(path))
        except UnicodeDecodeError:
            raise TableError(f"{path} is not UTF-8 text; save it as UTF-8, or as .parquet") from None
    targets = tuple(target_columns)
    if not targets and set(preferred_columns) <= set(grid.names):
        targets = tuple(preferred_columns)
    return to_series(grid, id_column, time_column, targets)


def read_lines(
    lines: Iterable[str],
    source: str,
    *,
    id_column: str | None = None,
    time_column: str | None = None,
    target_columns: Sequence[str] = (),
) -> list[Series]:
    """As `read_table`, for the lines of a CSV held elsewhere, e.g. standard input; `source` names it in errors."""
    return to_series(read_csv(lines, source), id_column, time_column, tuple(target_columns))
