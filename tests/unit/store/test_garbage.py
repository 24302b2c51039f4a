"""A server that does not speak Redis' protocol, or answers a read with something else, is away: one line says so."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from streamlstm.engine.parsing import parse
from streamlstm.errors import StoreUnavailableError
from streamlstm.store.resp.address import Address
from streamlstm.store.resp.codec import Table, encode_read
from streamlstm.store.resp.connection import Connection
from streamlstm.store.resp.replies import parse_replies

# And whether hiredis, which gives replies as objects, refuses it too: it reads newer replies, and looser ones.
GARBAGE = [
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", True),
    (b"$03\r\nabc\r\n", True),
    (b"*+1\r\n$1\r\na\r\n", True),
    (b"\x00\xff\r\n", True),
    (b"$3\r\nabcXX\r\n", False),
    (b"*999999999999999999\r\n" * 12, False),
    (b"%1\r\n+a\r\n+b\r\n", False),
]


@pytest.fixture
def answering() -> Iterator[tuple[Address, list[bytes]]]:
    """A server that greets, then says what the list holds to whatever comes."""
    said: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            with peer:
                peer.recv(1 << 16)
                peer.sendall(b"+OK\r\n")
                if peer.recv(1 << 16):
                    peer.sendall(said[0])
                    peer.recv(1 << 16)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield Address.parse(f"redis://127.0.0.1:{server.getsockname()[1]}"), said
    server.shutdown(socket.SHUT_RDWR)
    server.close()
    thread.join()


@pytest.mark.parametrize(("garbage", "to_hiredis"), GARBAGE, ids=repr)
def test_what_is_no_reply_ends_the_connection(
    answering: tuple[Address, list[bytes]], garbage: bytes, to_hiredis: bool
) -> None:
    """Taken in one piece, as the hot path does, or as objects."""
    address, said = answering
    said.append(garbage)
    for as_objects in {False, to_hiredis}:
        connection = Connection(address)
        try:
            if not as_objects:
                connection.raw.expect(1)
            connection.send(b"*1\r\n$4\r\nPING\r\n")
            with pytest.raises(StoreUnavailableError, match="does not speak Redis' protocol"):
                connection.receive() if as_objects else connection.raw.take()
        finally:
            connection.close()


@pytest.mark.parametrize(
    "reply",
    [b"+OK\r\n", b":1\r\n", b"*1\r\n+OK\r\n", encode_read({"other": [(b"1-1", [b"s", b"1"])]}), encode_read({"k": []})],
    ids=repr,
)
def test_an_answer_to_something_else_is_no_read(reply: bytes) -> None:
    """Another type, another stream, a stream without entries."""
    with pytest.raises(StoreUnavailableError, match="answered a read with"):
        parse(reply, Table(), {b"k": 0}, 1)


def test_what_hiredis_cannot_read_is_one_line() -> None:
    """Where replies that have come are made objects."""
    with pytest.raises(StoreUnavailableError, match="does not speak its protocol"):
        parse_replies(b"+OK\r\n$x\r\n")
