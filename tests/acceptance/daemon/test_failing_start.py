"""Starts that fail: one line that says why, and nothing left behind, neither sockets nor leases nor files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from streamlstm.store.keys import Keys
from support.server import Server, free_port
from support.serving import Serving

KEYS = Keys("values")
StartServer = Callable[..., Server]
Start = Callable[..., Serving]


def last_words(daemon: Serving, status: int = 1) -> str:
    """What a daemon that could not start said in the end; it was one line, and there were no warnings besides."""
    assert daemon.process.wait(60) == status
    lines = [line for line in daemon.log_path.read_text().splitlines() if not line.startswith("{")]
    assert len(lines) == 1, lines
    return lines[0].removeprefix("streamlstm: error: ")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("unix:///nowhere/s", "no connection to the Redis server at unix:///nowhere/s: No such file or directory"),
        ("redis://127.0.0.1:{free}/0", "no connection to the Redis server at redis://127.0.0.1:{free}/0: Connection"),
        ("rediss://127.0.0.1:{port}/0?socket_timeout=0.3", "does it speak it on this port?"),
        ("redis+sentinel://127.0.0.1:{port}/x", "this is no Sentinel"),
        ("redis+cluster://127.0.0.1:{port}", "not part of a Cluster; use redis://127.0.0.1:{port}/0"),
        ("redis://:secret@127.0.0.1:{port}/0", "leave the password out"),
    ],
)
def test_urls_that_lead_nowhere(url: str, words: str, shared_server: Server, start: Start) -> None:
    """Each is named, with its reason."""
    places = {"port": shared_server.port, "free": free_port()}
    daemon = start("--redis", url.format(**places))
    assert words.format(**places) in (said := last_words(daemon))
    assert "secret" not in said


def a_text(client: redis.Redis) -> None:
    """The input is no stream."""
    client.set("values", "x")


def another_model(client: redis.Redis) -> None:
    """The states are of a model that this is not."""
    client.hset(KEYS.meta, mapping={"model": "ab" * 32, "position": "5-0", "format": "1"})


def another_format(client: redis.Redis) -> None:
    """A later version wrote them."""
    client.hset(KEYS.meta, mapping={"format": "99"})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (a_text, "is a string, not a stream; rename or delete it"),
        (another_model, "another model"),
        (another_format, "have format '99'"),
    ],
)
def test_a_stream_that_cannot_be_served_is_left_as_it_was(
    spoil: Callable[[redis.Redis], None], words: str, start_server: StartServer, start: Start
) -> None:
    """The lease that was taken to look at it is given back, and the place among the members."""
    server = start_server()
    with server.client() as client:
        spoil(client)
        before = client.keys("*")
        assert words in last_words(start("--redis", server.url, "--lease-ttl", "10m"))
        assert client.keys("*") == before


def test_a_lease_of_another_type_is_named(start_server: StartServer, start: Start) -> None:
    """The key that is in the way is in the message."""
    server = start_server()
    with server.client() as client:
        client.hset(KEYS.lease, "a", "b")
        assert f"the key {KEYS.lease!r} at" in last_words(start("--redis", server.url))


@pytest.mark.parametrize("missing", ["-subscribe", "-xread|-exec", "-watch", "-multi", "resetchannels", "resetkeys"])
def test_rights_that_are_missing_are_said(missing: str, start_server: StartServer, start: Start) -> None:
    """What the server did not allow, and where all that is needed is listed; then the process ends."""
    server = start_server()
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "poor", "on", ">p", "~*", "&*", "+@all", *missing.split("|"))
        said = last_words(start("--redis", f"redis://poor:p@127.0.0.1:{server.port}/0"))
        assert "NOPERM" in said or "No permissions" in said
        assert "deploy/redis/users.acl" in said


def test_a_start_that_fails_leaves_no_word_of_where_it_listens(tmp_path: Path, start: Start) -> None:
    """Without `--redis`: the embedded server is stopped again, and the directory says that nothing runs."""
    (tmp_path / "data" / "appendonlydir").mkdir(parents=True)
    (tmp_path / "data" / "appendonlydir" / "appendonly.aof.manifest").write_text("rubbish\n")
    assert "the embedded server ended at once" in last_words(start("--data-dir", "data"))
    assert not list(tmp_path.glob("data/*.json*"))
