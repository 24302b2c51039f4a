"""Leases and members that somebody else writes to: nothing rests on them, so no stream stops because of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from streamlstm.daemon.sharing.process_identity import Process, is_dead_here
from streamlstm.models.model import load
from streamlstm.store.keys import Keys, members_key
from support.server import Server
from support.serving import Serving, add, check, eventually, wait_for_position
from support.traffic import entries

ONE, OTHER = "a{1}", "a{2}"
LEASE = Keys(ONE).lease
MEMBERS = members_key("g")
STREAMS = ("--stream", ONE, "--stream", OTHER, "--group", "g", "--lease-ttl", "1s")
StartServer = Callable[..., Server]
Start = Callable[..., Serving]
Tamper = Callable[[redis.Redis], object]


def a_hash(client: redis.Redis) -> None:
    """The lease is another kind of key."""
    pipe = client.pipeline()
    pipe.delete(LEASE)
    pipe.hset(LEASE, "a", "b")
    pipe.execute()


def ghosts(score: Callable[[], float | str], name: str = "{} ghost:{}:1:x") -> Tamper:
    """A thousand members that no process keeps alive, all older than any that is."""

    def tamper(client: redis.Redis) -> None:
        given = score()
        parts = [part for number in range(1_000) for part in (given, name.format(number, number))]
        client.execute_command("ZADD", MEMBERS, *parts)

    return tamper


def members_are_text(client: redis.Redis) -> None:
    """The roll is another kind of key."""
    client.set(MEMBERS, "x")


LIVE: dict[str, Tamper] = {
    "lease of another type": a_hash,
    "lease without an end": lambda client: client.set(LEASE, "somebody"),
    "lease for thirty years": lambda client: client.set(LEASE, "somebody", px=10**12),
    "owner not UTF-8": lambda client: client.set(LEASE, b"\xff:\xfe:1:2"),
    "owner with an odd pid": lambda client: client.set(LEASE, "h:²:1:" + Process.this().machine),
    "own lease without an end": lambda client: client.persist(LEASE),
    "no lease": lambda client: client.delete(LEASE),
    "member for ever": lambda client: client.execute_command("ZADD", MEMBERS, "inf", "1 x"),
    "member with an odd time": lambda client: client.execute_command("ZADD", MEMBERS, "inf", "² x"),
    "member of many digits": lambda client: client.execute_command("ZADD", MEMBERS, "9e15", "9" * 5_000 + " x"),
    "member not UTF-8": lambda client: client.execute_command("ZADD", MEMBERS, "inf", b"1 \xff\xfe"),
    "ghosts for ever": ghosts(lambda: "inf"),
    "ghosts for years": ghosts(lambda: time.time() * 1000 + 1e11),
    "ghosts for a minute": ghosts(lambda: time.time() * 1000 + 6e4),
    "ghosts without a time": ghosts(lambda: "inf", "ghost {}{}"),
    "members of another type": members_are_text,
}


HARMLESS = {LIVE[name] for name in ("own lease without an end", "no lease")}
# Of these, what is found at a start in another way than by a beat.
BEFORE = (
    "lease without an end",
    "owner not UTF-8",
    "owner with an odd pid",
    "ghosts for ever",
    "members of another type",
)


@pytest.mark.parametrize("tamper", LIVE.values(), ids=LIVE)
def test_tampered_with_while_live(tamper: Tamper, start_server: StartServer, start: Start, model_path: Path) -> None:
    """Both streams go on; what was put right is counted."""
    server = start_server()
    client, made = server.client(), entries(61, 90, series=10)
    daemon = start("--redis", server.url, *STREAMS)
    daemon.ready()
    for part in (made[:30], made[30:60], made[60:]):
        for stream in (ONE, OTHER):
            add(client, part, stream)
            wait_for_position(client, stream, part[-1][0])
        tamper(client)
        time.sleep(0.5)  # a beat comes every third of a second
    for stream in (ONE, OTHER):
        check(client, load(model_path), made, stream)
    for lease in (LEASE, Keys(OTHER).lease):
        assert eventually(lambda key=lease: 0 < client.pttl(key) <= 1_000)
    assert eventually(lambda: daemon.metric("streamlstm_owned_streams") == 2)
    assert [line for line in daemon.log() if line["level"] == "error"] == []
    if tamper not in HARMLESS:
        assert eventually(lambda: daemon.metric("streamlstm_lease_repairs_total") > 0)
    assert daemon.stop() == 0
    client.close()


@pytest.mark.parametrize("name", BEFORE)
def test_tampered_with_before_the_start(name: str, start_server: StartServer, start: Start, model_path: Path) -> None:
    """Whoever starts serves both streams, at once or once a lease that nobody renews has ended."""
    server = start_server()
    client, made = server.client(), entries(62, 30, series=10)
    LIVE[name](client)
    daemon = start("--redis", server.url, *STREAMS)
    for stream in (ONE, OTHER):
        add(client, made, stream)
        wait_for_position(client, stream, made[-1][0])
        check(client, load(model_path), made, stream)
    assert daemon.stop() == 0
    client.close()


def test_a_lease_of_another_type_at_the_start_is_named(start_server: StartServer, start: Start) -> None:
    """It may be somebody's own key: it is not overwritten; the stream is named, the other one served."""
    server = start_server()
    client, made = server.client(), entries(63, 30, series=10)
    a_hash(client)
    daemon = start("--redis", server.url, *STREAMS)
    daemon.ready()
    add(client, made, OTHER)
    wait_for_position(client, OTHER, made[-1][0])
    words = f"the key {LEASE!r} at {server.url} is a hash, not a string"
    assert eventually(lambda: any(words in line["message"] for line in daemon.log()))
    assert eventually(lambda: words in daemon.get("/readyz")[1])
    assert eventually(lambda: daemon.metric(f'streamlstm_refused{{stream="{ONE}"}}') == 1)
    assert client.hgetall(LEASE) == {b"a": b"b"}
    assert daemon.stop() == 0
    client.close()


@pytest.mark.parametrize("owner", ["h:²:1:m", "h:" + "9" * 5_000 + ":1:m", "h:1:\0:m", ":::", ""])
def test_odd_owners_are_not_known_to_be_dead(owner: str) -> None:
    """Nothing is concluded from a name that no process has."""
    assert not is_dead_here(owner.replace(":m", f":{Process.this().machine}") if "\0" not in owner else owner)
