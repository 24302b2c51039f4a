"""Tables that are in memory already: frames of pandas, Polars and Arrow, mappings of series to values, arrays.

A frame comes by Arrow's C stream interface (`__arrow_c_stream__`), which all of them have, and becomes the columns that
a Parquet file of it would; no library of frames is imported unless one of its frames is there. What is made for the
caller is of the kind that was given.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlstm.common import listed
from streamlstm.errors import MissingExtraError, TableError, UsageError
from streamlstm.tables.columns import Grid
from streamlstm.tables.files import in_full, plain_field
from streamlstm.tables.made import SeriesTable
from streamlstm.tables.names import TARGET_COLUMN
from streamlstm.tables.options import TableOptions
from streamlstm.tables.parquet_file import grid_of
from streamlstm.tables.series import Series, to_series

PANDAS, POLARS, ARROW, NOTHING = "pandas", "polars", "pyarrow", ""
Say = Callable[[str], None]


@dataclass(frozen=True)
class Likeness:
    """What kind of frame was given, so that what is given back is one too."""

    kind: str = NOTHING  # pandas, polars or pyarrow; empty: columns by name
    zoned: bool = False  # whether its times have a zone

    def frame(self, columns: Mapping[str, Any]) -> Any:
        """A frame of columns (N,) by name; times are datetime64[ms] in UTC. Of no kind: the columns themselves."""
        if self.kind == NOTHING:
            return dict(columns)
        if self.kind == PANDAS:
            import pandas as pd

            made = pd.DataFrame(dict(columns))
            for name, column in columns.items():
                if self.zoned and _is_time(column):
                    made[name] = made[name].dt.tz_localize("UTC")
            return made
        if self.kind == POLARS:
            import polars as pl

            return pl.DataFrame(self._arrow(columns))
        return self._arrow(columns)

    def _arrow(self, columns: Mapping[str, Any]) -> Any:
        import pyarrow as pa

        zoned = pa.timestamp("ms", tz="UTC")
        return pa.table(
            {
                name: pa.array(column, type=zoned) if self.zoned and _is_time(column) else pa.array(column)
                for name, column in columns.items()
            }
        )


def _is_time(column: Any) -> bool:
    return isinstance(column, np.ndarray) and column.dtype.kind == "M"


def is_path(table: Any) -> bool:
    """Whether a table is named by the path of its file."""
    return isinstance(table, str | os.PathLike)


def is_frame(table: Any) -> bool:
    """Whether a table is a frame, or one column of one."""
    return hasattr(table, "__arrow_c_stream__") or hasattr(table, "__arrow_c_array__")


def likeness_of(table: Any) -> Likeness:
    """The kind of a frame that was given; that of no frame for anything else."""
    if not is_frame(table):
        return Likeness()
    home = type(table).__module__.partition(".")[0]
    kind = home if home in {PANDAS, POLARS} else ARROW
    types = list(table.dtypes) if kind != ARROW and hasattr(table, "columns") else []
    if kind == PANDAS and hasattr(table, "index"):
        types.append(getattr(table.index, "dtype", None))
    if kind == ARROW and hasattr(table, "schema"):
        types = [field.type for field in table.schema if hasattr(field, "type")]
    return Likeness(kind, any(_zone(one) is not None for one in types))


def _zone(kind: Any) -> Any:
    return getattr(kind, "tz", None) or getattr(kind, "time_zone", None)


def source_of(table: Any) -> str:
    """What a table is called in errors and notes."""
    if is_path(table):
        return str(os.fspath(table))
    if isinstance(table, SeriesTable):
        return table.source
    if is_frame(table):
        home = type(table).__module__.partition(".")[0]
        return f"the {home} {type(table).__name__}"
    return "the mapping" if isinstance(table, Mapping) else "the array"


def read_frame(frame: Any, options: TableOptions, say: Say) -> list[Series]:
    """The series of a frame, or of one column of it with its index; as of a Parquet file of it.

    Raises TableError as `read_table`, MissingExtraError without pyarrow.
    """
    return to_series(_grid(frame, source_of(frame)), options, say)


def _grid(frame: Any, source: str) -> Grid:
    if hasattr(frame, "to_frame"):  # a column
        frame = frame.to_frame() if getattr(frame, "name", None) not in {None, ""} else frame.to_frame(TARGET_COLUMN)
    try:
        import pyarrow as pa
    except ImportError:
        raise MissingExtraError(
            f"reading {source} needs pyarrow: pip install pyarrow, or pip install 'streamlstm[train]'"
        ) from None
    try:
        found = pa.table(frame)
        schema = pa.schema([plain_field(field) for field in found.schema])
        cells = [in_full(column, field.type) for column, field in zip(found.columns, schema, strict=True)]
        return grid_of(pa.table(cells, schema=schema), source)
    except (pa.ArrowException, ValueError, TypeError, NotImplementedError) as error:
        words = " ".join(str(error.args[0] if error.args else error).split())[:200]
        more = f" ({error.args[1]})" if len(error.args) > 1 else ""  # which column it is, from pyarrow
        raise TableError(f"{source} cannot be read as a table: {words}{more}; give each column one type") from None


def read_arrays(table: Any, options: TableOptions, say: Say) -> list[Series]:
    """The series of a mapping from names to values, or of an array: one series, (N,) or (N, F), without times.

    A column of pandas with times in its index has these. Raises TableError for what is neither, and for values that
    are no numbers; UsageError for options that name columns.
    """
    source = source_of(table)
    if options.id_column or options.time_column or options.target_columns:
        raise UsageError(f"{source} has no columns with names; leave --id-col, --time-col and --target-col out")
    if not isinstance(table, Mapping):
        found = [Series(TARGET_COLUMN, None, _values(table, source))]
    else:
        if not table:
            raise TableError(f"{source} is empty; it needs the values of a series by its name")
        found = [_named(name, values, options, source) for name, values in table.items()]
    timed = {one.times_ms is not None for one in found}
    widths = {one.values.shape[1] for one in found}
    if len(widths) > 1 or len(timed) > 1:
        what = "as many numbers a value" if len(widths) > 1 else "times"
        raise TableError(f"{source}: either all series have {what} or none has")
    say(
        f"{source}: {'times of the index' if timed == {True} else 'no times'}, series {listed([s.name for s in found])}"
    )
    return found


def _named(name: Any, values: Any, options: TableOptions, source: str) -> Series:
    """One series of a mapping."""
    if isinstance(name, bytes) or not str(name):
        raise TableError(f"{source}: {name!r} is no name of a series; names are texts that are not empty")
    where = f"{source}, series {str(name)!r}"
    if is_frame(values) and hasattr(values, "to_frame"):
        (one,) = to_series(_grid(values, where), options, lambda _: None)
        return Series(str(name), one.times_ms, one.values)
    return Series(str(name), None, _values(values, where))


def _values(values: Any, where: str) -> NDArray[np.float64]:
    """Values (N, F) of what is (N,) or (N, F), None missing; raises TableError with the place of what is no number."""
    try:
        found = np.asarray(values)
        if found.dtype.kind not in "iufbO" or (found.dtype.kind == "O" and _has_texts(found)):
            raise TypeError
        found = found.astype(np.float64)
    except (TypeError, ValueError):
        hint = "numbers, None or nan where one is missing; the columns of a table come as a frame (pandas.DataFrame)"
        raise TableError(f"{where}: values are {hint}") from None
    if found.ndim not in {1, 2} or not found.size:
        shape = f"have the shape {found.shape}" if found.size or found.ndim != 1 else "are none"
        raise TableError(f"{where}: the values {shape}; give (N,) numbers, or (N, F) for F numbers a value")
    found = np.ascontiguousarray(found if found.ndim == 2 else found[:, None])
    wrong = np.argwhere(np.abs(found) > np.finfo(np.float32).max)  # infinite ones too; NaN is not
    if len(wrong):
        row = int(wrong[0, 0])
        raise TableError(f"{where}, value {row + 1}: {found[tuple(wrong[0])]:g} is not a finite number within float32")
    return found


def _has_texts(found: NDArray[Any]) -> bool:
    return any(isinstance(one, str | bytes) for one in found.ravel().tolist())


def is_array(table: Any) -> bool:
    """Whether a table is a mapping, a list or an array."""
    known = isinstance(table, Mapping | Sequence) and not isinstance(table, str | bytes | bytearray)
    return known or hasattr(table, "__array__")
