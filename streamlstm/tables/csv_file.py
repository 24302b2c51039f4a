"""Delimited text: what separates its cells, whether it has a header, and its columns."""

from __future__ import annotations

import csv
import re
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from streamlstm.errors import TableError
from streamlstm.tables.cells import COMMA, MISSING_WORDS, NUMBER, POINT, is_any_number
from streamlstm.tables.columns import HEAD, Column, Grid
from streamlstm.tables.headless import names_by_place
from streamlstm.tables.names import ID_COLUMN, ID_NAMES, TIME_COLUMN, TIME_NAMES
from streamlstm.tables.options import TableOptions
from streamlstm.tables.times import are_likely_times, is_time

csv.field_size_limit(2**31 - 1)  # of characters in a cell: names may be giants; what a line takes is there already

DELIMITERS = ",;\t|"
# Excel's word to itself; one that is stripped of its tab stands for that.
_SEPARATOR_LINE = re.compile(r"\s*(?P<quote>\"?)sep=(?P<sign>.?)(?P=quote)[ \r\n]*", re.IGNORECASE)
_DIGITS = re.compile(r"[+-]?[0-9]+")
_FRACTION = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class Dialect:
    """How lines are cut into cells."""

    delimiter: str
    width: int  # cells of a row
    header: tuple[str, ...] | None  # the names of the columns, if the first line has them
    skip: int  # lines before the first row, the header among them
    decimal_comma: bool  # the comma that separates cells is also the decimal sign of the last one

    @property
    def single(self) -> bool:
        """Whether a line is one cell, so that a blank one is a missing value."""
        return self.width == 1

    def joined(self, cells: list[str]) -> list[str]:
        """A row's cells, with the last one's decimal comma back in its place."""
        if self.decimal_comma and len(cells) == self.width + 1:
            return [*cells[: self.width - 1], f"{cells[-2]},{cells[-1]}"]
        return cells


def separator_of(line: str) -> str | None:
    """What a line such as `sep=;` says that separates cells; None for another line."""
    found = _SEPARATOR_LINE.fullmatch(line)
    return None if found is None else found["sign"].strip(" \r\n") or "\t"


def likely_delimiter(line: str) -> str:
    """What separates the cells of a line; where there are as many commas as semicolons, they may be decimal ones."""
    for delimiter in ";\t|":
        last = line.rpartition(delimiter)[2].strip()
        if 0 < line.count(delimiter) <= line.count(",") and last.count(",") == 1 and is_any_number(last):
            return delimiter
    return max(DELIMITERS, key=line.count)


def find_dialect(lines: Sequence[str], source: str, *, one_series: bool, wide: bool = False) -> Dialect:
    """Find out how a text is cut, from its first lines, of which the first is not blank; see `names_by_place`.

    Raises TableError for what is not CSV.
    """
    separator = separator_of(lines[0])
    skip = 1 if separator and len(lines) > 1 else 0
    while skip and skip < len(lines) - 1 and not lines[skip].strip():
        skip += 1
    delimiter = separator or likely_delimiter(lines[skip])
    first = split(lines[skip], delimiter, f"{source}, first line")
    header = tuple(cell.strip() for cell in first) if is_header(first, wide=wide) else None
    rows = split_all(lines[skip + (header is not None) : skip + HEAD], delimiter)
    width = len(first)
    if delimiter == COMMA and rows and header is None and width == 2 and one_series and _are_decimals(rows):
        width = 1
    decimal_comma = delimiter == COMMA and _has_decimal_commas(rows, width)
    return Dialect(delimiter, width, header, skip + (header is not None), decimal_comma)


def split(line: str, delimiter: str, place: str) -> list[str]:
    """The cells of one line; raises TableError for what is not CSV."""
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error as error:
        raise TableError(f"{place}: not CSV ({error})") from None


def split_all(lines: Iterable[str], delimiter: str) -> list[list[str]]:
    """The cells of all lines that have some and can be cut, to look at; what is wrong is said when it is read."""
    rows = []
    for line in lines:
        try:
            rows.append(split(line, delimiter, ""))
        except TableError:
            continue
    return [row for row in rows if any(row)]


def is_header(cells: Sequence[str], *, wide: bool = False) -> bool:
    """Whether the first line has the names of columns: no cell of it is a number, a time, or a missing value.

    The names may be numbers where the first is one that only a header has, or each column is a series.
    """
    words = [cell.strip() for cell in cells]
    if words[0] == "" and words[1:] and words[1:] == [str(place) for place in range(len(words) - 1)]:
        return True  # as a data frame writes columns without names, behind its index
    if len(words) > 1 and (words[0].lower() in TIME_NAMES | ID_NAMES or (wide and not _is_value(words[0]))):
        return True
    return (
        not any(_is_value(word) for word in words)
        and bool(words[-1])
        and words[0] not in {"!reset", "!correct", "!late"}
    )


def _is_value(word: str) -> bool:
    return is_any_number(word) or is_time(word) or word.lower() in MISSING_WORDS - {""}


def _are_decimals(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the two cells of each row are a number with a decimal comma: the first are neither times nor count up."""
    whole = [row[0].strip() for row in rows]
    fit = all(
        len(row) <= 2 and _DIGITS.fullmatch(first) and (len(row) == 1 or _FRACTION.fullmatch(row[1].strip()))
        for row, first in zip(rows, whole, strict=True)
    )
    if not fit or are_likely_times(whole):
        return False
    numbers = [int(first) for first in whole if len(first) < 19]
    return len(numbers) < 3 or any(after != before + 1 for before, after in pairwise(numbers))


def _has_decimal_commas(rows: Sequence[Sequence[str]], width: int) -> bool:
    """Whether rows have a cell too many, and nothing else is wrong with them than a decimal comma in the last."""
    longer = [row for row in rows if len(row) == width + 1]
    return (
        len(longer) >= min(width, 2)  # one row of several cells has rather a cell too many
        and all(len(row) in (width, width + 1) for row in rows)
        and all(_DIGITS.fullmatch(row[-2].strip()) and _FRACTION.fullmatch(row[-1].strip()) for row in longer)
        and all(not row[-1].strip() or NUMBER.fullmatch(row[-1].strip()) for row in rows)
    )


def read_csv(lines: Iterable[str], source: str, options: TableOptions) -> Grid:
    """Read the lines of a CSV; `source` names it in errors. Raises TableError for what is no table."""
    waiting, blank = iter(lines), 0
    head: list[str] = []
    for line in waiting:
        if head or line.strip():
            head.append(line)
        else:  # blank lines before a table count for nothing
            blank += 1
        if len(head) == HEAD + 2:
            break
    if not head:
        raise TableError(f"{source} is empty; it needs one line a value")
    dialect = find_dialect(head, source, one_series=True, wide=options.wide)
    cells, numbers = _columns(chain(head[dialect.skip :], waiting), blank + dialect.skip, dialect, source)
    if not numbers:
        raise TableError(f"{source} has a header but no values")
    names = dialect.header or ("",) * dialect.width
    columns = [Column(name, column) for name, column in zip(names, cells, strict=True)]
    if dialect.header is None:
        named = names_by_place(source, columns, one_series=True, named=options.id_column == ID_COLUMN)
        columns = [Column(name, column.cells) for name, column in zip(named, columns, strict=True)]
    remarks = [] if dialect.header is not None or dialect.single else ["no header"]
    if dialect.single and (missing := sum(not cell.strip() for cell in cells[0])):
        remarks.append(f"{missing:,} blank {'line is a missing value' if missing == 1 else 'lines are missing values'}")
    return Grid(
        source,
        columns,
        len(numbers),
        lambda row: f"line {numbers[row]}",
        targets=_headless_targets(columns) if dialect.header is None else (),
        lone_comma=POINT if dialect.delimiter == COMMA and not dialect.decimal_comma else COMMA,
        remarks=tuple(remarks),
    )


def _headless_targets(columns: Sequence[Column]) -> tuple[str, ...]:
    return tuple(column.name for column in columns if column.name not in {ID_COLUMN, TIME_COLUMN})


def _columns(lines: Iterable[str], first: int, dialect: Dialect, source: str) -> tuple[list[list[str]], Sequence[int]]:
    """The cells by column, and the numbers of their lines; blank ones are none, but for missing values in a column.

    Nothing is kept of a line but its cells: five million lists, one a row, would take as much as they do.
    """
    columns: list[list[str]] = [[] for _ in range(dialect.width)]
    numbers = array("q")
    reader = csv.reader(lines, delimiter=dialect.delimiter, strict=True)
    width, wider = dialect.width, dialect.width + dialect.decimal_comma
    try:
        for row in reader:
            number, cells = first + reader.line_num, row
            if not any(row) or (len(row) == 1 and not row[0].strip()):
                if not dialect.single:
                    continue
                cells = [""]
            elif len(row) == wider:
                cells = dialect.joined(row)
            elif len(row) != width:
                raise TableError(f"{source}, line {number}: {len(row)} cells where the first line has {width}")
            for column, cell in zip(columns, cells, strict=True):
                column.append(cell)
            numbers.append(number)
    except csv.Error as error:
        raise TableError(f"{source}, line {first + reader.line_num}: not CSV ({error})") from None
    while dialect.single and numbers and not columns[0][-1].strip():  # blank lines after a table, too
        columns[0].pop()
        numbers.pop()
    return columns, numbers
