"""Tables in memory: frames of pandas, Polars and Arrow, mappings, arrays; read as files of them are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from streamlstm.errors import TableError, UsageError
from streamlstm.tables import Series, TableOptions, likeness_of, read_table

TIMES = pd.to_datetime(["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-04"] * 2)
LONG = pd.DataFrame({"unique_id": ["a"] * 4 + ["b"] * 4, "ds": TIMES, "y": [1.0, np.nan, 3.0, 4.5, 9.0, 8.0, 7.5, 6.0]})
FRAMES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "pandas": lambda frame: frame,
    "pandas, indexed": lambda frame: frame.set_index(["unique_id", "ds"]),
    "pandas, categories": lambda frame: frame.assign(unique_id=frame.unique_id.astype("category")),
    "pandas, nullable": lambda frame: frame.assign(y=frame.y.astype("Float32")),
    "pandas, decimals as text": lambda frame: frame.assign(y=[str(y) for y in frame.y]),
    "polars": pl.from_pandas,
    "polars, categories": lambda frame: pl.from_pandas(frame).with_columns(pl.col("unique_id").cast(pl.Categorical)),
    "arrow": pa.Table.from_pandas,
    "arrow, dictionaries": lambda frame: pa.table(
        {"unique_id": pa.array(frame.unique_id).dictionary_encode(), "ds": pa.array(frame.ds), "y": pa.array(frame.y)}
    ),
    "arrow, a reader of batches": lambda frame: pa.Table.from_pandas(frame).to_reader(max_chunksize=3),
}


def same(found: list[Series], wanted: list[Series]) -> bool:
    """Whether series have the same names, times and values."""
    return len(found) == len(wanted) and all(
        one.name == other.name
        and np.array_equal(one.times_ms, other.times_ms)  # type: ignore[arg-type]
        and np.array_equal(one.values, other.values, equal_nan=True)
        for one, other in zip(found, wanted, strict=True)
    )


@pytest.mark.parametrize("made", FRAMES.values(), ids=FRAMES)
def test_a_frame_is_read_as_its_file_is(made: Callable[[pd.DataFrame], Any], tmp_path: Path) -> None:
    """The same names, times in UTC and values, whichever library has it."""
    LONG.to_csv(tmp_path / "t.csv", index=False)
    assert same(read_table(made(LONG)), read_table(tmp_path / "t.csv"))


def test_times_with_a_zone_periods_and_local_times_are_what_they_are_in_a_file(tmp_path: Path) -> None:
    """A zone is heeded, a period is its beginning, and a local time is one of --timezone."""
    berlin = LONG.assign(ds=LONG.ds.dt.tz_localize("Europe/Berlin"))
    zoned = read_table(berlin)
    assert zoned[0].times_ms is not None
    assert zoned[0].times_ms[0] == 1704063600000
    assert same(read_table(LONG, TableOptions(timezone="Europe/Berlin")), zoned)
    assert same(read_table(pl.from_pandas(berlin)), zoned)
    months = pd.DataFrame({"ds": pd.period_range("2024-01", periods=3, freq="M"), "y": [1, 2, 3]})
    months.to_parquet(tmp_path / "m.parquet")
    assert same(read_table(months), read_table(tmp_path / "m.parquet"))


def test_wide_frames_and_columns_alone() -> None:
    """`wide` makes a series of each column; a column is one series, with the times of its index."""
    wide = LONG.pivot_table(index="ds", columns="unique_id", values="y", dropna=False)
    assert [one.name for one in read_table(wide, TableOptions(wide=True))] == ["a", "b"]
    (column,) = read_table(wide["b"])
    assert (column.name, column.values[:, 0].tolist()) == ("b", [9.0, 8.0, 7.5, 6.0])
    assert column.times_ms is not None
    (polars,) = read_table(pl.Series([1.5, None, 2.5]))
    assert (polars.name, polars.times_ms, polars.values[0, 0]) == ("y", None, 1.5)


def test_mappings_and_arrays() -> None:
    """A series a name, of equal or other lengths; an array is one series, of one number or several a value."""
    a, b = read_table({"a": [1, None, 3.5], "b": np.arange(5)})
    assert (a.name, a.times_ms, a.values[:, 0].tolist()[::2], b.values.shape) == ("a", None, [1.0, 3.5], (5, 1))
    assert np.isnan(a.values[1, 0])
    (one,) = read_table(np.arange(6.0).reshape(3, 2))
    assert (one.name, one.values.shape) == ("y", (3, 2))
    (timed,) = read_table({"s": LONG.set_index("ds").y[:4]})
    assert timed.times_ms is not None


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (LONG.iloc[:0], "has no rows"),
        (LONG.assign(y=["a", 1, 2.5, None] * 2), "cannot be read as a table: .*one type"),
        (pd.DataFrame([[1, 2]], columns=["y", "y"]), "twice|[Dd]uplicate"),
        (pd.DataFrame({"ds": TIMES, "a": 1.0, "b": 2.0}), "which column holds the values"),
        (LONG.assign(y=np.inf), "row 1, column 'y': 'inf' is not a finite number"),
        (LONG.assign(y=[[1.0]] * 8), "row 1, column 'y': cells of the type list.* cannot be read"),
        ({}, "the mapping is empty"),
        ({"a": []}, "series 'a': the values are none"),
        ({"a": ["x"]}, "series 'a': values are numbers"),
        ({"a": ["1.5"]}, "series 'a': values are numbers"),
        ({"unique_id": ["s"], "ds": ["2024"], "y": [1]}, "come as a frame"),
        ({"a": [1.0, float("inf")]}, "series 'a', value 2: inf is not a finite number"),
        ({"a": [[1], [1, 2]]}, "values are numbers"),
        ({"a": np.zeros((2, 2, 2))}, r"the shape \(2, 2, 2\)"),
        ({"a": [1.0], "b": [[1.0, 2.0]]}, "as many numbers a value"),
        ({"a": [1.0], "b": LONG.set_index("ds").y[:4]}, "all series have times or none"),
        ({"": [1.0]}, "no name of a series"),
        ({"a": 1.5}, r"the shape \(\)"),
        (np.array(["a", "b"]), "the array: values are numbers"),
        (np.array([], np.float64), "the values are none"),
        (5, "a int is no table"),
        (b"y\n1\n", "a bytes is no table"),
        (pl.LazyFrame({"y": [1.0]}), "LazyFrame is no table"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_said_in_one_line(table: Any, said: str) -> None:
    """What it is, where, and what to do; nothing of numpy, pandas or Arrow comes through."""
    with pytest.raises(TableError, match=said) as caught:
        read_table(table)
    assert "\n" not in str(caught.value)


def test_options_that_name_columns_are_refused_where_there_are_none() -> None:
    """A mapping has no columns with names."""
    with pytest.raises(UsageError, match="the mapping has no columns"):
        read_table({"a": [1.0]}, TableOptions(time_column="ds"))


@pytest.mark.parametrize("made", ["pandas", "polars", "arrow"])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_what_is_given_back_is_of_the_kind_that_came(made: str, zone: str | None) -> None:
    """A frame of the same library, its times with a zone if those given had one; of no frame its columns."""
    given = FRAMES[made](LONG if zone is None else LONG.assign(ds=LONG.ds.dt.tz_localize(zone)))
    columns = {"unique_id": ["a"], "ds": np.array(["2024-01-01"], "datetime64[ms]"), "y": np.array([1.5])}
    frame = likeness_of(given).frame(columns)
    assert type(frame) is type(given)
    assert str(pa.table(frame).schema.field("ds").type) == (
        "timestamp[ms]" if zone is None else "timestamp[ms, tz=UTC]"
    )
    assert likeness_of({"a": [1.0]}).frame(columns) == columns
