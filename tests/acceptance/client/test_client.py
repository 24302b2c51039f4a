"""`streamlstm.Client` and `AsyncClient`: values in, predictions out, states, places kept, errors of one line."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import redis

import streamlstm
from streamlstm.errors import StoreError, StoreUnavailableError, StreamlstmError, UsageError
from streamlstm.store.keys import Keys
from support.followed import Followed, answer
from support.server import Server
from support.serving import Serving, eventually, run

HOURS = pd.date_range("2024-01-01", periods=40, freq="h")
LONG = pd.DataFrame({"unique_id": ["a"] * 40 + ["b"] * 40, "ds": [*HOURS, *HOURS], "y": np.arange(80) / 4})


@pytest.fixture
def made(redis_url: str) -> Iterator[streamlstm.Client]:
    """A client of the shared server."""
    with streamlstm.Client(redis_url) as client:
        yield client


def numbers(entries: list[tuple[str, dict[str, str]]]) -> list[tuple[str, dict[str, float]]]:
    """Entries with numbers for their texts: 1.0 is 1."""
    return [(entry_id, {name: float(text) for name, text in fields.items()}) for entry_id, fields in entries]


def test_every_form_of_a_table_gives_the_entries_that_push_gives(
    redis_url: str, content: Callable[[str], Any], tmp_path: Path
) -> None:
    """A path, frames, records, rows and a flow of them."""
    LONG.to_csv(tmp_path / "t.csv", index=False)
    done = run(tmp_path, "push", "wanted", "t.csv", "--redis", redis_url)
    assert done.returncode == 0, done.stderr
    wanted = content("wanted")
    assert len(wanted) == 40
    rows = sorted(LONG.itertuples(index=False, name=None), key=lambda row: row[1])
    forms: dict[str, Any] = {
        "path": tmp_path / "t.csv",
        "pandas": LONG,
        "polars": pl.from_pandas(LONG),
        "records": LONG.to_dict("records"),
        "rows": [(name, time, value) for name, time, value in reversed(rows)],
        "columns": {name: LONG[LONG.unique_id == name].set_index("ds").y for name in "ab"},
    }
    for name, form in forms.items():
        pushed = streamlstm.Client(redis_url, name).push(form)
        assert numbers(content(name)) == numbers(wanted), name
        assert (pushed.values, pushed.entries, pushed.last) == (80, 40, {name: wanted[-1][0]})
    flow = ({"ds": time, "a": float(i), "b": np.float32(i + 0.5)} for i, time in enumerate(HOURS))
    streamlstm.Client(redis_url, "flow").push(flow)
    assert content("flow")[3] == (wanted[3][0], {"a": "3.0", "b": "3.5"})
    again = streamlstm.Client(redis_url, "path").push(LONG, skip_existing=True)
    assert (again.values, again.skipped) == (0, 80)


def test_values_without_times(made: streamlstm.Client, content: Callable[[str], Any]) -> None:
    """One record, a list of numbers, a mapping of lists: timed by the server, in their order."""
    made.push({"a": 1.5, "b": None})
    made.push(("a", 2))
    made.push([3, 4.5, None], series="a")
    made.push({"c": [1, 2]})
    made.push(np.array([[1.0, 2.0], [3.0, 4.0]]), series="pair")
    fields = [fields for _, fields in content("values")]
    assert fields == [
        {"a": "1.5", "b": ""},
        {"a": "2"},
        *({"a": text} for text in ("3", "4.5", "")),
        *({"c": text} for text in "12"),
        *({"pair": text} for text in ("1,2", "3,4")),
    ]


@pytest.mark.parametrize(
    ("table", "options", "said"),
    [
        ([("a", "2024-01-01", 1.0), ("a", "2024-01-02", "x")], {}, "line 2: 'x' is not a finite number"),
        ([("a", float("inf"))], {}, "line 1: inf of 'y' is not a finite number"),
        ([("a", object())], {}, "line 1: a object is neither a number, a text nor a time"),
        (iter([("a", 1.0), 5]), {}, r"line 2: a int is no record; .*\(1 entry before it pushed\)"),
        (iter([5]), {}, "a int is no record"),
        (5, {}, "a int is no table"),
        (b"a,1", {}, "a bytes is no table"),
        ([{"unique_id": None, "y": 1}], {}, "line 1: the series has no name"),
        ("nowhere.csv", {}, "nowhere.csv"),
        (LONG, {"id_col": "who"}, "no column 'who'"),
        (LONG, {"series": "s"}, "names 2 series itself; leave series out"),
        (LONG, {"seires": "s"}, "push has no option 'seires'; did you mean 'series'"),
        (LONG, {"partitions": 0}, "partitions is a whole number from 1 to 16,384"),
        (LONG, {"partitions": "x"}, "partitions is a whole number"),
        (LONG, {"wait": "soon"}, "wait is a duration"),
        ([("a", 1.0)], {"skip_existing": True}, "skip_existing knows values by their times"),
    ],
)
def test_what_cannot_be_pushed_is_said_in_one_line(
    made: streamlstm.Client, table: Any, options: dict[str, Any], said: str
) -> None:
    """What, where and what to do, as Python spells it; the client goes on."""
    with pytest.raises(StreamlstmError, match=said) as caught:
        made.push(table, **options)
    assert "--" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert made.push({"a": 1}).values == 1


def test_what_is_pushed_is_answered_and_its_state_told(
    redis_url: str, start: Callable[..., Serving], made: streamlstm.Client
) -> None:
    """With a daemon: `wait`, predictions with time, series and columns, states."""
    start("--redis", redis_url, "--interval", "0.9").ready()
    pushed = made.push(LONG, wait="1m")
    assert pushed.entries == 40
    found = list(made.predictions(follow=False))
    assert [(one.series, one.time) for one in found[:3]] == [
        ("a", datetime(2024, 1, 1, 0, tzinfo=UTC)),
        ("b", datetime(2024, 1, 1, 0, tzinfo=UTC)),
        ("a", datetime(2024, 1, 1, 1, tzinfo=UTC)),
    ]
    assert len(found) == 80
    assert list(found[-1].columns) == ["yhat", "lo", "hi"]
    assert found[-1]["lo"] < found[-1]["yhat"] < found[-1]["hi"]
    assert [one.series for one in made.predictions(follow=False, series="b")] == ["b"] * 40
    states = {one["series"]: one for one in made.states()}
    assert states.keys() == {"a", "b"}
    assert states["a"]["steps"] == 40
    assert list(made.states("b")) == list(made.states(["nobody", "b"])) == [states["b"]]
    for choose in (made.states, made.forecast, lambda none: made.predictions(series=none, follow=False)):
        with pytest.raises(UsageError, match="series is the name of a series or a list"):
            list(choose([]))


def test_where_to_begin(redis_url: str, made: streamlstm.Client) -> None:
    """After a record, its place or its id, a time; within an entry of several series, too."""
    for hour in range(3):
        answer(redis_url, {"a": f"{hour}.5,1,2", "b": "nan,,x"}, f"{1000 * hour + 1000}-0")
    found = list(made.predictions(follow=False))
    places = [one.place for one in found]
    assert places == [f"{ms}-0/{n}" for ms in (1000, 2000, 3000) for n in (1, 2)]
    assert np.isnan(list(found[1].columns.values())).all()
    for after, left in (
        (found[0], 5),
        (found[0].place, 5),
        (found[1], 4),
        ("1000-0", 4),
        ("1000", 4),
        (1000, 4),
        (found[2].time, 2),
        ("2000-0/1", 3),
        ("3000-0/2", 0),
        ("0-1/1", 6),
        (None, 6),
    ):
        assert [one.place for one in made.predictions(after, follow=False)] == places[6 - left :], after
    for wrong in ("soon", "1-x", "1000-0/x", 1.5, True, -1, "99999999999999999999999-0"):
        with pytest.raises(UsageError, match="after is a prediction"):
            made.predictions(wrong)  # type: ignore[arg-type]


def test_only_what_comes_from_now_on(redis_url: str, made: streamlstm.Client) -> None:
    """`$`, as with XREAD."""
    answer(redis_url, {"a": "1"})
    predictions = made.predictions("$")
    thread = threading.Timer(1.0, answer, (redis_url, {"a": "2"}))
    thread.start()
    assert next(predictions)["yhat"] == 2
    predictions.close()
    thread.join()


def test_a_server_that_comes_back_with_less_is_read_on(start_server: Callable[..., Server]) -> None:
    """What is answered again is not given again, and what comes below the lost end is given; none before `after`."""
    server = start_server()
    for number in range(1, 7):
        answer(server.url, {"a": f"{number}"}, f"{number}-0")
    client = streamlstm.Client(server.url)
    every, late = client.predictions(), client.predictions("5-0")
    assert [next(every)["yhat"] for _ in range(6)] == [1, 2, 3, 4, 5, 6]
    assert next(late)["yhat"] == 6
    keys = Keys("values")
    with server.client() as plain:  # as a replica that had only three would be
        plain.rename(keys.predictions, "old")
        for number in (1, 2, 3):
            answer(server.url, {"a": f"{number}"}, f"{number}-0")
    server.kill()
    server.start()
    for number, value in ((4, 4), (5, 5.5), (7, 7)):
        answer(server.url, {"a": f"{value}"}, f"{number}-{number % 2}")
    assert [next(every)["yhat"] for _ in range(2)] == [5.5, 7]
    assert [next(late)["yhat"] for _ in range(2)] == [5.5, 7]
    every.close()
    late.close()


def test_a_reader_with_a_name_goes_on_where_it_stopped(redis_url: str, made: streamlstm.Client) -> None:
    """In the middle of an entry, by another client; left by an error, the record under way comes again."""
    for number in range(20):
        answer(redis_url, {"a": f"{number}", "b": f"{number}.5"}, f"{number + 1}-0")
    found = []
    for prediction in made.predictions(name="shown"):
        found.append(prediction)
        if len(found) == 7:
            break
    del prediction
    with streamlstm.Client(redis_url).predictions(name="shown") as predictions:
        found += itertools.islice(predictions, 10)
    predictions = streamlstm.Client(redis_url).predictions(name="shown")
    failed = next(predictions)
    predictions.__exit__(RuntimeError, RuntimeError(), None)
    rest = list(streamlstm.Client(redis_url).predictions(name="shown", follow=False))
    assert rest[0] == failed
    assert [one.place for one in found + rest] == [f"{number}-0/{n}" for number in range(1, 21) for n in (1, 2)]
    assert list(made.predictions(name="shown", follow=False)) == []
    assert len(list(made.predictions("15-0", name="late", follow=False))) == 10
    with redis.Redis.from_url(redis_url, protocol=2) as client:
        assert client.hgetall(Keys("values").places) == {b"shown": b"20-0/2", b"late": b"20-0/2"}
    for wrong in ("", 5):
        with pytest.raises(UsageError, match="name is a text"):
            made.predictions(name=wrong)  # type: ignore[arg-type]


KILLED = """
import sys, streamlstm
for prediction in streamlstm.Client(sys.argv[1]).predictions(name="killed"):
    print(prediction.place, flush=True)
"""


def test_a_reader_that_is_killed_loses_nothing(redis_url: str) -> None:
    """What it was given since its last save comes again, and nothing is left out."""
    for number in range(3000):
        answer(redis_url, {"a": "1"}, f"{number + 1}-0")
    process = subprocess.Popen([sys.executable, "-c", KILLED, redis_url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    seen = [line.strip() for line in itertools.islice(process.stdout, 1500)]
    process.kill()
    seen += [line.strip() for line in process.stdout]
    process.wait()
    process.stdout.close()
    rest = [one.place for one in streamlstm.Client(redis_url).predictions(name="killed", follow=False)]
    every = [f"{number + 1}-0/1" for number in range(3000)]
    assert rest == every[3000 - len(rest) :]
    assert 3000 - len(rest) <= len(seen), "nothing is passed over"
    assert len(rest) < 3000, "its place was kept meanwhile"


@pytest.mark.parametrize("round_", range(2))
def test_following_goes_on_over_kills_of_the_server_and_the_daemon(
    round_: int, start_server: Callable[..., Server], start: Callable[..., Serving]
) -> None:
    """Each prediction that the stream has at the end was given, once, and as it is there; each value has one."""
    # How much is lost with it depends on its disk: while that is flushed, what is written waits, for up to two seconds.
    server = start_server(fsync="everysec")
    daemon = start("--redis", server.url)
    daemon.ready()
    client = streamlstm.Client(server.url)
    with Followed(server.url, "values") as followed:
        for part in range(6):
            client.push(LONG.assign(ds=LONG.ds + pd.Timedelta(days=2 * part), y=LONG.y + round_))
            if part == 2:
                server.kill()
                server.start()
            if part == 4:
                daemon.kill()
                daemon = start("--redis", server.url)
        client.push({"a": 1.0}, wait="1m")
        with server.client() as plain:
            values = sum(len(fields) for _, fields in plain.xrange("values"))
            assert followed.hold(plain) == values
            assert values >= 80 * 3 + 1, "what came after the server's end is there"


def test_no_server_and_no_stream_are_said(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what Python calls things, and without the password."""
    monkeypatch.delenv("STREAMLSTM_REDIS", raising=False)
    with pytest.raises(StoreUnavailableError, match="no connection"):
        streamlstm.Client("redis://127.0.0.1:1/0", retry_for=0).push({"a": 1})
    with pytest.raises(UsageError, match="redis"):
        streamlstm.Client("http://host")
    with pytest.raises(UsageError, match="retry_for is a duration"):
        streamlstm.Client(redis_url, retry_for="soon")
    with pytest.raises(UsageError, match="named by a text"):
        streamlstm.Client(redis_url, 5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="hash tag"):
        streamlstm.Client(redis_url, "a{")
    with pytest.raises(StoreError, match="there is no stream 'none'"):
        list(streamlstm.Client(redis_url, "none").states())
    with pytest.raises(StoreError, match="there is no stream 'none'"):
        list(streamlstm.Client(redis_url, "none").predictions(follow=False))
    shown = repr(streamlstm.Client("redis://:hush@127.0.0.1:1/0"))
    assert "hush" not in shown
    assert "stream 'values'" in shown
    monkeypatch.setenv("STREAMLSTM_REDIS", redis_url)
    assert streamlstm.Client().push({"a": 1}).values == 1
    assert eventually(lambda: streamlstm.Client().push(("a", 1)).values == 1)
