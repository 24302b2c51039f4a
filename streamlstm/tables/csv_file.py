"""Delimited text as columns of cells: its delimiter, its header, its decimal comma."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import Any

from streamlstm.errors import TableError
from streamlstm.tables.cells import NUMBER, is_number
from streamlstm.tables.grid import Grid
from streamlstm.tables.names import ID_COLUMN, TARGET_COLUMN, TIME_COLUMN
from streamlstm.tables.times import is_time

csv.field_size_limit(2**31 - 1)  # of characters in a cell: names may be giants; what a line takes is there already


def read_csv(lines: Iterable[str], source: str) -> Grid:
    """Read the lines of a CSV; `source` names it in errors. Raises TableError for what is no table."""
    rows: list[list[str]] = []
    numbers: list[int] = []
    iterator = iter(lines)
    first, skipped = "", -1
    while not first.strip():  # blank lines count for nothing
        skipped += 1
        try:
            first = next(iterator)
        except StopIteration:
            raise TableError(f"{source} is empty; it needs one line a value") from None
    delimiter = likely_delimiter(first)

    def all_lines() -> Iterable[str]:
        yield first
        yield from iterator

    reader = csv.reader(all_lines(), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if row:
                rows.append(row)
                numbers.append(reader.line_num + skipped)
    except csv.Error as error:
        raise TableError(f"{source}, line {reader.line_num + skipped}: not CSV ({error})") from None
    width = len(rows[0])
    for row, number in zip(rows, numbers, strict=True):
        if len(row) != width:
            raise TableError(f"{source}, line {number}: {len(row)} cells where the first line has {width}")
    names = _header(rows[0])
    if names is None:
        names = _names_without_header(source, width)
    else:
        del rows[0], numbers[0]
    if not rows:
        raise TableError(f"{source} has a header but no values")
    columns: list[Sequence[Any]] = [list(column) for column in zip(*rows, strict=True)]
    if delimiter == ";":  # where ; separates cells, a decimal comma is usual
        columns = [[_decimal_point(cell) for cell in column] for column in columns]
    return Grid(source, names, columns, lambda row: f"line {numbers[row]}")


def likely_delimiter(line: str) -> str:
    """What separates the cells of a line; where there are as many commas as semicolons, they may be decimal ones."""
    last = line.rpartition(";")[2].strip()
    if line.count(",") == line.count(";") and last.count(",") == 1 and NUMBER.fullmatch(last.replace(",", ".")):
        return ";"
    return max(",;\t", key=line.count)


def _header(cells: list[str]) -> list[str] | None:
    """Give the column names, if the first line is a header: none of its cells is a number or a time."""
    return None if any(is_number(cell) or is_time(cell) for cell in cells) else [cell.strip() for cell in cells]


def _names_without_header(source: str, width: int) -> list[str]:
    names = {1: [TARGET_COLUMN], 2: [TIME_COLUMN, TARGET_COLUMN], 3: [ID_COLUMN, TIME_COLUMN, TARGET_COLUMN]}.get(width)
    if names is None:
        raise TableError(f"{source} has {width} columns but no header; put their names in the first line")
    return names


def _decimal_point(cell: str) -> str:
    return cell.replace(",", ".") if cell.count(",") == 1 and is_number(cell.replace(",", ".")) else cell
