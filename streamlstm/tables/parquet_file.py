"""Parquet files as columns of cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamlstm.errors import TableError
from streamlstm.tables.files import read_arrow
from streamlstm.tables.grid import Grid
from streamlstm.tables.times import Ms


def read_parquet(path: Path) -> Grid:
    """Read a Parquet file; raises TableError for what is none, MissingExtraError without pyarrow."""
    table = read_arrow(path)
    import pyarrow as pa

    if table.num_rows == 0:
        raise TableError(f"{path} has no rows")
    columns: list[Sequence[Any]] = []
    for column in table.columns:
        if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
            known = column.cast(pa.timestamp("ms"), safe=False).cast(pa.int64()).to_pylist()
            columns.append([None if time_ms is None else Ms(time_ms) for time_ms in known])
        else:
            columns.append(column.to_pylist())
    return Grid(str(path), list(table.column_names), columns, lambda row: f"row {row + 1}")
