"""Champion and challenger on a real server: tried, promoted, gone back from and taken away, whatever is killed when."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import redis

from streamlstm.models.model import load
from streamlstm.store.keys import Keys
from streamlstm.store.resp.address import Address
from streamlstm.store.resp.connection import Connection
from streamlstm.store.roles import Roles
from streamlstm.store.terms import MOST_TERMS
from support import forked, models, odd_models
from support.server import Server
from support.serving import (
    Serving,
    add,
    check,
    eventually,
    found_predictions,
    run,
    wait_for_position,
    wait_until_in_step,
)
from support.traffic import entries

MADE = entries(41, 6000, series=40, odd=0.03)
KEYS = Keys("values")


Begin = Callable[..., tuple[Server, redis.Redis, Serving]]


@pytest.fixture
def answering(start_server: Callable[..., Server], start: Callable[..., Serving]) -> Begin:
    """A function that has a daemon answer so many entries on a server of its own."""

    def begin(count: int) -> tuple[Server, redis.Redis, Serving]:
        server = start_server()
        client = server.client()
        daemon = start("--redis", server.url)
        daemon.ready()
        add(client, MADE[:count])
        wait_for_position(client, "values", MADE[count - 1][0])
        return server, client, daemon

    return begin


def model(directory: Path, server: Server, *arguments: str) -> str:
    """Run a command of `model` that has to work; what it printed."""
    done = run(directory, "model", *arguments, "--redis", server.url)
    assert done.returncode == 0, done.stderr
    return done.stdout


def verified(directory: Path, server: Server, path: Path, stream: str = "values") -> dict[str, object]:
    """What `verify` says of a stream; it has to find every bit right."""
    done = run(directory, "verify", str(path), stream, "--redis", server.url, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, object] = json.loads(done.stdout)
    return report


def test_a_challenger_answers_what_it_would_alone_and_takes_over(
    answering: Begin,
    start: Callable[..., Serving],
    tmp_path: Path,
    model_path: Path,
    other_path: Path,
) -> None:
    """From the retained input, then in the same commits; promoted and back, each value is answered by one model."""
    server, client, daemon = answering(2000)
    own, new = load(model_path).fingerprint, load(other_path).fingerprint
    assert new[:12] in model(tmp_path, server, "add", "other.onnx")
    wait_until_in_step(client)
    listed = json.loads(model(tmp_path, server, "list", "--json"))[0]
    assert (listed["champion"], listed["challenger"], listed["challenger_stopped"]) == (own, new, None)
    assert listed["compared"]["values"] > 1000
    assert (
        listed["compared"]["champion"].keys()
        == listed["compared"]["challenger"].keys()
        == {"mae", "rmse", "scaled_error"}
    )
    add(client, MADE[2000:3000])
    wait_for_position(client, "values", MADE[2999][0])
    check(client, load(model_path), MADE[:3000])  # the champion's answers are what they were without it
    wait_until_in_step(client)
    assert client.xlen(KEYS.challenger_predictions) == client.xlen(KEYS.predictions)

    model(tmp_path, server, "promote")
    add(client, MADE[3000:4500])
    wait_for_position(client, "values", MADE[4499][0])
    daemon.kill()
    daemon = start("--redis", server.url)  # with the file of the former champion
    daemon.ready()
    add(client, MADE[4500:5000])
    wait_for_position(client, "values", MADE[4999][0])
    assert client.hget(KEYS.meta, "model") == new.encode()
    terms = json.loads(client.hget(KEYS.meta, "champions"))
    assert [(term["model"], term["after"]) for term in terms] == [(own, "0-0"), (new, MADE[2999][0])]
    model(tmp_path, server, "rollback")
    add(client, MADE[5000:])
    wait_for_position(client, "values", MADE[-1][0])
    assert client.hget(KEYS.meta, "model") == own.encode()
    wait_until_in_step(client)
    for path in (model_path, other_path):
        report = verified(tmp_path, server, path)
        assert report["models"] == [own, new]
        assert report["predictions"] == report["challenger_predictions"] == client.xlen(KEYS.predictions)
    answered = [entry_id for entry_id, _ in found_predictions(client, "values")]
    assert len(answered) == len(set(answered))

    model(tmp_path, server, "remove")
    assert not client.exists(KEYS.challenger_state, KEYS.challenger_predictions, KEYS.model(new))
    assert verified(tmp_path, server, model_path)["models_gone"] == [new]
    assert daemon.stop() == 0


def test_a_model_that_comes_back_is_verified_in_each_of_its_lives(
    answering: Begin, tmp_path: Path, model_path: Path, other_path: Path
) -> None:
    """Taken away and added again, from the input and fresh: what it answered as champion and what beside one."""
    server, client, daemon = answering(500)

    def more(first: int, last: int) -> None:
        add(client, MADE[first:last])
        wait_for_position(client, "values", MADE[last - 1][0])
        wait_until_in_step(client)

    for number, begin in enumerate(("replay", "replay", "fresh", "replay")):
        model(tmp_path, server, "add", "other.onnx", "--from", begin)
        more(500 + 300 * number, 600 + 300 * number)
        model(tmp_path, server, "promote")
        more(600 + 300 * number, 700 + 300 * number)
        model(tmp_path, server, "rollback")
        more(700 + 300 * number, 800 + 300 * number)
        for path in (model_path, other_path):
            report = verified(tmp_path, server, path)
            assert report["predictions"] == client.xlen(KEYS.predictions)
            assert report["challenger_predictions"] == client.xlen(KEYS.challenger_predictions)
            assert report["models"] == [load(model_path).fingerprint, load(other_path).fingerprint]
        model(tmp_path, server, "remove")
    assert daemon.stop() == 0


def test_what_forgotten_champions_answered_is_said_to_be_not_compared(
    answering: Begin, tmp_path: Path, other_path: Path
) -> None:
    """Of more terms than are remembered the oldest go; what is compared begins with the first that is left."""
    server, client, daemon = answering(50)
    model(tmp_path, server, "add", "other.onnx")
    wait_until_in_step(client)
    with closing(Connection(Address.parse(server.url), name="test")) as connection:
        for number in range(50, 60):
            add(client, MADE[number : number + 1])
            wait_for_position(client, "values", MADE[number][0])
            for _ in range(MOST_TERMS // 10):
                Roles(connection, KEYS).promote()
    terms = json.loads(client.hget(KEYS.meta, "champions"))
    assert len(terms) == MOST_TERMS
    report = verified(tmp_path, server, other_path)
    assert report["forgotten"] == terms[0]["after"] == MADE[50][0]
    done = run(tmp_path, "verify", "other.onnx", "--redis", server.url)
    assert f"not compared: what was answered up to {MADE[50][0]}" in done.stderr
    assert daemon.stop() == 0


def produce(client: redis.Redis, names: tuple[str, ...], done: threading.Event) -> None:
    """Send all entries to some streams, a few at a time."""
    for first in range(0, len(MADE), 20):
        for name in names:
            add(client, MADE[first : first + 20], name)
        time.sleep(0.05)
    done.set()


def test_whatever_is_killed_while_models_change(
    start_server: Callable[..., Server],
    start: Callable[..., Serving],
    tmp_path: Path,
    model_path: Path,
    other_path: Path,
) -> None:
    """Two streams, two processes, traffic throughout; daemons and whoever changes models are killed at any moment."""
    server = start_server()
    client = server.client()
    rng = random.Random(7)
    names = ("values:{1}", "values:{2}")
    numbers = itertools.count()

    def begin() -> Serving:
        return start(
            "--redis", server.url, *(part for name in names for part in ("--stream", name)), "--lease-ttl", "500ms"
        )

    daemons = [begin(), begin()]
    for daemon in daemons:
        daemon.ready()
    done = threading.Event()
    thread = threading.Thread(target=produce, args=(server.client(), names, done))
    thread.start()
    assert eventually(lambda: all(client.hexists(Keys(name).meta, "model") for name in names))
    while not done.is_set():
        what = rng.choice(
            (["add", *names, "other.onnx", "--replace"], ["promote", *names], ["rollback", *names], ["remove", *names])
        )
        time.sleep(0.3)  # what has changed is taken up, and answered with
        command = forked.begin(
            ["model", *what, "--redis", server.url],
            cwd=tmp_path,
            env=os.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if rng.random() < 0.3:
            time.sleep(rng.uniform(0, 1.2))
            command.kill()
        command.wait(60)
        if rng.random() < 0.4:
            number = next(numbers) % 2
            daemons[number].kill()
            daemons[number] = begin()
    thread.join()
    for name in names:
        wait_for_position(client, name, MADE[-1][0])
        champion = client.hget(Keys(name).meta, "model")
        other = next(path for path in (model_path, other_path) if load(path).fingerprint.encode() != champion)
        model(tmp_path, server, "add", name, other.name, "--replace")
        wait_until_in_step(client, name)
        report = verified(tmp_path, server, model_path, name)
        assert report["predictions"] == client.xlen(Keys(name).predictions)


@pytest.mark.parametrize("kind", ["fails", "reads two features", "another file", "ends processes"])
def test_what_is_wrong_with_a_challenger_costs_the_champion_nothing(
    answering: Begin, start: Callable[..., Serving], tmp_path: Path, model_path: Path, kind: str
) -> None:
    """It is stepped no more, or answers nothing, and `model list` says why; the champion's answers are the same."""
    server, client, daemon = answering(300)
    data = {"fails": odd_models.division(), "reads two features": models.lstm(8, features=2)}
    (tmp_path / "new.onnx").write_bytes(data.get(kind, models.lstm(8, seed=3)))
    assert daemon.stop() == 0
    model(tmp_path, server, "add", "new.onnx")
    wanted = {
        "another file": "holds another model than it says",
        "ends processes": "3 processes ended while loading it",
    }.get(kind, "")
    if kind == "another file":
        client.set(KEYS.model(load(tmp_path / "new.onnx").fingerprint), b"something else")
    if kind == "ends processes":
        client.hset(KEYS.challenger_starts, "loading", 3)
    daemon = start("--redis", server.url)
    daemon.ready()
    if wanted:
        assert eventually(lambda: wanted.encode() in (client.hget(KEYS.meta, "challenger_off") or b""))
        assert wanted in model(tmp_path, server, "list")
    add(client, MADE[300:600])
    wait_for_position(client, "values", MADE[599][0])
    if not wanted:
        wait_until_in_step(client)
    assert client.xlen(KEYS.challenger_predictions) < client.xlen(KEYS.predictions)
    check(client, load(model_path), MADE[:600])
    verified(tmp_path, server, model_path)
    assert daemon.stop() == 0


def test_what_others_write_to_a_challenger_costs_the_champion_nothing(
    answering: Begin,
    start: Callable[..., Serving],
    tmp_path: Path,
    model_path: Path,
    other_path: Path,
) -> None:
    """Its stream of predictions takes nothing any more: it is stepped no more, and every value is answered."""
    server, client, daemon = answering(500)
    model(tmp_path, server, "add", "other.onnx")
    wait_until_in_step(client)
    client.xadd(KEYS.challenger_predictions, {"hot": "1"}, id=f"{2**64 - 1}-{2**64 - 1}")
    add(client, MADE[500:1000])
    wait_for_position(client, "values", MADE[999][0])
    check(client, load(model_path), MADE[:1000])
    assert eventually(lambda: b"somebody else added" in (client.hget(KEYS.meta, "challenger_off") or b""))
    model(tmp_path, server, "add", "other.onnx", "--replace")
    wait_until_in_step(client)
    verified(tmp_path, server, other_path)
    assert daemon.stop() == 0


def test_what_cannot_be_is_refused_in_one_line(
    start_server: Callable[..., Server],
    start: Callable[..., Serving],
    tmp_path: Path,
    model_path: Path,
    other_path: Path,
) -> None:
    """A stream never served, its own champion, a second challenger, nobody to promote or to go back to."""
    server = start_server()
    client = server.client()

    def refused(*arguments: str) -> str:
        done = run(tmp_path, "model", *arguments, "--redis", server.url)
        assert done.returncode in {1, 2}
        assert "Traceback" not in done.stderr
        assert done.stderr.startswith("streamlstm: error: ")
        assert done.stderr.count("\n") == 1
        return done.stderr

    assert "there is no stream" in refused("add", "other.onnx")
    client.xadd("values", {"a": "1"})
    assert "has not been served yet" in refused("add", "other.onnx")
    daemon = start("--redis", server.url)
    daemon.ready()
    assert eventually(lambda: client.hexists(KEYS.meta, "model"))
    assert "is the champion of 'values' already" in refused("add", "model.onnx")
    assert "has no challenger" in refused("promote")
    assert "has no challenger" in refused("remove")
    assert "none to go back to" in refused("rollback")
    assert "no stream has a challenger" in refused("promote", "--all")
    assert "there is no model file" in refused("add", "nothing.onnx")
    model(tmp_path, server, "add", "other.onnx", "--from", "fresh")
    assert "already; take that away first" in refused("add", "other.onnx")
    assert "none to go back to" in refused("rollback")
    model(tmp_path, server, "promote", "--all")
    assert "is a pattern" in refused("promote", "values*")
