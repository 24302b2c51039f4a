"""Another model on a stream: refused, begun anew, or its states made again from the values there are; never mixed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import redis

import streamlstm.daemon.model_change
from streamlstm.daemon.model_change import Rebuild
from streamlstm.engine.engine import Engine
from streamlstm.errors import StoreError
from streamlstm.models.model import Model, load
from streamlstm.store.base import Head
from streamlstm.store.keys import Keys
from streamlstm.store.memory import MemoryServer
from support import models
from support.compare import assert_predictions_equal, assert_states_equal
from support.memory_connection import MemoryConnection
from support.oracle import Oracle
from support.server import Server
from support.serving import Serving, add, eventually, found_predictions, wait_for_position
from support.traffic import entries

STREAM = "values"
MADE = entries(31, 2000, series=50, odd=0.05)


def check(client: redis.Redis, before: Oracle, after: Oracle, model: Model, first: int) -> None:
    """Predictions of the model before up to an entry and of the one after from there on; states of the one after."""
    begin = int(MADE[first][0].split("-")[0])
    both = Oracle(model)
    both.predictions = [p for p in before.predictions if int(p[0].split("-")[0]) < begin]
    both.predictions += [p for p in after.predictions if int(p[0].split("-")[0]) >= begin]
    assert_predictions_equal(found_predictions(client, STREAM), both)
    assert_states_equal(client.hgetall(Keys(STREAM).state), after, Engine(model).format)
    assert client.hget(Keys(STREAM).meta, "model") == model.fingerprint.encode()
    assert client.keys("*draft*") == []


def test_writing_the_states_beats_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Millions of them take minutes: the loop is asked after each page, and a stop is heard there."""
    monkeypatch.setattr(streamlstm.daemon.model_change, "PAGE", 10)
    server, asked, other = MemoryServer(), list[bool](), "ab" * 32
    server.add(STREAM, "1-0", *(part for number in range(95) for part in (f"s{number}", "1")))
    held = server.stream(STREAM)
    held.model, held.position = other, b"1-0"

    def connect(stream: str) -> MemoryConnection:
        return MemoryConnection(server, {}, stream, lambda *_: None)

    def stopping() -> bool:
        asked.append(True)
        return len(asked) == 9

    rebuild = Rebuild(connect, replay=True, token="t")  # type: ignore[arg-type]
    engine, head = Engine(models.load_lstm(4)), Head(position=b"1-0", model=other, series=0, answered=1)
    with pytest.raises(StoreError, match="stopped before the states of 'values' were made again; nothing is changed"):
        rebuild(STREAM, head, engine, stopping)
    assert (held.model, held.state) == (other, {})
    rebuild(STREAM, head, engine, stopping)
    assert len(held.state) == 95
    assert len(asked) == 9 + 1 + 10  # once for the only batch of entries, then for each page of states


@pytest.mark.parametrize("policy", ["reset", "replay"])
def test_states_are_replaced_at_the_position(
    policy: str,
    start_server: Callable[..., Server],
    start: Callable[..., Serving],
    model_path: Path,
    other_path: Path,
) -> None:
    """Begun anew or made again from retained values: answers up to the position are the old model's, then the new."""
    server = start_server()
    client = server.client()
    daemon = start("--redis", server.url)
    daemon.ready()
    add(client, MADE[:1200])
    wait_for_position(client, STREAM, MADE[1199][0])
    assert daemon.stop() == 0
    other = start("--redis", server.url, "--on-model-change", policy, model=other_path)
    other.ready()
    add(client, MADE[1200:])
    wait_for_position(client, STREAM, MADE[-1][0])
    assert other.stop() == 0
    new = load(other_path)
    after = Oracle(new).feed(MADE if policy == "replay" else MADE[1200:])
    check(client, Oracle(load(model_path)).feed(MADE), after, new, 1200)
    client.close()


@pytest.mark.parametrize("policy", ["reset", "replay"])
def test_a_daemon_of_the_old_model_ends(
    policy: str, start_server: Callable[..., Server], start: Callable[..., Serving], model_path: Path, other_path: Path
) -> None:
    """Replaced under a daemon at work, the states are the new model's from one entry on, and the old daemon ends."""
    server = start_server()
    client = server.client()
    old = start("--redis", server.url, "--on-model-change", "reset", "--lease-ttl", "0")
    old.ready()
    add(client, MADE[:800])
    wait_for_position(client, STREAM, MADE[799][0])
    new = start("--redis", server.url, "--on-model-change", policy, "--lease-ttl", "0", model=other_path)
    new.ready()
    assert client.hget(Keys(STREAM).meta, "position") == MADE[799][0].encode()
    add(client, MADE[800:])
    wait_for_position(client, STREAM, MADE[-1][0])
    assert old.process.wait(60) == 1
    assert "made by another model" in old.log_path.read_text()
    assert new.stop() == 0
    model = load(other_path)
    after = Oracle(model).feed(MADE if policy == "replay" else MADE[800:])
    check(client, Oracle(load(model_path)).feed(MADE), after, model, 800)
    client.close()


def test_replay_takes_what_the_input_still_retains(
    start_server: Callable[..., Server], start: Callable[..., Serving], other_path: Path
) -> None:
    """Trimmed input is not there to be stepped again: the states are those of the values that are left."""
    server = start_server()
    client = server.client()
    daemon = start("--redis", server.url)
    daemon.ready()
    add(client, MADE[:600])
    wait_for_position(client, STREAM, MADE[599][0])
    assert daemon.stop() == 0
    client.xtrim(STREAM, minid=MADE[200][0], approximate=False)
    before = found_predictions(client, STREAM)
    other = start("--redis", server.url, "--on-model-change", "replay", model=other_path)
    other.ready()
    model = load(other_path)
    oracle = Oracle(model).feed(MADE[200:600])
    assert_states_equal(client.hgetall(Keys(STREAM).state), oracle, Engine(model).format)
    assert found_predictions(client, STREAM) == before
    assert other.stop() == 0
    client.close()


def test_idle_series_are_removed_and_begin_anew(
    start_server: Callable[..., Server], start: Callable[..., Serving], model_path: Path
) -> None:
    """With `--idle-after` a record goes once its series has had no value for so long by entries' ids; it is counted."""
    server = start_server()
    client = server.client()
    daemon = start("--redis", server.url, "--idle-after", "100s")
    daemon.ready()
    made = [("1000-0", ["a", "1", "b", "1"]), ("50000-0", ["a", "2"]), ("120000-0", ["a", "3"])]
    add(client, made)
    wait_for_position(client, STREAM, made[-1][0])

    def more() -> bool:
        made.append((f"{120_000 + len(made)}-0", ["a", "4"]))
        add(client, made[-1:])
        wait_for_position(client, STREAM, made[-1][0])
        return not client.hexists(Keys(STREAM).state, "b")

    assert eventually(more)
    assert eventually(lambda: daemon.metric('streamlstm_idle_series_removed_total{stream="values"}') == 1)
    made.append(("130000-0", ["b", "1", "a", "5"]))
    add(client, made[-1:])
    wait_for_position(client, STREAM, made[-1][0])
    assert daemon.stop() == 0
    model = load(model_path)
    oracle = Oracle(model, idle_ms=100_000).feed(made)
    assert oracle.series["b"].steps == 1
    assert_states_equal(client.hgetall(Keys(STREAM).state), oracle, Engine(model).format)
    client.close()
