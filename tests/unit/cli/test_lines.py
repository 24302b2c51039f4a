"""Lines into rows: every format, and what is wrong with a line by its number."""

from __future__ import annotations

from typing import Any

import pytest

from streamlstm.client.producer.lines import begins_table, open_lines
from streamlstm.client.producer.row_format import Format, Row, RowParser
from streamlstm.errors import TableError, UsageError
from streamlstm.tables import TableOptions

JAN_31 = 1_706_659_200_000  # 2024-01-31


def opened(lines: list[bytes], chosen: Format) -> tuple[RowParser, int]:
    """The parser for lines that are all there."""
    found = open_lines(lines, chosen, complete=True)
    assert found is not None
    return found


def rows(text: str, said: list[str] | None = None, **chosen: object) -> list[Row]:
    """The rows of a whole input; what is said of it goes into `said`."""
    lines = text.encode().split(b"\n")
    ours: dict[str, Any] = {name: chosen[name] for name in ("series", "strict", "in_order") if name in chosen}
    table: dict[str, Any] = {name: value for name, value in chosen.items() if name not in ours}
    say = [].append if said is None else said.append
    parser, skip = opened(lines, Format(source="input", table=TableOptions(**table), say=say, **ours))
    found: list[Row] = []
    parser(lines[skip:], 1 + skip, found)
    return found


@pytest.mark.parametrize(
    ("text", "chosen", "expected"),
    [
        ("1\n2.50\nabc", {"series": "s1"}, [(None, b"s1", b"1"), (None, b"s1", b"2.50"), (None, b"s1", b"abc")]),
        ("1\n\n2\n\n", {"series": "s1"}, [(None, b"s1", b"1"), (None, b"s1", b""), (None, b"s1", b"2")]),
        ("1\nnan\nNA\nnull", {"series": "s"}, [(None, b"s", b"1"), *[(None, b"s", b"")] * 3]),
        ("load\n1\n2", {}, [(None, b"load", b"1"), (None, b"load", b"2")]),
        ("a,1\nb,\nc,x", {}, [(None, b"a", b"1"), (None, b"b", b""), (None, b"c", b"x")]),
        ("17,1\n18,2", {}, [(None, b"17", b"1"), (None, b"18", b"2")]),
        ("2024-01-31,1", {"series": "s"}, [(JAN_31, b"s", b"1")]),
        ("a,2024-01-31,1\nb,2024-01-31,", {}, [(JAN_31, b"a", b"1"), (JAN_31, b"b", b"")]),
        ("a,2024-01-31,1,2", {}, [(JAN_31, b"a", b"1,2")]),
        ("a\t2024-01-31\t1", {}, [(JAN_31, b"a", b"1")]),
        ("a;2024-01-31;1,5", {}, [(JAN_31, b"a", b"1.5")]),
        ("a;1,5\nb;2", {}, [(None, b"a", b"1.5"), (None, b"b", b"2")]),
        ("11,5\n12,25", {"series": "s"}, [(None, b"s", b"11.5"), (None, b"s", b"12.25")]),
        ("y\n11,5\n12", {}, [(None, b"y", b"11.5"), (None, b"y", b"12")]),
        ("t|a\n2024-01-31|1.234,5", {}, [(JAN_31, b"a", b"1234.5")]),
        ("when\ta\tb\n2024-01-31\t1\t", {"wide": True}, [(JAN_31, b"a", b"1"), (JAN_31, b"b", b"")]),
        ('{"sensor": "a", "time": "2024-01-31", "value": 3}', {}, [(JAN_31, b"a", b"3")]),
        ("a;b,1", {}, [(None, b"a;b", b"1")]),
        ('"a,b",2024-01-31,"1"', {}, [(JAN_31, b"a,b", b"1")]),
        ("time,passengers\n2024-01-31,1", {}, [(JAN_31, b"passengers", b"1")]),
        ("time,passengers\n2024-01-31,1", {"series": "p"}, [(JAN_31, b"p", b"1")]),
        ("unique_id,ds,y\na,2024-01-31,1", {}, [(JAN_31, b"a", b"1")]),
        ("y,unique_id,ds\n1,a,2024-01-31", {}, [(JAN_31, b"a", b"1")]),
        ("when,who,what\n2024-01-31,a,1", {"id_column": "who", "time_column": "when"}, [(JAN_31, b"a", b"1")]),
        ("date,a,b,c\n2024-01-31,1,2,3", {"target_columns": ("c", "a")}, [(JAN_31, b"c+a", b"3,1")]),
        ('{"s1": 21.5, "s2": null}', {}, [(None, b"s1", b"21.5"), (None, b"s2", b"")]),
        ('{"s1": [1, 2.5], "s2": "x"}', {}, [(None, b"s1", b"1,2.5"), (None, b"s2", b"x")]),
        ('{"s1": 1, "ds": "2024-01-31"}', {}, [(JAN_31, b"s1", b"1")]),
        ('{"s1": 1, "t": 1706659200}', {"time_column": "t"}, [(JAN_31, b"s1", b"1")]),
        ('{"unique_id": "a", "ds": 1706659200000, "y": 3}', {}, [(JAN_31, b"a", b"3")]),
        ('{"s1": NaN}', {}, [(None, b"s1", b"")]),
        ('{"s1": true}', {}, [(None, b"s1", b"true")]),
        ("!reset,a\na,1", {}, [(None, b"!reset", b"a"), (None, b"a", b"1")]),
        ("größe,1", {}, [(None, "größe".encode(), b"1")]),
    ],
)
def test_formats(text: str, chosen: dict[str, object], expected: list[Row]) -> None:
    """Each format is told by its first line and read as documented."""
    assert rows(text, **chosen) == expected


@pytest.mark.parametrize(
    ("text", "chosen", "error", "message"),
    [
        ("1\n2", {}, UsageError, "have no series; name it with --series"),
        ("2024-01-31,1", {}, UsageError, "a time and a value but no series; name it with --series"),
        ('{"a": 1}', {"series": "s"}, UsageError, "names its series itself; leave --series out"),
        ("unique_id,y\na,1", {"series": "s"}, UsageError, "names its series itself"),
        ("a,2024-01-31,1", {"series": "s"}, UsageError, "names its series itself"),
        ("a,1\nb", {}, TableError, "input, line 2: 1 cell where the first line has 2"),
        ("a,2024-01-31,1\nb,soon,2", {}, TableError, "input, line 2: 'soon' is not a time"),
        ("a,2024-01-31,1\na,2024-01-30,2", {}, TableError, "line 2: the time goes back from .*--sort"),
        ("a,1\n,2", {}, TableError, "line 2: the series has no name"),
        ("when,what\nx,y", {"target_columns": ("z",)}, TableError, "has no column 'z'; it has 'when', 'what'"),
        ("ds,a,b\n1,2,3", {}, TableError, "which column holds the values\\? Name one of 'a', 'b'"),
        ('{"a": 1}\n[1]', {}, TableError, "line 2: not a JSON object"),
        ('{"a": 1}\n{"a"', {}, TableError, "line 2: not a JSON object"),
        ('{"a": 1, "ds": 5}\n{"a": 1}', {}, TableError, "line 2: either all lines have a time .* this one has none"),
        ('{"": 1}', {}, TableError, "line 1: the series has no name"),
        ("1\r2\r3", {"series": "s"}, TableError, "first line: not CSV"),
        ('a,1\n"c"\rx,2', {}, TableError, "input, line 2: not CSV"),
        (f"s,1,1\ns,{'7' * 5000},3", {}, TableError, "line 2: '777.*…' is not a time"),
        ('{"a": 1}\n{"a": ' + "[" * 200_000, {}, TableError, "line 2: not a JSON object"),
        ("a,1\nb,１", {"strict": True}, TableError, "line 2: '１' is not a finite number"),
        ("a,1\nb,x", {"strict": True}, TableError, "line 2: 'x' is not a finite number"),
        ("1\nx", {"strict": True, "series": "s"}, TableError, "line 2: 'x' is not a finite number"),
        ('{"a": "x"}', {"strict": True}, TableError, "line 1: 'x' is not a finite number"),
    ],
)
def test_what_is_wrong_is_named(text: str, chosen: dict[str, object], error: type[Exception], message: str) -> None:
    """A line that cannot be read is an error that names it, and says what to do."""
    with pytest.raises(error, match=message):
        rows(text, **chosen)


@pytest.mark.parametrize("first", ["9" * 5_000_000, "n" * 3_000_000 + ",1"], ids=["value", "name"])
def test_giants_are_the_same_in_any_line(first: str) -> None:
    """Whatever is too large is the daemon's to judge, the first line's too."""
    chosen = {} if "," in first else {"series": "s"}
    name, value = (first[:-2], "1") if "," in first else ("s", first)
    after = f"{first if ',' in first else 1}\n{first}"
    assert rows(first, **chosen)[-1] == rows(after, **chosen)[-1] == (None, name.encode(), value.encode())


def test_rows_before_a_broken_line_are_there() -> None:
    """What stands before the line that cannot be read has been appended when the error is raised."""
    parser, _ = opened([b"a,1"], Format(source="input"))
    found: list[Row] = []
    with pytest.raises(TableError):
        parser([b"a,1", b"b,2", b"c"], 1, found)
    assert found == [(None, b"a", b"1"), (None, b"b", b"2")]


def test_a_time_may_go_back_if_lines_are_to_be_sorted() -> None:
    """With `--sort` the order of the lines does not matter."""
    assert len(rows("a,2024-01-31,1\na,2024-01-30,2", in_order=False)) == 2


def test_text_that_is_not_utf_8_goes_through() -> None:
    """Bytes that are no UTF-8 are the daemon's to judge."""
    parser, _ = opened([b"a,1"], Format(source="input"))
    found: list[Row] = []
    parser([b"\xff,1"], 1, found)
    assert found == [(None, b"\xff", b"1")]


@pytest.mark.parametrize(
    ("line", "table"),
    [
        ("unique_id,ds,y", True),
        ("time;load", True),
        ("a,1", False),
        ("load", False),
        ('{"a": 1}', False),
        ("a,", False),
    ],
)
def test_tables_are_told_from_rows(line: str, table: bool) -> None:
    """A file with a header of several columns is a table; anything else is read line by line."""
    assert begins_table([line], Format(source="input")) is table


def test_an_hour_that_clocks_show_twice_is_two_hours_in_a_pipe() -> None:
    """The second value of a series at one local time is an hour later than the first."""
    text = "unique_id,ds,y\na,2024-10-27 02:00,1\nb,2024-10-27 02:00,2\na,2024-10-27 02:00,3\nb,2024-10-27 02:00,4\n"
    first, second = 1_729_987_200_000, 1_729_990_800_000
    found = rows(text, timezone="Europe/Berlin")
    assert [(time, name) for time, name, _ in found] == [(first, b"a"), (first, b"b"), (second, b"a"), (second, b"b")]


def test_a_local_time_that_clocks_went_over_is_said_once() -> None:
    """With its line, for the zone is likely another one."""
    said: list[str] = []
    text = "ds,y\n2024-03-31 01:30,1\n2024-03-31 02:30,2\n2024-03-31 02:45,3\n"
    assert len(rows(text, said, timezone="Europe/Berlin")) == 3
    found = [line for line in said if "does not exist" in line]
    assert len(found) == 1
    assert "line 3: 2024-03-31 02:30 does not exist in Europe/Berlin" in found[0]


def test_words_that_come_again_in_a_column_nobody_named_are_an_error() -> None:
    """Several series are not merged into one, in a pipe as in a file."""
    with pytest.raises(TableError, match=r"line 5: looks like several series: the column 'city' .* --id-col city"):
        rows("city,ds,y\nUlm,2024-01-01,1\nUlm,2024-01-02,2\nUlm,2024-01-03,3\nBonn,2024-01-04,4")


def test_a_decimal_sign_that_shows_late_is_an_error() -> None:
    """What was read otherwise before is named, and the option that says the sign."""
    lines = [b"ds;y", b"2024-01-01;1.234", b"2024-01-02;2.345,5"]
    parser, _ = opened(lines[:2], Format(source="input"))  # the third has not come when the parser is chosen
    with pytest.raises(TableError, match=r"line 3: '2.345,5' shows .* ',', and '1.234' before it .*--decimal"):
        parser(lines[1:], 2, [])


@pytest.mark.parametrize("cell", ["12,34,567", '"12,34,567.5"', '"1,5,7"'])
def test_a_cell_of_a_table_is_one_number_or_none(cell: str) -> None:
    """What a comma would make several numbers of is left out, as in a file."""
    said: list[str] = []
    with pytest.raises(TableError, match=r"line 2: .* is not a finite number"):
        rows(f"date;value\n2024-01-31;{cell}", said)
    assert "taken for" not in said[0]


@pytest.mark.parametrize("line", ['{"id": "a", "y": "1,00,000"}', '{"a": ["1,5", 2]}'])
def test_a_text_in_json_is_one_number_where_it_is_a_cell(line: str) -> None:
    """Or one of several; a value as a whole may be joined already."""
    with pytest.raises(TableError, match=r"line 1: '1,.*' is not a finite number"):
        rows(line)
    assert rows('{"a": "1.5,2"}') == [(None, b"a", b"1.5,2")]


def test_columns_that_a_data_frame_has_no_names_for_are_a_header() -> None:
    """`,0` is how pandas writes a series without a name."""
    assert rows(",0\n2024-01-31,1.5") == [(JAN_31, b"0", b"1.5")]
    assert rows(",0\n0,1.5\n1,2.5") == [(None, b"0", b"1.5"), (None, b"0", b"2.5")]
