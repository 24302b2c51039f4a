"""A TCP proxy of the test's own: passes bytes on, cuts connections, or goes silent as a half-open connection does."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field

from support.server import HOST


@dataclass
class Proxy:
    """Stands before a server on a port of its own."""

    target: int  # the server's port
    most_bytes: int | None = None  # that pass over a connection in one direction; then it stands still for good
    _listener: socket.socket = field(default_factory=lambda: socket.create_server((HOST, 0)))
    _pairs: list[tuple[socket.socket, socket.socket]] = field(default_factory=list)
    _silent: set[socket.socket] = field(default_factory=set)  # whose bytes are swallowed
    _closed: bool = False

    def __post_init__(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"redis://{HOST}:{self._listener.getsockname()[1]}/0"

    @property
    def connections(self) -> int:
        """How many there are that were not cut."""
        return len(self._pairs)

    def cut(self) -> int:
        """Close every connection there is; returns how many."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                _shut(end)
        return len(pairs)

    def go_silent(self) -> int:
        """Swallow what comes over the connections there are and leave them open; new ones work. Returns how many."""
        pairs = list(self._pairs)
        self._silent.update(end for pair in pairs for end in pair)
        return len(pairs)

    def close(self) -> None:
        """End it."""
        self._closed = True
        _shut(self._listener)  # wakes the thread that accepts
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client = self._listener.accept()[0]
            except OSError:
                continue  # it was closed, or who connected has left already
            try:
                server = socket.create_connection((HOST, self.target))
            except OSError:
                client.close()
                continue
            self._pairs.append((client, server))
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                passed += len(data)
                if self.most_bytes is not None and passed > self.most_bytes:
                    self._silent.add(source)
                if source not in self._silent:
                    sink.sendall(data)
        if source not in self._silent or self._closed:
            _shut(source)
            _shut(sink)
        source.close()


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
