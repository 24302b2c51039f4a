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
from support.place import KEYS, Place, flight
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
def test_what_is_refused_is_named_before_anything_is_sent(place: Place, how: str, command: str) -> None:
    """A stream is not opened where a command that it will need is refused; nothing is written by finding out."""
    before = place.content()
    if how == "rights":
        place.allow(f"-{command.lower()}")
        store = place.store()
    else:
        place.proxy.refused.add(command.encode())
        store = place.store(place.proxied)
    for _ in range(2):
        with pytest.raises(StoreForbidsError, match=command):
            store.open("values")
    place.allow()
    place.proxy.refused.clear()
    assert store.open("values").position == b"1-0"
    assert place.content() == before


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
def test_what_is_not_needed_may_be_refused(place: Place, command: str) -> None:
    """A store that neither trims nor sweeps asks for no right to do so."""
    place.allow(f"-{command.lower()}", "-client|setname", "-acl", "-command", "-discard", "-unwatch")
    store = RedisStore(place.url)
    assert store.open("values").position == b"1-0"
    store.close()


@pytest.mark.parametrize("command", FLIGHT)
@pytest.mark.parametrize("how", ["rights", "proxy"])
def test_what_is_refused_later_writes_nothing_or_all(
    place: Place, whole: Callable[[], None], how: str, command: str
) -> None:
    """A right that is taken away between two commits: said by name; once it is back, everything is as it must be."""
    store = place.store(place.proxied)
    store.open("values")
    if how == "rights":
        place.allow(f"-{command.lower()}")
    else:
        place.proxy.refused.add(command.encode())
    error = tried(store)
    assert isinstance(error, StoreForbidsError)
    assert command in str(error)
    if how == "rights" and command in {"HDEL", "HSET", "XADD", "XTRIM", "EXEC"}:
        assert place.content()["meta"][b"position"] == b"1-0", "the server gave up the whole"
    before = place.content()
    with pytest.raises(StoreForbidsError, match=command):
        store.open("values")
    assert place.content() == before
    place.allow()
    place.proxy.refused.clear()
    store.open("values")  # writes what was left out
    whole()


@pytest.mark.parametrize(
    ("trouble", "command"),
    # Those of queued commands are all the same, in whatever order they come.
    [*(("lost", command) for command in FLIGHT), *(("mixed", command) for command in FLIGHT[-4:])],
)
def test_replies_may_be_lost_or_mixed_up(place: Place, whole: Callable[[], None], trouble: str, command: str) -> None:
    """It is found out, and the position decides: the commit holds or it does not."""
    store = place.store(place.proxied, timeout_s=0.8)
    store.open("values")
    getattr(place.proxy, trouble).add(command.encode())
    assert isinstance(tried(store), StoreError)
    assert place.content()["meta"][b"position"] == b"2-0"
    getattr(place.proxy, trouble).clear()
    whole()


@pytest.mark.parametrize("command", OPENING)
@pytest.mark.parametrize("trouble", ["lost", "mixed"])
def test_a_stream_is_not_opened_by_replies_that_are_not_its_own(place: Place, trouble: str, command: str) -> None:
    """Lost or mixed up on the way: an error of ours, and never a head made of something else."""
    store = place.store(place.proxied, timeout_s=0.8)
    store.open("values")
    getattr(place.proxy, trouble).add(command.encode())
    with contextlib.suppress(StoreError):
        head = store.open("values")
        assert (head.position, head.series, head.answered) == (b"1-0", 2, 1)
    getattr(place.proxy, trouble).clear()
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
def test_rights_taken_in_the_midst_of_a_commit(place: Place, whole: Callable[[], None], what: str) -> None:
    """Redis looks at rights again when EXEC comes, and carries out the rest: what was left out is written first."""
    store = place.store(place.proxied)
    store.open("values")
    reached = place.proxy.held[b"EXEC"] = threading.Event()
    store.send_commit(flight(1))
    assert eventually(lambda: _queued(place.client) == 8)
    place.allow(*TAKEN[what])
    del place.proxy.held[b"EXEC"]
    reached.set()
    with pytest.raises(StoreError, match="left out while the others were carried out"):
        store.receive_commit("values")
    store.close()
    for _ in range(2):
        with pytest.raises(StoreError, match=r"NOPERM|No permissions"):
            store.open("values")
        store.close()
    place.allow()
    store.open("values")
    whole()


def _queued(client: redis.Redis) -> int:
    """Commands queued on the connection that commits."""
    return max(int(one["multi"]) for one in client.client_list() if one["name"] == "streamlstm-commit")


def test_what_was_left_out_is_said_if_another_has_gone_on(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is forced into a stream that another process has taken further."""
    store = place.store(place.proxied)
    store.open("values")
    place.proxy.refused.add(b"XADD")
    assert isinstance(tried(store), StoreForbidsError)
    other = place.store()
    assert other.open("values").position == b"2-0"
    other.send_commit(flight(2))
    assert other.receive_commit("values")
    place.proxy.refused.clear()
    before = place.content()
    assert store.open("values").position == b"3-0"
    assert place.content() == before
    assert "cannot be carried out any more: another process has gone on" in caplog.text


@pytest.mark.parametrize("groups", [(), ("readers", "others")])
@pytest.mark.parametrize("which", [1, 2])
def test_a_prediction_that_others_follow_is_put_in(place: Place, which: int, groups: tuple[str, ...]) -> None:
    """One of four was refused and the next were not: they are in order in the end, and readers are where they were."""
    store = place.store(place.proxied)
    store.open("values")
    for group in groups:
        place.client.xgroup_create(KEYS.predictions, group, "0")
        place.client.xreadgroup(group, "reader", {KEYS.predictions: ">"})
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
    place.proxy.skipped[b"XADD"] = which
    place.proxy.once.add(b"XADD")
    store.send_commit(commit)
    with pytest.raises(StoreForbidsError, match="left out while the others were carried out"):
        store.receive_commit("values")
    assert len(place.client.xrange(KEYS.predictions)) == 4
    store.open("values")
    found = [(one, fields[b"s"]) for one, fields in place.client.xrange(KEYS.predictions)]
    assert found == [(b"1-%d" % number, b"%d.5" % number) for number in range(5)]
    assert place.client.ttl(KEYS.predictions) == -1
    for group in groups:
        pending = place.client.xpending_range(KEYS.predictions, group, "-", "+", 10)
        assert [(one["message_id"], one["consumer"]) for one in pending] == [(b"1-0", b"reader")]
        given = place.client.xreadgroup(group, "reader", {KEYS.predictions: ">"})
        assert [one for one, _ in given[0][1]] == ids
    assert place.content()["meta"][b"position"] == b"2-0"


def test_a_commit_held_up_on_its_way_changes_nothing_after_another(place: Place) -> None:
    """It lands after a second process has gone on: the position stays, and so does everything else."""
    store = place.store(place.proxied)
    store.open("values")
    released = place.proxy.held[b"HSET"] = threading.Event()
    store.send_commit(flight(1))
    other = place.store()
    other.open("values")
    for number in (1, 2):
        other.send_commit(flight(number))
        assert other.receive_commit("values")
    before = place.content()
    del place.proxy.held[b"HSET"]
    released.set()
    assert not store.receive_commit("values")
    assert place.content() == before


def test_without_the_right_to_watch_nobody_commits(place: Place) -> None:
    """Taken away while two processes serve: each ends its commit, and sends no other until it is given back."""
    one, other = place.store(), place.store()
    one.open("values")
    other.open("values")
    place.allow("-watch")
    one.send_commit(flight(1))  # guarded by the watch set when it was opened
    with pytest.raises(StoreForbidsError, match="WATCH"):
        one.receive_commit("values")
    before = place.content()
    other.send_commit(flight(1))
    with pytest.raises(StoreError):
        other.receive_commit("values")
    for store in (one, other):
        with pytest.raises(StoreForbidsError, match="WATCH"):
            store.open("values")
    assert place.content() == before
    place.allow()
    assert one.open("values").position == b"2-0"


def test_a_server_that_is_only_away_is_no_refusal(place: Place) -> None:
    """What passes by itself is not found out beforehand: it ends a commit, and the commit is tried again."""
    place.client.config_set("maxmemory", 1)
    try:
        store = place.store()
        assert store.open("values").position == b"1-0"
        store.send_commit(flight(1))
        with pytest.raises(StoreUnavailableError, match="OOM"):
            store.receive_commit("values")
    finally:
        place.client.config_set("maxmemory", 0)
    assert store.open("values").position == b"1-0"
