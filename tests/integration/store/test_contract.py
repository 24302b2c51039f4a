"""What every store promises, held against the one in memory and against real servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pytest

from streamlstm.errors import StoreError, StoreUnavailableError
from streamlstm.store.base import Anomalies, Commit, DeadLetter, Store
from streamlstm.store.keys import Keys
from streamlstm.store.memory import MemoryServer, MemoryStore
from streamlstm.store.record.layout import Records
from streamlstm.store.redis import RedisStore
from streamlstm.store.resp.codec import Texts
from streamlstm.store.resp.replies import parse_replies
from support.server import Server, binaries

STREAM = "values"
STREAM_NODE_ENTRIES = 100  # what Redis lets go of at once (stream-node-max-entries)


@dataclass
class Backend:
    """One server, however it is made: how to reach it, fill it and look at it."""

    client: Callable[[], Store]
    add: Callable[..., None]
    predictions: Callable[[], list[tuple[bytes, list[bytes]]]]
    anomalies: Callable[[], list[tuple[bytes, list[bytes]]]]
    states: Callable[[], dict[bytes, bytes]]
    dead: Callable[[], list[tuple[bytes, bytes, bytes, bytes]]]
    input_ids: Callable[[], list[bytes]]


def memory_backend() -> Backend:
    """A server in memory."""
    server = MemoryServer()
    held = server.stream(STREAM)
    return Backend(
        client=lambda: MemoryStore(server),
        add=lambda entry_id, *fields: server.add(STREAM, entry_id, *fields),
        predictions=lambda: list(zip(held.prediction_ids, held.predictions, strict=True)),
        anomalies=lambda: list(zip(held.anomaly_ids, held.anomalies, strict=True)),
        states=lambda: dict(held.state),
        dead=lambda: [(d.id, d.series, d.value, d.error.encode()) for d in held.dead],
        input_ids=lambda: [bytes(i) for i in held.ids],
    )


def redis_backend(server: Server) -> Backend:
    """A real server, emptied."""
    keys, client = Keys(STREAM), server.client()
    client.flushdb()

    def flat(key: str) -> list[tuple[bytes, list[bytes]]]:
        return [(i, [part for pair in fields.items() for part in pair]) for i, fields in client.xrange(key)]

    def dead() -> list[tuple[bytes, bytes, bytes, bytes]]:
        letters = [fields for _, fields in client.xrange(keys.dead)]
        return [(f[b"id"], f[b"series"], f[b"value"], f[b"error"]) for f in letters]

    return Backend(
        client=lambda: RedisStore(server.url, block_ms=50),
        add=lambda entry_id, *fields: client.execute_command("XADD", STREAM, entry_id, *fields),
        predictions=lambda: flat(keys.predictions),
        anomalies=lambda: flat(keys.anomalies),
        states=lambda: client.hgetall(keys.state),
        dead=dead,
        input_ids=lambda: [i for i, _ in client.xrange(STREAM)],
    )


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """One server of every kind that is installed."""
    started = {
        name: Server(binary, tmp_path_factory.mktemp(name), fsync="no").start() for name, binary in binaries().items()
    }
    yield started
    for server in started.values():
        server.stop()


@pytest.fixture(params=["memory", *binaries()])
def backend(request: pytest.FixtureRequest, servers: dict[str, Server]) -> Backend:
    """Each kind of store."""
    return memory_backend() if request.param == "memory" else redis_backend(servers[request.param])


def commit(base: bytes, position: bytes, **parts: object) -> Commit:
    """A commit of one prediction and one record, or as `parts` say."""
    usual: dict[str, object] = {
        "names": [b"s"],
        "records": [b"\x00recor\r\n"],
        "ids": [position],
        "fields": [b"s"],
        "texts": [b"1.5"],
        "counts": [1],
        "answered": 1,
    }
    usual.update(parts)
    for name in ("names", "ids", "fields", "texts"):
        usual[name] = Texts.of(usual[name])  # type: ignore[arg-type]
    usual["counts"] = np.array(usual["counts"], np.int64)
    records: list[bytes] = usual.pop("records")  # type: ignore[assignment]
    rows = np.frombuffer(b"".join(records), np.float32).reshape(len(records), -1)
    packed = Records(rows, np.arange(len(records)))
    return Commit(stream=STREAM, base=base, position=position, model="ab" * 32, columns="yhat", records=packed, **usual)  # type: ignore[arg-type]


def test_a_new_stream_begins_before_everything(backend: Backend) -> None:
    """A stream nobody wrote to has position 0-0, no model and no series."""
    store = backend.client()
    head = store.open(STREAM)
    assert (head.position, head.model, head.series, head.answered) == (b"0-0", None, 0, 0)
    store.close()


def test_entries_come_in_order_after_the_cursor(backend: Backend) -> None:
    """A read gives ids and fields as they were added, at most as many as asked for."""
    for n in (1, 2, 3):
        backend.add(f"{n}-0", "s", str(n), "t", "0")
    store = backend.client()
    store.send_read({STREAM: b"1-0"}, 1)
    assert parse_replies(store.receive_read())[0] == [[STREAM.encode(), [[b"2-0", [b"s", b"2", b"t", b"0"]]]]]
    store.send_read({STREAM: b"3-0"}, 10)
    assert parse_replies(store.receive_read()) == [None]
    store.close()


def test_a_commit_writes_everything(backend: Backend) -> None:
    """Records, predictions under the input's ids, dead letters, position: all there, and a new client sees them."""
    store = backend.client()
    store.open(STREAM)
    letter = DeadLetter(b"2-0", b"t", b"x", "not a decimal number", "not_a_number")
    wide = commit(
        b"0-0",
        b"2-0",
        names=[b"s", b"t"],
        records=[b"\x00\r\n.", b"$\r\n5"],
        ids=[b"1-0", b"2-0"],
        fields=[b"s", b"t", b"s"],
        texts=[b"1", b"2,3", b"-4e-9"],
        counts=[2, 1],
        dead=[letter],
        answered=2,
    )
    store.send_commit(wide)
    assert store.receive_commit(STREAM)
    assert backend.predictions() == [(b"1-0", [b"s", b"1", b"t", b"2,3"]), (b"2-0", [b"s", b"-4e-9"])]
    assert backend.states() == {b"s": b"\x00\r\n.", b"t": b"$\r\n5"}
    assert backend.dead() == [(b"2-0", b"t", b"x", b"not a decimal number")]
    other = backend.client()
    head = other.open(STREAM)
    assert (head.position, head.model, head.series, head.answered) == (b"2-0", "ab" * 32, 2, 2)
    assert other.load(STREAM, [b"t", b"nobody", b"s"]) == [b"$\r\n5", None, b"\x00\r\n."]
    store.close()
    other.close()


def test_commits_follow_each_other(backend: Backend) -> None:
    """The guard set by one commit lets the next through."""
    store = backend.client()
    store.open(STREAM)
    for n in range(1, 4):
        store.send_commit(commit(f"{n - 1}-0".encode(), f"{n}-0".encode()))
        assert store.receive_commit(STREAM)
    assert [i for i, _ in backend.predictions()] == [b"1-0", b"2-0", b"3-0"]
    store.close()


def test_an_overtaken_commit_changes_nothing(backend: Backend) -> None:
    """Of two clients that computed from the same position one commits; the other is told, and learns the position."""
    first, second = backend.client(), backend.client()
    first.open(STREAM)
    second.open(STREAM)
    first.send_commit(commit(b"0-0", b"1-0"))
    assert first.receive_commit(STREAM)
    second.send_commit(commit(b"0-0", b"2-0", texts=[b"666"], names=[b"evil"], records=[b"evil"]))
    assert not second.receive_commit(STREAM)
    assert backend.predictions() == [(b"1-0", [b"s", b"1.5"])]
    assert b"evil" not in backend.states()
    assert second.open(STREAM).position == b"1-0"
    second.send_commit(commit(b"1-0", b"2-0"))
    assert second.receive_commit(STREAM)
    first.send_commit(commit(b"1-0", b"3-0"))
    assert not first.receive_commit(STREAM)
    first.close()
    second.close()


def test_a_commit_from_a_stale_base_is_never_sent(backend: Backend) -> None:
    """A base that is not the guarded position is refused without asking."""
    store = backend.client()
    store.open(STREAM)
    store.send_commit(commit(b"7-0", b"8-0"))
    assert not store.receive_commit(STREAM)
    assert backend.predictions() == []
    store.close()


def test_loading_sees_the_commit_before_it(backend: Backend) -> None:
    """Records asked for while a commit is under way are those of the commit, and its outcome is not lost."""
    store = backend.client()
    store.open(STREAM)
    store.send_commit(commit(b"0-0", b"1-0", records=[b"new."]))
    assert store.load(STREAM, [b"s"]) == [b"new."]
    assert STREAM in store.wait(0)[1]
    assert store.receive_commit(STREAM)
    store.close()


@pytest.mark.parametrize(("part", "left"), [({"removed": [b"a"]}, {b"b", b"s"}), ({"reset_all": True}, {b"s"})])
def test_records_can_be_removed(backend: Backend, part: dict[str, object], left: set[bytes]) -> None:
    """A removed series is gone; `reset_all` removes all but the records written with it."""
    store = backend.client()
    store.open(STREAM)
    store.send_commit(commit(b"0-0", b"1-0", names=[b"a", b"b"], records=[b"1...", b"2..."]))
    assert store.receive_commit(STREAM)
    store.send_commit(commit(b"1-0", b"2-0", **part))
    assert store.receive_commit(STREAM)
    assert set(backend.states()) == left
    store.close()


def test_anomalies_are_written_with_their_commit(backend: Backend) -> None:
    """Those of several series of an entry side by side; none of a commit that does not hold."""
    for n in (1, 2):
        backend.add(f"{n}-0", "s", "1", "t", "2")
    store, twin = backend.client(), backend.client()
    told = Anomalies(
        Texts.of([b"1-0", b"2-0"]), Texts.of([b"s", b"t", b"t"]), Texts.of([b"1,2", b"3,4", b"5,6"]), np.array([2, 1])
    )
    wanted = [(b"1-0", [b"s", b"1,2", b"t", b"3,4"]), (b"2-0", [b"t", b"5,6"])]
    twin.open(STREAM)
    store.open(STREAM)
    store.send_commit(commit(b"0-0", b"2-0", anomalies=told))
    assert store.receive_commit(STREAM)
    assert backend.anomalies() == wanted
    twin.send_commit(commit(b"0-0", b"2-0", anomalies=told))
    assert not twin.receive_commit(STREAM)
    assert backend.anomalies() == wanted
    store.close()
    twin.close()


def test_trimming_never_passes_the_position(backend: Backend) -> None:
    """However young the entries that may go, what is not answered stays."""
    for n in range(1, 301):
        backend.add(f"{n}-0", "s", "1")
    store = backend.client()
    store.open(STREAM)
    store.send_commit(commit(b"0-0", b"250-0", trim_before_ms=10_000))
    assert store.receive_commit(STREAM)
    left = backend.input_ids()
    assert left[-51:] == [f"{n}-0".encode() for n in range(250, 301)]
    assert len(left) < 300, "something was trimmed"
    store.close()


def test_dead_letters_have_a_bound(backend: Backend) -> None:
    """About as many as asked for are kept, the youngest; all of them where nobody asks."""
    letters = [DeadLetter(b"1-0", b"s", b"%d" % n, "no number", "not_a_number") for n in range(1000)]
    store = backend.client()
    store.open(STREAM)
    store.send_commit(commit(b"0-0", b"1-0", dead=letters))
    assert store.receive_commit(STREAM)
    assert [value for _, _, value, _ in backend.dead()] == [letter.value for letter in letters]
    store.send_commit(commit(b"1-0", b"2-0", dead=letters, most_dead=300))
    assert store.receive_commit(STREAM)
    left = [value for _, _, value, _ in backend.dead()]
    assert 300 <= len(left) <= 300 + STREAM_NODE_ENTRIES
    assert left == [letter.value for letter in letters][-len(left) :]
    store.close()


def test_the_tail_counts_what_waits(backend: Backend) -> None:
    """Lag is the number of entries after the position, and nothing when all are answered."""
    for n in range(1, 11):
        backend.add(f"{n}-0", "s", "1")
    store = backend.client()
    head = store.open(STREAM)
    assert store.tail(STREAM, head).lag_entries == 10
    store.send_commit(commit(b"0-0", b"4-0", answered=4))
    assert store.receive_commit(STREAM)
    assert store.tail(STREAM, store.open(STREAM)).lag_entries == 6
    store.send_commit(commit(b"4-0", b"10-0", answered=10))
    assert store.receive_commit(STREAM)
    caught_up = store.tail(STREAM, store.open(STREAM))
    assert (caught_up.lag_entries, caught_up.lag_ms) == (0, 0)
    store.close()


def test_a_stream_begun_again_below_its_position_is_noticed(backend: Backend) -> None:
    """Entries with ids below the position would never be read; the tail says so, and only then."""
    backend.add("5-0", "s", "1")
    store = backend.client()
    store.open(STREAM)
    store.send_commit(commit(b"0-0", b"5-0"))
    assert store.receive_commit(STREAM)
    head = store.open(STREAM)
    assert not store.tail(STREAM, head).ends_before_position
    store.send_commit(commit(b"5-0", b"9-0"))
    assert store.receive_commit(STREAM)
    assert store.tail(STREAM, store.open(STREAM)).ends_before_position
    store.close()


def test_two_streams_have_guards_of_their_own(backend: Backend) -> None:
    """A commit of one stream does not end the guard of another on the same client."""
    store = backend.client()
    store.open("a")
    store.open("b")
    for stream in ("a", "b", "a", "b"):
        base = b"0-0" if not backend_position(backend, stream) else b"1-0"
        store.send_commit(
            Commit(stream=stream, base=base, position=_next(base), model="ab" * 32, columns="y", answered=1)
        )
        assert store.receive_commit(stream)
    store.close()


def backend_position(backend: Backend, stream: str) -> bool:
    """Whether the stream has been committed to."""
    store = backend.client()
    moved = store.open(stream).position != b"0-0"
    store.close()
    return moved


def _commit(store: Store, wanted: Commit) -> bool:
    store.send_commit(wanted)
    return store.receive_commit(STREAM)


def _next(position: bytes) -> bytes:
    return b"%d-0" % (int(position.split(b"-")[0]) + 1)


@pytest.mark.parametrize("kind", list(binaries()))
def test_a_key_of_the_wrong_type_is_named(servers: dict[str, Server], kind: str) -> None:
    """A derived key that somebody uses for something else is refused with its name and both types."""
    backend = redis_backend(servers[kind])
    servers[kind].client().set(Keys(STREAM).predictions, "mine")
    words = r"\{values\}:predictions' at redis://\S+ is a string, not a stream"
    with closing(backend.client()) as store, pytest.raises(StoreError, match=words):
        store.open(STREAM)


@pytest.mark.parametrize("kind", list(binaries()))
def test_a_full_server_refuses_whole_commits(servers: dict[str, Server], kind: str) -> None:
    """Out of memory, a commit is refused as a whole with an error worth a retry, and holds once there is room."""
    backend, client = redis_backend(servers[kind]), servers[kind].client()
    store = backend.client()
    store.open(STREAM)
    client.config_set("maxmemory", "1mb")
    try:
        with pytest.raises(StoreUnavailableError, match="OOM"):
            _commit(store, commit(b"0-0", b"1-0", records=[b"x" * 2_000_000]))
    finally:
        client.config_set("maxmemory", "0")
    assert backend.states() == {}
    assert backend.predictions() == []
    again = backend.client()
    again.open(STREAM)
    again.send_commit(commit(b"0-0", b"1-0"))
    assert again.receive_commit(STREAM)
    store.close()
    again.close()


@pytest.mark.parametrize("kind", list(binaries()))
def test_states_replaced_at_the_same_position_end_what_was_computed(servers: dict[str, Server], kind: str) -> None:
    """Even if a replacement falls between a commit's EXEC and its WATCH, what follows from old states is refused."""
    backend = redis_backend(servers[kind])
    store = backend.client()
    store.open(STREAM)
    store.send_commit(commit(b"0-0", b"1-0"))
    assert store.receive_commit(STREAM)
    # What the reply of a flight says if a replacement came in between: the position is its own, the epoch is not.
    servers[kind].client().hset(Keys(STREAM).meta, "epoch", 1)
    store.send_commit(commit(b"1-0", b"2-0"))
    assert not store.receive_commit(STREAM)
    held = store._streams[STREAM]  # type: ignore[attr-defined]
    assert held.guarded == b""
    store.send_commit(commit(b"1-0", b"2-0"))
    assert not store.receive_commit(STREAM)
    store.open(STREAM)
    store.send_commit(commit(b"1-0", b"2-0"))
    assert store.receive_commit(STREAM)
    store.close()
