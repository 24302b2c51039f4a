"""Whatever command or reply of a commit is refused, lost or out of order: nothing is ever written beside the fence."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import redis

from streamlstm.errors import StoreError, StoreForbidsError, StoreUnavailableError
from streamlstm.store.preflight import Preflight
from streamlstm.store.redis import RedisStore
from streamlstm.store.resp.codec import Texts
from streamlstm.store.resp.topology import parse_topology
from support.guarded_stream import KEYS, GuardedStream, flight
from support.server import Server, binaries
from support.serving import eventually

OPENING = ("WATCH", "TYPE", "HMGET", "HLEN", "XINFO", "MULTI")
FLIGHT = ("HDEL", "HSET", "XADD", "XTRIM", "EXEC", "WATCH", "HMGET", "MULTI")
LATER = ("EXEC", "HSET", "HDEL", "DEL", "XADD", "XREAD", "XRANGE", "HGET", "TIME", "XTRIM", "HSCAN")
NEEDED = tuple(dict.fromkeys(OPENING + LATER))


def tried(store: RedisStore) -> Exception | None:
    """What a second commit ends in."""
    try:
        store.send_commit(flight(1))
        assert store.receive_commit("values")
        store.send_commit(flight(2))  # may not leave where the fence behind the second is not known to stand
        store.receive_commit("values")
    except StoreError as error:
        return error
    finally:
        store.close()
    return None


@pytest.mark.parametrize("command", NEEDED)
@pytest.mark.parametrize("how", ["rights", "proxy"])
def test_what_is_refused_is_named_before_anything_is_sent(guarded: GuardedStream, how: str, command: str) -> None:
    """A stream is not opened where a command that it will need is refused; nothing is written by finding out."""
    before = guarded.content()
    if how == "rights":
        guarded.allow(f"-{command.lower()}")
        store = guarded.store()
    else:
        guarded.proxy.refused.add(command.encode())
        store = guarded.store(guarded.proxied)
    for _ in range(2):
        with pytest.raises(StoreForbidsError, match=command):
            store.open("values")
    guarded.allow()
    guarded.proxy.refused.clear()
    assert store.open("values").position == b"1-0"
    assert guarded.content() == before


@pytest.mark.parametrize("command", NEEDED)
@pytest.mark.parametrize("kind", list(binaries()))
def test_what_is_renamed_is_named(kind: str, command: str, tmp_path: Path) -> None:
    """The same of a server that has the command by another name, or not at all."""
    server = Server(binaries()[kind], tmp_path, fsync="no", arguments=("--rename-command", command, "")).start()
    try:
        where = parse_topology(server.url)
        store = RedisStore(where, preflight=Preflight(where, trims=True, sweeps=True))
        with pytest.raises(StoreForbidsError, match=rf"{command}.*unknown command.*; give the command back"):
            store.open("values")
        store.close()
    finally:
        server.stop()


@pytest.mark.parametrize("command", ["XTRIM", "HSCAN"])
def test_what_is_not_needed_may_be_refused(guarded: GuardedStream, command: str) -> None:
    """A store that neither trims nor sweeps asks for no right to do so."""
    guarded.allow(f"-{command.lower()}", "-client|setname", "-acl", "-command", "-discard", "-unwatch")
    store = RedisStore(guarded.url)
    assert store.open("values").position == b"1-0"
    store.close()


@pytest.mark.parametrize("command", FLIGHT)
@pytest.mark.parametrize("how", ["rights", "proxy"])
def test_what_is_refused_later_writes_nothing_or_all(
    guarded: GuardedStream, whole: Callable[[], None], how: str, command: str
) -> None:
    """A right that is taken away between two commits: said by name; once it is back, everything is as it must be."""
    store = guarded.store(guarded.proxied)
    store.open("values")
    if how == "rights":
        guarded.allow(f"-{command.lower()}")
    else:
        guarded.proxy.refused.add(command.encode())
    error = tried(store)
    assert isinstance(error, StoreForbidsError)
    assert command in str(error)
    if how == "rights" and command in {"HDEL", "HSET", "XADD", "XTRIM", "EXEC"}:
        assert guarded.content()["meta"][b"position"] == b"1-0", "the server gave up the whole"
    before = guarded.content()
    with pytest.raises(StoreForbidsError, match=command):
        store.open("values")
    assert guarded.content() == before
    guarded.allow()
    guarded.proxy.refused.clear()
    store.open("values")  # writes what was left out
    whole()


@pytest.mark.parametrize(
    ("trouble", "command"),
    # Those of queued commands are all the same, in whatever order they come.
    [*(("lost", command) for command in FLIGHT), *(("mixed", command) for command in FLIGHT[-4:])],
)
def test_replies_may_be_lost_or_mixed_up(
    guarded: GuardedStream, whole: Callable[[], None], trouble: str, command: str
) -> None:
    """It is found out, and the position decides: the commit holds or it does not."""
    store = guarded.store(guarded.proxied, timeout_s=0.8)
    store.open("values")
    getattr(guarded.proxy, trouble).add(command.encode())
    assert isinstance(tried(store), StoreError)
    assert guarded.content()["meta"][b"position"] == b"2-0"
    getattr(guarded.proxy, trouble).clear()
    whole()


@pytest.mark.parametrize("command", OPENING)
@pytest.mark.parametrize("trouble", ["lost", "mixed"])
def test_a_stream_is_not_opened_by_replies_that_are_not_its_own(
    guarded: GuardedStream, trouble: str, command: str
) -> None:
    """Lost or mixed up on the way: an error of ours, and never a head made of something else."""
    store = guarded.store(guarded.proxied, timeout_s=0.8)
    store.open("values")
    getattr(guarded.proxy, trouble).add(command.encode())
    with contextlib.suppress(StoreError):
        head = store.open("values")
        assert (head.position, head.series, head.answered) == (b"1-0", 2, 1)
    getattr(guarded.proxy, trouble).clear()
    store.close()
    assert store.open("values").position == b"1-0"


TAKEN = {
    "XADD": ("-xadd",),
    "HSET": ("-hset",),
    "HDEL": ("-hdel",),
    "XTRIM": ("-xtrim",),
    "all": ("-hset", "-xadd", "-hdel", "-xtrim"),
    "state": ("resetkeys", "~values", f"~{KEYS.meta}", f"~{KEYS.predictions}", f"~{KEYS.anomalies}", f"~{KEYS.dead}"),
    "meta": ("resetkeys", "~values", f"~{KEYS.state}", f"~{KEYS.predictions}", f"~{KEYS.anomalies}", f"~{KEYS.dead}"),
    "predictions": ("resetkeys", "~values", f"~{KEYS.state}", f"~{KEYS.meta}", f"~{KEYS.anomalies}", f"~{KEYS.dead}"),
}


@pytest.mark.parametrize("what", TAKEN)
def test_rights_taken_in_the_midst_of_a_commit(guarded: GuardedStream, whole: Callable[[], None], what: str) -> None:
    """Redis looks at rights again when EXEC comes, and carries out the rest: what was left out is written first."""
    store = guarded.store(guarded.proxied)
    store.open("values")
    reached = guarded.proxy.held[b"EXEC"] = threading.Event()
    store.send_commit(flight(1))
    assert eventually(lambda: _queued(guarded.client) == 8)
    guarded.allow(*TAKEN[what])
    del guarded.proxy.held[b"EXEC"]
    reached.set()
    with pytest.raises(StoreError, match="left out while the others were carried out"):
        store.receive_commit("values")
    store.close()
    for _ in range(2):
        with pytest.raises(StoreError, match=r"NOPERM|No permissions"):
            store.open("values")
        store.close()
    guarded.allow()
    store.open("values")
    whole()


def _queued(client: redis.Redis) -> int:
    """Commands queued on the connection that commits."""
    return max(int(one["multi"]) for one in client.client_list() if one["name"] == "streamlstm-commit")


def test_what_was_left_out_is_said_if_another_has_gone_on(
    guarded: GuardedStream, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is forced into a stream that another process has taken further."""
    store = guarded.store(guarded.proxied)
    store.open("values")
    guarded.proxy.refused.add(b"XADD")
    assert isinstance(tried(store), StoreForbidsError)
    other = guarded.store()
    assert other.open("values").position == b"2-0"
    other.send_commit(flight(2))
    assert other.receive_commit("values")
    guarded.proxy.refused.clear()
    before = guarded.content()
    assert store.open("values").position == b"3-0"
    assert guarded.content() == before
    assert "cannot be carried out any more: another process has gone on" in caplog.text


@pytest.mark.parametrize("groups", [(), ("readers", "others")])
@pytest.mark.parametrize("which", [1, 2])
def test_a_prediction_that_others_follow_is_put_in(guarded: GuardedStream, which: int, groups: tuple[str, ...]) -> None:
    """One of four was refused and the next were not: they are in order in the end, and readers are where they were."""
    store = guarded.store(guarded.proxied)
    store.open("values")
    for group in groups:
        guarded.client.xgroup_create(KEYS.predictions, group, "0")
        guarded.client.xreadgroup(group, "reader", {KEYS.predictions: ">"})
    ids = [b"1-%d" % number for number in range(1, 5)]
    commit = replace(
        flight(1),
        ids=Texts.of(ids),
        fields=Texts.of([b"s"] * 4),
        texts=Texts.of([b"%d.5" % number for number in range(1, 5)]),
        counts=np.ones(4, np.int64),
        removed=[],
        trim_before_ms=None,
    )
    guarded.proxy.skipped[b"XADD"] = which
    guarded.proxy.once.add(b"XADD")
    store.send_commit(commit)
    with pytest.raises(StoreForbidsError, match="left out while the others were carried out"):
        store.receive_commit("values")
    assert len(guarded.client.xrange(KEYS.predictions)) == 4
    store.open("values")
    found = [(one, fields[b"s"]) for one, fields in guarded.client.xrange(KEYS.predictions)]
    assert found == [(b"1-%d" % number, b"%d.5" % number) for number in range(5)]
    assert guarded.client.ttl(KEYS.predictions) == -1
    for group in groups:
        pending = guarded.client.xpending_range(KEYS.predictions, group, "-", "+", 10)
        assert [(one["message_id"], one["consumer"]) for one in pending] == [(b"1-0", b"reader")]
        given = guarded.client.xreadgroup(group, "reader", {KEYS.predictions: ">"})
        assert [one for one, _ in given[0][1]] == ids
    assert guarded.content()["meta"][b"position"] == b"2-0"


def test_a_commit_held_up_on_its_way_changes_nothing_after_another(guarded: GuardedStream) -> None:
    """It lands after a second process has gone on: the position stays, and so does everything else."""
    store = guarded.store(guarded.proxied)
    store.open("values")
    released = guarded.proxy.held[b"HSET"] = threading.Event()
    store.send_commit(flight(1))
    other = guarded.store()
    other.open("values")
    for number in (1, 2):
        other.send_commit(flight(number))
        assert other.receive_commit("values")
    before = guarded.content()
    del guarded.proxy.held[b"HSET"]
    released.set()
    assert not store.receive_commit("values")
    assert guarded.content() == before


def test_without_the_right_to_watch_nobody_commits(guarded: GuardedStream) -> None:
    """Taken away while two processes serve: each ends its commit, and sends no other until it is given back."""
    one, other = guarded.store(), guarded.store()
    one.open("values")
    other.open("values")
    guarded.allow("-watch")
    one.send_commit(flight(1))  # guarded by the watch set when it was opened
    with pytest.raises(StoreForbidsError, match="WATCH"):
        one.receive_commit("values")
    before = guarded.content()
    other.send_commit(flight(1))
    with pytest.raises(StoreError):
        other.receive_commit("values")
    for store in (one, other):
        with pytest.raises(StoreForbidsError, match="WATCH"):
            store.open("values")
    assert guarded.content() == before
    guarded.allow()
    assert one.open("values").position == b"2-0"


def test_a_server_that_is_only_away_is_no_refusal(guarded: GuardedStream) -> None:
    """What passes by itself is not found out beforehand: it ends a commit, and the commit is tried again."""
    guarded.client.config_set("maxmemory", 1)
    try:
        store = guarded.store()
        assert store.open("values").position == b"1-0"
        store.send_commit(flight(1))
        with pytest.raises(StoreUnavailableError, match="OOM"):
            store.receive_commit("values")
    finally:
        guarded.client.config_set("maxmemory", 0)
    assert store.open("values").position == b"1-0"
