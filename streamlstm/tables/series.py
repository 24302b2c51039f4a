"""Columns into series: names, times in UTC, order, repeated times, and what looks like several series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamlstm.common import listed
from streamlstm.errors import TableError
from streamlstm.tables.cells import COMMA
from streamlstm.tables.columns import Column, Grid, Kind
from streamlstm.tables.names import NO_ID
from streamlstm.tables.options import TableOptions
from streamlstm.tables.schema import Schema, resolve
from streamlstm.tables.times import are_early, find_zone, local_to_utc

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Say = Callable[[str], None]

# Of the rows of one series so many may repeat a time: where more do, and a column tells them apart, they are several
# series; and whatever there is beside them where most do.
MOST_REPEATED, MOST_EVER = 0.2, 0.5


@dataclass(frozen=True)
class Series:
    """One time series as read: in order of time, all F columns of a value side by side."""

    name: str
    times_ms: Int64 | None  # (N,) ms since 1970, strictly increasing unless all are kept; None: there are none
    values: Float64  # (N, F); NaN is missing

    def first(self, count: int) -> Series:
        """Its first values alone."""
        return Series(self.name, None if self.times_ms is None else self.times_ms[:count], self.values[:count])


def to_series(grid: Grid, options: TableOptions, say: Say) -> list[Series]:
    """Make series of a table, in the order they first appear; `say` is told in one line what was taken for what.

    Raises TableError for a column that is not there or not clear, a cell that cannot be read, several series without
    names.
    """
    if grid.targets and not options.target_columns:
        options = replace(options, target_columns=grid.targets)
    schema = resolve(grid.source, grid.columns, options)
    return _Builder(grid, schema, options, say).series()


class _Builder:
    """One table on its way to series."""

    def __init__(self, grid: Grid, schema: Schema, options: TableOptions, say: Say) -> None:
        self._grid, self._schema, self._options, self._say = grid, schema, options, say
        self._repeated = 0

    def series(self) -> list[Series]:
        """The series of the table."""
        schema, grid = self._schema, self._grid
        times, local = self._times()
        values = self._values()
        said = schema.described(self._remarks(times, local))
        if schema.identity is None:
            groups = {schema.series_name: np.arange(grid.rows)}
        else:
            groups = self._groups(grid.columns[schema.identity])
        if times is not None:
            times = self._in_utc(times, local, groups)
        self._refuse_several(times)
        found = [self._one(name, rows, times, values) for name, rows in groups.items()]
        self._say(said)
        if self._repeated:
            many = "1 row has" if self._repeated == 1 else f"{self._repeated:,} rows have"
            self._say(f"{grid.source}: {many} a time that its series has already; {self._policy()} (--duplicates)")
        if not schema.wide:
            return found
        (whole,) = found
        return [
            Series(schema.names[target], whole.times_ms, whole.values[:, [place]])
            for place, target in enumerate(schema.targets)
        ]

    def _remarks(self, times: Int64 | None, local: NDArray[np.bool_]) -> list[str]:
        """What of the cells is worth a word."""
        grid, wanted = self._grid, self._options.decimal
        remarks = list(grid.remarks)
        columns = [grid.columns[target] for target in self._schema.targets]
        if any(grid.sign_of(column, wanted) == COMMA and (column.has(",") or column.has(".")) for column in columns):
            remarks.append("decimal comma")
        for column in columns:
            if grid.is_guess(column, wanted):
                remarks.append(grid.guessed(column, wanted))
                break
        if times is not None and times.size:
            if self._options.timezone is not None and local.any():
                remarks.append(f"times of {self._options.timezone}")
            if not local.any() and times.min() >= 0 and are_early(int(times.max())):
                first = np.datetime_as_string(times.min().astype("datetime64[ms]"), unit="auto")
                remarks.append(f"the first time is {first}")
        return remarks

    def _times(self) -> tuple[Int64 | None, NDArray[np.bool_]]:
        if self._schema.time is None:
            return None, np.zeros(self._grid.rows, np.bool_)
        column = self._grid.columns[self._schema.time]
        with self._grid.located(column):
            return column.times(serial=self._schema.serial)

    def _values(self) -> Float64:
        """All targets side by side, (N, F)."""
        columns = []
        for target in self._schema.targets:
            column = self._grid.columns[target]
            with self._grid.located(column):
                columns.append(column.numbers(self._grid.sign_of(column, self._options.decimal)))
        return np.stack(columns, axis=1)

    def _groups(self, column: Column) -> dict[str, Int64]:
        """Gather the rows of each series, series in the order they first appear."""
        rows: dict[str, list[int]] = {}
        with self._grid.located(column):
            cells = column.cells
        for row, cell in enumerate(cells):
            name = cell.strip()
            if not name:
                where = f"{self._grid.source}, {self._grid.place(row)}, column {column.name!r}"
                raise TableError(f"{where}: the series has no name")
            rows.setdefault(name, []).append(row)
        return {name: np.asarray(numbers) for name, numbers in rows.items()}

    def _in_utc(self, times: Int64, local: NDArray[np.bool_], groups: dict[str, Int64]) -> Int64:
        """Local times by the zone that was named."""
        if self._options.timezone is None or not local.any():
            return times
        zone = find_zone(self._options.timezone)
        result, unknown = times.copy(), 0
        for rows in groups.values():
            chosen = rows[local[rows]]
            result[chosen], skipped = local_to_utc(times[chosen], zone)
            unknown += skipped
        if unknown:
            self._say(
                f"{self._grid.source}: {unknown:,} times do not exist in {self._options.timezone}, where clocks went "
                "forward over them; is it the right zone?"
            )
        return result

    def _refuse_several(self, times: Int64 | None) -> None:
        """TableError if rows that nobody named the series of look like several series."""
        schema, options = self._schema, self._options
        if schema.identity is not None or options.id_column is not None or schema.wide:
            return
        for index in schema.suspects:
            cells = self._grid.columns[index].cells
            names = {cell.strip() for cell in cells} - {""}
            if len(names) > 1 and 2 * len(names) <= len(cells):
                raise TableError(self.several(schema.names[index], sorted(names)[:2]))
        if times is None or options.duplicates is not None:
            return
        unique, counts = np.unique(times, return_counts=True)
        repeated = len(times) - len(unique)
        if repeated <= MOST_REPEATED * len(times):
            return
        found = [schema.names[index] for index in self._telling_apart(times)]
        if found or repeated >= MOST_EVER * len(times):
            when = np.datetime_as_string(unique[np.argmax(counts)].astype("datetime64[ms]"), unit="auto")
            raise TableError(
                f"{self._grid.source} looks like several series: {int(counts.max())} rows have the time {when}; name "
                f"the column of their names with --id-col{f' {found[0]}' if found else ''} (or, if it is one series, "
                "say which value counts: --duplicates first)"
            )

    def _telling_apart(self, times: Int64) -> list[int]:
        """Columns that nothing else was made of and whose cells tell rows of one time apart, the most likely first."""
        schema, found = self._schema, []
        for index, column in enumerate(self._grid.columns):
            if index == schema.time or index in schema.targets or column.kind not in (Kind.TEXT, Kind.NUMBER):
                continue
            if column.kind is Kind.NUMBER and not all(cell.isdecimal() for cell in column.head):
                continue
            rows, names = len(set(zip(times.tolist(), column.cells, strict=True))), len(set(column.cells))
            if rows > (1 - MOST_REPEATED) * len(times) and 2 * names <= len(times):
                found.append((column.kind is not Kind.TEXT, names, index))
        return [index for _, _, index in sorted(found)]

    def several(self, column: str, names: Sequence[str]) -> str:
        """Say that a column of text looks like the names of series."""
        return (
            f"{self._grid.source} looks like several series: the column {column!r} has {listed(names)}, …; say "
            f"--id-col {column}, or --id-col {NO_ID} if it is one series"
        )

    def _one(self, name: str, rows: Int64, times: Int64 | None, values: Float64) -> Series:
        if times is None:
            return Series(name, None, values[rows])
        if len(rows) == 1:  # as there may be millions
            return Series(name, times[rows], values[rows])
        rows = rows[np.argsort(times[rows], kind="stable")]
        ordered = times[rows]
        twice = np.flatnonzero(np.diff(ordered) == 0)
        if not twice.size or self._options.duplicates == "keep":
            return Series(name, ordered, values[rows])
        if self._options.duplicates == "error":
            first, second = sorted((int(rows[twice[0]]), int(rows[twice[0] + 1])))
            raise TableError(
                f"{self._grid.source}, {self._grid.place(second)}: series {name!r} has this time already in "
                f"{self._grid.place(first)}; keep one value a time, or let --duplicates choose"
            )
        self._repeated += int(twice.size)
        starts = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 1) != 0)
        policy = self._options.duplicates or "first"
        # Columns of a wide table are series each, so what is there of one says nothing of the others.
        parts = np.split(values[rows], values.shape[1], axis=1) if self._schema.wide else [values[rows]]
        chosen = [_one_a_time(part, starts, policy) for part in parts]
        return Series(name, ordered[starts], np.concatenate(chosen, axis=1))

    def _policy(self) -> str:
        chosen = self._options.duplicates or "first"
        return "their mean counts" if chosen == "mean" else f"the {chosen} value counts"


def _one_a_time(values: Float64, starts: Int64, policy: str) -> Float64:
    """One of the values (N, F) from each start to the next; what is missing counts only where nothing else is."""
    ends = np.append(starts[1:], len(values))
    result = values[starts]
    for place in np.flatnonzero(ends - starts > 1).tolist():
        part = values[starts[place] : ends[place]]
        there = part[~np.isnan(part).all(axis=1)]
        if not len(there):
            continue
        if policy == "mean":
            counts = (~np.isnan(there)).sum(axis=0)
            result[place] = np.where(counts > 0, np.nansum(there, axis=0) / np.maximum(counts, 1), np.nan)
        else:
            result[place] = there[0 if policy == "first" else -1]
    return result
