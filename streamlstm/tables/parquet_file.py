"""Parquet files as columns."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from streamlstm.errors import TableError
from streamlstm.tables.columns import Column, Grid, Kind, NumberColumn, OtherColumn, TimeColumn
from streamlstm.tables.files import MAX_CELLS, PERIODS, read_arrow

# Periods that pandas counts from 1970, as numpy calls them; multiples (15min) are counted in single ones.
_PERIOD = re.compile(rb'{"freq": "[0-9]*([A-Za-z]+(?:-[A-Z]+)?)"}')
_PERIOD_UNITS = {
    b"Y-DEC": "Y", b"A-DEC": "Y", b"Q-DEC": "3M", b"M": "M", b"D": "D", b"h": "h", b"H": "h", b"min": "m", b"T": "m",
    b"s": "s", b"S": "s", b"ms": "ms", b"L": "ms", b"us": "us", b"U": "us", b"ns": "ns", b"N": "ns",
}  # fmt: skip
_PER_MS = {"s": 1, "ms": 1, "us": 1_000, "ns": 1_000_000}


def read_parquet(path: Path, max_cells: int = MAX_CELLS) -> Grid:
    """Read a Parquet file; raises TableError for what is none or too large, MissingExtraError without pyarrow."""
    return grid_of(read_arrow(path, max_cells), str(path))


def grid_of(table: Any, source: str) -> Grid:
    """The columns of a pyarrow.Table whose texts are UTF-8 and whose cells stand in full; `source` names it in errors.

    Raises TableError for one without rows.
    """
    if table.num_rows == 0:
        raise TableError(f"{source} has no rows")
    columns = [
        _column(field.name, cells) if PERIODS not in (field.metadata or {}) else _periods(source, field, cells)
        for field, cells in zip(table.schema, table.columns, strict=True)
    ]
    return Grid(source, columns, table.num_rows, lambda row: f"row {row + 1}")


def _column(name: str, cells: Any) -> Column:
    """One column by its Arrow type; nullable ones have NaN or "" where nothing is."""
    import pyarrow as pa

    is_type, kind = pa.types, cells.type
    if is_type.is_timestamp(kind) or is_type.is_date(kind):
        return _times(name, cells)
    if is_type.is_integer(kind) or is_type.is_floating(kind) or is_type.is_decimal(kind):
        return NumberColumn(name, _numbers(cells), _texts(cells))
    if is_type.is_boolean(kind):
        return NumberColumn(name, _numbers(cells.cast(pa.uint8())), _texts(cells), Kind.OTHER)
    if is_type.is_string(kind) or is_type.is_large_string(kind):
        return Column(name, ["" if cell is None else cell for cell in cells.to_pylist()])
    if is_type.is_null(kind):
        return Column(name, [""] * len(cells))
    return OtherColumn(name, str(kind))


def _periods(source: str, field: Any, cells: Any) -> Column:
    """Periods as the times at which they begin; raises TableError for those that begin on a day of pandas' own."""
    import pyarrow as pa

    found = _PERIOD.fullmatch(field.metadata[PERIODS])
    unit = _PERIOD_UNITS.get(found[1]) if found else None
    if unit is None or not pa.types.is_integer(cells.type):
        said = field.metadata[PERIODS][:80].decode("utf-8", "replace")
        raise TableError(
            f"{source}, column {field.name!r}: periods of pandas that are not read, {said}; write the times at which "
            "they begin (.dt.to_timestamp())"
        )
    missing = np.asarray(cells.is_null().to_numpy(), np.bool_)
    counts = np.asarray(cells.cast(pa.int64()).fill_null(0).to_numpy(), np.int64)
    times_ms = counts.astype(f"datetime64[{unit}]").astype("datetime64[ms]").astype(np.int64)
    return TimeColumn(field.name, times_ms, missing, local=True)


def _numbers(cells: Any) -> Any:
    """The nearest float64 to each number, which a cast of decimals is not."""
    import pyarrow as pa

    if pa.types.is_decimal(cells.type):
        return np.array([np.nan if cell is None else float(cell) for cell in cells.to_pylist()], np.float64)
    numbers = cells.cast(pa.float64(), safe=False).to_numpy()
    return np.asarray(numbers, np.float64)


def _texts(cells: Any) -> Callable[[slice], list[str]]:
    def texts(part: slice) -> list[str]:
        return ["" if cell is None or cell != cell else str(cell) for cell in cells[part].to_pylist()]  # noqa: PLR0124

    return texts


def _times(name: str, cells: Any) -> TimeColumn:
    """Times of any unit and zone in ms, rounded down; those of a type without a zone are local."""
    import pyarrow as pa

    if pa.types.is_date(cells.type):
        cells = cells.cast(pa.timestamp("ms"))
    unit, zone = cells.type.unit, cells.type.tz
    missing = cells.is_null().to_numpy()
    counts = cells.cast(pa.int64()).fill_null(0).to_numpy()
    times_ms = counts * 1000 if unit == "s" else counts // _PER_MS[unit]
    return TimeColumn(name, np.asarray(times_ms, np.int64), np.asarray(missing, np.bool_), local=zone is None)
