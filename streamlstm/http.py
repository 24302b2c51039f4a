"""A small HTTP server: /metrics, /healthz (the loop beats), /readyz (store reachable, not draining), the live page."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl

from streamlstm import __version__
from streamlstm.errors import UsageError
from streamlstm.metrics import CONTENT_TYPE

TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Answer:
    """What a request is answered with; parts that come one by one are sent as they come, until the client leaves."""

    status: int
    kind: str
    body: bytes | Iterable[bytes]
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def text(cls, status: int, message: str) -> Answer:
        """One line."""
        return cls(status, TEXT, f"{message}\n".encode())


@dataclass(frozen=True, kw_only=True)
class Pages:
    """What the paths answer; each is called in a thread of its own."""

    metrics: Callable[[], bytes]
    unhealthy: Callable[[], str | None]  # why the process should be restarted, or None
    unready: Callable[[], str | None]  # why it cannot serve just now, or None
    remark: Callable[[], str | None] = lambda: None  # what whoever asks for readiness should know besides
    page: Callable[[str, Mapping[str, str]], Answer | None] | None = None  # path and query; None: not one of its paths


# Before there is a daemon: alive, not ready, nothing to scrape.
STARTING = Pages(
    metrics=lambda: b"",
    unhealthy=lambda: None,
    unready=lambda: "starting: the model is being loaded, or the server started",
)


class HttpServer:
    """Serves `Pages` on a host and port in background threads."""

    def __init__(self, address: str, pages: Pages = STARTING) -> None:
        """Bind `HOST:PORT` (port 0: any free one); raises UsageError if that cannot be done."""
        host, port = parse_address(address)
        try:
            self._server = _Server((host, port), _Handler)
        except OSError as error:
            raise UsageError(
                f"cannot listen on {address} for HTTP: {error.strerror or error}; "
                "name another address with --http HOST:PORT"
            ) from None
        self._server.pages = pages
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    def start(self) -> None:
        """Answer requests from now on."""
        self._thread.start()

    def show(self, pages: Pages) -> None:
        """Answer with other pages from the next request on."""
        self._server.pages = pages

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


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    pages: Pages


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = f"streamlstm/{__version__}"
    sys_version = ""
    timeout = 10  # seconds a client may take over its request

    def do_GET(self) -> None:
        """Answer; a path that is none is 404, so that a wrong scrape config is noticed."""
        path, _, query = self.path.partition("?")
        answer = self._find(path, query)
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if isinstance(answer.body, bytes):
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self._send(answer.body)

    def do_POST(self) -> None:
        """Refuse: there is nothing here that could be changed."""
        self.send_response(405)
        self.send_header("Allow", "GET, HEAD")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815  (the names the standard library calls)
    do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_POST  # noqa: N815

    def _find(self, path: str, query: str) -> Answer:
        if path == "/metrics":
            return Answer(200, CONTENT_TYPE, self.server.pages.metrics())
        if path in {"/healthz", "/readyz"}:
            problem = self.server.pages.unhealthy() if path == "/healthz" else self.server.pages.unready()
            remark = self.server.pages.remark() if path == "/readyz" else None
            return Answer.text(503 if problem else 200, problem or (f"ok; {remark}" if remark else "ok"))
        found = self.server.pages.page(path, dict(parse_qsl(query))) if self.server.pages.page is not None else None
        return found or Answer.text(404, "there are /metrics, /healthz and /readyz")

    def _send(self, body: bytes | Iterable[bytes]) -> None:
        parts = [body] if isinstance(body, bytes) else body
        try:
            for part in parts:
                self.wfile.write(part)
                self.wfile.flush()
        except (ConnectionError, TimeoutError):
            pass  # the client has left
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()  # a generator lets go of what it holds now, not when it is collected

    def log_message(self, *args: object) -> None:
        """Requests are not worth a line each."""
