"""Records that a program holds, as the lines of JSON that `push` reads: one reader for both."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from typing import Any

import numpy as np
import orjson

from streamlstm.client.producer.json_lines import JsonLines
from streamlstm.client.producer.row_format import Format, Row
from streamlstm.errors import TableError

OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
FORMS = "{series: value}, {'unique_id': …, 'ds': …, 'y': …}, (series, value) or (series, time, value)"


def is_record(one: Any) -> bool:
    """Whether something is one record, and not a table of many."""
    if isinstance(one, tuple):
        return len(one) in {2, 3} and isinstance(one[0], str)
    if not isinstance(one, Mapping) or not one:
        return False
    return not any(
        isinstance(value, list | tuple | np.ndarray) or hasattr(value, "__arrow_c_stream__") for value in one.values()
    )


def is_records(table: Any) -> bool:
    """Whether something is a list of records."""
    return isinstance(table, list | tuple) and bool(table) and is_record(table[0])


class RecordReader:
    """Records into rows, one after the other; the first says what their names mean, as the first line of a pipe."""

    def __init__(self, chosen: Format) -> None:
        chosen.strict = True
        self._chosen, self._lines, self._count = chosen, JsonLines(chosen), 0

    @property
    def duplicates(self) -> str:
        """What becomes of a further value of a series at one time."""
        return self._lines.duplicates

    def __call__(self, record: Any) -> list[Row]:
        """The rows of one record; raises TableError that says which it is."""
        self._count += 1
        rows: list[Row] = []
        self._lines([self._line(record)], self._count, rows)
        return rows

    def _line(self, record: Any) -> bytes:
        where = f"{self._chosen.source}, line {self._count}"
        if isinstance(record, tuple | list) and len(record) in {2, 3} and isinstance(record[0], str):
            record = dict(
                zip(("unique_id", "ds", "y") if len(record) == 3 else ("unique_id", "y"), record, strict=True)
            )
        if not isinstance(record, Mapping):
            raise TableError(f"{where}: a {type(record).__name__} is no record; give {FORMS}")
        for name, value in record.items():
            if any(_is_infinite(one) for one in (value if isinstance(value, list | tuple) else (value,))):
                raise TableError(f"{where}: {value!r} of {name!r} is not a finite number")
        try:
            return orjson.dumps(dict(record), _plain, OPTIONS)
        except (TypeError, ValueError) as error:
            why = error.__cause__ or error
            raise TableError(f"{where}: {' '.join(str(why).split())}; give numbers, texts and times") from None


def rows_of(records: Any, chosen: Format) -> tuple[list[Row], list[int]]:
    """The rows of a list of records, and how many each has; all are read before any is sent."""
    chosen.in_order = False
    reader, rows, lengths = RecordReader(chosen), [], []
    for record in records:
        found = reader(record)
        rows += found
        lengths.append(len(found))
    return rows, lengths


def each_row(records: Any, chosen: Format, begin: Callable[[str], None]) -> Iterator[list[Row]]:
    """The rows of each record as it comes; `begin` is told what becomes of repeated times."""
    reader = RecordReader(chosen)
    begin(reader.duplicates)
    for record in records:
        yield reader(record)


def _is_infinite(value: Any) -> bool:
    return isinstance(value, float | np.floating) and math.isinf(value)


def _plain(value: Any) -> Any:
    """What JSON has in the place of something; raises TypeError where that is nothing."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "__float__"):
        return float(value)
    raise TypeError(f"a {type(value).__name__} is neither a number, a text nor a time")
