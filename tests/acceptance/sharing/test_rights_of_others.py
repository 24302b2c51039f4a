"""Processes with rights of their own: who may not serve is never ready, and keeps no stream from who may."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from streamlstm.models.model import load
from support.server import HOST, Server
from support.serving import Serving, add, check, eventually, wait_for_position
from support.traffic import entries

Start = Callable[..., Serving]
MADE = entries(44, 200, odd=0.05)
OPTIONS = ("--lease-ttl", "1s")


def allow(client: redis.Redis, user: str, *changes: str) -> str:
    """Give a user every right, then make changes; returns its URL."""
    client.execute_command("ACL", "SETUSER", user, "on", ">p", "~*", "&*", "+@all", *changes)
    return f"redis://{user}:p@{HOST}:{client.get_connection_kwargs()['port']}/0"


@pytest.fixture
def client(start_server: Callable[..., Server]) -> redis.Redis:
    """Of a server of the test's own."""
    return start_server().client()


NEVER_ASKED_BEFORE_ITS_TURN = ("WATCH", "XADD", "XREAD", "EXEC", "DEL", "ZREM", "PEXPIRE", "HLEN", "TYPE")


def test_who_may_not_serve_is_never_ready(client: redis.Redis, start: Start) -> None:
    """Though another has the stream, it ends with the command's name, and has written nothing: not a lease even."""
    holder = start("--redis", allow(client, "old"), *OPTIONS)
    holder.ready()
    members = client.zrange("streamlstm:{values}:members", 0, -1)
    for command in NEVER_ASKED_BEFORE_ITS_TURN:
        spare = start("--redis", allow(client, "new", f"-{command.lower()}"), *OPTIONS)
        assert spare.process.wait(60) == 1
        assert f"answered to {command}" in spare.log_path.read_text().splitlines()[-1]
        assert client.zrange("streamlstm:{values}:members", 0, -1) == members
    assert holder.stop() == 0


@pytest.mark.parametrize("policy", ["reset", "replay"])
def test_who_may_not_replace_states_is_never_ready_to(policy: str, client: redis.Redis, start: Start) -> None:
    """What `--on-model-change` will need is asked for beforehand too."""
    url = allow(client, "new", "-rename")
    daemon = start("--redis", url, "--on-model-change", policy)
    assert daemon.process.wait(60) == 1
    assert "answered to RENAME" in daemon.log_path.read_text().splitlines()[-1]
    daemon = start("--redis", url)
    daemon.ready()
    assert daemon.stop() == 0


def test_who_stands_by_loses_a_right_and_has_it_back(client: redis.Redis, start: Start, model_path: Path) -> None:
    """Not ready meanwhile, by the command's name; ready again, and serving when its turn comes."""
    holder = start("--redis", allow(client, "old"), *OPTIONS)
    holder.ready()
    spare = start("--redis", allow(client, "new"), *OPTIONS)
    assert spare.ready()["streams"] == []
    assert spare.get("/readyz")[0] == 200
    allow(client, "new", "-xadd")
    assert eventually(lambda: spare.get("/readyz")[0] == 503)
    assert "answered to XADD" in spare.get("/readyz")[1]
    assert holder.get("/readyz")[0] == 200
    allow(client, "new")
    assert eventually(lambda: spare.get("/readyz")[0] == 200)
    holder.kill()
    add(client, MADE)
    wait_for_position(client, "values", MADE[-1][0])
    check(client, load(model_path), MADE)
    assert spare.stop() == 0


@pytest.mark.parametrize("command", ["XADD", "WATCH"])
def test_who_loses_a_right_leaves_its_streams_to_others(
    command: str, client: redis.Redis, start: Start, model_path: Path
) -> None:
    """The one that stands by may still serve: it has the stream, and every value is answered once."""
    holder = start("--redis", allow(client, "old"), *OPTIONS)
    holder.ready()
    spare = start("--redis", allow(client, "new"), *OPTIONS)
    assert spare.ready()["streams"] == []
    add(client, MADE[:100])
    wait_for_position(client, "values", MADE[99][0])
    allow(client, "old", f"-{command.lower()}")
    add(client, MADE[100:])
    wait_for_position(client, "values", MADE[-1][0])
    check(client, load(model_path), MADE)
    assert eventually(lambda: spare.metric("streamlstm_owned_streams") == 1)
    assert eventually(lambda: holder.get("/readyz")[0] == 503)
    allow(client, "old")
    assert eventually(lambda: holder.get("/readyz")[0] == 200)
    assert [holder.stop(), spare.stop()] == [0, 0]
