"""Lines of text into rows `(time, series, value)` as they come: what `push` understands, told apart by the first lines.

| first line | meaning of every line |
|---|---|
| `21.5` | one value of `--series`; a first line that is no number names the series instead |
| `unique_id,ds,y` | a table with a header: `streamlstm.tables.schema` says which column is what |
| `sensor-1,21.5` | series, value; with `--series`: time, value |
| `sensor-1,2024-01-31,21.5` | series, time, value |
| `{"sensor-1": 21.5, "ds": "2024-01-31"}` | JSON: series and their values, with or without a time |

A value's text is passed on unchanged, for the daemon decides what a number is and keeps the rest as dead letters; only
the words that `streamlstm.tables` takes as missing become empty, and decimal commas points. What a line cannot do
without (its fields, its time) is an error with the line's number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from streamlstm.client.producer.clock import HaltError
from streamlstm.client.producer.json_lines import JsonLines
from streamlstm.client.producer.row_format import MISSING, Format, Row, RowParser, refuse_series
from streamlstm.common import counted
from streamlstm.errors import TableError, UsageError
from streamlstm.tables import (
    COMMA,
    HEAD,
    ID_COLUMN,
    POINT,
    TIME_COLUMN,
    Column,
    Decimals,
    Dialect,
    Grid,
    Schema,
    decimal_sign,
    find_dialect,
    is_header,
    likely_delimiter,
    names_by_place,
    resolve,
    separator_of,
    split,
    split_all,
)


def begins_table(lines: Sequence[str], chosen: Format) -> bool:
    """Whether a file that begins with these lines is a table with a header, which `read_table` reads as a whole."""
    if lines[0].startswith("{"):
        return False
    first = next((line for line in lines if line.strip() and separator_of(line) is None), "")
    cells = split(first, likely_delimiter(first), f"{chosen.source}, first line")
    return len(cells) > 1 and is_header(cells, wide=chosen.table.wide)


def open_lines(lines: Sequence[bytes], chosen: Format, *, complete: bool = False) -> tuple[RowParser, int] | None:
    """Choose the parser by the first lines, which begin with one that is not blank, and how many of them to skip.

    None: there is a header, and not a line of values yet; `complete` if there will be none. Raises UsageError if the
    series has no name, TableError for a column that is not there or not clear.
    """
    texts = [line.decode("utf-8", "surrogateescape") for line in lines[: HEAD + 2]]
    if texts[0].startswith("{"):
        return JsonLines(chosen), 0
    dialect = find_dialect(texts, chosen.source, one_series=chosen.series is not None, wide=chosen.table.wide)
    if dialect.single:
        return _bare(chosen, dialect, texts)
    cut = map(dialect.joined, split_all(texts[dialect.skip :], dialect.delimiter))
    rows = [row for row in cut if len(row) == dialect.width]
    if not rows and not complete and len(texts) <= dialect.skip:
        return None
    cells = list(zip(*rows, strict=True)) or [()] * dialect.width
    columns = [Column(name, part) for name, part in zip(dialect.header or ("",) * dialect.width, cells, strict=True)]
    options = chosen.table
    if dialect.header is None:
        named_so = options.id_column == ID_COLUMN
        names = names_by_place(chosen.source, columns, one_series=chosen.series is not None, named=named_so)
        columns = [Column(name, column.cells) for name, column in zip(names, columns, strict=True)]
        targets = tuple(name for name in names if name not in {ID_COLUMN, TIME_COLUMN})
        options = replace(options, target_columns=options.target_columns or targets)
    schema = resolve(chosen.source, columns, options)
    decimals, remarks = _decimals(chosen, dialect, columns, schema)
    parser = _Delimited(chosen, dialect, schema, decimals)
    if dialect.header is None:
        remarks = ["no header", *remarks]
    if schema.time is not None and columns[schema.time].head and not schema.serial:
        remarks += parser.clock.remarks(columns[schema.time].head[0])
    if dialect.header is not None or remarks != ["no header"]:
        chosen.say(schema.described(remarks))
    return parser, dialect.skip


def _decimals(
    chosen: Format, dialect: Dialect, columns: Sequence[Column], schema: Schema
) -> tuple[Decimals, list[str]]:
    """How numbers are read, as of a file that has no more lines than these; and what is worth a word of that."""
    lone_comma = POINT if dialect.delimiter == COMMA and not dialect.decimal_comma else COMMA
    grid = Grid(chosen.source, columns, 0, str, lone_comma=lone_comma)
    targets, wanted = [columns[target] for target in schema.targets], chosen.table.decimal
    guess = next((column for column in targets if grid.is_guess(column, wanted)), None)
    sign = next((column.decimal_sign for column in targets if column.decimal_sign), None) or grid.usual_sign
    if wanted != "auto":
        sign = wanted
    remarks = ["decimal comma"] if sign == COMMA else []
    return Decimals(chosen.source, sign, lone_comma), remarks + ([grid.guessed(guess, wanted)] if guess else [])


def _bare(chosen: Format, dialect: Dialect, texts: Sequence[str]) -> tuple[RowParser, int]:
    """One value a line; a first line that is no number names the series, unless it has a name."""
    header = dialect.header is not None and (chosen.series is None or chosen.strict)
    name = dialect.header[0] if header and dialect.header and chosen.series is None else chosen.series
    skip = dialect.skip - (dialect.header is not None and not header)
    sign = decimal_sign(texts) if chosen.table.decimal == "auto" else chosen.table.decimal
    if dialect.decimal_comma:
        sign = COMMA
        chosen.say(f"{chosen.source}: one value a line, decimal comma (a time in front of each is seconds since 1970)")
    return Bare(chosen, named(chosen, name), Decimals(chosen.source, sign, COMMA)), skip


class Bare:
    """One value a line; blank lines between values are missing ones."""

    together = False
    duplicates = "keep"

    def __init__(self, chosen: Format, series: bytes, decimals: Decimals) -> None:
        self._chosen, self._series, self._decimals = chosen, series, decimals
        self._blank: int | None = None  # lines since the last value; None before the first
        self._said = False

    def __call__(self, lines: Sequence[bytes], number: int, rows: list[Row]) -> None:
        series = self._series
        if not self._chosen.strict and not self._blank and b"" not in lines and self._decimals.leaves(lines):
            rows += [(None, series, b"" if line.lower() in MISSING else line) for line in lines]
            self._blank = 0
            return
        for n, line in enumerate(lines, number):
            if not line:
                self._blank = None if self._blank is None else self._blank + 1
                continue
            if self._blank:
                self._say_once(n - 1)
                rows += [(None, series, b"")] * self._blank
            self._blank = 0
            rows.append((None, series, self._chosen.value(self._decimals.plain(line, n), n)))

    def _say_once(self, number: int) -> None:
        if not self._said:
            self._chosen.say(f"{self._chosen.source}, line {number}: a blank line between values is a missing one")
            self._said = True


class _Delimited:
    """Lines of cells, whose parts a schema names."""

    def __init__(self, chosen: Format, dialect: Dialect, schema: Schema, decimals: Decimals) -> None:
        self.clock = chosen.clock(serial=schema.serial)
        self.decimals = decimals
        self._chosen, self._dialect, self._schema = chosen, dialect, schema
        self._width = dialect.width
        self._names = [schema.names[target].encode("utf-8", "surrogateescape") for target in schema.targets]
        self._series = b"" if schema.wide or schema.identity is not None else self._one_series()
        if schema.identity is not None or schema.wide:
            refuse_series(chosen)
        self._watches = [_Watch(chosen.source, schema.names[index], index) for index in schema.suspects]
        # In a table a time is one row of a series; lines of no table may as well be what comes within a second.
        self.duplicates = chosen.table.duplicates or ("keep" if dialect.header is None else "first")
        self.together = schema.wide and schema.time is None
        # Where commas separate and none is a decimal sign, an unquoted cell can only be a number with a point.
        self._plain = dialect.delimiter == COMMA and not dialect.decimal_comma and decimals.sign != COMMA

    def __call__(self, lines: Sequence[bytes], number: int, rows: list[Row]) -> None:
        chosen, schema, delimiter, width = self._chosen, self._schema, self._dialect.delimiter.encode(), self._width
        single = schema.targets[0] if len(schema.targets) == 1 and not schema.wide else None
        identity, time, clock, watches = schema.identity, schema.time, self.clock, self._watches
        last_time: bytes | None = None
        time_ms: int | None = None
        for n, line in enumerate(lines, number):
            if not line:
                continue
            quoted = b'"' in line
            cells = self._quoted(line, n) if quoted else line.split(delimiter)
            if len(cells) != width:
                cells = self._mended(cells, n)
            if not cells:
                continue
            name = self._series if identity is None else cells[identity].strip()
            if not (name and (time is None or cells[time])) and not any(cells):
                continue  # what spreadsheets write below a table
            if not name and not schema.wide:
                raise TableError(f"{chosen.source}, line {n}: the series has no name")
            if time is not None and (cells[time] != last_time or clock.zoned):
                time_ms = clock(cells[time].decode("utf-8", "replace"), n, name)
                last_time = cells[time]
            for watch in watches:
                watch(cells, n)
            plain = self._plain and not quoted
            if single is not None:
                rows.append((time_ms, name, self._cell(cells[single], n, plain)))
            elif schema.wide:
                values = zip(self._names, schema.targets, strict=True)
                rows += [(time_ms, column, self._cell(cells[i], n, plain)) for column, i in values]
            else:
                rows.append((time_ms, name, b",".join([self._cell(cells[i], n, plain) for i in schema.targets])))

    def _cell(self, cell: bytes, number: int, plain: bool) -> bytes:
        cell = cell.strip()
        if plain:
            return self._chosen.value(cell, number)
        cell = self.decimals.plain(cell, number)
        if self._dialect.header is not None:
            self._chosen.check_one_number(cell, number)
        return self._chosen.value(cell, number)

    def _mended(self, cells: list[bytes], number: int) -> list[bytes]:
        """Cells of a line that has not as many as the first: a decimal comma put back; none where all are empty."""
        if self._dialect.decimal_comma and len(cells) == self._width + 1:
            return [*cells[: self._width - 1], cells[-2] + b"," + cells[-1]]
        if any(cell.strip() for cell in cells):
            found = counted(len(cells), "cell")
            raise TableError(f"{self._chosen.source}, line {number}: {found} where the first line has {self._width}")
        return []

    def _quoted(self, line: bytes, number: int) -> list[bytes]:
        text = line.decode("utf-8", "surrogateescape")
        cells = split(text, self._dialect.delimiter, f"{self._chosen.source}, line {number}")
        return [cell.encode("utf-8", "surrogateescape") for cell in cells]

    def _one_series(self) -> bytes:
        if self._dialect.header is None and self._chosen.series is None:
            raise UsageError(
                f"{self._chosen.source}: the lines have a time and a value but no series; name it with --series (or "
                f"say --id-col {ID_COLUMN}: what stands in front is no time, but names series)"
            )
        return named(self._chosen, self._chosen.series or self._schema.series_name)


class _Watch:
    """Looks after a column of text that nobody named: where its words come again and again, they name series."""

    MOST_WORDS = 1_000  # kept; what has more is text that names nothing

    def __init__(self, source: str, column: str, index: int) -> None:
        self._source, self._column, self._index = source, column, index
        self._words: set[bytes] = set()
        self._lines = 0

    def __call__(self, cells: Sequence[bytes], number: int) -> None:
        """Raise TableError as soon as it looks like several series."""
        if len(self._words) > self.MOST_WORDS:
            return
        word = cells[self._index].strip()
        self._lines += 1
        if word:
            self._words.add(word)
        if len(self._words) > 1 and 2 * len(self._words) <= self._lines:
            names = [repr(one.decode("utf-8", "replace")) for one in sorted(self._words)[:2]]
            raise HaltError(
                f"{self._source}, line {number}: looks like several series: the column {self._column!r} has "
                f"{', '.join(names)}, …; say --id-col {self._column}, or --id-col none if it is one series"
            )


def named(chosen: Format, series: str | None) -> bytes:
    """The name of the only series; raises UsageError if there is none."""
    if not series:
        raise UsageError(f"{chosen.source}: the values have no series; name it with --series, e.g. --series s1")
    return series.encode("utf-8", "surrogateescape")
