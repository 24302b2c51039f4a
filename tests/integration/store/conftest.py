"""Fixtures of the tests in which commands are refused: a place to work at, and what must be there in the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from support.guarded_stream import GuardedStream, flight
from support.resp_proxy import RespProxy
from support.server import Server, binaries


@pytest.fixture(scope="module", params=list(binaries()))
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One of each kind."""
    made = Server(binaries()[request.param], tmp_path_factory.mktemp(request.param), fsync="no").start()
    yield made
    made.stop()


@pytest.fixture
def guarded(server: Server) -> Iterator[GuardedStream]:
    """The server, emptied, with two entries in the input and a first commit."""
    client = server.client()
    client.flushall()
    proxy, made = RespProxy(server.port), []
    guarded = GuardedStream(server, client, proxy, made)
    guarded.allow()
    for number in range(1, 5):
        client.xadd("values", {"s": number}, id=f"{number}-0")
    store = guarded.store()
    store.open("values")
    store.send_commit(flight(0))
    assert store.receive_commit("values")
    yield guarded
    for one in made:
        one.close()
    proxy.close()
    client.close()


@pytest.fixture
def whole(guarded: GuardedStream) -> Callable[[], None]:
    """A function that goes on as a daemon would, and holds what is there then against what nothing had disturbed."""

    def check() -> None:
        store = guarded.store(guarded.proxied)
        head = store.open("values")
        assert head.position in {b"1-0", b"2-0"}
        if head.position == b"1-0":
            store.send_commit(flight(1))
            assert store.receive_commit("values")
        found = guarded.content()
        assert found["meta"][b"position"] == b"2-0"
        assert sorted(found["state"]) == [b"gone1", b"s0", b"s1"]
        assert [(i, f[b"s"]) for i, f in found["predictions"]] == [(b"1-0", b"0.5"), (b"2-0", b"1.5")]
        assert [letter[b"id"] for letter in found["dead"]] == [b"1-0", b"2-0"]

    return check
