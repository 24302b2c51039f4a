"""Servers that say nothing: found out after as long as is asked for, each connection by itself, and never too early."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from streamlstm.errors import StoreUnavailableError, UsageError
from streamlstm.hushed import Hushed
from streamlstm.redis_store import RedisStore
from streamlstm.store import Commit
from streamlstm.topology import parse_topology
from streamlstm.wire import SOCKET_TIMEOUT_S, Address, Connection
from support.proxy import Proxy
from support.server import HOST

TIMEOUT_S = 0.3
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


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    """A proxy before the shared server."""
    made = Proxy(Address.parse(redis_url).port)
    yield made
    made.close()


def turns_until_given_up(store: RedisStore, ask_again: Callable[[], None]) -> str:
    """What is said when the store gives a connection up, however much comes over others meanwhile."""
    for _ in range(1000):
        try:
            if store.wait(0.05)[0]:
                store.receive_read()
                ask_again()
        except StoreUnavailableError as error:
            return str(error)
    raise AssertionError("the silence was not noticed")


def test_a_silent_read_is_given_up_while_another_server_speaks(redis_url: str, proxy: Proxy) -> None:
    """Each connection has a patience of its own, or one that speaks would cover for one that does not."""
    where = {"a": Address.parse(proxy.url, TIMEOUT_S), "b": Address.parse(redis_url, TIMEOUT_S)}
    with closing(RedisStore(TwoServers(where), block_ms=50)) as store:
        cursors = {stream: store.open(stream).position for stream in where}
        store.send_read(cursors, 10)
        proxy.go_silent()
        said = turns_until_given_up(store, lambda: store.send_read(cursors, 10))
    assert said == f"no connection to the Redis server at {where['a'].url}: no answer for 0.3 s"


def test_a_store_that_was_asked_nothing_owes_no_answer(redis_url: str) -> None:
    """Without streams there is no read, and nobody to give up; with one there is an answer in time, again and again."""
    with closing(RedisStore(parse_topology(redis_url, TIMEOUT_S))) as store:
        store.send_read({}, 10)
        store.wait(2 * TIMEOUT_S)
        assert store.wait(0.0) == (False, [])
        cursors = {"values": store.open("values").position}
        for _ in range(4):
            store.send_read(cursors, 10)
            while not store.wait(1.0)[0]:
                pass
            assert store.receive_read() == b"*-1\r\n"


def test_a_commit_answered_on_the_way_to_records_is_waited_for_no_longer(redis_url: str) -> None:
    """What was received while records were loaded owes nothing more, however long nothing is asked then."""
    now_s = 0.0
    with closing(RedisStore(parse_topology(redis_url, TIMEOUT_S), monotonic=lambda: now_s)) as store:
        for number in range(1, 4):
            head = store.open("values")
            store.send_commit(
                Commit(
                    stream="values", base=head.position, position=b"%d-0" % number, model="ab", columns="y", answered=1
                )
            )
            assert store.load("values", [b"nobody"]) == [None]
            assert store.wait(0.0) == (False, ["values"])
            assert store.receive_commit("values")
            now_s += 100 * TIMEOUT_S
            assert store.wait(0.0) == (False, [])


def test_a_reply_that_nobody_took_is_forgotten_with_its_connection(proxy: Proxy) -> None:
    """Asked for something else while a reply is here, by a server that is gone meanwhile: nothing is left of it."""
    with closing(RedisStore(parse_topology(proxy.url, TIMEOUT_S), block_ms=1)) as store:
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
    with closing(RedisStore(parse_topology(redis_url, TIMEOUT_S), block_ms=1, monotonic=lambda: now_s)) as store:
        cursors = {"values": store.open("values").position}
        for _ in range(3):
            store.send_read(cursors, 10)
            time.sleep(0.1)  # until the reply is in the socket
            now_s += 100 * TIMEOUT_S
            assert store.wait(0.0) == (True, [])
            store.receive_read()


def test_a_large_flight_takes_as_long_as_it_takes() -> None:
    """Only a standstill is a silence: what moves slowly is sent to its end, however much longer that takes."""
    size, slowly = 16_000_000, 12_000_000
    taken = 0

    def read_slowly(listener: socket.socket) -> None:
        nonlocal taken
        client = listener.accept()[0]
        client.recv(1000)
        client.sendall(b"+OK\r\n")
        while taken < size and (data := client.recv(60_000)):
            taken += len(data)
            time.sleep(0.01 if taken < slowly else 0)
        client.sendall(b"+PONG\r\n")
        client.close()

    with socket.create_server((HOST, 0)) as listener:
        reader = threading.Thread(target=read_slowly, args=(listener,))
        reader.start()
        url = f"redis://{HOST}:{listener.getsockname()[1]}"
        with closing(Connection(Address.parse(url, 3 * TIMEOUT_S))) as connection:
            connection.send(b"x" * size)
            assert connection.receive() == b"PONG"
        reader.join()


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


def test_a_node_that_was_silent_is_tried_briefly_and_seldom() -> None:
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

        def greet() -> None:
            clients = [listener.accept()[0] for _ in range(6)]  # five have gone meanwhile
            clients[-1].sendall(b"+OK\r\n")
            while clients[-1].recv(1000):
                pass
            for client in clients:
                client.close()

        greeter = threading.Thread(target=greet)
        greeter.start()
        connection = hushed.connect(address, "test")
        with closing(connection), pytest.raises(StoreUnavailableError, match=r"no answer for 0\.3 s"):
            connection.receive()
        greeter.join()
