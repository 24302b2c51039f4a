"""A small HTTP server: /metrics, /healthz (the loop beats), /readyz (store reachable, not draining), the live page."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Iterable

from streamlstm.daemon.http.address import is_loopback, listen, parse_address, url_of
from streamlstm.daemon.http.request_handler import STARTING, Pages, RequestHandler, own_name

ACCEPT_S = 0.5  # how often it is looked whether to end
PAUSE_S = 0.1  # when there are no descriptors left


class HttpServer:
    """Serves `Pages` on a host and port in background threads."""

    def __init__(self, address: str, pages: Pages = STARTING, *, names: Iterable[str] = ()) -> None:
        """Bind `HOST:PORT` (port 0: any free one).

        `names` are those besides HOST, addresses and localhost by which the page may be asked for; `*` is any. Raises
        UsageError for an address that is none, ResourceError if it cannot be had.
        """
        host, port = parse_address(address)
        own = {host.lower(), *map(own_name, names)}
        self._listening = listen(address, host, port)
        self._listening.settimeout(ACCEPT_S)
        self._handler = RequestHandler(pages, names=own, is_private=is_loopback(self._listening))
        self.show = self._handler.show
        self.url = url_of(host, self._listening)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def start(self) -> None:
        """Answer requests from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and free the port."""
        self._over.set()
        if self._thread.is_alive():
            with contextlib.suppress(OSError):
                self._listening.shutdown(socket.SHUT_RDWR)  # on Linux it ends the wait for a connection
            self._thread.join()
        self._listening.close()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listening.accept()
            except TimeoutError:
                continue
            except OSError as error:
                if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}:
                    self._over.wait(PAUSE_S)
                continue
            self._handler.take(connection)
