"""`state` as a process: what it shows, and that states survive being carried away and brought back."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import redis

from streamlstm.engine.engine import Engine
from streamlstm.models.model import Model
from streamlstm.store.keys import Keys
from streamlstm.store.redis import RedisStore
from support import models
from support.compare import assert_predictions_equal, assert_states_equal
from support.oracle import Oracle
from support.pump import pump
from support.server import Server, binaries
from support.serving import eventually, found_predictions
from support.traffic import entries

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
STREAM = "values"
ODD_NAME = "s\n\x1b[31m é"


@pytest.fixture(scope="module")
def model() -> Model:
    """A small LSTM."""
    return models.load_lstm(4)


def answer(url: str, model: Model, made: list[tuple[str, list[str]]], stream: str = STREAM) -> None:
    """Push entries and answer them with the real engine and store."""
    with redis.Redis.from_url(url, protocol=2) as client:
        for entry_id, fields in made:
            client.execute_command("XADD", stream, entry_id, *fields)
    store = RedisStore(url, block_ms=1)
    pump(Engine(model), store, [stream])
    store.close()


def test_list_shows_every_series(run: Run, client: redis.Redis, redis_url: str, model: Model) -> None:
    """One line a series, names escaped for terminals, exact in JSON; a record that is none is said to be."""
    answer(redis_url, model, [("1000-0", ["a", "1", ODD_NAME, "2"]), ("2000-0", ["a", "2"])])
    client.hset(Keys(STREAM).state, b"\xff\x00", b"rubbish")
    found = [json.loads(line) for line in run("state", "list", "--json").stdout.splitlines()]
    by_name = {os.fsencode(line["series"]): line for line in found}
    assert set(by_name) == {b"a", ODD_NAME.encode(), b"\xff\x00"}
    assert by_name[b"a"]["steps"] == 2
    assert by_name[b"a"]["scored"] == 1
    assert by_name[b"a"]["naive_mae"] == 1.0
    assert by_name[b"a"]["time"] == "1970-01-01T00:00:02.000Z"
    assert "7 bytes" in by_name[b"\xff\x00"]["damaged"]
    text = run("state", "list").stdout.decode()
    assert "s\\n\\x1b[31m é" in text
    assert "\x1b" not in text
    assert "\\xff\\x00" in text
    assert len(run("state", "list", "--match", "a*").stdout.splitlines()) == 1


def test_show_names_the_parts_of_the_state(run: Run, redis_url: str, model: Model, tmp_path: Path) -> None:
    """With the model the state's parts stand there by name, with the record's very float32; without it their size."""
    (tmp_path / "model.onnx").write_bytes(models.lstm(4))
    answer(redis_url, model, [("1000-0", ["a", "1.5"]), ("2000-0", ["a", "2.5"])])
    oracle = Oracle(model).feed([("1000-0", ["a", "1.5"]), ("2000-0", ["a", "2.5"])]).series["a"]
    found = json.loads(run("state", "show", "--series", "a", "--model", "model.onnx", "--json").stdout)
    state = np.array([*found["state"]["h"], *found["state"]["c"]], np.float32)
    assert state.tobytes() == oracle.state.tobytes()
    assert np.float32(found["last_prediction"]["yhat"]) == oracle.output[0]
    assert found["last_value"] == [2.5]
    text = run("state", "show", "--series", "a").stdout.decode()
    assert "steps            2" in text
    assert "state size       8" in text


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["show"], 2, "--series NAME"),
        (["show", "--series", "nobody"], 1, "no series 'nobody'"),
        (["list", "nowhere"], 1, "there is no stream 'nowhere'"),
        (["show", "nowhere", "--series", "a"], 1, "there is no stream 'nowhere'"),
        (["reset", "nowhere", "--all"], 1, "there is no stream 'nowhere'"),
        (["export", "nowhere", "-o", "x.state"], 1, "there is no stream 'nowhere'"),
        (["export", "-o", "-", "--json"], 2, "leave --json out"),
        (["import", "--from", "-", "--from", "-"], 2, "read only once"),
        (["reset"], 2, "--all"),
        (["reset", "--series", "a", "--all"], 2, "--all"),
        (["export", "-o", "x.state"], 1, "nobody has served it yet"),
        (["import", "--from", "nowhere"], 1, "cannot read nowhere: No such file"),
        (["import", "--from", "/dev/zero"], 1, "cannot read /dev/zero: it is a device"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    run: Run, client: redis.Redis, arguments: list[str], status: int, words: str
) -> None:
    """Usage and failures: one line, what to do, the right status; no file is left behind."""
    client.xadd(STREAM, {"a": "1"})
    done = run("state", *arguments)
    assert done.returncode == status
    assert words in done.stderr.decode()
    assert len(done.stderr.splitlines()) == 1


def test_reset_goes_in_band(run: Run, client: redis.Redis, redis_url: str, model: Model) -> None:
    """Series reset by the command begin anew with their next value, in order, as the oracle says."""
    made = entries(3, 60, odd=0.0)
    answer(redis_url, model, made)
    assert run("state", "reset", "--series", "hot", "--series", "s1", "--json").returncode == 0
    [(entry_id, fields)] = client.xrevrange(STREAM, count=1)
    assert dict(fields) == {b"!reset": b"s1"}, "a client shows the last of two equal fields"
    more = [(f"{int(entry_id.split(b'-')[0]) + n}-1", ["hot", "1", "s1", "2"]) for n in range(3)]
    answer(redis_url, model, more)
    oracle = Oracle(model).feed([*made, (entry_id.decode(), ["!reset", "hot", "!reset", "s1"]), *more])
    assert_predictions_equal(found_predictions(client, STREAM), oracle)
    assert oracle.series["hot"].steps == 3
    assert run("state", "reset", "--all").returncode == 0
    answer(redis_url, model, [])
    assert client.hgetall(Keys(STREAM).state) == {}


def test_states_move_to_another_stream(run: Run, client: redis.Redis, redis_url: str, model: Model) -> None:
    """Exported, imported under another name, served on: predictions and states go on bit for bit."""
    made = entries(4, 200, odd=0.1)
    answer(redis_url, model, made[:120])
    done = run("state", "export", "-o", "a.state", "--json")
    assert json.loads(done.stdout)["position"] == made[119][0]
    done = run("state", "import", "other", "--from", "a.state", "--json")
    assert json.loads(done.stdout)["series"] == client.hlen(Keys(STREAM).state)
    answer(redis_url, model, made[120:], "other")
    oracle = Oracle(model).feed(made)
    oracle.predictions = [p for p in oracle.predictions if int(p[0].split("-")[0]) > 120_000]
    assert_predictions_equal(found_predictions(client, "other"), oracle)
    assert_states_equal(client.hgetall(Keys("other").state), oracle, Engine(model).format)
    assert client.keys("*draft*") == []
    assert run("status", "other").returncode == 0


def test_a_stream_that_is_further_on_goes_back_only_by_force(
    run: Run, client: redis.Redis, redis_url: str, model: Model
) -> None:
    """Going back deletes later predictions and dead letters, and the values are answered again with the same bits."""
    made = entries(5, 2500, odd=0.1)
    answer(redis_url, model, made[:1200])
    assert run("state", "export", "-o", "a.state").returncode == 0
    answer(redis_url, model, made[1200:])
    before = found_predictions(client, STREAM)
    done = run("state", "import", "--from", "a.state")
    assert done.returncode == 1
    assert "--force" in done.stderr.decode()
    assert found_predictions(client, STREAM) == before
    assert run("state", "import", "--from", "a.state", "--force").returncode == 0
    assert found_predictions(client, STREAM)[-1][0].decode() <= made[1199][0]
    answer(redis_url, model, [])
    oracle = Oracle(model).feed(made)
    assert_predictions_equal(found_predictions(client, STREAM), oracle)
    assert_states_equal(client.hgetall(Keys(STREAM).state), oracle, Engine(model).format)
    letters = [fields for _, fields in client.xrange(Keys(STREAM).dead)]
    assert [(f[b"id"].decode(), f[b"series"].decode(), f[b"value"].decode()) for f in letters] == oracle.dead


def test_another_models_states_are_refused(run: Run, client: redis.Redis, redis_url: str, model: Model) -> None:
    """A file of another model is not imported, not even by force."""
    answer(redis_url, model, [("1-0", ["a", "1"])])
    assert run("state", "export", "-o", "a.state").returncode == 0
    answer(redis_url, models.load_lstm(4, seed=9), [("1-0", ["a", "1"])], "other")
    before = client.hgetall(Keys("other").state)
    done = run("state", "import", "other", "--from", "a.state", "--force")
    assert done.returncode == 1
    assert "never mixed" in done.stderr.decode()
    assert client.hgetall(Keys("other").state) == before


def test_states_go_through_pipes(run: Run, client: redis.Redis, redis_url: str, model: Model, tmp_path: Path) -> None:
    """`export -o - | import --from -`: the bytes of the file and nothing else on stdout, and the same states after."""
    answer(redis_url, model, entries(6, 30, odd=0.0))
    assert run("state", "export", "-o", "a.state").returncode == 0
    piped = run("state", "export", "-o", "-")
    assert (piped.returncode, piped.stdout) == (0, (tmp_path / "a.state").read_bytes())
    assert b"in stdout" in piped.stderr
    done = run("state", "import", "other", "--from", "-", stdin=piped.stdout)
    assert done.returncode == 0, done.stderr
    assert client.hgetall(Keys("other").state) == client.hgetall(Keys(STREAM).state)
    assert f"other at {redis_url}" in done.stderr.decode()
    cut = run("state", "import", "third", "--from", "-", stdin=piped.stdout[:-1])
    assert cut.returncode == 1
    assert b"cut short" in cut.stderr
    assert not client.exists(Keys("third").state)


def test_no_variable_overwrites_a_file(run: Run, redis_url: str, model: Model, tmp_path: Path) -> None:
    """What was set for `train` is not what `state export` writes over."""
    answer(redis_url, model, entries(6, 30, odd=0.0))
    (tmp_path / "m.onnx").write_bytes(b"a model")
    done = run("state", "export", STREAMLSTM_OUTPUT="m.onnx")
    assert done.returncode == 2
    assert b"'--output'" in done.stderr
    assert (tmp_path / "m.onnx").read_bytes() == b"a model"
    assert run("state", "reset", STREAMLSTM_ALL="1", STREAMLSTM_SERIES="a").returncode == 2


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda b: b[:-1], "cut short"),
        (lambda b: b[: len(b) // 2], "cut short"),
        (lambda b: b + b"x", "follows its end"),
        (lambda b: b[:-30] + bytes([b[-30] ^ 1]) + b[-29:], "checksum"),
        (lambda b: b"nonsense", "not a file of exported states"),
        (lambda b: b.replace(b'"format": 1', b'"format": 9'), "this version reads 1 and 2"),
        (lambda b: b.replace(b'"position": "', b'"position": "x'), "position in its head is 'x"),
    ],
)
def test_a_damaged_file_changes_nothing(
    run: Run,
    client: redis.Redis,
    redis_url: str,
    model: Model,
    tmp_path: Path,
    spoil: Callable[[bytes], bytes],
    words: str,
) -> None:
    """A file that is not whole is refused in one line, and the stream and the server are as before."""
    answer(redis_url, model, entries(6, 30, odd=0.0))
    assert run("state", "export", "-o", "a.state").returncode == 0
    path = tmp_path / "a.state"
    path.write_bytes(spoil(path.read_bytes()))
    done = run("state", "import", "other", "--from", "a.state")
    assert done.returncode == 1
    assert words in done.stderr.decode()
    assert len(done.stderr.splitlines()) == 1
    assert {key.decode() for key in client.keys("*")} == {STREAM, Keys(STREAM).state, Keys(STREAM).meta} | {
        Keys(STREAM).predictions
    }


@pytest.mark.parametrize("binary", binaries())
def test_going_back_leaves_readers_their_groups(
    binary: str, start_server: Callable[..., Server], run: Run, model: Model
) -> None:
    """A forced import: groups, consumers, what they have and its counts stay; what is answered again comes again."""
    server = start_server(binaries()[binary])
    client, keys = server.client(), Keys(STREAM)
    made = entries(6, 900, odd=0.1)
    answer(server.url, model, made[:600])
    assert run("state", "export", "-o", "a.state", STREAMLSTM_REDIS=server.url).returncode == 0
    client.xgroup_create(keys.predictions, "done", "$")
    client.xgroup_create(keys.predictions, "busy", "0")
    client.xgroup_create(keys.predictions, "begun", "0")
    client.xgroup_create(keys.dead, b"b\xffd", "0")
    client.xgroup_createconsumer(keys.predictions, "busy", "asleep")
    answer(server.url, model, made[600:])
    for _ in range(2):  # three not acknowledged, two of them before the position the stream goes back to
        client.xreadgroup("busy", "one", {keys.predictions: ">"}, count=100)
    client.xreadgroup("busy", "two", {keys.predictions: ">"})
    given = [entry["message_id"] for entry in client.xpending_range(keys.predictions, "busy", "-", "+", 5000)]
    client.xack(keys.predictions, "busy", *(set(given) - {given[3], given[150], given[-1]}))
    client.xreadgroup("busy", "one", {keys.predictions: "0"})  # counts as given once more
    letter = client.xreadgroup(b"b\xffd", "one", {keys.dead: ">"}, count=1)[0][1][0][0]
    kept = [entry_id for entry_id, _ in found_predictions(client, STREAM) if int(entry_id.split(b"-")[0]) <= 600_000]
    before = client.xpending_range(keys.predictions, "busy", "-", "+", 5000)

    waiting = threading.Thread(target=client.xreadgroup, args=("done", "w", {keys.predictions: ">"}, 1, 0), daemon=True)
    client.xreadgroup("done", "w", {keys.predictions: ">"})
    waiting.start()
    assert eventually(lambda: int(client.info("clients")["blocked_clients"]) == 1)
    assert run("state", "import", "--from", "a.state", "--force", STREAMLSTM_REDIS=server.url).returncode == 0

    groups = {group["name"]: group for group in client.xinfo_groups(keys.predictions)}
    assert {name: group["last-delivered-id"] for name, group in groups.items()} == {
        b"done": kept[-1],
        b"busy": kept[-1],
        b"begun": b"0-0",
    }
    assert [groups[name].get("lag", lag) for name, lag in ((b"done", 0), (b"begun", len(kept)))] == [0, len(kept)]
    assert {one["name"] for one in client.xinfo_consumers(keys.predictions, "busy")} == {b"one", b"two", b"asleep"}
    after = client.xpending_range(keys.predictions, "busy", "-", "+", 5000)
    assert [one["message_id"] for one in after] == [given[3], given[150]]
    for one, other in zip(after, before, strict=False):
        assert (one["consumer"], one["times_delivered"]) == (other["consumer"], other["times_delivered"])
        assert one["time_since_delivered"] >= other["time_since_delivered"]
    [left] = client.xpending_range(keys.dead, b"b\xffd", "-", "+", 10)
    assert left["message_id"] == letter
    assert client.keys("*draft*") == []

    answer(server.url, model, [])  # the daemon answers again, and the reader that waits hears of it
    waiting.join(120)
    assert not waiting.is_alive()
    read = client.xreadgroup("busy", "one", {keys.predictions: ">"})[0][1]
    assert [entry_id for entry_id, _ in read] == [e for e, _ in found_predictions(client, STREAM)][len(kept) :]
