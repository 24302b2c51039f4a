"""`tail` as a process: what is kept, what comes, columns, JSON, dead letters, a server that comes back."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from streamlstm.cli.tail import dead_letter_lines, entry_time, prediction_lines
from streamlstm.store.keys import Keys
from support.server import Server

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
Start = Callable[..., "subprocess.Popen[bytes]"]
KEYS = Keys("values")


def predict(client: redis.Redis, entry_id: str, *fields: str, stream: str = "values") -> None:
    """Write a prediction as the daemon does; a field may stand in it twice."""
    client.hset(Keys(stream).meta, "columns", "yhat,lo")
    client.execute_command("XADD", Keys(stream).predictions, entry_id, *fields)


def lines_of(process: subprocess.Popen[bytes]) -> list[bytes]:
    """A list that fills with the lines a process prints, read in the background."""
    found: list[bytes] = []
    assert process.stdout is not None
    output = process.stdout

    def collect() -> None:
        for line in iter(output.readline, b""):
            found.append(line)  # noqa: PERF402  (seen while the process still runs)

    threading.Thread(target=collect, daemon=True).start()
    return found


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_what_is_kept_is_printed_from_the_beginning(run: Run, client: redis.Redis) -> None:
    """One line a series of an entry: time, series, columns; also for a series twice in one entry."""
    predict(client, "0-5", "a", "1.5,2", "b", "3,4", "a", "5,6")
    predict(client, "1500-0", "a", "nan,7")
    done = run("tail", "--no-follow")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().splitlines() == [
        "1970-01-01T00:00:00.000Z  a  yhat=1.5  lo=2",
        "1970-01-01T00:00:00.000Z  b  yhat=3  lo=4",
        "1970-01-01T00:00:00.000Z  a  yhat=5  lo=6",
        "1970-01-01T00:00:01.500Z  a  yhat=nan  lo=7",
    ]


@pytest.mark.parametrize(("last", "count"), [("0", 0), ("1", 1), ("2", 2), ("9", 3)])
def test_last_begins_near_the_end(run: Run, client: redis.Redis, last: str, count: int) -> None:
    """`-n N` prints the last N entries, in order."""
    for n in range(1, 4):
        predict(client, f"{n}-0", "a", f"{n},0")
    done = run("tail", "--no-follow", "-n", last)
    assert [line.split(b"yhat=")[1].split()[0] for line in done.stdout.splitlines()] == [b"1", b"2", b"3"][3 - count :]


def test_series_are_chosen(run: Run, client: redis.Redis) -> None:
    """`--series` leaves the others out; several may be named."""
    predict(client, "1-0", "a", "1,0", "b", "2,0", "c", "3,0")
    done = run("tail", "--no-follow", "--series", "a", "--series", "c")
    assert [line.split()[1] for line in done.stdout.splitlines()] == [b"a", b"c"]


def test_nothing_kept_is_nothing_printed(run: Run, client: redis.Redis) -> None:
    """Without --follow a stream that has no predictions yet ends at once; one that is not there is an error."""
    client.xadd("values", {"a": "1"})
    done = run("tail", "values", "--no-follow")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    done = run("tail", "nowhere", "--no-follow")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"there is no stream 'nowhere' at " in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_a_mistyped_stream_is_an_error_unless_it_is_awaited(run: Run) -> None:
    """Without --follow nothing is waited for that may never come."""
    done = run("tail", "nowhere")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"--follow waits for one that is yet to come" in done.stderr


def test_a_stream_that_will_come_is_waited_for(start: Start, client: redis.Redis) -> None:
    """Asked for by name, following begins before the stream does: that is said once, then what comes is printed."""
    process = start("tail", "later", "--follow")
    lines = lines_of(process)
    assert process.stderr is not None
    assert b"there is no stream 'later' at " in process.stderr.readline()
    predict(client, "1-0", "a", "1,0", stream="later")
    wait_until(lambda: len(lines) == 1, "the first line")


def test_after_begins_beyond_an_entry(run: Run, client: redis.Redis) -> None:
    """`--after ID` is where the last look ended: what --json printed last is not printed again, nor a dead letter."""
    for n in range(1, 4):
        predict(client, f"{n}-0", "a", f"{n},0")
        client.xadd(Keys("values").dead, {"id": f"{n}-0", "series": "b", "value": "x", "error": "y"})
    for dead in ([], ["--dead"]):
        seen = [json.loads(line)["id"] for line in run("tail", "--no-follow", "--json", *dead).stdout.splitlines()]
        assert seen == ["1-0", "2-0", "3-0"]
        rest = run("tail", "--no-follow", "--json", "--after", seen[1], *dead).stdout.splitlines()
        assert [json.loads(line)["id"] for line in rest] == ["3-0"]
        assert run("tail", "--no-follow", "--after", seen[2], *dead).stdout == b""
    for wrong in (["--after", "yesterday"], ["--after", "1-0", "--last", "1"], ["--after", f"{1 << 64}-0"]):
        done = run("tail", "--no-follow", *wrong)
        assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)


def test_numbers_are_the_stream_s_own_text(run: Run, client: redis.Redis) -> None:
    """JSON carries the number literal as it is stored, not one parsed and written again."""
    predict(client, "1-0", "größe", "0.10000000149011612,1e-7", "b", "nan,inf")
    first, second = run("tail", "--no-follow", "--json").stdout.decode().splitlines()
    assert '"yhat": 0.10000000149011612, "lo": 1e-7}' in first
    assert json.loads(first) == {
        "id": "1-0",
        "time": "1970-01-01T00:00:00.001Z",
        "series": "größe",
        "yhat": 0.10000000149011612,
        "lo": 1e-7,
    }
    assert (json.loads(second)["yhat"], json.loads(second)["lo"]) == (None, "inf")


def test_dead_letters(run: Run, client: redis.Redis) -> None:
    """`--dead` prints the values that could not be stepped, with the reason."""
    client.xadd(KEYS.dead, {"id": "1500-0", "series": "a", "value": "abc", "error": "not a number"})
    client.xadd(KEYS.dead, {"id": "1501-0", "series": "b", "value": "x", "error": "not a number"})
    text = run("tail", "--dead", "--no-follow", "--series", "a").stdout
    assert text == b"1970-01-01T00:00:01.500Z  a  'abc': not a number\n"
    first = json.loads(run("tail", "--dead", "--no-follow", "--json").stdout.splitlines()[0])
    assert first == {
        "id": "1500-0",
        "time": "1970-01-01T00:00:01.500Z",
        "series": "a",
        "value": "abc",
        "error": "not a number",
    }


def test_following_prints_what_comes_and_ends_with_ctrl_c(start: Start, client: redis.Redis) -> None:
    """Predictions are printed as they come; Ctrl-C ends with 130 and no traceback."""
    process = start("tail")
    lines = lines_of(process)
    for n in range(1, 4):
        predict(client, f"{n}-0", "a", f"{n},0")
        wait_until(lambda n=n: len(lines) == n, f"{n} lines")  # type: ignore[misc]
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    assert process.stderr is not None
    assert process.stderr.read().strip() == b""


def test_a_reader_that_leaves_ends_it(start: Start, client: redis.Redis) -> None:
    """`tail | head -1` ends although no more predictions come."""
    predict(client, "1-0", "a", "1,0")
    process = start("tail")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(120) == 0
    process.stdout = None


def test_following_outlives_a_restart_of_the_server(start_server: Callable[..., Server], start: Start) -> None:
    """A server that goes is waited for, said on stderr, and nothing is printed twice or left out."""
    server = start_server()
    with server.client() as client:
        predict(client, "1-0", "a", "1,0")
    process = start("tail", STREAMLSTM_REDIS=server.url)
    lines = lines_of(process)
    wait_until(lambda: len(lines) == 1, "the first line")
    server.kill()
    server.start()
    with server.client() as client:
        predict(client, "2-0", "a", "2,0")
        wait_until(lambda: len(lines) == 2, "the second line")
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    assert process.stderr is not None
    said = process.stderr.read()
    assert b"has gone; waiting for it" in said
    assert b"the server is back" in said
    assert [line.split(b"yhat=")[1][:1] for line in lines] == [b"1", b"2"]


def test_no_server_at_the_start_is_an_error(run: Run) -> None:
    """A server that was never there is one line and exit 1, not a wait."""
    done = run("tail", STREAMLSTM_REDIS="redis://127.0.0.1:1/0")
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1


def test_more_numbers_than_columns_are_left_out() -> None:
    """A prediction longer than the columns known prints those that have a name."""
    formatter: Any = prediction_lines(as_json=False, wanted=frozenset())
    assert list(formatter((b"0-1", [(b"a", b"1,2")]), ("yhat",))) == ["1970-01-01T00:00:00.000Z  a  yhat=1"]


def test_times_out_of_reach_are_the_id_itself() -> None:
    """An id beyond the year 9999, and a dead letter without one, still print."""
    assert entry_time(b"999999999999999999-0") == "999999999999999999-0"
    formatter: Any = dead_letter_lines(as_json=False, wanted=frozenset())
    assert list(formatter((b"1-0", []), ())) == ["1970-01-01T00:00:00.001Z    '': "]
