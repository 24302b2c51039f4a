"""Columns of cells as series: which column is what, and every error naming its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import TableError
from streamlstm.tables.cells import LARGEST, is_number, parse_number
from streamlstm.tables.grid import Grid
from streamlstm.tables.names import ID_COLUMN, TARGET_COLUMN, TIME_NAMES
from streamlstm.tables.series import Series
from streamlstm.tables.times import Ms, is_time, parse_time_ms


def to_series(grid: Grid, id_column: str | None, time_column: str | None, targets: tuple[str, ...]) -> list[Series]:
    """Find out which column is what, where no name is given, and make series of them; raises TableError."""
    repeated = sorted(name for name, count in Counter(grid.names).items() if count > 1)
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


def _find_time(grid: Grid, left: list[str]) -> str | None:
    """Find the time column: by its name, else the first one left that holds written times, else the first of two."""
    lower = {name.lower(): name for name in reversed(left)}
    for name in TIME_NAMES:
        if name in lower:
            return lower[name]
    if not left:
        return None
    first = grid.columns[grid.names.index(left[0])][0]
    holds_times = isinstance(first, str) and not is_number(first) and is_time(first)
    return left[0] if holds_times or (len(left) == 2 and len(grid.names) < 4) else None


def _find_target(grid: Grid, left: list[str]) -> tuple[str, ...]:
    if TARGET_COLUMN in left:
        return (TARGET_COLUMN,)
    if len(left) != 1:
        which = f"one of {', '.join(map(repr, left))}" if left else "a column besides the names and the times"
        raise TableError(f"{grid.source}: which column holds the values? Name {which} (--target-col)")
    return (left[0],)


def _numbers(grid: Grid, name: str) -> NDArray[np.float64]:
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


def _times(grid: Grid, name: str) -> NDArray[np.int64]:
    """One column as ms since the epoch (N,)."""
    cells = grid.columns[grid.names.index(name)]
    result = np.empty(len(cells), np.int64)
    for row, cell in enumerate(cells):
        try:
            result[row] = cell if isinstance(cell, Ms) else parse_time_ms("" if cell is None else str(cell))
        except TableError as error:
            raise TableError(f"{grid.source}, {grid.place(row)}, column {name!r}: {error}") from None
    return result


def _groups(grid: Grid, id_column: str, ids: Sequence[Any]) -> dict[str, NDArray[np.int64]]:
    """Gather the rows of each series, series in the order they first appear."""
    rows: dict[str, list[int]] = {}
    for row, cell in enumerate(ids):
        name = "" if cell is None else str(cell).strip()
        if not name:
            raise TableError(f"{grid.source}, {grid.place(row)}, column {id_column!r}: the series has no name")
        rows.setdefault(name, []).append(row)
    return {name: np.asarray(numbers) for name, numbers in rows.items()}


def _one_series(
    grid: Grid,
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
