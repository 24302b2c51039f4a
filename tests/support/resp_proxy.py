"""A proxy that understands the Redis protocol: refuses commands, loses replies, mixes them up, holds commands up."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import hiredis

from streamlstm.store.resp.codec import skip_replies
from streamlstm.store.resp.connection import pack
from support.server import HOST

REFUSAL = b"-ERR this proxy passes no %b on\r\n"


@dataclass
class RespProxy:
    """Stands before a server; commands are named in capitals, in the fields that say what becomes of them."""

    target: int  # the server's port
    refused: set[bytes] = field(default_factory=set)  # answered with an error, and not passed on
    once: set[bytes] = field(default_factory=set)  # likewise, the next time only
    skipped: dict[bytes, int] = field(default_factory=dict)  # so many are passed on before that
    lost: set[bytes] = field(default_factory=set)  # passed on, and not answered
    mixed: set[bytes] = field(default_factory=set)  # whose reply comes after that of the command behind it
    held: dict[bytes, threading.Event] = field(default_factory=dict)  # stands still before them until the event is set
    _listener: socket.socket = field(default_factory=lambda: socket.create_server((HOST, 0)))
    _ends: list[socket.socket] = field(default_factory=list)
    _closed: bool = False

    def __post_init__(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"redis://{HOST}:{self._listener.getsockname()[1]}/0"

    def close(self) -> None:
        """End it."""
        self._closed = True
        for end in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        while not self._closed:
            with contextlib.suppress(OSError):
                client = self._listener.accept()[0]
                server = socket.create_connection((HOST, self.target))
                self._ends += (client, server)
                threading.Thread(target=self._carry, args=(client, server), daemon=True).start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        """One command after the other."""
        replies, delayed = _replies(server), b""
        with contextlib.suppress(OSError, StopIteration):
            for command in _commands(client):
                name = command[0].upper()
                if name in self.held:
                    self.held[name].wait()
                if name in self.refused or self._is_hit(name):
                    reply = REFUSAL % name
                else:
                    server.sendall(pack(*command))
                    if name == b"SUBSCRIBE":
                        threading.Thread(target=_pump, args=(server, client), daemon=True).start()
                        _pump(client, server)
                        return
                    reply = next(replies)
                if name in self.lost:
                    continue
                if name in self.mixed and not delayed:
                    delayed = reply
                    continue
                client.sendall(reply + delayed)
                delayed = b""
        for end in (client, server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _is_hit(self, name: bytes) -> bool:
        """Whether a command is the one that is refused once."""
        if name not in self.once:
            return False
        self.skipped[name] = self.skipped.get(name, 0) - 1
        if self.skipped[name] >= 0:
            return False
        self.once.discard(name)
        return True


def _commands(client: socket.socket) -> Iterator[list[bytes]]:
    reader = hiredis.Reader()
    while data := client.recv(65536):
        reader.feed(data)
        while (command := reader.gets()) is not False:
            yield command


def _replies(server: socket.socket) -> Iterator[bytes]:
    received = b""
    while data := server.recv(65536):
        received += data
        while received.endswith(b"\r\n"):
            size, left = skip_replies(received, 0, 1)
            if left:
                break
            yield received[:size]
            received = received[size:]


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
