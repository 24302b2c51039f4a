"""Streams and series that begin with pushed history, on a real server, whatever is killed meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from streamlstm.client.client import Client
from streamlstm.models.model import load
from streamlstm.store.keys import Keys
from support import models
from support.server import Server
from support.serving import Serving, add, eventually, found_predictions, run, wait_for_position, wait_until_in_step
from support.traffic import entries

BEGIN_MS = 1_700_000_000_000
STEP_MS = 60_000
HISTORY, LIVE = 900, 600  # entries
SHOWN = ("--interval", "0.9", "--score")


def table(path: Path, first: int, last: int) -> Path:
    """Values of three series at so many times, as a file."""
    rng = random.Random(5)
    rows = [(f"room-{s}", BEGIN_MS + STEP_MS * n, round(rng.gauss(20, 3), 2)) for n in range(last) for s in range(3)]
    path.write_text("unique_id,ds,y\n" + "".join(f"{name},{ms},{value}\n" for name, ms, value in rows[3 * first :]))
    return path


def pushed(directory: Path, server: Server, *arguments: str) -> None:
    """Run a push that has to work."""
    done = run(directory, "push", *arguments, "--redis", server.url)
    assert done.returncode == 0, done.stderr


def same_records(client: redis.Redis, one: str, other: str) -> bool:
    """Whether two streams have the same records."""
    found: dict[bytes, bytes] = client.hgetall(Keys(one).state)
    return len(found) > 0 and found == client.hgetall(Keys(other).state)


def test_a_stream_that_began_warm_goes_on_as_if_all_had_come_live(
    start_server: Callable[..., Server],
    start: Callable[..., Serving],
    tmp_path: Path,
    model_path: Path,
    other_path: Path,
) -> None:
    """Bit-equal from the first live value on, records too, daemons killed all the while; `verify` agrees."""
    server = start_server()
    client = server.client()
    made = entries(17, HISTORY + LIVE, odd=0.05)
    warm = [(entry_id, ["!warm", "*", *fields]) for entry_id, fields in made[:HISTORY]] + made[HISTORY:]
    names = ("live", "begun")
    serving = ("--redis", server.url, "--lease-ttl", "500ms", *SHOWN, "--stream", "live", "--stream", "begun")
    rng = random.Random(3)
    daemon = start(*serving)
    for first in range(0, len(made), 150):
        for name, sent in zip(names, (made, warm), strict=True):
            add(client, sent[first : first + 150], name)
        daemon.ready()
        reached = made[first + rng.randrange(150)][0].encode()
        position = b"0-0"
        while int(position.partition(b"-")[0]) < int(reached.partition(b"-")[0]):  # killed somewhere in the midst
            position = client.hget(Keys("begun").meta, "position") or b"0-0"
        daemon.kill()
        daemon = start(*serving)
    for name in names:
        wait_for_position(client, name, made[-1][0])
    live, begun = (found_predictions(client, name) for name in names)
    assert begun == [one for one in live if int(one[0].partition(b"-")[0]) > HISTORY * 1000]
    assert len(begun) > LIVE * 0.9
    assert same_records(client, "live", "begun")
    for name in names:
        done = run(tmp_path, "model", "add", name, "other.onnx", "--redis", server.url)
        assert done.returncode == 0, done.stderr
        wait_until_in_step(client, name)
    made_live, made_begun = (client.xrange(Keys(name).challenger_predictions) for name in names)
    assert made_begun == [one for one in made_live if int(one[0].partition(b"-")[0]) > HISTORY * 1000]
    assert client.hgetall(Keys("live").challenger_state) == client.hgetall(Keys("begun").challenger_state)
    for name in names:
        for path in (model_path, other_path):
            done = run(tmp_path, "verify", str(path), name, "--redis", server.url, *SHOWN)
            assert done.returncode == 0, done.stdout + done.stderr
    assert daemon.stop() == 0


@pytest.mark.parametrize("killed", [False, True])
def test_push_warm_is_stepped_and_not_answered(
    start_server: Callable[..., Server], start: Callable[..., Serving], tmp_path: Path, model_path: Path, killed: bool
) -> None:
    """The file's values are counted, and scored, and in the states; the first live value has its forecast's score."""
    server = start_server()
    client = server.client()
    daemon = start("--redis", server.url, *SHOWN)
    daemon.ready()
    pushed(tmp_path, server, "values", str(table(tmp_path / "history.csv", 0, 300)), "--warm")
    if killed:
        daemon.kill()
        daemon = start("--redis", server.url, *SHOWN)
        daemon.ready()
    pushed(tmp_path, server, "values", str(table(tmp_path / "live.csv", 300, 400)), "--wait", "1m")
    found = found_predictions(client, "values")
    assert [int(one[0].partition(b"-")[0]) for one in found] == [BEGIN_MS + STEP_MS * n for n in range(300, 400)]
    assert not client.exists(Keys("values").dead)
    assert all(b"nan" not in text for text in found[0][1][1::2]), "intervals and scores are there at once"
    if not killed:
        assert eventually(lambda: daemon.metric('streamlstm_predictions_total{stream="values"}') == 300)
        assert daemon.metric('streamlstm_warm_values_total{stream="values"}') == 900
        assert daemon.metric('streamlstm_values_total{stream="values"}') == 1200
    done = run(tmp_path, "verify", str(model_path), "--redis", server.url, *SHOWN)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_series_begins_with_history_older_than_its_streams_end(
    start_server: Callable[..., Server], start: Callable[..., Serving], tmp_path: Path
) -> None:
    """With a model that looks at times: the states are those of a stream that had the values at their times."""
    server = start_server()
    client = server.client()
    hours = tmp_path / "hours.onnx"
    hours.write_bytes(models.hours())
    daemon = start("--redis", server.url, "--stream", "values", "--stream", "others", model=hours)
    daemon.ready()
    client.xadd("values", {"else": "1"})  # under the time of now
    history = table(tmp_path / "history.csv", 0, 50)
    pushed(tmp_path, server, "values", str(history), "--warm", "--wait", "1m")
    pushed(tmp_path, server, "others", str(history), "--wait", "1m")
    assert [one[1][0] for one in found_predictions(client, "values")] == [b"else"]
    assert not client.exists(Keys("values").dead)
    ours, theirs = (client.hgetall(Keys(name).state) for name in ("values", "others"))
    del ours[b"else"]
    assert ours == theirs
    with Client(server.url, "values") as producer:
        producer.push([("room-0", BEGIN_MS + STEP_MS * 50, 21.0)], warm=True, wait="1m")
        assert client.hgetall(Keys("values").state)[b"room-0"] != theirs[b"room-0"]
    done = run(tmp_path, "verify", str(hours), "values", "--redis", server.url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert load(hours).fingerprint.encode() == client.hget(Keys("values").meta, "model")
    assert daemon.stop() == 0
