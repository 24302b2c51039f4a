"""Tables out: columns, page by page, into a CSV or a Parquet file."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from streamlstm.common import TABLE_ENDINGS, iso_time, other_ending
from streamlstm.errors import MissingExtraError, TableError

TEXT, TIME, NUMBER = "text", "time", "number"  # kinds of columns: texts; ms since 1970, UTC; float64, NaN is none

Append = Callable[[Mapping[str, Any]], None]


@contextmanager
def table_writer(file: IO[bytes], path: Path, kinds: Mapping[str, str]) -> Iterator[Append]:
    """A function that appends columns (n,) by name; `path` says by `.csv` or `.parquet` what it is to be.

    Raises TableError for another ending, MissingExtraError for Parquet without pyarrow.
    """
    if (refusal := other_ending(path, "table", TABLE_ENDINGS)) is not None:
        raise TableError(refusal)
    if path.suffix.lower() == ".csv":
        file.write(_line(kinds))
        yield lambda columns: _append_text(file, kinds, columns)
        return
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise MissingExtraError(
            f"writing {path.name} needs pyarrow: pip install pyarrow, or name a file that ends in .csv"
        ) from None
    types = {TEXT: pa.string(), TIME: pa.timestamp("ms", tz="UTC"), NUMBER: pa.float64()}
    schema = pa.schema([(name, types[kind]) for name, kind in kinds.items()])
    with pq.ParquetWriter(file, schema) as writer:
        yield lambda columns: writer.write_table(pa.table(_arrays(kinds, columns, schema), schema=schema))


def _arrays(kinds: Mapping[str, str], columns: Mapping[str, Any], schema: Any) -> list[Any]:
    import pyarrow as pa

    return [
        pa.array(columns[name], schema.field(name).type, mask=np.isnan(columns[name]) if kind == NUMBER else None)
        for name, kind in kinds.items()
    ]


def _append_text(file: IO[bytes], kinds: Mapping[str, str], columns: Mapping[str, Any]) -> None:
    """Numbers are the shortest texts that are read back as the same float64."""
    written: dict[str, Callable[[Any], list[str]]] = {
        TEXT: list,
        TIME: lambda column: [iso_time(one) for one in column.tolist()],
        NUMBER: lambda column: ["" if math.isnan(one) else repr(one) for one in column.tolist()],
    }
    cells = [written[kind](columns[name]) for name, kind in kinds.items()]
    file.write(b"".join(map(_line, zip(*cells, strict=True))))


def _line(cells: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()
