"""Tables too large, damaged, or made to harm are refused before they take memory; large ones may be allowed."""

from __future__ import annotations

import os
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streamlstm.client.producer.row_format import Format
from streamlstm.client.producer.sources import chunks, read_all, read_file
from streamlstm.errors import TableError
from streamlstm.tables import TableOptions, read_table
from streamlstm.tables.files import MAX_CELLS, MAX_LINE_BYTES, check_text, open_text, read_arrow

MIB = 1 << 20


def many_rows(path: Path) -> None:
    """A hundred million numbers in half a megabyte."""
    column = pa.array(np.zeros(MIB))
    with pq.ParquetWriter(path, pa.schema([("y", pa.float64())]), compression="zstd") as writer:
        for _ in range(100):
            writer.write_table(pa.table({"y": column}))


def repeated_text(path: Path) -> None:
    """One text of 4 MB in each of 100,000 rows."""
    indices = pa.array(np.zeros(100_000, np.int32))
    names = pa.DictionaryArray.from_arrays(indices, pa.array(["x" * (4 * MIB)]))
    pq.write_table(pa.table({"unique_id": names, "y": np.zeros(100_000)}), path, compression="zstd")


def bad_text(path: Path) -> None:
    offsets, data = pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"\xff\xfe")
    names = pa.StringArray.from_buffers(2, offsets, data)
    pq.write_table(pa.table({"unique_id": names, "y": [1.0, 2.0]}), path)


def cut_short(path: Path) -> None:
    pq.write_table(pa.table({"y": np.arange(1000.0)}), path)
    path.write_bytes(path.read_bytes()[:-100])


def wide(path: Path) -> None:
    pq.write_table(pa.table({f"c{n}": [1.0] for n in range(20_001)}), path)


PARQUET: dict[str, tuple[Callable[[Path], None], str]] = {
    "many rows": (many_rows, "about 104,857,600 cells, and at most 5,000,000 are read; --max-cells"),
    "repeated text": (repeated_text, "more memory than 5,000,000 cells do|bytes of cells, and no more are read"),
    "text that is not UTF-8": (bad_text, "is not a Parquet file, or a damaged one: .*UTF8"),
    "cut short": (cut_short, "is not a Parquet file, or a damaged one"),
    "wide": (wide, "20,001 columns, and at most 20,000"),
}


@pytest.mark.parametrize("case", PARQUET)
def test_parquet_that_takes_more_than_it_should(tmp_path: Path, case: str) -> None:
    """Rows, texts and columns are counted before they are taken in."""
    make, message = PARQUET[case]
    make(tmp_path / "t.parquet")
    with pytest.raises(TableError, match=message) as caught:
        read_table(tmp_path / "t.parquet")
    assert "\n" not in str(caught.value)


def test_each_type_comes_as_it_is(tmp_path: Path) -> None:
    """What is sent back is what the file holds; types that are no column of a table come empty."""
    table = pa.table(
        {
            "text": pa.array(["a", None, "é"]),
            "dictionary": pa.array(["a", "b", "a"]).dictionary_encode(),
            "view": pa.array(["a", "b", None], pa.string_view()),
            "time": pa.array([1, 2, None], pa.timestamp("us", "Europe/Berlin")),
            "decimal": pa.array([1, 2, 3]).cast(pa.decimal128(38, 2)),
            "number": pa.array([1.5, None, float("nan")]),
            "list": pa.array([[1], [2], [3]]),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    found = read_arrow(tmp_path / "t.parquet")
    assert found.column("list").null_count == 3
    for name in ("text", "dictionary", "view", "time", "decimal"):
        assert found.column(name).to_pylist() == table.column(name).to_pylist()
    np.testing.assert_equal(found.column("number").to_numpy(), table.column("number").to_numpy())
    assert found.schema.field("time").type == pa.timestamp("us", "Europe/Berlin")


def test_more_cells_are_read_where_they_are_allowed(tmp_path: Path) -> None:
    """A table that is large and true can be read: the limit is an argument."""
    pq.write_table(pa.table({"y": np.arange(1000.0)}), tmp_path / "t.parquet")
    (tmp_path / "t.csv").write_text("\n".join(map(str, range(1000))))
    with pytest.raises(TableError, match="1,000 cells, and at most 999 are read"):
        read_arrow(tmp_path / "t.parquet", 999)
    with pytest.raises(TableError, match="1,000 cells, and at most 999 are read"):
        open_text(tmp_path / "t.csv", 999)
    assert read_arrow(tmp_path / "t.parquet", 1000).num_rows == 1000
    assert len(list(open_text(tmp_path / "t.csv", 1000))) == 1000


@pytest.mark.parametrize("text", [b"1\n" * (MAX_CELLS + 1), b"1," * (MAX_CELLS + 1), b"1\r" * (MAX_CELLS + 1)])
def test_text_is_counted_before_it_is_split(tmp_path: Path, text: bytes) -> None:
    """Whatever ends its lines or separates its cells."""
    (tmp_path / "t.csv").write_bytes(text)
    with pytest.raises(TableError, match=r"has about 5,000,00\d cells, and at most 5,000,000 are read"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize("end", [b"\n", b"\r"])
def test_a_line_without_an_end_is_no_line_of_a_table(tmp_path: Path, end: bytes) -> None:
    """Zeros by the megabyte, as of a sparse file; lines up to the limit are read, and a JSON array may be one line."""
    path = tmp_path / "t.csv"
    path.write_bytes(b"y" + end + b"1" + end + bytes(MAX_LINE_BYTES + 1))
    with pytest.raises(TableError, match="has a line of more than 16,777,216 bytes"):
        read_table(path)
    long = b"y" + end + (b"0" * (MAX_LINE_BYTES - 1) + end) * 2 + b"2" + end
    check_text("t.csv", long)
    check_text("t.json", b" [" + b"1," * (MAX_LINE_BYTES // 4) + b"1" * MAX_LINE_BYTES + b"]")


def test_a_table_is_read_without_a_list_for_each_row(tmp_path: Path) -> None:
    """A table of as many cells as may be takes their text and little more."""
    path = tmp_path / "t.csv"
    path.write_bytes(b"y\n" + b"1.5\n" * 200_000)
    tracemalloc.start()
    try:
        read_table(path)
        assert tracemalloc.get_traced_memory()[1] < 200_000 * 110
    finally:
        tracemalloc.stop()


def test_what_is_no_file_is_no_table(tmp_path: Path) -> None:
    """A device is not read, a sparse file of 8 GB not either; a pipe is, as the shell's <(…) makes them."""
    with (tmp_path / "sparse.csv").open("wb") as file:
        file.truncate(8 << 30)
    for name in ("/dev/zero", tmp_path / "sparse.csv"):
        with pytest.raises(TableError, match=r"it is a device|has 8,589,934,592 bytes"):
            read_table(name)
    os.mkfifo(tmp_path / "pipe.csv")
    writer = threading.Thread(target=(tmp_path / "pipe.csv").write_text, args=("y\n1\n2\n",))
    writer.start()
    assert read_table(tmp_path / "pipe.csv")[0].values.tolist() == [[1.0], [2.0]]
    writer.join()


def test_a_wide_header_takes_linear_time(tmp_path: Path) -> None:
    """20,000 columns are read in less memory and time than anybody notices, and one can be chosen."""
    names = [f"c{number}" for number in range(20_000)]
    (tmp_path / "t.csv").write_text(",".join(names) + "\n" + ",".join(["1"] * len(names)) + "\n")
    assert read_table(tmp_path / "t.csv", TableOptions(target_columns=("c19999",)))[0].values.tolist() == [[1.0]]


def test_lines_end_where_those_of_files_do(tmp_path: Path) -> None:
    """What Unicode calls the end of a line may stand in a name: it is no end of a row, in no command."""
    (tmp_path / "t.csv").write_text("unique_id,ds,y\na\u2028b,2024-01-01,1\nc\x1cd,2024-01-02,2\n")
    assert [series.name for series in read_table(tmp_path / "t.csv")] == ["a\u2028b", "c\x1cd"]
    chosen = Format(source="t.csv", strict=True)
    rows, _ = read_file(tmp_path / "t.csv", chosen)
    assert [name.decode() for _, name, _ in rows] == ["a\u2028b", "c\x1cd"]


def test_a_pipe_that_is_read_whole_is_bounded_too(tmp_path: Path) -> None:
    """One that does not end is left once it has given more than may be."""
    (tmp_path / "one line").write_bytes(b"1" * (17 * MIB))
    chosen = Format(source="standard input", table=TableOptions(max_cells=1000))
    descriptor = os.open("/dev/zero", os.O_RDONLY)
    try:
        with pytest.raises(TableError, match="standard input has more than 48,000 bytes"):
            read_all(descriptor, chosen)
    finally:
        os.close(descriptor)
    descriptor = os.open(tmp_path / "one line", os.O_RDONLY)
    try:
        with pytest.raises(TableError, match="line 1 of the pipe has more than 16,777,216 bytes"):
            next(chunks(descriptor, None, "stdin"))
    finally:
        os.close(descriptor)
