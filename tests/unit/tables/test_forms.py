"""The same table in every form people have it in gives the same series, from a file and through a pipe."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streamlstm.client.producer.lines import open_lines
from streamlstm.client.producer.row_format import Format, Row
from streamlstm.client.producer.sources import BLANK
from streamlstm.errors import TableError
from streamlstm.tables import Series, TableOptions, read_table

START = datetime(2024, 1, 1, tzinfo=UTC)
TIMES = [START + timedelta(hours=n) for n in range(40)]
VALUES = {"a": [round(1234.5 + 7 * n, 2) for n in range(40)], "b": [-0.25 * n for n in range(40)]}
VALUES["b"][3] = float("nan")
LONG = [(name, time, value) for name, values in VALUES.items() for time, value in zip(TIMES, values, strict=True)]


def cell(value: float) -> str:
    return "" if np.isnan(value) else repr(value)


def german(value: float) -> str:
    """1.234,56"""
    return "" if np.isnan(value) else f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


def iso(time: datetime) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def long_text(delimiter: str, *, names: str = "unique_id,ds,y", number: Callable[[float], str] = cell) -> str:
    rows = [names.split(","), *([name, iso(time), number(value)] for name, time, value in LONG)]
    return "".join(delimiter.join(row) + "\n" for row in rows)


def wide_text(delimiter: str = ",", *, number: Callable[[float], str] = cell) -> str:
    rows = [["time", "a", "b"]]
    rows += [[iso(time), number(a), number(b)] for time, a, b in zip(TIMES, VALUES["a"], VALUES["b"], strict=True)]
    return "".join(delimiter.join(row) + "\n" for row in rows)


def serial(time: datetime) -> str:
    return repr((time - datetime(1899, 12, 30, tzinfo=UTC)) / timedelta(days=1))


def berlin(time: datetime) -> str:
    return (time + timedelta(hours=1)).strftime("%Y-%m-%d %H:%M")  # in winter


def text_forms() -> dict[str, tuple[str, dict[str, Any]]]:
    """Every form of text, with the options it needs."""
    wide = {"wide": True}
    local = "unique_id,ds,y\n" + "".join(f"{name},{berlin(time)},{cell(value)}\n" for name, time, value in LONG)
    dotted = "sensor;Datum;Wert\n" + "".join(
        f"{name};{time:%d.%m.%Y %H:%M};{german(value)}\n" for name, time, value in LONG
    )
    excel = "id\tdate\tvalue\n" + "".join(f"{name}\t{serial(time)}\t{cell(value)}\n" for name, time, value in LONG)
    seconds = "series_id,timestamp,target\n" + "".join(
        f"{name},{time.timestamp():.0f},{cell(value)}\n" for name, time, value in LONG
    )
    return {
        "commas": (long_text(","), {}),
        "semicolons, decimal comma": (long_text(";", number=lambda value: cell(value).replace(".", ",")), {}),
        "semicolons, thousands": (long_text(";", number=german), {}),
        "tabs": (long_text("\t", names="item_id,Time,Value"), {}),
        "bars": (long_text("|", names="SENSOR,recorded_at,reading"), {}),
        "sep=": ("sep=;\r\n" + long_text(";").replace("\n", "\r\n"), {}),
        "sep= and a tab": ("sep=\t\r\n" + long_text("\t"), {}),
        "sep= in quotes": ('"sep=|"\n' + long_text("|"), {}),
        "CR alone": (long_text(",").replace("\n", "\r"), {}),
        "the year first": (long_text(",").replace("2024-0", "2024/"), {}),
        "ms as floats": (
            "ds,unique_id,y\n"
            + "".join(f"{1000 * time.timestamp()!r},{name},{cell(value)}\n" for name, time, value in LONG),
            {},
        ),
        "UTC behind the times": (long_text(",").replace(":00,", ":00 UTC,"), {}),
        "a byte order mark": ("\ufeff" + long_text(","), {}),
        "blank lines and an empty row": ("\n" + long_text(",").replace("\n", "\n\n") + ",,\n\n", {}),
        "quotes, thousands": (
            "unique_id,ds,y\n" + "".join(f'"{name}","{iso(time)}","{value:,.2f}"\n' for name, time, value in LONG),
            {},
        ),
        "no header": ("".join(long_text(",").splitlines(keepends=True)[1:]), {}),
        "days with points": (dotted, {}),
        "days of Excel": (excel, {}),
        "seconds": (seconds, {}),
        "local times": (local, {"timezone": "Europe/Berlin"}),
        "other names": (
            long_text(",", names="p,q,r"),
            {"id_column": "p", "time_column": "q", "target_columns": ("r",)},
        ),
        "wide": (wide_text(), wide),
        "wide, decimal comma": (wide_text(";", number=german), wide),
        "wide from pandas": (frame().to_csv(), wide),
    }


def frame() -> pd.DataFrame:
    return pd.DataFrame(VALUES, index=pd.DatetimeIndex(TIMES).tz_localize(None))


def long_frame() -> pd.DataFrame:
    return pd.DataFrame(LONG, columns=["unique_id", "ds", "y"])


def arrow(**changed: Any) -> pa.Table:
    names, times, values = zip(*LONG, strict=True)
    missing = [None if np.isnan(value) else value for value in values]
    columns = {"unique_id": pa.array(names), "ds": pa.array(times, pa.timestamp("us", "UTC")), "y": pa.array(missing)}
    return pa.table({**columns, **changed})


def parquet_forms() -> dict[str, tuple[pa.Table, dict[str, Any]]]:
    """Every form of Parquet, with the options it needs."""
    table = arrow()
    exact = [None if np.isnan(value) else Decimal(repr(value)) for _, _, value in LONG]
    naive = pa.array([time.replace(tzinfo=None) for _, time, _ in LONG], pa.timestamp("ns"))
    numpy_dates = long_frame().assign(ds=lambda found: found.ds.dt.tz_localize(None))
    return {
        "arrow": (table, {}),
        "times as floats, in ms": (arrow(ds=pa.array([1000.0 * time.timestamp() for _, time, _ in LONG])), {}),
        "decimals": (arrow(y=pa.array(exact, pa.decimal128(20, 4))), {}),
        "dictionary": (arrow(unique_id=table["unique_id"].dictionary_encode()), {}),
        "large text, as Polars has it": (arrow(unique_id=table["unique_id"].cast(pa.large_string())), {}),
        "text views": (arrow(unique_id=table["unique_id"].cast(pa.string_view())), {}),
        "another zone": (arrow(ds=table["ds"].cast(pa.timestamp("ms", "Asia/Tokyo"))), {}),
        "nanoseconds without a zone": (arrow(ds=naive), {}),
        "seconds without a zone": (arrow(ds=naive.cast(pa.timestamp("s"))), {}),
        "times as text": (arrow(ds=pa.array([iso(time) for _, time, _ in LONG])), {}),
        "numbers as text": (arrow(y=pa.array([german(value) for _, _, value in LONG])), {}),
        "pandas": (pa.Table.from_pandas(numpy_dates), {}),
        "pandas, names and times as index": (pa.Table.from_pandas(numpy_dates.set_index(["unique_id", "ds"])), {}),
        "pandas, categories and nullable numbers": (
            pa.Table.from_pandas(numpy_dates.astype({"unique_id": "category", "y": "Float64"})),
            {},
        ),
        "pandas, times as index": (pa.Table.from_pandas(frame()), {"wide": True}),
        "pandas, periods": (
            pa.Table.from_pandas(numpy_dates.assign(ds=lambda found: found.ds.dt.to_period("15min"))),
            {},
        ),
        "pandas, rows filtered": (pa.Table.from_pandas(numpy_dates.iloc[::-1]), {}),
    }


def by_name(series: list[Series]) -> dict[str, tuple[list[int], list[float]]]:
    found = {}
    for one in series:
        assert one.times_ms is not None
        found[one.name] = (one.times_ms.tolist(), one.values[:, 0].tolist())
    return found


def assert_the_series(found: dict[str, tuple[list[int], list[float]]]) -> None:
    times = [int(time.timestamp()) * 1000 for time in TIMES]
    assert set(found) == set(VALUES)
    for name, values in VALUES.items():
        assert found[name][0] == times
        np.testing.assert_array_equal(found[name][1], values)


@pytest.mark.parametrize("form", text_forms())
def test_every_form_of_text_is_the_same_table(tmp_path: Path, form: str) -> None:
    """Delimiters, decimal signs, dates, layouts: from a file all give the same series."""
    text, options = text_forms()[form]
    (tmp_path / "table.csv").write_text(text, encoding="utf-8", newline="")
    said: list[str] = []
    assert_the_series(by_name(read_table(tmp_path / "table.csv", TableOptions(**options), say=said.append)))
    assert len(said) == 1, "one line says what was taken for what"


@pytest.mark.parametrize("form", text_forms())
def test_a_pipe_gives_the_series_of_the_file(form: str) -> None:
    """Line by line, however they come, each form gives the same names, times and values."""
    text, options = text_forms()[form]
    whole = text.removeprefix("\ufeff").encode()
    lines = [line.strip(BLANK) for line in whole.split(b"\n" if b"\n" in whole else b"\r")]
    first = [line for line in lines[:3] if line]  # so few have come when the parser is chosen
    chosen = Format(source="pipe", table=TableOptions(**options), in_order=False)
    opened = open_lines(first, chosen, complete=True)
    assert opened is not None
    parser, skip = opened
    rows: list[Row] = []
    parser([line for line in lines if line][skip:], 1, rows)
    found: dict[str, tuple[list[int], list[float]]] = {}
    for time, name, value in rows:
        assert time is not None
        times, values = found.setdefault(name.decode(), ([], []))
        times.append(time)
        values.append(float(value or "nan"))
    assert_the_series(found)


@pytest.mark.parametrize("form", parquet_forms())
def test_every_form_of_parquet_is_the_same_table(tmp_path: Path, form: str) -> None:
    """Types, zones, indexes and categories: all give the same series."""
    table, options = parquet_forms()[form]
    pq.write_table(table, tmp_path / "table.parquet")
    assert_the_series(by_name(read_table(tmp_path / "table.parquet", TableOptions(**options))))


def test_an_index_without_a_name_is_the_time(tmp_path: Path) -> None:
    """A frame of pandas with a DatetimeIndex has its times there, in Parquet as in CSV, and not its values."""
    values = pd.DataFrame({"load": VALUES["a"]}, index=frame().index)
    values.to_parquet(tmp_path / "t.parquet")
    buffer = io.StringIO()
    values.to_csv(buffer)
    (tmp_path / "t.csv").write_text(buffer.getvalue())
    for name in ("t.parquet", "t.csv"):
        assert by_name(read_table(tmp_path / name)) == {
            "load": ([int(time.timestamp()) * 1000 for time in TIMES], VALUES["a"])
        }


def test_decimals_are_the_nearest_float64(tmp_path: Path) -> None:
    """As the same digits in a CSV are; a cast of Arrow's gives 1150.1100000000001."""
    digits = ["1150.11", "-0.07", "123456789.123456", None, "0.1"]
    exact = pa.array([None if one is None else Decimal(one) for one in digits], pa.decimal128(38, 10))
    pq.write_table(pa.table({"y": exact}), tmp_path / "t.parquet")
    (found,) = read_table(tmp_path / "t.parquet")
    np.testing.assert_array_equal(found.values[:, 0], [float(one or "nan") for one in digits])


def test_the_numbers_of_rows_of_a_filtered_frame_are_no_series(tmp_path: Path) -> None:
    """Pandas writes them without a name, in Parquet and in CSV, and they no longer follow each other."""
    kept = frame().reset_index(names="ds").iloc[::3]
    kept.to_parquet(tmp_path / "t.parquet")
    kept.to_csv(tmp_path / "t.csv")
    for name in ("t.parquet", "t.csv"):
        found = read_table(tmp_path / name, TableOptions(wide=True))
        assert [one.name for one in found] == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"unique_id": "a", "ds": "2024-01-01", "y": 1}\n', "is JSON, which only `push` reads"),
        (b'[\n  {"y": 1}\n]\n', "is JSON, which only `push` reads"),
        (b"[[1, 2]]", "is JSON, which only `push` reads"),
        (b"\x1f\x8b\x08\x00", "is gzip; unpack it first: `gzip -dc FILE`"),
        ("y\n1\n".encode("utf-16"), "is UTF-16 text; write it as UTF-8"),
        (b"PK\x03\x04", "spreadsheet \\(xlsx, ods\\)"),
        (b"<table><tr><td>1</td></tr></table>", "is HTML or XML"),
    ],
)
def test_what_is_no_table_is_refused_by_name(tmp_path: Path, content: bytes, words: str) -> None:
    """In one line that says what to do, as `push` does."""
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(TableError, match=words):
        read_table(tmp_path / "table.csv")


def test_quarters_begin_with_their_first_month_and_weeks_are_refused(tmp_path: Path) -> None:
    """A count of periods is never taken for seconds."""
    quarters = pd.period_range("1969Q3", periods=4, freq="Q")
    pd.DataFrame({"date": quarters, "y": range(4)}).to_parquet(tmp_path / "quarters.parquet")
    (found,) = read_table(tmp_path / "quarters.parquet")
    assert found.times_ms is not None
    months = np.array(["1969-07", "1969-10", "1970-01", "1970-04"], "datetime64[M]")
    assert found.times_ms.tolist() == months.astype("datetime64[ms]").astype(int).tolist()
    pd.DataFrame({"date": quarters.asfreq("W"), "y": range(4)}).to_parquet(tmp_path / "weeks.parquet")
    with pytest.raises(TableError, match=r"column 'date': periods of pandas that are not read, .*W-SUN.*to_timestamp"):
        read_table(tmp_path / "weeks.parquet")
