"""A worker's end of the socket between it and its supervisor: connections come in, what has happened goes out.

The supervisor hands over one end of a socket pair for each request that it makes, as a web server's would be; there is
no address, no port and no file of it, so nobody else can ask. When the other side closes the socket, or dies and the
kernel does, that is the word to end: it needs no signal, so it works wherever there are sockets, and whatever killed
the supervisor.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

LEAVE_S = 20.0  # a worker whose supervisor is gone is ended by nobody else
REQUEST = b"?"  # one byte goes with each connection
MOST_MESSAGE_BYTES = 1 << 20


class Channel:
    """The socket to the supervisor, as a worker has it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._end: Callable[[], None] = lambda: os._exit(0)  # nothing is served yet
        self._is_over = False
        self._lock = threading.Lock()

    def start(self, take: Callable[[socket.socket], None]) -> None:
        """Give each connection that comes to `take`, in a thread, until the supervisor says no more."""
        threading.Thread(target=self._listen, args=(take,), name="channel", daemon=True).start()

    def say(self, **message: Any) -> None:
        """Tell the supervisor; one that is gone is no reason to fail, for its end is heard as well."""
        with contextlib.suppress(OSError):
            self._connection.sendall(json.dumps(message).encode() + b"\n")

    def at_end(self, end: Callable[[], None]) -> None:
        """What is to be done when the supervisor wants this process to end, or is gone; called in another thread."""
        with self._lock:
            self._end = end
            if self._is_over:
                end()

    def _listen(self, take: Callable[[socket.socket], None]) -> None:
        while True:
            try:
                word, descriptors, _, _ = socket.recv_fds(self._connection, len(REQUEST), 1)
            except OSError:
                word, descriptors = b"", []
            for descriptor in descriptors:
                take(socket.socket(fileno=descriptor))
            if not word:
                break
        leave = threading.Timer(LEAVE_S, os._exit, (1,))
        leave.daemon = True
        leave.start()
        with self._lock:
            self._is_over = True
            self._end()
