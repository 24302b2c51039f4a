"""Tables without a header: what their columns are, by their number and their first cells."""

from __future__ import annotations

from collections.abc import Sequence

from streamlstm.errors import TableError
from streamlstm.tables.columns import Column, Kind
from streamlstm.tables.names import ID_COLUMN, TARGET_COLUMN, TIME_COLUMN
from streamlstm.tables.times import are_likely_times


def names_by_place(source: str, columns: Sequence[Column], *, one_series: bool, named: bool = False) -> tuple[str, ...]:
    """Names for `value`, `time,value`, `series,value`, `series,time,value` and `series,time,value,value…`.

    `one_series`: the series has a name already, or needs none, so digits in front of a value are a time; `named`:
    they are names, whatever they look like. Raises
    TableError for anything else.
    """
    width = len(columns)
    if width == 1:
        return (TARGET_COLUMN,)
    if width == 2:
        digits = columns[0].kind is Kind.NUMBER and (one_series or are_likely_times(columns[0].head))
        first_is_time = (columns[0].kind is Kind.TIME or digits) and not named
        return (TIME_COLUMN if first_is_time else ID_COLUMN, TARGET_COLUMN)
    if columns[1].kind is Kind.TIME or _may_be_times(columns):
        values = (TARGET_COLUMN,) if width == 3 else tuple(f"{TARGET_COLUMN}{n}" for n in range(1, width - 1))
        return (ID_COLUMN, TIME_COLUMN, *values)
    raise TableError(f"{source} has {width} columns but no header; put their names in the first line")


def _may_be_times(columns: Sequence[Column]) -> bool:
    """Whether the second column may be times in digits: they are likely to be, or the first one's text is a name."""
    first, second = columns[:2]
    if second.kind is not Kind.NUMBER or first.kind is Kind.TIME:
        return second.kind is Kind.TEXT and first.kind is Kind.TEXT  # an error then says what is no time
    return first.kind is Kind.TEXT or are_likely_times(second.head)
