"""Servers that say nothing: found out after as long as is asked for, each connection by itself, and never too early."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from streamlstm.errors import StoreUnavailableError, UsageError
from streamlstm.store.base import Commit
from streamlstm.store.redis import RedisStore
from streamlstm.store.resp.address import SOCKET_TIMEOUT_S, Address
from streamlstm.store.resp.circuit_breaker import Hushed
from streamlstm.store.resp.connection import Connection
from streamlstm.store.resp.topology import parse_topology
from support.proxy import Proxy
from support.server import HOST
from support.serving import eventually

TIMEOUT_S = 0.3  # where nobody is to answer
PATIENT_S = 60.0  # where somebody is, after whatever time the machine stands still; clocks of the test's own pass it
Where = dict[str, Address]


@dataclass
class TwoServers:
    """A topology of two servers with a stream each, as a Cluster has them."""

    where: Where
    spread: bool = True
    url: str = "two servers"

    def home(self, key: str) -> Address:
        """By the stream's name."""
        return next(address for name, address in self.where.items() if name in key)

    def homes(self) -> list[Address]:
        """Both."""
        return list(self.where.values())

    def slot(self, key: str) -> int:
        """One on each."""
        return 0

    def doubt(self) -> None:
        """They stay where they are."""

    def connect(self, address: Address, name: str) -> Connection:
        """Nobody is left alone."""
        return Connection(address, name=name)


class AskedConnection(Connection):
    """Keeps what it was asked."""

    def __init__(self, address: Address, asked: list[bytes]) -> None:
        self._asked = asked
        super().__init__(address)

    def send(self, data: bytes) -> None:
        """Keep it too."""
        self._asked.append(data)
        super().send(data)


@dataclass
class Impatient(TwoServers):
    """Servers to be given up soon, on connections that nevertheless wait for as long as it takes."""

    asked: list[bytes] = field(default_factory=list)

    def connect(self, address: Address, name: str) -> Connection:
        """Keeps what is asked."""
        return AskedConnection(replace(address, socket_timeout_s=PATIENT_S, connect_timeout_s=PATIENT_S), self.asked)


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    """A proxy before the shared server."""
    made = Proxy(Address.parse(redis_url).port)
    yield made
    made.close()


def turns_until_given_up(store: RedisStore, turn: Callable[[], None]) -> str:
    """What is said when the store gives a connection up, however much comes over others meanwhile."""
    for _ in range(1000):
        try:
            turn()
        except StoreUnavailableError as error:
            return str(error)
    raise AssertionError("the silence was not noticed")


def test_a_silent_read_is_given_up_while_another_server_speaks(redis_url: str, proxy: Proxy) -> None:
    """Each connection has a patience of its own, or one that speaks would cover for one that does not."""
    now_s = 0.0
    where = {"a": Address.parse(proxy.url, PATIENT_S), "b": Address.parse(redis_url, PATIENT_S)}
    with closing(RedisStore(TwoServers(where), block_ms=50, monotonic=lambda: now_s)) as store:
        cursors = {stream: store.open(stream).position for stream in where}
        store.send_read(cursors, 10)
        proxy.go_silent()

        def turn() -> None:
            """Time passes only when something has come, which is never for longer than patience lasts."""
            nonlocal now_s
            if store.wait(0.05)[0]:
                store.receive_read()
                now_s += PATIENT_S / 4
                store.send_read(cursors, 10)

        said = turns_until_given_up(store, turn)
    assert said == f"no connection to the Redis server at {where['a'].url}: no answer for 60 s"
    assert now_s >= PATIENT_S, "not before its time"


def test_a_store_that_was_asked_nothing_owes_no_answer(redis_url: str) -> None:
    """Without streams there is no read, and nobody to give up; with one there is an answer in time, again and again."""
    now_s = 0.0
    servers = Impatient({"values": Address.parse(redis_url, TIMEOUT_S)})
    with closing(RedisStore(servers, monotonic=lambda: now_s)) as store:
        store.send_read({}, 10)
        now_s += 100 * PATIENT_S
        for _ in range(2):
            assert store.wait(0.0) == (False, [])
        cursors = {"values": store.open("values").position}
        for _ in range(4):
            store.send_read(cursors, 10)
            while not store.wait(1.0)[0]:
                pass
            assert store.receive_read() == b"*-1\r\n"
    reads = [asked for asked in servers.asked if b"XREAD\r\n$5\r\nCOUNT\r\n$2\r\n10" in asked]
    assert len(reads) == 4
    assert all(b"\r\nBLOCK\r\n$3\r\n150\r\n" in asked for asked in reads), "half of what is waited for"


def test_a_commit_answered_on_the_way_to_records_is_waited_for_no_longer(redis_url: str) -> None:
    """What was received while records were loaded owes nothing more, however long nothing is asked then."""
    now_s = 0.0
    with closing(RedisStore(parse_topology(redis_url, PATIENT_S), monotonic=lambda: now_s)) as store:
        for number in range(1, 4):
            head = store.open("values")
            store.send_commit(
                Commit(
                    stream="values",
                    base=head.position,
                    position=b"%d-0" % number,
                    model="ab" * 32,
                    columns="y",
                    answered=1,
                )
            )
            assert store.load("values", [b"nobody"]) == [None]
            assert store.wait(0.0) == (False, ["values"])
            assert store.receive_commit("values")
            now_s += 100 * PATIENT_S
            assert store.wait(0.0) == (False, [])


def test_a_reply_that_nobody_took_is_forgotten_with_its_connection(proxy: Proxy) -> None:
    """Asked for something else while a reply is here, by a server that is gone meanwhile: nothing is left of it."""
    with closing(RedisStore(parse_topology(proxy.url, PATIENT_S), block_ms=1)) as store:
        cursors = {stream: store.open(stream).position for stream in ("values", "others")}
        store.send_read(cursors, 10)
        while not store.wait(1.0)[0]:
            pass
        proxy.close()
        with pytest.raises(StoreUnavailableError):
            store.send_read({"values": b"1-0"}, 10)
        store.close()
        assert store.wait(0.0) == (False, [])
        assert store._readers.whole == 0


def test_a_process_that_stood_still_itself_finds_its_answers(redis_url: str) -> None:
    """What came while nobody looked is no silence, however late it is looked at."""
    now_s = 0.0
    with closing(RedisStore(parse_topology(redis_url, PATIENT_S), block_ms=1, monotonic=lambda: now_s)) as store:
        cursors = {"values": store.open("values").position}
        for _ in range(3):
            store.send_read(cursors, 10)
            (reader,) = store._readers._readers.values()
            assert eventually(reader.connection.has_more), "the reply is in the socket"
            now_s += 100 * PATIENT_S
            assert store.wait(0.0) == (True, [])
            store.receive_read()


def is_sent_slowly(patience_s: float) -> bool:
    """Whether a large flight reaches its end, taken in small parts for twice as long as a silence may last."""
    size = 16_000_000

    def read_slowly(listener: socket.socket) -> None:
        client = listener.accept()[0]
        taken, slowly_until = 0, time.monotonic() + 2 * patience_s
        with closing(client), contextlib.suppress(OSError):
            client.recv(1000)
            client.sendall(b"+OK\r\n")
            while taken < size and (data := client.recv(60_000)):
                taken += len(data)
                # So slowly that there is always something left of it.
                time.sleep(patience_s / 100 if time.monotonic() < slowly_until else 0)
            client.sendall(b"+PONG\r\n")

    with socket.create_server((HOST, 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)  # so that each part makes room for the next
        reader = threading.Thread(target=read_slowly, args=(listener,))
        reader.start()
        url = f"redis://{HOST}:{listener.getsockname()[1]}"
        try:
            with closing(Connection(Address.parse(url, patience_s))) as connection:
                connection.send(b"x" * size)
                return bool(connection.receive() == b"PONG")
        except StoreUnavailableError:
            return False
        finally:
            reader.join()


def test_a_large_flight_takes_as_long_as_it_takes() -> None:
    """Only a standstill is a silence: what moves slowly is sent to its end, however much longer that takes."""
    # Patience of any length shows it; a machine that itself stands still for as long as the short ones does not.
    assert any(is_sent_slowly(patience_s) for patience_s in (1.0, 5.0, 25.0))


def test_a_server_that_accepts_and_says_nothing() -> None:
    """A hung server still takes connections; the greeting is not waited for any longer than other answers."""
    with socket.create_server((HOST, 0)) as listener:
        url = f"redis://{HOST}:{listener.getsockname()[1]}/0"
        with pytest.raises(StoreUnavailableError, match=r"no answer for 0\.3 s"):
            Connection(Address.parse(url, TIMEOUT_S))


def test_the_url_may_say_how_long_to_wait() -> None:
    """As redis-py's users expect; it wins over the option, and nonsense is refused."""
    assert Address.parse("redis://h").socket_timeout_s == SOCKET_TIMEOUT_S
    assert Address.parse("redis://h", 5.0).socket_timeout_s == 5.0
    made = Address.parse("redis://h?socket_timeout=1.5&socket_connect_timeout=0.5", 5.0)
    assert (made.socket_timeout_s, made.connect_timeout_s) == (1.5, 0.5)
    assert Address.parse("redis://h", 0.5).connect_timeout_s == 0.5
    for wrong in ("-1", "inf", "nan", "soon"):
        with pytest.raises(UsageError):
            Address.parse(f"redis://h?socket_timeout={wrong}")


def test_a_node_that_was_silent_is_tried_briefly_and_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused at once in between, so that a hung node takes a tenth of the time at most; then it is as before."""
    now_s = 0.0
    hushed = Hushed(lambda: now_s)
    with socket.create_server((HOST, 0)) as listener:
        address = Address.parse(f"redis://{HOST}:{listener.getsockname()[1]}/0", TIMEOUT_S)
        for patience_s, alone_s in ((TIMEOUT_S, 1.0), (0.1, 2.0), (0.2, 4.0), (0.4, 5.0), (0.5, 5.0)):
            with pytest.raises(StoreUnavailableError, match=rf"no answer for {patience_s:g} s"):
                hushed.connect(address, "test")
            now_s += 0.99 * alone_s
            with pytest.raises(StoreUnavailableError, match="it was silent a moment ago"):
                hushed.connect(address, "test")
            now_s += 0.01 * alone_s
        clients = [listener.accept()[0] for _ in range(5)]  # they have gone meanwhile
        connecting = socket.socket.connect

        def connect(self: socket.socket, where: Any) -> None:
            """Its greeting is answered before it is asked for."""
            connecting(self, where)
            clients.append(listener.accept()[0])
            clients[-1].sendall(b"+OK\r\n")

        monkeypatch.setattr(socket.socket, "connect", connect)
        connection = hushed.connect(address, "test")
        with closing(connection), pytest.raises(StoreUnavailableError, match=r"no answer for 0\.3 s"):
            connection.receive()
        for client in clients:
            client.close()
