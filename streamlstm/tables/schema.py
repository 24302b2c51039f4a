"""Which column is what: the one place that decides it, for files, pipes and Python alike.

By the user's word first, then by usual names and by what the cells are. Where two columns may be meant, nothing is
chosen: the error names both and the option.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from streamlstm.common import listed
from streamlstm.errors import TableError, UsageError
from streamlstm.tables.columns import Column, Kind
from streamlstm.tables.names import (
    ID_COLUMN,
    ID_NAMES,
    NO_ID,
    ROW_NAMES,
    TIME_COLUMN,
    TIME_NAMES,
    VALUE_NAMES,
)
from streamlstm.tables.options import TableOptions
from streamlstm.tables.times import are_likely_times, are_serial_dates, is_unread_date

_TIME_OF_DAY = re.compile(r"[0-9]{1,2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?")
_INDEX_NAME = re.compile(r"|unnamed: [0-9]+|__index_level_[0-9]+__")


@dataclass(frozen=True, kw_only=True)
class Schema:
    """Which column, by its index, is what."""

    source: str
    names: tuple[str, ...]
    identity: int | None  # of the series' names; None: there is one series, or one a column
    time: int | None
    targets: tuple[int, ...]
    wide: bool
    serial: bool  # the times are days as Excel counts them
    suspects: tuple[int, ...]  # text without a part in it, which may well be the names of series

    @property
    def series_name(self) -> str:
        """What a series is called that nothing names: as its values."""
        return "+".join(self.names[target] for target in self.targets)

    @property
    def left_out(self) -> list[str]:
        """The names of columns that are nothing."""
        used = {self.identity, self.time, *self.targets}
        return [name for index, name in enumerate(self.names) if index not in used]

    def described(self, remarks: Sequence[str] = ()) -> str:
        """What was taken for what, in one line."""
        of = self.names
        times = "no times" if self.time is None else f"times {of[self.time]!r}"
        if self.serial:
            times += " (days as Excel counts them)"
        values = listed([of[target] for target in self.targets])
        if self.wide:
            what = f"{len(self.targets)} series, one a column: {values}"
        else:
            series = "one series" if self.identity is None else f"series named by {of[self.identity]!r}"
            what = f"{series}, {'value' if len(self.targets) == 1 else 'values'} {values}"
        left = f"left out {listed(self.left_out)}" if self.left_out else ""
        return f"{self.source}: {times}, {what}" + "".join(f"; {part}" for part in (*remarks, left) if part)


def resolve(source: str, columns: Sequence[Column], options: TableOptions) -> Schema:
    """Decide which column is what; raises TableError where that is not clear, and for a column that is not there."""
    return _Resolver(source, columns, options).schema()


def _are_times_of_day(column: Column) -> bool:
    return column.kind is Kind.TEXT and all(_TIME_OF_DAY.fullmatch(cell) for cell in column.head)


class _Resolver:
    """One decision; the columns still free shrink as parts are given out."""

    def __init__(self, source: str, columns: Sequence[Column], options: TableOptions) -> None:
        self._source, self._columns, self._options = source, columns, options
        self._names = [column.name for column in columns]
        self._index = {name: index for index, name in enumerate(self._names)}
        self._check_names()
        asked = options.target_columns
        if not asked and options.preferred_columns and set(options.preferred_columns) <= set(self._names):
            asked = options.preferred_columns
        self._asked = [self._index[name] for name in asked]
        taken = {self._index.get(name) for name in (options.id_column, options.time_column) if name is not None}
        self._free = [index for index in range(len(columns)) if index not in taken and index not in self._asked]

    def schema(self) -> Schema:
        """Give out the parts: names of series, times, values."""
        options = self._options
        identity = self._given(options.id_column) if options.id_column != NO_ID or NO_ID in self._index else None
        if options.id_column is None:
            identity = self._find_identity()
        time = self._given(options.time_column)
        if options.time_column is None:
            time = self._find_time()
        if options.wide and identity is not None:
            raise UsageError(
                f"{self._source}: --wide makes a series of each column, but {self._names[identity]!r} names the series "
                f"of each row; leave one out (--id-col {NO_ID})"
            )
        free = [index for index in self._free if index not in (identity, time)]
        targets = self._asked or (self._find_all(free) if options.wide else [self._find_value(free)])
        texts = [i for i in free if self._columns[i].kind is Kind.TEXT and i not in targets]
        return Schema(
            source=self._source,
            names=tuple(self._names),
            identity=identity,
            time=time,
            targets=tuple(targets),
            wide=options.wide,
            serial=time is not None and self._is_serial(time),
            suspects=tuple(texts) if identity is None and options.id_column is None and not options.wide else (),
        )

    def _check_names(self) -> None:
        twice, count = Counter(self._names).most_common(1)[0]
        if count > 1:
            raise TableError(f"{self._source} has the column {twice!r} twice; rename one")
        options = self._options
        for name in (options.id_column, options.time_column, *options.target_columns):
            if name is not None and name not in self._index and (name, name) != (options.id_column, NO_ID):
                raise TableError(f"{self._source} has no column {name!r}; it has {listed(self._names)}")

    def _given(self, name: str | None) -> int | None:
        return None if name is None else self._index[name]

    def _lower(self, index: int) -> str:
        return self._names[index].strip().lower()

    def _only(self, found: list[int], part: str, option: str) -> int | None:
        """The one column of several candidates; TableError if there are more."""
        if len(found) > 1:
            names = listed([self._names[index] for index in found])
            raise TableError(f"{self._source}: which column holds {part}? {names} all may; name it with {option}")
        return found[0] if found else None

    def _find_identity(self) -> int | None:
        found = [i for i in self._free if self._lower(i) in ID_NAMES and self._columns[i].kind is not Kind.TIME]
        found = [i for i in found if not self._counts_rows(i) and self._leaves_a_value(i)]
        if ID_COLUMN in self._names and self._index[ID_COLUMN] in found:
            return self._index[ID_COLUMN]
        return self._only(found, "the names of the series", f"--id-col (or --id-col {NO_ID}: it is one series)")

    def _leaves_a_value(self, index: int) -> bool:
        """Whether a column of numbers under the name of an id is one: `time,sensor` has no other value."""
        if self._asked or self._columns[index].kind is not Kind.NUMBER:
            return True
        others = [i for i in self._free if i != index and self._lower(i) not in TIME_NAMES | ID_NAMES]
        return any(self._columns[i].kind in (Kind.NUMBER, Kind.EMPTY) for i in others)

    def _find_time(self) -> int | None:
        free = [i for i in self._free if self._lower(i) not in VALUE_NAMES]
        if TIME_COLUMN in self._names and self._index[TIME_COLUMN] in free:
            return self._index[TIME_COLUMN]
        kinds = {i: self._columns[i].kind for i in free}
        typed = [i for i in free if kinds[i] is Kind.TIME]
        hours = [i for i in free if _are_times_of_day(self._columns[i])]
        if typed and hours:
            raise TableError(
                f"{self._source} has the day in {self._names[typed[0]]!r} and the time of day in "
                f"{self._names[hours[0]]!r}; make one column of them, such as 2024-01-31T12:00"
            )
        named = [i for i in free if self._lower(i) in TIME_NAMES and kinds[i] is not Kind.OTHER]
        found = sorted({*named, *typed})
        if found:
            return self._only(found, "the times", "--time-col")
        # In a table of two columns the first is the time, if its numbers are likely to be times at all.
        first = next((i for i in free if i == 0 and kinds[i] is Kind.NUMBER), None)
        if first is not None and len(self._columns) == 2 and are_likely_times(self._columns[first].head):
            return first
        self._refuse_unread(free)
        return None

    def _refuse_unread(self, free: list[int]) -> None:
        """TableError for a column of times in a form that is not read: without it, the table would lose its times."""
        for index in free:
            column = self._columns[index]
            if column.kind is Kind.TEXT and column.head and all(map(is_unread_date, column.head)):
                raise TableError(
                    f"{self._source}: the column {column.name!r} looks like times, in a form that is not read: "
                    f"{column.head[0]!r}; write ISO 8601, such as 2024-01-31T12:00, or leave the column out"
                )

    def _is_serial(self, time: int) -> bool:
        column = self._columns[time]
        return column.kind is Kind.NUMBER and are_serial_dates(column.head)

    def _counts_rows(self, index: int) -> bool:
        """Whether a column is but the number of each row."""
        column = self._columns[index]
        if self._lower(index) not in ROW_NAMES or column.kind is not Kind.NUMBER or len(column.head) < 3:
            return False
        head = column.head
        return all(cell.isdecimal() for cell in head) and all(
            int(after) == int(before) + 1 for before, after in pairwise(head)
        )

    def _find_all(self, free: list[int]) -> list[int]:
        found = [i for i in free if self._columns[i].kind in (Kind.NUMBER, Kind.EMPTY) and self._is_value(i)]
        if not found:
            raise TableError(f"{self._source} has no column of numbers for a series; it has {listed(self._names)}")
        return found

    def _is_value(self, index: int) -> bool:
        empty = self._columns[index].kind is Kind.EMPTY and not self._lower(index)  # what a last delimiter makes
        return not empty and not self._counts_rows(index) and not self._is_index(index)

    def _is_index(self, index: int) -> bool:
        """Whether a column is what a data frame wrote as the numbers of its rows, of which some may be gone."""
        column = self._columns[index]
        unnamed = _INDEX_NAME.fullmatch(self._lower(index))
        return bool(unnamed) and column.kind is Kind.NUMBER and all(cell.isdecimal() for cell in column.head)

    def _find_value(self, free: list[int]) -> int:
        named = self._only([i for i in free if self._lower(i) in VALUE_NAMES], "the values", "--target-col")
        if named is not None:
            return named
        numbers = [i for i in free if self._columns[i].kind in (Kind.NUMBER, Kind.EMPTY) and self._is_value(i)]
        if len(numbers) == 1:
            return numbers[0]
        if numbers:
            which = f"one of {listed([self._names[i] for i in numbers])} (--target-col), or --wide: each is a series"
        elif len(texts := [i for i in free if self._columns[i].kind is Kind.TEXT]) == 1 and len(self._names) < 3:
            return texts[0]  # whose cells then are refused one by one, by their place
        else:
            which = "a column of numbers besides the names and the times (--target-col)"
        raise TableError(f"{self._source}: which column holds the values? Name {which}")
