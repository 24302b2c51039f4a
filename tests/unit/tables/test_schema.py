"""Which column is what: two that may be meant are an error with the option, and nothing is merged without a word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamlstm.errors import TableError
from streamlstm.tables import Series, TableOptions, read_lines
from streamlstm.tables.holes import find_holes

HOUR_MS = 3_600_000
SEVERAL = "".join(f"2024-01-0{day},{sensor},{day}\n" for sensor in (7, 8) for day in range(1, 6))
APART = "".join(f"2024-01-{day:02},{'Ulm' if day < 5 else 'Bonn'},{day}\n" for day in range(1, 9))
AUTUMN = "ds,y\n2024-10-27 01:30,1\n2024-10-27 02:00,2\n2024-10-27 02:00,3\n2024-10-27 03:00,4\n"


def read(text: str, said: list[str] | None = None, **options: Any) -> list[Series]:
    say = [].append if said is None else said.append
    return read_lines(text.splitlines(keepends=True), "table", TableOptions(**options), say=say)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("recorded_at,sent_at,v\n2024-01-01,2024-01-02,1\n", "the times\\? 'recorded_at', 'sent_at' .*--time-col"),
        ("date,timestamp,v\n2024-01-01,1704067200,1\n", "the times\\? 'date', 'timestamp' .*--time-col"),
        ("item_id,sensor,ds,y\na,b,2024-01-01,1\n", "the names of the series\\? 'item_id', 'sensor' .*--id-col"),
        ("ds,y,value\n2024-01-01,1,2\n", "the values\\? 'y', 'value' .*--target-col"),
        ("recorded_at,a,b\n2024-01-01,1,2\n", "Name one of 'a', 'b' \\(--target-col\\), or --wide"),
        ("temp,humidity\n1,2\n3,4\n", "Name one of 'temp', 'humidity'"),
        ("date,time,v\n2024-01-01,12:00,1\n", "the day in 'date' and the time of day in 'time'"),
        ("when,v\n31/01/2024 12:00,1\n", "the column 'when' looks like times, in a form that is not read"),
        ("when,v\n31.01.24,1\n", "the column 'when' looks like times"),
        ('when,v\n"Mon, 01 Jan 2024 00:00:00 GMT",1\n', "the column 'when' looks like times"),
        ("ds,room,y\n" + SEVERAL, "looks like several series: 2 rows have the time .* --id-col room"),
        ("ds,city,y\n" + APART, "looks like several series: the column 'city' .* --id-col city, or --id-col none"),
    ],
)
def test_what_is_not_clear_is_an_error_with_the_option(text: str, message: str) -> None:
    """Both candidates are named, and what to say."""
    with pytest.raises(TableError, match=message):
        read(text)


def test_what_was_taken_for_what_is_one_line() -> None:
    """The parts by name, and what was left out."""
    said: list[str] = []
    read("Timestamp;item_ID;unit;Value\n2024-01-01;a;K;1,5\n", said)
    assert said == [
        "table: times 'Timestamp', series named by 'item_ID', value 'Value'; decimal comma; left out 'unit'"
    ]


def test_names_that_are_numbers_of_rows_or_values_are_no_names() -> None:
    """An `id` that counts rows names no series, and `sensor` may be the value itself."""
    assert [one.name for one in read("id,ds,y\n1,2024-01-01,5\n2,2024-01-02,6\n3,2024-01-03,7\n")] == ["y"]
    assert [one.name for one in read("time,sensor\n2024-01-01,5\n")] == ["sensor"]


@pytest.mark.parametrize(("policy", "value"), [(None, 2.0), ("first", 2.0), ("last", 3.0), ("mean", 2.5)])
def test_one_value_of_a_repeated_time_counts(policy: str | None, value: float) -> None:
    """Which one, the option says; how many there were is said."""
    said: list[str] = []
    (series,) = read(AUTUMN, said, duplicates=policy)
    assert series.values.ravel().tolist() == [1.0, value, 4.0]
    assert "1 row has a time that its series has already" in said[1]


def test_repeated_times_may_be_an_error() -> None:
    """Both rows are named."""
    with pytest.raises(TableError, match=r"table, line 4: .* already in line 3"):
        read(AUTUMN, duplicates="error")


def test_an_hour_that_clocks_show_twice_is_two_hours_in_its_zone() -> None:
    """The second row of one local time is the later, and nothing is repeated."""
    said: list[str] = []
    (series,) = read(AUTUMN, said, timezone="Europe/Berlin")
    assert series.times_ms is not None
    assert (series.times_ms - series.times_ms[0]).tolist() == [0, HOUR_MS // 2, HOUR_MS * 3 // 2, HOUR_MS * 5 // 2]
    assert len(said) == 1


def test_a_comma_is_decimal_or_groups_thousands_as_a_column_shows() -> None:
    """What is ambiguous alone is read as the rest of the column is; what stays so is said."""
    assert read("t;v\n2024-01-01;1.234\n2024-01-02;5,5\n")[0].values.ravel().tolist() == [1234.0, 5.5]
    assert read("t;v\n2024-01-01;1.234\n2024-01-02;5.5\n")[0].values.ravel().tolist() == [1.234, 5.5]
    said: list[str] = []
    assert read("t;v\n2024-01-01;1.234\n", said)[0].values.ravel().tolist() == [1.234]
    assert "1.234 is taken for 1.234, not for 1234 (--decimal)" in said[0]
    assert read("t;v\n2024-01-01;1.234\n", decimal=",")[0].values.ravel().tolist() == [1234.0]


def hourly(hours: list[int]) -> Series:
    return Series("s", np.array(hours) * HOUR_MS, np.zeros((len(hours), 1)))


def test_holes_are_found_and_a_schedule_is_none() -> None:
    """A silence of 30 hours is a hole of 29 values; nights without trade are not."""
    holes = find_holes([hourly([*range(500), *range(529, 1000)])])
    assert holes is not None
    assert (holes.missing, holes.longest_ms, holes.after_ms) == (29, 30 * HOUR_MS, HOUR_MS * 3 // 2)
    assert "1 hole of 29 values in the times, 30 hours in 's' after 1970-01-21T19:00:00Z" in str(holes)
    assert find_holes([hourly([hour for hour in range(1000) if 9 <= hour % 24 < 17])]) is None
    assert find_holes([hourly([int(hour) for hour in np.cumsum(np.random.default_rng(0).integers(1, 9, 500))])]) is None


@pytest.mark.parametrize(
    ("cells", "values"),
    [(("0,123", "0,456"), [0.123, 0.456]), (("-0.250", "0.123"), [-0.25, 0.123]), (("0,5", "1.234"), [0.5, 1234.0])],
)
def test_nothing_groups_thousands_behind_a_zero(cells: tuple[str, str], values: list[float]) -> None:
    """So such a cell shows the decimal sign, whatever other columns do."""
    rows = "".join(f'2024-01-0{day},"{cell}","12,5"\n' for day, cell in enumerate(cells, 1))
    (found,) = read("ds,y,other\n" + rows)
    assert found.values[:, 0].tolist() == values


def test_repeated_times_of_a_wide_table_are_those_of_each_column() -> None:
    """What is missing in a row counts only for its own series, as in the long form."""
    a, b = read("time,a,b\n2024-01-01,1,\n2024-01-01,,2\n2024-01-02,3,4\n", wide=True)
    assert a.values[:, 0].tolist() == [1, 3]
    assert b.values[:, 0].tolist() == [2, 4]
