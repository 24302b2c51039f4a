"""Connections to where nobody listens."""

from __future__ import annotations

import socket

import pytest

from streamlstm.errors import StoreUnavailableError
from streamlstm.store.resp.address import Address
from streamlstm.store.resp.connection import Connection
from support.server import HOST, free_port


def test_a_connection_to_itself_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever calls a port that nobody has may be given that very port, and hear itself: as good as refused."""
    port = free_port()

    def call_itself(place: tuple[str, int], timeout_s: float) -> socket.socket:
        made = socket.socket()
        made.settimeout(timeout_s)
        made.bind(place)
        made.connect(place)
        return made

    monkeypatch.setattr(socket, "create_connection", call_itself)
    with pytest.raises(StoreUnavailableError, match=rf"127\.0\.0\.1:{port}/0: Connection refused"):
        Connection(Address.parse(f"redis://{HOST}:{port}/0"))
    with socket.socket() as server:
        server.bind((HOST, port))  # the port is free for whom it belongs to
        server.listen()
