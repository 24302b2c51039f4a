"""Series that somebody has read already, as of a stream, in the place of a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from streamlstm.common import counted
from streamlstm.errors import TableError, UsageError
from streamlstm.tables.cells import shortened
from streamlstm.tables.options import TableOptions
from streamlstm.tables.series import Series


@dataclass(frozen=True, eq=False)
class SeriesTable:
    """A table that is series by now; every function that takes a table takes it."""

    source: str  # what it is called in errors and notes
    columns: tuple[str, ...]  # names of the F numbers of a value
    series: tuple[Series, ...]
    last: Mapping[str, str] = field(default_factory=dict)  # of streams: the id of the last entry that was read

    @property
    def values(self) -> int:
        """How many there are, of all series."""
        return sum(len(one.values) for one in self.series)

    def __repr__(self) -> str:
        return f"<SeriesTable: {self.source}, {len(self.series):,} series, {self.values:,} values>"


def read_made(table: SeriesTable, options: TableOptions, say: Callable[[str], None]) -> list[Series]:
    """Its series, with the columns that are asked for.

    Raises TableError for a column that is not there and where there are no series; UsageError for options that say how
    cells of a file are read.
    """
    given = {
        "--id-col": options.id_column,
        "--time-col": options.time_column,
        "--wide": options.wide,
        "--duplicates": options.duplicates,
        "--timezone": options.timezone,
        "--decimal": options.decimal != "auto",
    }
    for flag, value in given.items():
        if value:
            raise UsageError(f"{flag} is for tables; {table.source} has series with times already")
    if not table.series:
        raise TableError(f"{table.source} holds no values")
    wanted = options.target_columns
    if not wanted and options.preferred_columns and set(options.preferred_columns) <= set(table.columns):
        wanted = options.preferred_columns
    for name in wanted:
        if name not in table.columns:
            raise TableError(f"{table.source} has no column {shortened(name)}; it has {', '.join(table.columns)}")
    columns = ", ".join(wanted or table.columns)
    say(f"{table.source}: {counted(table.values, 'value')} of {len(table.series):,} series, columns {columns}")
    if not wanted or wanted == table.columns:
        return list(table.series)
    places = [table.columns.index(name) for name in wanted]
    return [Series(one.name, one.times_ms, one.values[:, places]) for one in table.series]
