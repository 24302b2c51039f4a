"""`forecast`, `/forecast` and `Client.forecast` beside a daemon at work: the same numbers, and no state is touched."""

from __future__ import annotations

import asyncio
import csv
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import redis

import streamlstm
from streamlstm.daemon.http import forecast as page
from streamlstm.errors import ModelChangedError, NoSeriesError, UsageError
from streamlstm.store import MOST_KEPT_BYTES, Keys
from support import models
from support.asking import asked
from support.server import Server
from support.serving import Serving, run, serve, wait_for_position

START_MS = 1_700_000_000_000
Started = Callable[..., tuple[Serving, redis.Redis, Server]]


@pytest.fixture
def start(tmp_path: Path, start_server: Callable[..., Server]) -> Iterator[Started]:
    """A function that starts a server and a daemon on it with a model; all are ended with the test."""
    started: list[tuple[Serving, redis.Redis]] = []

    def begin(model: bytes, *arguments: str) -> tuple[Serving, redis.Redis, Server]:
        path = tmp_path / "model.onnx"
        path.write_bytes(model)
        server = start_server(fsync="no")
        started.append((serve(tmp_path, path, "--redis", server.url, *arguments), server.client()))
        started[-1][0].ready()
        return *started[-1], server

    yield begin
    for daemon, client in started:
        client.close()
        assert daemon.stop() == 0


def values_of(series: str, count: int) -> list[float]:
    """Made-up values."""
    return np.round(np.random.default_rng(len(series)).normal(size=count).cumsum(), 3).tolist()


def push(client: redis.Redis, series: list[str], count: int) -> None:
    """So many values of each series, a second apart."""
    made = {name: values_of(name, count) for name in series}
    for n in range(count):
        client.xadd("values", {name: str(made[name][n]) for name in series}, id=f"{START_MS + 1000 * n}-0")
    wait_for_position(client, "values", f"{START_MS + 1000 * (count - 1)}-0")


def plain_loop(model: streamlstm.Model, series: str, count: int, steps: int) -> list[np.float32]:
    """What `streamlstm.load` gives, each forecast fed back."""
    state, found = model.initial_state(1), []
    for value in values_of(series, count):
        y, state = model.step([[value]], state)
    for _ in range(steps):
        found.append(y[0, 0])
        y, state = model.step(y, state)
    return found


def test_all_ways_say_what_a_plain_loop_says_and_touch_nothing(start: Started, tmp_path: Path) -> None:
    """Command, HTTP and Python alike, while values come; records are the same bytes before and after."""
    daemon, client, server = start(models.lstm(8), "--interval", "0.8")
    push(client, ["a", "b ü"], 60)
    raw = client.hgetall(Keys("values").state)
    keys = ("values", Keys("values").meta, Keys("values").predictions, Keys("values").state)
    before = {key: client.dump(key) for key in keys}
    model = streamlstm.load(tmp_path / "model.onnx")
    loop = plain_loop(model, "a", 60, 30)
    done = run(
        tmp_path, "forecast", "--redis", server.url, "--series", "a", "--series", "b ü", "--steps", "30", "--json"
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    status, one = asked(daemon, {"stream": "values", "series": "a", "steps": 30, "spacing": "1s", "interval": 0.9})
    assert status == 200
    with streamlstm.Client(server.url) as made:
        ahead = made.forecast("a", 30)
        both = made.forecast(["a", "b ü"], steps=30)
    for told in (lines[0], one):
        assert [np.float32(step["yhat"]) for step in told["forecast"]] == loop
    assert [np.float32(number) for number in ahead["yhat"]] == loop
    assert [found.series for found in both] == ["a", "b ü"]
    assert (lines[1]["series"], len(lines[1]["forecast"])) == ("b ü", 30)
    assert one["forecast"][4]["time"] == "2023-11-14T22:14:24.000Z" == str(ahead.times[4]) + "Z"  # type: ignore[index]
    assert {key: one[key] for key in ("stream", "series", "interval", "widths", "calibrated", "held")} == {
        "stream": "values", "series": "a", "interval": 0.9, "widths": "response", "calibrated": True, "held": []
    }  # fmt: skip
    newest = client.xrevrange(Keys("values").predictions, count=1)[0][1][b"a"]
    served = dict(zip(("yhat", "lo", "hi"), map(float, newest.split(b",")), strict=True))
    _, as_served = asked(daemon, {"series": "a", "steps": 1})  # at the level that is served
    assert as_served["interval"] == 0.8
    assert as_served["forecast"][0] == {"step": 1, "time": "2023-11-14T22:14:20.000Z"} | served
    assert client.hgetall(Keys("values").state) == raw
    assert {key: client.dump(key) for key in before} == before
    client.xadd("values", {"a": "1.5"}, id=f"{START_MS + 10**6}-0")
    wait_for_position(client, "values", f"{START_MS + 10**6}-0")
    verified = run(
        tmp_path, "verify", str(tmp_path / "model.onnx"), "values", "--redis", server.url, "--interval", "0.8"
    )
    assert verified.returncode == 0, verified.stderr


def test_while_values_come_serving_goes_on(start: Started, tmp_path: Path) -> None:
    """Every forecast is that of some commit, every value is answered, and they verify."""
    daemon, client, server = start(models.lstm(8))
    push(client, ["a"], 20)
    stop, wrong = threading.Event(), list[Any]()

    def ask() -> None:
        while not stop.is_set():
            status, told = asked(daemon, {"series": "a", "steps": 50, "spacing": "1s"})
            if status not in {200, 503} or (status == 200 and len(told["forecast"]) != 50):
                wrong.append(told)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(20, 600):
        client.xadd("values", {"a": str(n % 7)}, id=f"{START_MS + 1000 * n}-0")
    wait_for_position(client, "values", f"{START_MS + 599_000}-0")
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert client.xlen(Keys("values").predictions) == 600
    verified = run(tmp_path, "verify", str(tmp_path / "model.onnx"), "values", "--redis", server.url)
    assert verified.returncode == 0, verified.stderr


HOSTILE = {
    "": 400,
    "steps=3": 400,
    "series=a&steps=0": 400,
    "series=a&steps=-1": 400,
    "series=a&steps=1001": 400,
    "series=a&steps=999999999999999999999999": 400,
    "series=a&steps=%D9%A3": 400,
    "series=a&steps=1&steps=2": 400,
    "series=&steps=2": 400,
    "series=%FF": 400,
    "series=a&interval=nan": 400,
    "series=a&interval=0": 400,
    "series=a&interval=inf": 400,
    "series=a&spacing=0": 400,
    "series=a&spacing=9999999999999999999w": 400,
    "series=a&future=../../etc/passwd": 400,
    "series=a&unknown=1": 400,
    "series": 400,
    "&".join(f"series=s{n}" for n in range(101)): 400,
    "steps=1000&" + "&".join(f"series=s{n}" for n in range(21)): 400,
    "series=nope": 404,
    "series=a%0D%0AX-Injected:1": 404,
    "stream=other&series=a": 404,
    "stream=%7Bvalues%7D:state&series=a": 404,
    "series=a&series=nope": 404,
}


def test_hostile_queries_are_refused_in_one_line(start: Started) -> None:
    """As JSON, with the right status, without a word of a traceback; the next query is answered."""
    daemon, client, _ = start(models.lstm(4))
    push(client, ["a"], 12)
    for query, status in HOSTILE.items():
        found, told = asked(daemon, query)
        assert (found, list(told)) == (status, ["error"]), query[:60]
        assert len(told["error"]) <= page.MOST_SAID + 1
        assert "Traceback" not in told["error"]
    status, told = asked(daemon, [("series", "a"), ("series", "a"), ("steps", "1000")])
    assert (status, len(told["forecast"])) == (200, 1000)
    assert not [line for line in daemon.log() if "not answered" in line["message"]]


def test_damaged_and_other_states_are_named(start: Started, tmp_path: Path) -> None:
    """A record that somebody wrote, a model that is not the one that serves, a stream that nobody serves."""
    daemon, client, server = start(models.lstm(8))
    push(client, ["a"], 12)
    client.hset(Keys("values").state, "broken", b"\x00" * 100)
    assert asked(daemon, {"series": "broken"})[0] == 409
    other = tmp_path / "other.onnx"
    other.write_bytes(models.lstm(8, seed=5))
    told = ["--redis", server.url, "--steps", "2"]
    for arguments, status, words in (
        (["--series", "broken"], 1, "has a record of 100 bytes"),
        (["--series", "nope"], 1, "has no series 'nope'"),
        (["--series", "a", "--model", str(other)], 1, "not of the one given"),
        ([], 2, "--series NAME, or --all"),
        (["--all"], 2, "add -o TABLE.parquet"),
        (["--all", "--series", "s", "-o", "x.csv"], 2, "use one of them"),
        (["--series", "a", "-o", "x.txt"], 2, "neither .csv nor .parquet"),
        (["--series", "a", "--future", "nowhere.csv"], 2, "no file 'nowhere.csv'"),
        (["--series", "a", "--interval", "1"], 2, "0<x<1"),
    ):
        done = run(tmp_path, "forecast", *arguments, *told)
        assert done.returncode == status, done.stderr
        assert words in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    (tmp_path / "in-vain.csv").write_text("y\n1\n2\n")
    done = run(tmp_path, "forecast", "--series", "a", "--future", "in-vain.csv", *told)
    assert done.returncode == 0, done.stderr
    assert "what --future gives is not looked at: the model forecasts all that it looks at" in done.stderr
    done = run(tmp_path, "forecast", "nobody", "--series", "a", *told)
    assert (done.returncode, "nobody" in done.stderr) == (1, True)
    with streamlstm.Client(server.url) as made:
        with pytest.raises(NoSeriesError, match="nope"):
            made.forecast("nope")
        with pytest.raises(ModelChangedError, match="not of the one given"):
            made.forecast("a", model=other)
        with pytest.raises(UsageError, match="steps is a whole number from 1"):
            made.forecast("a", 0)
        with pytest.raises(UsageError, match="interval is a number above 0"):
            made.forecast("a", interval=2)
        with pytest.raises(UsageError, match="has no option 'level'"):
            made.forecast("a", level=0.9)  # type: ignore[call-overload]
        assert "lo" not in made.forecast("a", 3, interval=None).columns


def test_the_model_lies_beside_the_stream_and_is_checked(start: Started, tmp_path: Path) -> None:
    """Whoever reads the states has it by its fingerprint; a file that was changed there is refused."""
    _, client, server = start(models.lstm(8))
    push(client, ["a"], 12)
    model = streamlstm.load(tmp_path / "model.onnx")
    key = Keys("values").model(model.fingerprint)
    assert client.get(key) == (tmp_path / "model.onnx").read_bytes()
    client.set(key, models.lstm(8, seed=3))
    done = run(tmp_path, "forecast", "--redis", server.url, "--series", "a")
    assert (done.returncode, "holds another model than it says" in done.stderr) == (1, True)
    client.delete(key)
    done = run(tmp_path, "forecast", "--redis", server.url, "--series", "a")
    assert (done.returncode, "--model MODEL.onnx" in done.stderr) == (2, True)
    told = ["--model", str(tmp_path / "model.onnx"), "--steps", "2", "--json"]
    done = run(tmp_path, "forecast", "--redis", server.url, "--series", "a", *told)
    assert [step["step"] for step in json.loads(done.stdout)["forecast"]] == [1, 2]


def test_another_model_takes_the_former_one_s_file_away(start: Started, tmp_path: Path) -> None:
    """One file a stream, whatever models it has had."""
    daemon, client, server = start(models.lstm(8))
    push(client, ["a"], 12)
    assert daemon.stop() == 0
    second = tmp_path / "second.onnx"
    second.write_bytes(models.lstm(8, seed=2))
    other = serve(tmp_path, second, "--redis", server.url, "--on-model-change", "replay")
    other.ready()
    try:
        assert [key for key in client.keys("*") if b":model:" in key] == [
            Keys("values").model(streamlstm.load(second).fingerprint).encode()
        ]
    finally:
        assert other.stop() == 0


def test_a_large_file_is_not_kept_and_has_to_be_given(start: Started, tmp_path: Path) -> None:
    """So that many streams do not fill the server; nothing else is different."""
    _, client, server = start(models.lstm(520))
    assert (tmp_path / "model.onnx").stat().st_size > MOST_KEPT_BYTES
    push(client, ["a"], 12)
    assert [key for key in client.keys("*") if b":model:" in key] == []
    done = run(tmp_path, "forecast", "--redis", server.url, "--series", "a", "--steps", "1")
    assert (done.returncode, "give it with --model" in done.stderr) == (2, True)
    told = ["--model", str(tmp_path / "model.onnx"), "--steps", "1", "--json"]
    assert run(tmp_path, "forecast", "--redis", server.url, "--series", "a", *told).returncode == 0


def test_all_series_are_written_as_a_table(start: Started, tmp_path: Path) -> None:
    """CSV has the texts of predictions, Parquet the same numbers; a damaged record is left out and said."""
    _, client, server = start(models.lstm(8), "--interval", "0.9")
    names = ['x,"y"', "plain", *(f"s{n}" for n in range(30))]
    push(client, names, 15)
    client.hset(Keys("values").state, "broken", b"\x00" * 100)
    model = streamlstm.load(tmp_path / "model.onnx")
    told = ["--redis", server.url, "--steps", "5", "--spacing", "1s", "--json"]
    for name in ("all.csv", "all.parquet"):
        done = run(tmp_path, "forecast", "--all", "-o", str(tmp_path / name), *told)
        assert done.returncode == 0, done.stderr
        told_of = json.loads(done.stdout)
        assert {key: told_of[key] for key in ("series", "rows", "times")} == {"series": 32, "rows": 160, "times": True}
        assert told_of["widths"] == "response"
        assert "left out: 1 series with a record of 100 bytes" in done.stderr
    with (tmp_path / "all.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = pq.read_table(tmp_path / "all.parquet").to_pylist()
    assert [row["unique_id"] for row in rows] == [row["unique_id"] for row in table]
    for name in names:
        loop = plain_loop(model, name, 15, 5)
        assert [np.float32(row["yhat"]) for row in rows if row["unique_id"] == name] == loop
        assert [np.float32(row["yhat"]) for row in table if row["unique_id"] == name] == loop
    assert rows[0]["ds"] == "2023-11-14T22:13:35.000Z"
    assert table[0]["ds"].isoformat() == "2023-11-14T22:13:35+00:00"
    assert [row["step"] for row in rows[:5]] == list("12345")


@pytest.mark.parametrize("exact", [False, True])
def test_a_table_of_no_series_has_its_columns(start: Started, tmp_path: Path, exact: bool) -> None:
    """In CSV and in Parquet, those that a table of some series has, of the same kinds."""
    _, client, server = start(models.exact_lstm(4) if exact else models.lstm(4))
    push(client, ["a"], 12)
    made = dict[str, list[Any]]()
    for name in ("some", "none"):
        for ending in ("csv", "parquet"):
            output = f"{name}.{ending}"
            done = run(tmp_path, "forecast", "--redis", server.url, "--all", "--steps", "3", "-o", output)
            assert done.returncode == 0, done.stderr
        made[name] = [(tmp_path / f"{name}.csv").read_text().splitlines(), pq.read_schema(tmp_path / f"{name}.parquet")]
        client.delete(Keys("values").state)
    assert made["none"][0] == made["some"][0][:1] == ["unique_id,ds,step,yhat,lo,hi"]
    assert made["none"][1] == made["some"][1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("forecast", "--series", "a", "--plot", "x.jpg"), "x.jpg is not .png; name the picture so"),
        (("forecast", "--series", "a", "--plot", "x"), "x is not .png; name the picture so"),
        (("forecast", "--all", "-o", "x.txt"), "x.txt is neither .csv nor .parquet; name the table so"),
        (("export", "values", "-o", "x.xlsx"), "x.xlsx is neither .csv nor .parquet; name the table so"),
        (("evaluate", "m.onnx", "t.csv", "--plot", "x.pdf"), "x.pdf is not .png; name the picture so"),
    ],
)
def test_a_file_of_another_ending_is_refused(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    """Before anything is read, in one line, and nothing is written."""
    done = run(tmp_path, *arguments)
    assert (done.returncode, done.stderr) == (2, f"streamlstm: error: {said}\n")
    assert not list(tmp_path.iterdir())


def test_people_get_a_chart_and_a_picture(start: Started, tmp_path: Path) -> None:
    """And are told what the forecasts rest on."""
    _, client, server = start(models.lstm(8))
    push(client, ["a"], 30)
    picture = tmp_path / "ahead.png"
    told = ["--redis", server.url, "--series", "a", "--steps", "12", "--plot", str(picture)]
    done = run(tmp_path, "forecast", *told)
    assert done.returncode == 0, done.stderr
    assert "a: 12 steps after 2023-11-14T22:13:49.000Z" in done.stdout
    assert len([line for line in done.stdout.splitlines() if line.strip()[:2].strip().isdigit() and "Z" in line]) == 12
    assert "no interval was tracked for a" in done.stderr
    assert "grow" in done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_features_that_are_only_looked_at(start: Started, tmp_path: Path) -> None:
    """Refused, held or given, over every way in."""
    daemon, client, server = start(models.lstm(6, features=2, outputs=1))
    for n in range(15):
        client.xadd("values", {"a": f"{n % 4},{n % 3}"}, id=f"{START_MS + 1000 * n}-0")
    wait_for_position(client, "values", f"{START_MS + 14_000}-0")
    status, error = asked(daemon, {"series": "a", "steps": 3})
    assert (status, "'value1'" in error["error"]) == (400, True)
    status, held = asked(daemon, {"series": "a", "steps": 3, "future": "hold"})
    assert (status, held["held"]) == (200, ["value1"])
    table = tmp_path / "future.csv"
    table.write_text("unique_id,value1\na,1\na,2\na,3\n")
    done = run(
        tmp_path, "forecast", "--redis", server.url, "--series", "a", "--steps", "3", "--future", str(table), "--json"
    )
    assert done.returncode == 0, done.stderr
    given = [step["yhat"] for step in json.loads(done.stdout)["forecast"]]
    model = streamlstm.load(tmp_path / "model.onnx")
    state = model.initial_state(1)
    for n in range(15):
        y, state = model.step([[n % 4, n % 3]], state)
    loop = []
    for other in (1, 2, 3):
        loop.append(y[0, 0])
        y, state = model.step([[y[0, 0], other]], state)
    assert [np.float32(number) for number in given] == loop

    async def later() -> Any:
        async with streamlstm.AsyncClient(server.url) as made:
            return await made.forecast("a", 3, future={"a": [1.0, 2.0, 3.0]})

    assert asyncio.run(later())["yhat"].tolist() == given


def test_the_endpoint_can_be_left_out(start: Started) -> None:
    """--no-forecasts, the page apart."""
    daemon, _, _ = start(models.lstm(4), "--no-forecasts")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{daemon.ready()['http']}/forecast?series=a", timeout=60)
