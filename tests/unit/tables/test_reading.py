"""Tables: layouts, times, missing cells, and errors that name their place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlstm.errors import TableError
from streamlstm.tables import Series, TableOptions, read_lines, read_table
from streamlstm.tables.cells import LARGEST, parse_number
from streamlstm.tables.times import parse_time_ms

JANUARY_1949 = -662_688_000_000


OUT_OF_TIME = ("100000000000000", "1704067200000000", "1704067200000000000", "9" * 19)  # µs and ns are the usual ones


def table(tmp_path: Path, text: str, name: str = "table.csv") -> Path:
    """Write a table and return its path."""
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1949-01", JANUARY_1949),
        ("1949-01-01", JANUARY_1949),
        ("19490101", JANUARY_1949),
        ("1949/1/1", JANUARY_1949),
        ("1949.01.01 0:00", JANUARY_1949),
        ("19490101.0", JANUARY_1949),
        ("1949-01-01 00:00:00 UTC", JANUARY_1949),
        ("1704121200000.0", 1_704_121_200_000),
        ("1704121200000.25", 1_704_121_200_000),
        ("19490101000000", JANUARY_1949),
        ("20241301000000", 20_241_301_000_000),
        ("1749-01-01 00:00:00", -6_974_035_200_000),
        ("1970-01-01T00:00:00.5Z", 500),
        ("2024-01-01T02:00:00+02:00", 1_704_067_200_000),
        (" 1700000000 ", 1_700_000_000_000),
        ("1700000000123", 1_700_000_000_123),
        ("1700000000.5", 1_700_000_000_500),
        ("-5", -5_000),
        ("99999999999", 99_999_999_999_000),
        ("100000000000", 100_000_000_000),
        ("99999999999999", 99_999_999_999_999),
    ],
)
def test_written_times_are_read_as_ms_since_1970(text: str, expected: int) -> None:
    """Dates, months, datetimes with and without offset, seconds and milliseconds are told apart."""
    assert parse_time_ms(text) == expected


@pytest.mark.parametrize(
    "text", ["", "soon", "1/2/2020", "2024-13-01", "2024-02-30", "1e400", "nan", "12:00", *OUT_OF_TIME, "２０２４"]
)
def test_what_is_no_time_is_refused_with_what_to_write(text: str) -> None:
    """A refusal shows the text and the forms that are read."""
    with pytest.raises(TableError, match="ISO 8601") as refusal:
        parse_time_ms(text)
    assert repr(text) in str(refusal.value)


@given(
    st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)),
    st.integers(-12 * 60, 12 * 60),
)
def test_any_iso_time_is_read_to_the_ms(when: datetime, offset_minutes: int) -> None:
    """Every ISO datetime gives the integer milliseconds (rounded down) that exact arithmetic gives."""
    aware = when.replace(tzinfo=timezone(timedelta(minutes=offset_minutes)))
    expected = (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert parse_time_ms(aware.isoformat()) == expected


@pytest.mark.parametrize("text", ["", " ", "nan", "NaN", "NA", "null", "None", "n/a"])
def test_missing_cells_are_nan(text: str) -> None:
    """The usual ways to write a missing value are all NaN."""
    assert np.isnan(parse_number(text))


@pytest.mark.parametrize("text", ["inf", "-inf", "1e999", "abc", "0x10", "1_000", "1,5"])
def test_what_is_no_finite_number_is_refused(text: str) -> None:
    """Infinity and Python's own number spellings are not numbers of a table."""
    with pytest.raises(TableError, match="not a finite number"):
        parse_number(text)


def test_the_long_form_gives_each_series_sorted_by_time(tmp_path: Path) -> None:
    """Rows of several series, in any order, come out in order of time, series in order of appearance."""
    path = table(tmp_path, "y,unique_id,ds\n2,b,2020-01-02\n1,a,2020-01-01\n1,b,2020-01-01\n,a,2020-01-02\n")
    b, a = read_table(path)
    assert (b.name, a.name) == ("b", "a")
    assert b.values.tolist() == [[1.0], [2.0]]
    assert b.times_ms is not None
    assert np.diff(b.times_ms).tolist() == [86_400_000]
    assert a.values[0, 0] == 1.0
    assert np.isnan(a.values[1, 0])


def test_two_columns_are_time_and_value_named_after_the_value(tmp_path: Path) -> None:
    """`time,passengers` is one series called passengers."""
    (series,) = read_table(table(tmp_path, "time,passengers\n1949-01,112\n1949-02,118\n"))
    assert series.name == "passengers"
    assert series.times_ms is not None
    assert series.times_ms[0] == JANUARY_1949


@pytest.mark.parametrize("text", ["5\n6.5\n7\n", "y\n5\n6.5\n7\n", "\n\n5\n6.5\n7\n\n\n"])
def test_one_column_is_values_without_times(tmp_path: Path, text: str) -> None:
    """With or without a header and blank lines, one column is one series that has no times."""
    (series,) = read_table(table(tmp_path, text))
    assert (series.name, series.times_ms) == ("y", None)
    assert series.values.ravel().tolist() == [5.0, 6.5, 7.0]


def test_lines_without_header_are_read_by_their_number_of_cells() -> None:
    """Three cells without a header are name, time and value."""
    (series,) = read_lines(["s1,2020-01-01,5\n", "s1,2020-01-02,6\n"], "standard input")
    assert series.name == "s1"
    assert series.values.ravel().tolist() == [5.0, 6.0]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_found(tmp_path: Path, delimiter: str) -> None:
    """Comma, semicolon and tab all separate cells."""
    text = "ds,y\n2020-01-01,5.5\n".replace(",", delimiter)
    assert read_table(table(tmp_path, text))[0].values.item() == 5.5


def test_a_decimal_comma_is_read_where_semicolons_separate(tmp_path: Path) -> None:
    """The number 5,5 of a semicolon table is 5.5."""
    assert read_table(table(tmp_path, "ds;y\n2020-01-01;5,5\n"))[0].values.item() == 5.5


def test_several_targets_stand_side_by_side(tmp_path: Path) -> None:
    """Target columns make one series of several numbers a value, in the order asked for."""
    path = table(tmp_path, "date,a,b,c\n2020-01-01,1,2,3\n2020-01-02,4,5,6\n")
    (series,) = read_table(path, TableOptions(target_columns=("c", "a")))
    assert series.values.tolist() == [[3.0, 1.0], [6.0, 4.0]]
    assert series.name == "c+a"
    assert series.times_ms is not None


def test_columns_can_be_renamed(tmp_path: Path) -> None:
    """Names given by argument win over the usual ones."""
    path = table(tmp_path, "sensor,when,reading,ds\ns,2020-01-01,5,x\n")
    (series,) = read_table(path, TableOptions(id_column="sensor", time_column="when", target_columns=("reading",)))
    assert (series.name, series.values.item()) == ("s", 5.0)


def test_parquet_equals_csv(tmp_path: Path) -> None:
    """A Parquet file with timestamps and nulls gives the series its CSV gives."""
    days = [datetime(2020, 1, 2), datetime(2020, 1, 1), datetime(2020, 1, 3)]
    pq.write_table(
        pa.table({"unique_id": ["a", "a", "a"], "ds": days, "y": [2.0, 1.5, None]}), tmp_path / "table.parquet"
    )
    (one,) = read_table(tmp_path / "table.parquet")
    (other,) = read_table(table(tmp_path, "unique_id,ds,y\na,2020-01-02,2\na,2020-01-01,1.5\na,2020-01-03,\n"))
    assert one.name == other.name
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.times_ms, other.times_ms)


def test_times_of_a_parquet_file_are_what_they_are(tmp_path: Path) -> None:
    """Milliseconds of the first years after 1970, or few enough digits for a date, are neither seconds nor that."""
    times_ms = [-1, 0, 19_490_101, 20_000_000_000]
    content = {"ds": pa.array(times_ms, pa.timestamp("ms")), "y": [1.0, 2.0, 3.0, 4.0]}
    pq.write_table(pa.table(content), tmp_path / "early.parquet")
    (one,) = read_table(tmp_path / "early.parquet")
    np.testing.assert_array_equal(one.times_ms, times_ms)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", ["is empty"]),
        ("ds,y\n", ["no values"]),
        ("ds,y\n2020-01-01,5\n2020-01-02,high\n", ["line 3", "'y'", "'high'"]),
        ("\nds,y\n2020-01-01,5\nsoon,6\n", ["line 4", "'ds'", "'soon'"]),
        ("ds,y\n2020-01-01,5,6\n", ["line 2", "3 cells", "2"]),
        ("ds,y,y\n2020-01-01,5,6\n", ["'y' twice"]),
        ("unique_id,ds,y\n,2020-01-01,5\n", ["line 2", "no name"]),
        ("ds,a,b\n2020-01-01,5,6\n", ["'a', 'b'", "--target-col"]),
        ("1,2,3,4\n", ["no header"]),
        ("ds,y\n2020-01-01,1e300\n", ["line 2", "'y'", "1e+300 is out of the range of float32"]),
        ("ds,y\n" + "9" * 5000 + ",1\n", ["line 2", "'ds'", "999…' is not a time"]),
        ("ds,y\n2020-01-01,１\n", ["line 2", "'y'", "'１' is not a finite number"]),
        ('ds,y\n2020-01-01,"5\n', ["line 2", "not CSV"]),
    ],
)
def test_errors_name_their_place(tmp_path: Path, text: str, pieces: list[str]) -> None:
    """What is wrong with a table is said with line, column and text, in one line."""
    path = table(tmp_path, text)
    with pytest.raises(TableError) as refusal:
        read_table(path)
    message = str(refusal.value)
    assert str(path) in message
    assert "\n" not in message
    for piece in pieces:
        assert piece in message


def test_a_missing_column_is_told_with_those_there(tmp_path: Path) -> None:
    """The error for a wrong column lists the right ones."""
    with pytest.raises(TableError, match=r"no column 'z'.*'ds', 'y'"):
        read_table(table(tmp_path, "ds,y\n2020-01-01,5\n"), TableOptions(target_columns=("z",)))


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    """A missing file, bytes that are no text, and a Parquet file that is none are each one clear error."""
    with pytest.raises(TableError, match="No such file"):
        read_table(tmp_path / "nothing.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xe9\x80a,b")
    with pytest.raises(TableError, match="not UTF-8"):
        read_table(tmp_path / "bytes.csv")
    (tmp_path / "text.parquet").write_text("ds,y")
    with pytest.raises(TableError, match="not a Parquet file"):
        read_table(tmp_path / "text.parquet")


@given(
    st.dictionaries(
        st.text("abc", min_size=1, max_size=3),
        st.dictionaries(st.integers(10**5, 10**6), st.floats(-LARGEST, LARGEST), min_size=1),
        min_size=1,
        max_size=4,
    ),
    st.randoms(use_true_random=False),
)
def test_any_long_table_comes_back(content: dict[str, dict[int, float]], random: object) -> None:
    """Names, times and values written in a random order come back, sorted, to the last bit."""
    lines = [f"{name},{time},{value!r}\n" for name, rows in content.items() for time, value in rows.items()]
    random.shuffle(lines)  # type: ignore[attr-defined]
    found: dict[str, Series] = {one.name: one for one in read_lines(["unique_id,ds,y\n", *lines], "test")}
    assert set(found) == set(content)
    for name, rows in content.items():
        assert found[name].times_ms is not None
        assert found[name].times_ms.tolist() == [1000 * time for time in sorted(rows)]
        assert found[name].values.ravel().tolist() == [rows[time] for time in sorted(rows)]
