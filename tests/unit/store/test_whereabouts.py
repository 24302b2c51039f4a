"""Sentinels and nodes that answer with something else: it is said in one line, and the next one is asked."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping

import hiredis
import pytest

from streamlstm.daemon.http.page_store import PageStore
from streamlstm.errors import StoreError, StoreNotNowError, StoreUnavailableError
from streamlstm.store.resp.address import Address
from streamlstm.store.resp.connection import Connection, pack
from streamlstm.store.resp.topology import MOST_ASKED, parse_topology

Replies = Mapping[bytes, bytes]  # begin of a command -> what is said
Pretend = Callable[[Replies], int]


def bulk(text: bytes) -> bytes:
    """One text in the Redis protocol."""
    return b"$%d\r\n%b\r\n" % (len(text), text)


def slots(host: bytes = bulk(b"127.0.0.1"), port: bytes = b":7000\r\n", first: bytes = b":0\r\n") -> bytes:
    """CLUSTER SLOTS of one node."""
    return b"*1\r\n*3\r\n" + first + b":16383\r\n*3\r\n" + host + port + bulk(b"id")


def primary(host: bytes, port: bytes) -> bytes:
    """SENTINEL get-master-addr-by-name."""
    return b"*2\r\n" + bulk(host) + bulk(port)


@pytest.fixture
def pretend() -> Iterator[Pretend]:
    """Begins a server that says what it is told to, and gives its port."""
    listening: list[socket.socket] = []

    def begin(said: Replies) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        listening.append(server)
        threading.Thread(target=_serve, args=(server, said), daemon=True).start()
        port: int = server.getsockname()[1]
        return port

    yield begin
    for server in listening:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def _serve(server: socket.socket, said: Replies) -> None:
    with contextlib.suppress(OSError):
        while True:
            peer, _ = server.accept()
            threading.Thread(target=_answer, args=(peer, said), daemon=True).start()


def _answer(peer: socket.socket, said: Replies) -> None:
    reader = hiredis.Reader()
    with peer, contextlib.suppress(OSError):
        while data := peer.recv(1 << 16):
            reader.feed(data)
            while (command := reader.gets()) is not False:
                asked = b" ".join(command)
                peer.sendall(next((reply for begin, reply in said.items() if asked.startswith(begin)), b"+OK\r\n"))


@pytest.mark.parametrize(
    "reply",
    [
        b":5\r\n",
        b"$-1\r\n",
        bulk(b"slots"),
        b"*1\r\n:5\r\n",
        b"*1\r\n*1\r\n:0\r\n",
        b"*1\r\n*3\r\n:0\r\n:16383\r\n*0\r\n",
        slots(host=bulk(b"\xff\xfe")),
        slots(host=b":1\r\n"),
        slots(host=bulk(b"\x1b[31mhost\n")),
        slots(host=bulk(b"a@b")),
        slots(host=bulk(b"a" * 100_000)),
        slots(port=b":65536\r\n"),
        slots(port=b":-1\r\n"),
        slots(port=bulk(b"abc")),
        slots(first=b":16384\r\n"),
        slots(first=bulk(b"a")),
    ],
    ids=repr,
)
def test_a_node_that_gives_no_slots(reply: bytes, pretend: Pretend) -> None:
    """It is passed over for the next node; where there is none, it is said who answered what."""
    odd, sound = pretend({b"CLUSTER SLOTS": reply}), pretend({b"CLUSTER SLOTS": slots()})
    with pytest.raises(StoreUnavailableError, match=rf":{odd}/0 answered to CLUSTER SLOTS with .*no answer to it"):
        parse_topology(f"redis+cluster://127.0.0.1:{odd}").home("values")
    both = parse_topology(f"redis+cluster://127.0.0.1:{odd},127.0.0.1:{sound}")
    assert (both.home("values").host, both.home("values").port) == ("127.0.0.1", 7000)


@pytest.mark.parametrize("host", [b"$-1\r\n", bulk(b""), bulk(b"?")], ids=repr)
def test_a_node_that_does_not_know_its_own_host(host: bytes, pretend: Pretend) -> None:
    """It is where it was asked."""
    port = pretend({b"CLUSTER SLOTS": slots(host=host)})
    assert parse_topology(f"redis+cluster://127.0.0.1:{port}").home("values").host == "127.0.0.1"


@pytest.mark.parametrize(
    "reply",
    [
        b":5\r\n",
        bulk(b"abc"),
        b"*0\r\n",
        b"*1\r\n" + bulk(b"127.0.0.1"),
        b"*2\r\n:1\r\n:2\r\n",
        primary(b"\xff", b"1"),
        primary(b"127.0.0.1", b"abc"),
        primary(b"127.0.0.1", b"65536"),
        primary(b"127.0.0.1", b"9" * 5000),
        primary(b"127.0.0.1", b"0"),
        primary(b"", b"1"),
        primary(b"/tmp/redis.sock", b"1"),
    ],
    ids=lambda reply: repr(reply)[:40],
)
def test_a_sentinel_that_names_no_address(reply: bytes, pretend: Pretend) -> None:
    """It is passed over for the next one."""
    home = pretend({b"ROLE": b"*1\r\n" + bulk(b"master")})
    odd, sound = pretend({b"SENTINEL": reply}), pretend({b"SENTINEL": primary(b"127.0.0.1", str(home).encode())})
    with pytest.raises(StoreUnavailableError, match=rf":{odd}/0 answered to SENTINEL get-master.*no answer to it"):
        parse_topology(f"redis+sentinel://127.0.0.1:{odd}/m").home("values")
    assert parse_topology(f"redis+sentinel://127.0.0.1:{odd},127.0.0.1:{sound}/m").home("values").port == home


@pytest.mark.parametrize(
    "reply", [b":5\r\n", b"*0\r\n", b"*-1\r\n", b"*1\r\n*0\r\n", b"*1\r\n" + bulk(b"\xff")], ids=repr
)
def test_a_primary_that_has_no_role(reply: bytes, pretend: Pretend) -> None:
    """Whatever it is, it is not taken for the primary."""
    home = pretend({b"ROLE": reply})
    watcher = pretend({b"SENTINEL": primary(b"127.0.0.1", str(home).encode())})
    with pytest.raises(StoreUnavailableError, match=rf":{home}/0 answered to ROLE with .*no answer to it"):
        parse_topology(f"redis+sentinel://127.0.0.1:{watcher}/m").home("values")


def test_a_primary_that_has_become_a_replica_is_not_read_from(pretend: Pretend) -> None:
    """It answers by what it has, so no connection to it is given; pages, which cannot know, ask who it is now."""
    role = {who: b"*1\r\n" + bulk(who) for who in (b"master", b"slave")}
    before, after = {b"ROLE": role[b"master"]}, {b"ROLE": role[b"slave"]}
    homes = [str(pretend(said)).encode() for said in (before, after)]
    named = {b"SENTINEL": primary(b"127.0.0.1", homes[0])}
    topology = parse_topology(f"redis+sentinel://127.0.0.1:{pretend(named)}/m")
    pages = PageStore(topology)
    with pages.opened("values") as connection:
        assert str(connection.address.port).encode() == homes[0]
    old = topology.home("values")
    named[b"SENTINEL"] = primary(b"127.0.0.1", homes[1])
    before[b"ROLE"], after[b"ROLE"] = role[b"slave"], role[b"master"]
    assert topology.home("values") == old, "nobody has said so yet"
    with pages.opened("values") as connection:
        assert str(connection.address.port).encode() == homes[1]
    with pytest.raises(StoreNotNowError, match="is a slave, not the primary any more"):
        topology.connect(old, "other")


def test_a_map_of_thousands_of_nodes(pretend: Pretend) -> None:
    """It is taken, and when it is in doubt only some of its nodes are asked before those of the URL."""
    ranges = [
        b"*3\r\n:%d\r\n:%d\r\n*2\r\n" % (slot, slot) + bulk(b"127.1.%d.%d" % divmod(slot, 128)) + b":1\r\n"
        for slot in range(16_384)
    ]
    port = pretend({b"CLUSTER SLOTS": b"*16384\r\n" + b"".join(ranges)})
    cluster = parse_topology(f"redis+cluster://127.0.0.1:{port}")
    first = cluster.home("values")
    asked: list[str] = []
    known = cluster.connect
    cluster.connect = lambda address, name: (asked.append(address.host), known(address, name))[1]  # type: ignore[method-assign]
    cluster.doubt()
    assert cluster.home("values") == first
    assert len(asked) == MOST_ASKED + 1


def test_failures_of_many_nodes_are_one_short_line() -> None:
    """The first are said, the others counted."""
    hosts = ",".join(f"127.0.0.1:{port}" for port in range(1, 31))
    with pytest.raises(StoreUnavailableError, match=r":5/0: [^;]*; and 25 more$"):
        parse_topology(f"redis+cluster://{hosts}").home("values")


@pytest.mark.parametrize("asked", [b"CLIENT SETNAME", b"CLUSTER SLOTS"])
@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"$9000000000\r\n" + b"x" * (17 << 20), "more than 16,777,216 bytes"),
        (b"+" + b"x" * (2 << 20), "a line of it has no end"),
        (b"*4294967295\r\n", "more elements than fit"),
        (b"*300000000\r\n", "more elements than fit"),
    ],
    ids=["bulk", "line", "array", "smaller array"],
)
def test_an_answer_without_end(asked: bytes, reply: bytes, said: str, pretend: Pretend) -> None:
    """It is given up before it takes memory, while a server is greeted and when it is asked where others are."""
    port = pretend({asked: reply})
    with pytest.raises(StoreUnavailableError, match=said):
        parse_topology(f"redis+cluster://127.0.0.1:{port}").home("values")


@pytest.mark.parametrize("raw", [False, True])
def test_an_answer_that_comes_byte_by_byte(raw: bool) -> None:
    """Each byte breaks the silence, and still it ends: the whole has its time, more by what has come."""
    begun = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            peer, _ = server.accept()
            with peer, contextlib.suppress(OSError):
                peer.recv(1 << 16)
                peer.sendall(b"+OK\r\n")
                peer.recv(1 << 16)
                peer.sendall(b"$1000000\r\n")
                while not begun.wait(0.02):
                    peer.sendall(b"x")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        connection = Connection(Address.parse(f"redis://127.0.0.1:{server.getsockname()[1]}", 0.3))
        try:
            if raw:
                connection.raw.expect(1)
            connection.send(pack("GET", "k"))
            with pytest.raises(StoreUnavailableError, match="no whole answer in"):
                connection.raw.take() if raw else connection.receive()
        finally:
            begun.set()
            connection.close()
            thread.join()


def test_what_an_error_says_is_cut(pretend: Pretend) -> None:
    """A server may send megabytes of it."""
    port = pretend({b"CLUSTER SLOTS": b"-ERR " + b"x" * 900_000 + b"\r\n"})
    with pytest.raises(StoreError) as caught:
        parse_topology(f"redis+cluster://127.0.0.1:{port}").home("values")
    assert len(str(caught.value)) < 700


def test_a_host_that_no_machine_can_have(pretend: Pretend) -> None:
    """Others may call themselves so; it is a server that is away."""
    watcher = pretend({b"SENTINEL": primary(b"a..b", b"1")})
    with pytest.raises(StoreUnavailableError, match=r"redis://a\.\.b:1/0: that is no name of a host"):
        parse_topology(f"redis+sentinel://127.0.0.1:{watcher}/m").home("values")
