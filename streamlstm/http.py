"""The daemon's HTTP side: /metrics, /healthz (the loop beats), /readyz (store reachable, not draining)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from streamlstm import __version__
from streamlstm.errors import UsageError
from streamlstm.metrics import CONTENT_TYPE

TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, kw_only=True)
class Pages:
    """What the paths answer; each is called in a thread of its own."""

    metrics: Callable[[], bytes]
    unhealthy: Callable[[], str | None]  # why the process should be restarted, or None
    unready: Callable[[], str | None]  # why it cannot serve just now, or None


class HttpServer:
    """Serves `Pages` on a host and port in background threads."""

    def __init__(self, address: str, pages: Pages) -> None:
        """Bind `HOST:PORT` (port 0: any free one); raises UsageError if that cannot be done."""
        host, port = parse_address(address)
        handler = type("Handler", (_Handler,), {"pages": pages})
        try:
            self._server = ThreadingHTTPServer((host, port), handler)
        except OSError as error:
            raise UsageError(
                f"cannot listen on {address} for HTTP: {error.strerror or error}; "
                "name another address with --http HOST:PORT"
            ) from None
        self._server.daemon_threads = True
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    def start(self) -> None:
        """Answer requests from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Stop answering and free the port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


def parse_address(address: str) -> tuple[str, int]:
    """`HOST:PORT` as a pair; raises UsageError for anything else."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{address!r} is not HOST:PORT; an example is 127.0.0.1:9478")
    return host.strip("[]") or "127.0.0.1", int(port)


class _Handler(BaseHTTPRequestHandler):
    pages: Pages
    server_version = f"streamlstm/{__version__}"
    sys_version = ""
    timeout = 10  # seconds a client may take over its request

    def do_GET(self) -> None:
        """Answer one of three paths; every other is 404, so that a wrong scrape config is noticed."""
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(200, CONTENT_TYPE, self.pages.metrics())
        elif path in {"/healthz", "/readyz"}:
            problem = self.pages.unhealthy() if path == "/healthz" else self.pages.unready()
            self._answer(503 if problem else 200, TEXT, f"{problem or 'ok'}\n".encode())
        else:
            self._answer(404, TEXT, b"there are /metrics, /healthz and /readyz\n")

    do_HEAD = do_GET  # noqa: N815  (the name the standard library calls)

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Requests are not worth a line each."""
