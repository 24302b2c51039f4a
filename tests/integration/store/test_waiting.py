"""One poll for all replies: what comes is received, what nobody asked for is an error, few idle ones are polled."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import pytest

from streamlstm.errors import StoreUnavailableError
from streamlstm.store.resp import poller
from streamlstm.store.resp.address import Address
from streamlstm.store.resp.connection import Connection
from streamlstm.store.resp.poller import MOST_IDLE, Waiting
from support.server import HOST


@dataclass
class Pair:
    """A greeted connection, and the server's end of it."""

    connection: Connection
    server: socket.socket
    whole: bool = False  # its reply is here

    def receive(self) -> bool:
        """What has come."""
        self.whole = self.connection.raw.pull()
        return self.whole


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """What is to be closed."""
    with ExitStack() as stack:
        yield stack


def connected(stack: ExitStack, listener: socket.socket, patience_s: float = 0.3) -> Pair:
    """One more."""
    connecting = socket.socket.connect  # the greeting is answered before it is asked for

    def connect(self: socket.socket, address: Any) -> None:
        connecting(self, address)
        client = listener.accept()[0]
        client.sendall(b"+OK\r\n")
        ends.append(client)

    ends: list[socket.socket] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        made = Connection(Address.parse(f"redis://{HOST}:{listener.getsockname()[1]}", patience_s))
    stack.enter_context(closing(made))
    return Pair(made, stack.enter_context(ends[0]))


@pytest.fixture
def pairs(stack: ExitStack) -> list[Pair]:
    """One more connection than are left in the poll while they are idle."""
    listener = stack.enter_context(socket.create_server((HOST, 0)))
    return [connected(stack, listener) for _ in range(MOST_IDLE + 1)]


@pytest.fixture
def patient(stack: ExitStack) -> list[Pair]:
    """Two connections whose silence nobody minds, however busy the machine is."""
    listener = stack.enter_context(socket.create_server((HOST, 0)))
    return [connected(stack, listener, 60.0) for _ in range(2)]


def answered(waits: Waiting, pair: Pair) -> bytes:
    """Have one reply come over a connection."""
    pair.connection.raw.expect(1)
    pair.whole = False
    waits.expect(pair.connection, pair.receive)
    pair.server.sendall(b"+ON")
    waits.wait(0.01)
    pair.server.sendall(b"E\r\n")
    while not pair.whole:  # a wait may end early, with nothing
        waits.wait(1.0)
    return pair.connection.raw.take()


def new() -> Waiting:
    """Nothing is expected."""
    return Waiting(monotonic=time.monotonic, busy_poll_s=0.0, wakeup=None)


def test_replies_come_in_parts_and_again(pairs: list[Pair]) -> None:
    """Each is whole once its last part is here, whichever connection had one before."""
    waits = new()
    for _ in range(3):
        for pair in pairs[:2]:
            assert answered(waits, pair) == b"+ONE\r\n"
    end_s = time.monotonic() + 0.4  # longer than a silence may be: nothing is expected, so nobody is silent
    while (left_s := end_s - time.monotonic()) > 0:
        waits.wait(left_s)


@pytest.mark.parametrize(
    ("said", "wrong"), [(b"", "closed the connection|reset"), (b"+NEWS\r\n", "something that it was not asked for")]
)
def test_what_comes_unasked_is_an_error(pairs: list[Pair], said: bytes, wrong: str) -> None:
    """A server that ends is noticed at once, not with the next commit; what it says unasked is no reply."""
    waits = new()
    answered(waits, pairs[0])
    if said:
        pairs[0].server.sendall(said)
    else:
        pairs[0].server.close()
    with pytest.raises(StoreUnavailableError, match=wrong):
        waits.wait(60.0)


def test_of_many_idle_connections_few_are_polled(pairs: list[Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every wait looks at all that are polled, so thousands of streams are not left there."""
    polled: set[int] = set()

    class Poll:
        def __init__(self) -> None:
            self._poll = real()

        def register(self, descriptor: int, events: int) -> None:
            polled.add(descriptor)
            self._poll.register(descriptor, events)

        def unregister(self, descriptor: int) -> None:
            polled.discard(descriptor)
            self._poll.unregister(descriptor)

        def poll(self, timeout_ms: int) -> list[tuple[int, int]]:
            return self._poll.poll(timeout_ms)

    real = select.poll
    monkeypatch.setattr(poller.select, "poll", Poll)
    waits = new()
    for pair in pairs * 2:
        assert answered(waits, pair) == b"+ONE\r\n"
    assert len(polled) == MOST_IDLE
    for pair in pairs:
        waits.forget(pair.connection)
    assert not polled


def test_a_connection_that_took_the_place_of_another_is_heard(pairs: list[Pair], stack: ExitStack) -> None:
    """The system gives the descriptor of a closed connection to the next one."""
    waits = new()
    listener = stack.enter_context(socket.create_server((HOST, 0), reuse_port=False))
    answered(waits, pairs[0])
    waits.forget(pairs[0].connection)
    closed = pairs[0].connection.fileno()
    while (filler := stack.enter_context(open(os.devnull))).fileno() < closed:  # noqa: SIM115
        pass  # the lowest that is free is given, so none below it is to be
    assert filler.fileno() > closed
    pairs[0].connection.close()
    anew = [connected(stack, listener) for _ in range(3)]
    assert closed in {pair.connection.fileno() for pair in anew}
    for pair in anew:
        assert answered(waits, pair) == b"+ONE\r\n"


LARGE = b"x" * (32 << 20)  # more than any system keeps for a socket


def left_to_send(waits: Waiting, pair: Pair) -> None:
    """Have a flight begin that is too large for the socket, whose reply is waited for."""
    assert pair.server.recv(1 << 16)  # the greeting
    pair.connection.raw.expect(1)
    pair.whole = False
    pair.connection.send_pieces([b"small", LARGE, b"end"])
    assert pair.connection.is_sending
    waits.expect(pair.connection, pair.receive)


def taken(pair: Pair, size: int) -> bytes:
    """So many bytes, as the server takes them."""
    parts = []
    while size:
        parts.append(pair.server.recv(min(size, 1 << 20), socket.MSG_WAITALL))
        size -= len(parts[-1])
    return b"".join(parts)


def test_a_large_flight_leaves_while_other_things_are_done(patient: list[Pair]) -> None:
    """Whoever sends does not wait for the server: more leaves whenever it is asked to, or waited for, in its order."""
    waits, pair = new(), patient[0]
    left_to_send(waits, pair)
    got, whole = b"", b"small" + LARGE + b"end"
    while pair.connection.is_sending and len(got) < len(whole) // 2:
        got += taken(pair, 1 << 18)
        waits.go_on_sending()
    while pair.connection.is_sending:
        got += taken(pair, 1 << 20)
        waits.wait(0.0)
    assert got + taken(pair, len(whole) - len(got)) == whole
    pair.server.sendall(b"+DONE\r\n")
    while not pair.whole:
        waits.wait(1.0)
    assert pair.connection.raw.take() == b"+DONE\r\n"
    assert answered(waits, pair) == b"+ONE\r\n"


def test_what_is_received_or_sent_next_comes_after_all_of_a_large_flight(patient: list[Pair]) -> None:
    """A reply that is waited for without a poll finds what it answers to sent."""
    for go_on in (lambda pair: pair.connection.raw.take(), lambda pair: pair.connection.send(b"")):
        waits, pair = new(), patient.pop()
        left_to_send(waits, pair)
        whole = b"small" + LARGE + b"end"
        with ThreadPoolExecutor(1) as others:
            got = others.submit(taken, pair, len(whole))
            got.add_done_callback(lambda _, pair=pair: pair.server.sendall(b"+DONE\r\n"))
            go_on(pair)
            assert not pair.connection.is_sending
            assert got.result() == whole
        waits.forget(pair.connection)


def test_a_server_that_takes_no_more_of_a_flight_is_silent(pairs: list[Pair]) -> None:
    """Nobody waits for ever for room in a socket."""
    waits = new()
    left_to_send(waits, pairs[0])

    def wait_for_ever() -> None:
        while True:
            waits.wait(60.0)

    with pytest.raises(StoreUnavailableError, match=r"no answer for 0.3 s"):
        wait_for_ever()


def test_a_server_that_ends_in_a_flight_is_told_by_the_next_wait(pairs: list[Pair]) -> None:
    """In the midst of other work nothing is raised."""
    waits, pair = new(), pairs[0]
    left_to_send(waits, pair)
    pair.server.close()
    while pair.connection.is_sending and not _is_cut(pair.connection):
        waits.go_on_sending()
    with pytest.raises(StoreUnavailableError):
        waits.wait(60.0)


def _is_cut(connection: Connection) -> bool:
    """Whether sending has been seen to fail."""
    try:
        connection.go_on_sending()
    except StoreUnavailableError:
        return True
    return False
