"""A table as columns, as the readers of files hand it over: what kind of cells each has, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import TableError
from streamlstm.tables.cells import (
    COMMA,
    LARGEST,
    MISSING_WORDS,
    POINT,
    decimal_sign,
    is_any_number,
    parse_number,
    parse_numbers,
    plain_number,
)
from streamlstm.tables.times import is_written_time, parse_serial_date, parse_time

HEAD = 100  # cells of a column that say what it holds
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Kind(Enum):
    """What the cells of a column are."""

    TIME = auto()  # written out, or of a type for times
    NUMBER = auto()  # seconds since 1970 among them
    TEXT = auto()
    EMPTY = auto()  # nothing but missing cells
    OTHER = auto()  # truth values, lists and what else only Parquet has


class CellError(TableError):
    """A cell that cannot be read; `row` counts from 0."""

    def __init__(self, row: int, error: TableError | str) -> None:
        super().__init__(str(error))
        self.row = row


class Column:
    """A column whose cells are text, "" where one is missing."""

    def __init__(self, name: str, cells: Sequence[str] = ()) -> None:
        self.name = name
        self._cells = cells

    @property
    def cells(self) -> Sequence[str]:
        """The cells as text (N,)."""
        return self._cells

    @cached_property
    def head(self) -> list[str]:
        """The first cells that are not missing."""
        return _first_there(self.cells)

    @cached_property
    def kind(self) -> Kind:
        """What most of its first cells are."""
        if not self.head:
            return Kind.EMPTY
        half = len(self.head) / 2
        if sum(map(is_any_number, self.head)) > half:
            return Kind.NUMBER
        return Kind.TIME if sum(map(is_written_time, self.head)) > half else Kind.TEXT

    @cached_property
    def decimal_sign(self) -> str | None:
        """`.` or `,` if a cell shows which; None if none does."""
        return decimal_sign(self.cells)

    def has(self, sign: str) -> bool:
        """Whether one of the first cells has a sign."""
        return any(sign in cell for cell in self.head)

    def numbers(self, decimal: str) -> Float64:
        """The cells as numbers (N,), NaN where missing; raises CellError."""
        plain = parse_numbers(self.cells, decimal)
        if plain is not None:
            return plain
        result = np.empty(len(self.cells))
        for row, cell in enumerate(self.cells):
            try:
                result[row] = parse_number(cell, decimal)
            except TableError as error:
                raise CellError(row, error) from None
        return _in_range(result)

    def times(self, *, serial: bool) -> tuple[Int64, Mask]:
        """The cells as ms since 1970 (N,), and which of them are local times; raises CellError.

        `serial`: numbers are days as Excel counts them.
        """
        known: dict[str, tuple[int, bool]] = {}  # of many series the same times
        result, local = np.empty(len(self.cells), np.int64), np.empty(len(self.cells), np.bool_)
        for row, cell in enumerate(self.cells):
            found = known.get(cell)
            if found is None:
                try:
                    found = known[cell] = (parse_serial_date(cell), True) if serial else parse_time(cell)
                except TableError as error:
                    raise CellError(row, error) from None
            result[row], local[row] = found
        return result, local


class NumberColumn(Column):
    """A column of numbers, read as such from a file with types; NaN where one is missing."""

    def __init__(
        self, name: str, numbers: Float64, texts: Callable[[slice], list[str]], kind: Kind = Kind.NUMBER
    ) -> None:
        """`texts` gives some of the numbers as text, as a CSV file would have them, "" where one is missing."""
        super().__init__(name)
        self._numbers = numbers
        self._texts = texts
        self._kind = kind

    @cached_property
    def cells(self) -> Sequence[str]:
        return self._texts(slice(None))

    @cached_property
    def head(self) -> list[str]:
        """The first numbers, as text."""
        return _first_there(self._texts(slice(HEAD)))

    @property
    def kind(self) -> Kind:
        """A number whatever it is, unless all are missing."""
        return Kind.EMPTY if self._kind is Kind.NUMBER and bool(np.isnan(self._numbers).all()) else self._kind

    @property
    def decimal_sign(self) -> str | None:
        """The point: nothing is to be guessed."""
        return POINT

    def numbers(self, decimal: str) -> Float64:
        """The numbers (N,); raises CellError for one that is infinite or out of range."""
        del decimal
        return _in_range(self._numbers)


class TimeColumn(Column):
    """A column of times, read as such from a file with types."""

    def __init__(self, name: str, times_ms: Int64, missing: Mask, *, local: bool) -> None:
        super().__init__(name)
        self._times_ms = times_ms
        self._missing = missing
        self._local = local

    @cached_property
    def cells(self) -> Sequence[str]:
        """The times as text, should series be named by them."""
        texts = np.datetime_as_string(self._times_ms.astype("datetime64[ms]"))
        return ["" if missing else str(text) for text, missing in zip(texts, self._missing, strict=True)]

    @property
    def kind(self) -> Kind:
        return Kind.EMPTY if bool(self._missing.all()) else Kind.TIME

    def numbers(self, decimal: str) -> Float64:
        """Raise CellError: a time is no value."""
        del decimal
        raise CellError(0, "it holds times, and values are numbers")

    def times(self, *, serial: bool) -> tuple[Int64, Mask]:
        """The times (N,), and which of them are local; raises CellError where one is missing."""
        del serial
        if self._missing.any():
            raise CellError(int(np.argmax(self._missing)), "the time is missing")
        return self._times_ms, np.full(len(self._times_ms), self._local)


class OtherColumn(Column):
    """A column of something that is neither number, text nor time."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(name)
        self._what = what

    @property
    def kind(self) -> Kind:
        return Kind.OTHER

    @property
    def cells(self) -> Sequence[str]:
        """Raise CellError: there is no text for it."""
        raise CellError(0, f"cells of the type {self._what} cannot be read")

    def numbers(self, decimal: str) -> Float64:
        """Raise CellError."""
        del decimal
        raise CellError(0, f"cells of the type {self._what} are no numbers")


def _first_there(cells: Iterable[str]) -> list[str]:
    words = (cell.strip() for cell in cells)
    return list(islice((word for word in words if word.lower() not in MISSING_WORDS), HEAD))


def _may_be_either(cell: str) -> bool:
    """Whether a cell is a number with either decimal sign, and not the same one."""
    return ("," in cell or "." in cell) and None not in (plain_number(cell, POINT), plain_number(cell, COMMA))


def _in_range(numbers: Float64) -> Float64:
    """The same numbers; raises CellError for one that a float32 cannot hold."""
    wrong = np.flatnonzero(np.abs(numbers) > LARGEST)  # infinite ones too; NaN is not
    if wrong.size:
        number = float(numbers[wrong[0]])
        what = (
            f"{number:g} is out of the range of float32"
            if np.isfinite(number)
            else f"'{number}' is not a finite number"
        )
        raise CellError(int(wrong[0]), what)
    return numbers


@dataclass(frozen=True)
class Grid:
    """A table as columns, before anything is known of their meaning."""

    source: str
    columns: Sequence[Column]
    rows: int
    place: Callable[[int], str]  # where the row of an index stands in the file, in words
    lone_comma: str = COMMA  # what a comma is in a column like 1,234 that may be either: COMMA the decimal sign, or not
    targets: tuple[str, ...] = ()  # the values, where the file has no names for its columns
    remarks: tuple[str, ...] = ()  # how the file was read, where that is worth a word

    @contextmanager
    def located(self, column: Column) -> Iterator[None]:
        """Give what cannot be read its place."""
        try:
            yield
        except CellError as error:
            where = f"{self.source}, {self.place(error.row)}, column {column.name!r}"
            raise TableError(f"{where}: {error}") from None

    def sign_of(self, column: Column, wanted: str) -> str:
        """The decimal sign of a column: as asked for, else as its cells show, else as those of the others do."""
        if wanted in {POINT, COMMA}:
            return wanted
        return column.decimal_sign or self.usual_sign or (self.lone_comma if column.has(",") else POINT)

    def is_guess(self, column: Column, wanted: str) -> bool:
        """Whether nothing shows which sign is the decimal one, though it matters."""
        undecided = wanted not in {POINT, COMMA} and not column.decimal_sign and not self.usual_sign
        matters = column.has(",") or (column.has(".") and self.lone_comma == COMMA)
        return undecided and matters and any(map(_may_be_either, column.head))

    def guessed(self, column: Column, wanted: str) -> str:
        """What a guess took the first cell for that it matters to, in words."""
        cell = next(filter(_may_be_either, column.head))
        sign = self.sign_of(column, wanted)
        taken, other = plain_number(cell, sign), plain_number(cell, POINT if sign == COMMA else COMMA)
        return f"{cell} is taken for {taken}, not for {other} (--decimal)"

    @cached_property
    def usual_sign(self) -> str | None:
        """The decimal sign that any column shows."""
        texts = (column for column in self.columns if type(column) is Column and column.kind is Kind.NUMBER)
        signs = (column.decimal_sign for column in texts)
        return next((sign for sign in signs if sign), None)
