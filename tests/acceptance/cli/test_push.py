"""`push` as a process against a real server."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
Start = Callable[..., "subprocess.Popen[bytes]"]

AIRLINE = b"time,passengers\n1949-01,112\n1949-03,132\n1949-02,118\n"
FIRST_MS, SECOND_MS = 220_924_800_000, 223_603_200_000  # 1977-01-01 and 1977-02-01


def entries(client: redis.Redis, stream: str) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The entries of a stream."""
    found: Any = client.xrange(stream)
    return [(entry_id, fields) for entry_id, fields in found]


def wait_for_length(client: redis.Redis, stream: str, length: int) -> None:
    """Wait until a stream has so many entries."""
    deadline = time.monotonic() + 120
    while client.xlen(stream) < length:
        assert time.monotonic() < deadline, f"{stream} has {client.xlen(stream)} entries, not {length}"
        time.sleep(0.01)


def test_bare_values_from_a_pipe(run: Run, client: redis.Redis, redis_url: str) -> None:
    """`seq 1 1000 | push values --series s1` makes a thousand entries in order."""
    text = b"".join(b"%d\n" % n for n in range(1, 1001))
    done = run("push", "values", "--series", "s1", "--json", stdin=text)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    stored = entries(client, "values")
    assert [fields for _, fields in stored] == [{b"s1": b"%d" % n} for n in range(1, 1001)]
    assert summary == {
        "values": 1000,
        "entries": 1000,
        "skipped": 0,
        "shift_years": 0,
        "streams": [
            {
                "stream": "values",
                "server": redis_url,
                "values": 1000,
                "entries": 1000,
                "first": stored[0][0].decode(),
                "last": stored[-1][0].decode(),
            }
        ],
    }


def test_the_summary_for_people_is_one_line_on_stderr(run: Run, redis_url: str) -> None:
    """Without --json stdout stays empty and stderr says what was pushed, and where."""
    done = run("push", stdin=b"a,2024-01-31,1\nb,2024-01-31,2\n")
    assert done.stdout == b""
    ids = "1706659200000-0 to 1706659200000-0"
    assert done.stderr.decode() == f"streamlstm: pushed 2 values in 1 entry to values at {redis_url}, {ids}\n"


def test_a_table_is_sorted_and_moved_to_where_ids_begin(run: Run, client: redis.Redis, tmp_path: Path) -> None:
    """A file is sorted by time, history before 1970 is moved by 28 years, and that is said."""
    (tmp_path / "air.csv").write_bytes(AIRLINE)
    done = run("push", "values", "air.csv")
    assert done.returncode == 0, done.stderr
    assert b"moved by 28 years, 1949-01-01 became 1977-01-01" in done.stderr
    assert [(entry_id, fields[b"passengers"]) for entry_id, fields in entries(client, "values")][:2] == [
        (b"%d-0" % FIRST_MS, b"112"),
        (b"%d-0" % SECOND_MS, b"118"),
    ]


def test_a_table_alone_goes_to_the_default_stream(run: Run, client: redis.Redis, tmp_path: Path) -> None:
    """`push air.csv` means the file and the stream `values`."""
    (tmp_path / "air.csv").write_bytes(AIRLINE)
    assert run("push", "air.csv").returncode == 0
    assert client.xlen("values") == 3


def test_the_shift_can_be_chosen(run: Run, client: redis.Redis) -> None:
    """`--shift-years` moves all times by that, without a word about 1970."""
    done = run("push", "values", "--shift-years", "56", stdin=b"a,1949-01,1\n")
    assert done.stderr.count(b"\n") == 1
    assert entries(client, "values")[0][0] == b"1104537600000-0"  # 2005-01-01


def test_series_of_one_time_share_an_entry_of_a_file(run: Run, client: redis.Redis, tmp_path: Path) -> None:
    """The long form is merged over all series by time; missing values are empty."""
    (tmp_path / "long.csv").write_bytes(
        b"unique_id,ds,y\na,2024-01-01,1\na,2024-01-02,2\nb,2024-01-01,NA\nb,2024-01-02,4.50\n"
    )
    assert run("push", "values", "long.csv").returncode == 0
    assert [fields for _, fields in entries(client, "values")] == [{b"a": b"1", b"b": b""}, {b"a": b"2", b"b": b"4.5"}]


def test_columns_can_be_renamed_and_joined(run: Run, client: redis.Redis, tmp_path: Path) -> None:
    """Several target columns become one value of several numbers."""
    (tmp_path / "wide.csv").write_bytes(b"date,a,b,c\n2024-01-01,1,2,3\n2024-01-02,4,,6\n")
    options = ["--time-col", "date", "--target-col", "c", "--target-col", "b", "--series", "x"]
    done = run("push", "values", "wide.csv", *options)
    assert done.returncode == 0, done.stderr
    assert [fields for _, fields in entries(client, "values")] == [{b"x": b"3,2"}, {b"x": b"6,"}]


@pytest.mark.parametrize("name", ["lines.csv", "lines.jsonl"])
def test_lines_without_a_header_in_a_file_are_sorted_too(
    run: Run, client: redis.Redis, tmp_path: Path, name: str
) -> None:
    """A file of `name,time,value` or JSON lines may be in any order."""
    content = {
        "lines.csv": b"a,2024-01-02,2\na,2024-01-01,1\nb,2024-01-02,3\n",
        "lines.jsonl": b'{"ds":"2024-01-02","a":2}\n{"ds":"2024-01-01","a":1}\n{"ds":"2024-01-02","b":3}\n',
    }[name]
    (tmp_path / name).write_bytes(content)
    assert run("push", "values", name).returncode == 0
    assert [fields for _, fields in entries(client, "values")] == [{b"a": b"1"}, {b"a": b"2", b"b": b"3"}]


def test_json_lines_without_times_stay_one_entry_each(run: Run, client: redis.Redis, tmp_path: Path) -> None:
    """The series of an untimed JSON line share an entry, from a pipe and from a file."""
    content = b'{"a": 1, "b": null}\n{"a": 2}\n'
    (tmp_path / "lines.jsonl").write_bytes(content)
    assert run("push", "piped", stdin=content).returncode == 0
    assert run("push", "filed", "lines.jsonl").returncode == 0
    for stream in ("piped", "filed"):
        assert [fields for _, fields in entries(client, stream)] == [{b"a": b"1", b"b": b""}, {b"a": b"2"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"time,y\n2024-01-01,1\n2024-01-02,abc\n", b"bad.csv, line 3, column 'y': 'abc' is not a finite number"),
        (b"a,1\nb,abc\n", b"bad.csv, line 2: 'abc' is not a finite number"),
        (b"", b"bad.csv is empty"),
        (b"when,what\n2024-01-01,1\n", b"has no column 'ds'"),
    ],
)
def test_a_bad_file_is_an_error_before_anything_is_pushed(
    run: Run, client: redis.Redis, tmp_path: Path, content: bytes, message: bytes
) -> None:
    """A cell that cannot be read names its line, and nothing is in the stream."""
    (tmp_path / "bad.csv").write_bytes(content)
    options = ["--time-col", "ds"] if b"what" in content else []
    done = run("push", "values", "bad.csv", *options)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count(b"\n") == 1
    assert client.exists("values") == 0


def test_text_in_a_pipe_goes_through(run: Run, client: redis.Redis) -> None:
    """What is no number in a pipe is the daemon's to refuse, so nothing is lost here; it is counted, and a failure."""
    done = run("push", "values", "--series", "s", stdin=b"abc\n1e400\n\xff\n")
    assert done.returncode == 1
    assert b"3 values sent on as no number; the first: standard input, line 1: 'abc'" in done.stderr
    assert [fields[b"s"] for _, fields in entries(client, "values")] == [b"abc", b"1e400", b"\xff"]


def test_a_pipe_whose_time_goes_back_says_where(run: Run, client: redis.Redis) -> None:
    """The line is named, --sort is offered, and what stood before it is in."""
    text = b"a,2024-01-01,1\na,2024-01-03,2\na,2024-01-02,3\n"
    done = run("push", "values", stdin=text)
    assert done.returncode == 1
    assert b"line 3: the time goes back from 2024-01-03 to 2024-01-02" in done.stderr
    assert b"--sort (2 entries before it pushed)" in done.stderr
    assert client.xlen("values") == 2
    client.delete("values")
    assert run("push", "values", "--sort", stdin=text).returncode == 0
    assert [fields[b"a"] for _, fields in entries(client, "values")] == [b"1", b"3", b"2"]


def test_pushing_a_table_twice_is_refused(run: Run, client: redis.Redis, tmp_path: Path) -> None:
    """The second time the ids would not grow: one line names stream, end, first time, and nothing is added."""
    (tmp_path / "air.csv").write_bytes(AIRLINE)
    assert run("push", "values", "air.csv").returncode == 0
    done = run("push", "values", "air.csv")
    assert done.returncode == 1
    assert b"'values' already ends at 226022400000-0 (1977-03-01)" in done.stderr
    assert b"so 1977-01-01 cannot follow" in done.stderr
    assert client.xlen("values") == 3


def test_partitions(run: Run, client: redis.Redis) -> None:
    """Each series is in the stream its name says, and the summary names every stream."""
    text = b"".join(b"s%d,2024-01-01,%d\n" % (n, n) for n in range(20))
    done = run("push", "values", "--partitions", "3", "--json", stdin=text)
    summary = json.loads(done.stdout)
    assert summary["values"] == 20
    names = [entry["stream"] for entry in summary["streams"]]
    assert names == ["values:{0}", "values:{1}", "values:{2}"]
    stored = [set(fields) for name in names for _, fields in entries(client, name)]
    assert sum(map(len, stored)) == 20
    assert set.union(*stored) == {b"s%d" % n for n in range(20)}


def test_a_slow_pipe_is_sent_as_it_flows(start: Start, client: redis.Redis) -> None:
    """A value is in the stream while the pipe is still open, and Ctrl-C ends with a summary and 130."""
    process = start("push", "values", "--series", "s")
    assert process.stdin is not None
    for n in range(1, 4):
        process.stdin.write(b"%d\n" % n)
        process.stdin.flush()
        wait_for_length(client, "values", n)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said.startswith(b"streamlstm: pushed 3 values in 3 entries to values")
    assert b"Traceback" not in said


def test_a_key_of_another_type_is_named(run: Run, client: redis.Redis) -> None:
    """A key that is no stream is an error before anything is read from the pipe."""
    client.set("values", "text")
    done = run("push", "values", "--series", "s", stdin=b"1\n")
    assert done.returncode == 1
    assert b"is a string, not a stream" in done.stderr


def test_no_server_is_one_line_that_says_what_to_do(run: Run, tmp_path: Path) -> None:
    """Without a server the line names the URL, its password hidden, and what to start."""
    done = run("push", "values", "--series", "s", "--redis", "redis://me:secret@127.0.0.1:1/0", stdin=b"1\n")
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1
    assert b"redis://me:***@127.0.0.1:1/0" in done.stderr
    assert b"streamlstm serve" in done.stderr
    assert b"secret" not in done.stderr


def test_a_server_that_goes_away_is_told_with_what_is_in(start_server: Any, start: Start) -> None:
    """A server that stays away is given up: the line says how many entries are known to be in."""
    server = start_server()
    process = start("push", "values", "--series", "s", "--retry-for", "500ms", STREAMLSTM_REDIS=server.url)
    assert process.stdin is not None
    process.stdin.write(b"1\n2\n")
    process.stdin.flush()
    with server.client() as client:
        wait_for_length(client, "values", 2)
    time.sleep(0.5)  # for the answer to arrive
    server.kill()
    for _ in range(2):  # the first write to a closed connection may still seem to succeed
        try:
            process.stdin.write(b"3\n")
            process.stdin.flush()
        except BrokenPipeError:
            break
        time.sleep(0.2)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert b"2 entries known to be in" in said
    assert b"pushed twice is stepped twice" in said


def test_parquet(run: Run, client: redis.Redis, tmp_path: Path) -> None:
    """A Parquet table is pushed as its CSV would be."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"ds": ["2024-01-01", "2024-01-02"], "y": [1.5, None]}), tmp_path / "t.parquet")
    assert run("push", "values", "t.parquet", "--series", "s").returncode == 0
    assert [fields for _, fields in entries(client, "values")] == [{b"s": b"1.5"}, {b"s": b""}]
