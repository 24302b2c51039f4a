"""Answers the request of each connection it is given with `Pages`.

One request a connection, one thread a connection, and so many connections at most: when they are used up the oldest
gives way, so that whoever holds connections open keeps neither a probe out nor descriptors from Redis.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

from streamlstm import __version__
from streamlstm.daemon.http.answer import HttpAnswer
from streamlstm.daemon.http.request import ANY_NAME, Refusal, Request, host_name, is_own, read_request
from streamlstm.daemon.telemetry import CONTENT_TYPE
from streamlstm.errors import UsageError

log = logging.getLogger(__name__)

MOST_CONNECTIONS, LEAST_CONNECTIONS = 128, 8
DESCRIPTORS_SHARE = (
    4  # connections take this part of what the process may open at most; the rest is for Redis and files
)
AT_ONCE = 8  # requests for /metrics and for the page's data each, which take the store's and this process's time
SEND_S = 10.0  # a client may take over its answer, or over a part of one that comes in parts
LINGER_S, LINGER_BYTES = 1.0, 65_536  # how much of what else a client sends is read, so that it can read the answer
PAUSE_S = 0.1  # for one that gives way


@dataclass(frozen=True, kw_only=True)
class Pages:
    """What the paths answer; each is called in a thread of its own."""

    metrics: Callable[[], bytes]
    unhealthy: Callable[[], str | None]  # why the process should be restarted, or None
    unready: Callable[[], str | None]  # why it cannot serve just now, or None
    remark: Callable[[], str | None] = lambda: None  # what whoever asks for readiness should know besides
    forecast: Callable[[str], HttpAnswer] | None = None  # of a query
    page: Callable[[str, str], HttpAnswer | None] | None = None  # path and query; None: not one of its paths


# Before there is a daemon: alive, not ready, nothing to scrape.
STARTING = Pages(
    metrics=lambda: b"",
    unhealthy=lambda: None,
    unready=lambda: "starting: the model is being loaded, or the server started",
)


class RequestHandler:
    """Reads the request of one connection, and answers it with what `Pages` has for its path."""

    def __init__(self, pages: Pages = STARTING, *, names: Collection[str] = (), is_private: bool = False) -> None:
        """`names` are those besides addresses and localhost by which the page may be asked for; `*` is any.

        `is_private`: only this machine can ask, and the metrics are shown under these names alone too.
        """
        self._pages, self._names, self._is_private = pages, names, is_private
        self._visits = _Visits(most_connections())
        self._metrics_at_once = threading.BoundedSemaphore(AT_ONCE)
        self._page_at_once = threading.BoundedSemaphore(AT_ONCE)

    def show(self, pages: Pages) -> None:
        """Answer with other pages from the next request on."""
        self._pages = pages

    def take(self, connection: socket.socket) -> None:
        """Answer what is asked over a connection, and close it."""
        self._visits.take(connection, self._serve)

    def _serve(self, connection: socket.socket) -> None:
        """Answer the one request of a connection."""
        asked = read_request(connection)
        if asked is None:
            return
        try:
            answer = HttpAnswer.text(asked.status, asked.reason) if isinstance(asked, Refusal) else self._answer(asked)
        except Exception:
            log.exception("a request over HTTP was not answered")
            answer = HttpAnswer.text(500, "something went wrong here; the log says what")
        if not isinstance(answer.body, bytes):
            self._visits.keep(connection)
        with_body = isinstance(asked, Refusal) or asked.method != "HEAD"
        _send(connection, answer, with_body=with_body)
        _linger(connection)

    def _answer(self, asked: Request) -> HttpAnswer:
        if asked.method not in {"GET", "HEAD"}:
            return HttpAnswer.text(405, "there is nothing here that could be changed", {"Allow": "GET, HEAD"})
        pages, path = self._pages, asked.path
        if path in {"/healthz", "/readyz"}:
            problem = pages.unhealthy() if path == "/healthz" else pages.unready()
            remark = pages.remark() if path == "/readyz" else None
            return HttpAnswer.text(503 if problem else 200, problem or (f"ok; {remark}" if remark else "ok"))
        # What listens to others is scraped by names this process does not know, and may be by anybody; what listens to
        # this machine alone is not to be read by whoever gets a browser on it to do so.
        if (path != "/metrics" or self._is_private) and not is_own(asked.host, self._names):
            return HttpAnswer.text(
                421, f"not shown under the name {asked.host}; if it is this daemon's, add --http-host"
            )
        if path == "/metrics":
            with _at_once(self._metrics_at_once) as free:
                return HttpAnswer(200, CONTENT_TYPE, pages.metrics()) if free else _busy()
        with _at_once(self._page_at_once) as free:
            if not free:
                return _busy()
            found = _found(pages, path, asked.query)
        return found or HttpAnswer.text(404, "there are /metrics, /healthz and /readyz")


def _found(pages: Pages, path: str, query: str) -> HttpAnswer | None:
    """What a path shows that is neither health nor metrics; None if there is none such."""
    if path == "/forecast" and pages.forecast is not None:
        return pages.forecast(query)
    return pages.page(path, query) if pages.page is not None else None


def own_name(text: str) -> str:
    """A name of a host as it is asked for, or `*`. Raises UsageError."""
    name = text if text == ANY_NAME else host_name(text)
    if not name:
        raise UsageError(f"{text!r} is no name of a host; write --http-host forecasts.example.com, or * for any")
    return name


class _Visits:
    """The connections there are: each is served in a thread, and the oldest gives way when there are too many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._changed = threading.Condition()
        self._open: dict[socket.socket, bool] = {}  # in order of age -> whether it is meant to stay

    def take(self, connection: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        """Serve a connection in a thread of its own."""
        with self._changed:
            if len(self._open) >= self._most:
                self._end_oldest()
            # The one that gives way needs a moment; if it takes longer nobody can be served.
            if not self._changed.wait_for(lambda: len(self._open) < self._most, PAUSE_S):
                connection.close()
                return
            self._open[connection] = False
        try:
            threading.Thread(target=self._run, args=(connection, serve), name="http-visit", daemon=True).start()
        except RuntimeError:  # the system allows no thread more
            self._end(connection)

    def keep(self, connection: socket.socket) -> None:
        """It is meant to stay, so others give way first."""
        with self._changed:
            if connection in self._open:
                self._open[connection] = True

    def _end_oldest(self) -> None:
        passing = (one for one, stays in self._open.items() if not stays)
        oldest = next(passing, None) or next(iter(self._open))
        with contextlib.suppress(OSError):
            oldest.shutdown(socket.SHUT_RDWR)  # whatever its thread waits for ends, and that closes it

    def _run(self, connection: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        try:
            serve(connection)
        except OSError:
            pass  # the client has left, or it has given way
        except Exception:
            log.exception("a request over HTTP was not answered")
        finally:
            self._end(connection)

    def _end(self, connection: socket.socket) -> None:
        with self._changed:
            self._open.pop(connection, None)
            connection.close()
            self._changed.notify_all()


def most_connections() -> int:
    """How many there may be at once, so that most of the descriptors this process may have are left for the rest."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(LEAST_CONNECTIONS, min(MOST_CONNECTIONS, soft // DESCRIPTORS_SHARE))


@contextlib.contextmanager
def _at_once(places: threading.BoundedSemaphore) -> Iterator[bool]:
    free = places.acquire(blocking=False)
    try:
        yield free
    finally:
        if free:
            places.release()


def _busy() -> HttpAnswer:
    return HttpAnswer.text(503, f"{AT_ONCE} such requests are being answered already", {"Retry-After": "1"})


def _send(connection: socket.socket, answer: HttpAnswer, *, with_body: bool) -> None:
    """Send an answer; a body that comes in parts is let go of at its end, whatever ends it."""
    parts = [answer.body] if isinstance(answer.body, bytes) else answer.body
    try:
        connection.settimeout(SEND_S)
        connection.sendall(_head(answer))
        for part in parts if with_body else ():
            connection.settimeout(SEND_S)  # for all of the part
            connection.sendall(part)
    finally:
        close = getattr(parts, "close", None)
        if close is not None:
            close()  # a generator lets go of what it holds now, not when it is collected


def _head(answer: HttpAnswer) -> bytes:
    headers = {
        "Server": f"streamlstm/{__version__}",
        "Date": formatdate(usegmt=True),
        "Content-Type": answer.kind,
        **answer.headers,
        "Connection": "close",
    }
    if isinstance(answer.body, bytes):
        headers["Content-Length"] = str(len(answer.body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\n{lines}\r\n".encode("latin-1")


def _linger(connection: socket.socket) -> None:
    """Read what else a client sends before closing: bytes that nobody read would reset the answer on its way."""
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(LINGER_S)
    left = LINGER_BYTES
    while left > 0 and (data := connection.recv(LINGER_BYTES)):
        left -= len(data)
