"""Parquet files as columns of cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamlstm.errors import MissingExtraError, TableError
from streamlstm.tables.grid import Grid
from streamlstm.tables.times import Ms


def read_parquet(path: Path) -> Grid:
    """Read a Parquet file; raises TableError for what is none, MissingExtraError without pyarrow."""
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
            columns.append([None if time_ms is None else Ms(time_ms) for time_ms in known])
        else:
            columns.append(column.to_pylist())
    return Grid(str(path), list(table.column_names), columns, lambda row: f"row {row + 1}")
