"""The live page: static files, what it looks up, and server-sent events with figures and values.

Everything is read when somebody watches, in the thread of the watcher's request: figures from the metrics, values from
Redis over a connection of the watcher's own, by `recent` with an effort that load does not raise.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from urllib.parse import parse_qsl

from streamlstm.daemon.http.answer import HttpAnswer
from streamlstm.daemon.http.live.events import event, follow
from streamlstm.daemon.http.live.figures import Shown
from streamlstm.daemon.http.live.lookups import Lookups, above
from streamlstm.daemon.http.page_store import Opened
from streamlstm.errors import StoreError

TICK_S = 0.2  # between two looks at the predictions
FIGURES_EVERY = 5  # ticks
RETRY_TICKS = 10  # while the store is away
MOST_WATCHERS = 16  # each has a thread and a connection
MOST_SERIES = 4  # drawn on one page

_SCRIPTS = ("page", "chart", "dead", "figures", "lookups", "panel", "series", "text", "theme", "view")
_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    **{f"/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8") for name in _SCRIPTS},
}
# Nothing inline, nothing from elsewhere, in no frame.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class LivePage:
    """Answers the page's paths."""

    def __init__(
        self,
        opened: Opened,
        shown: Shown,
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._opened, self._shown, self._pause = opened, shown, pause
        self._lookups = Lookups(opened, shown.anomaly_above, _HEADERS)
        self._places = threading.BoundedSemaphore(MOST_WATCHERS)

    def answer(self, path: str, query: str) -> HttpAnswer | None:
        """What a path shows; None if it is not one of the page's. Streams that are not served do not exist here."""
        if path in _FILES:
            name, kind = _FILES[path]
            return HttpAnswer(200, kind, resources.files(__package__).joinpath(name).read_bytes(), _HEADERS)
        if path == "/streams":
            return HttpAnswer(200, "application/json", json.dumps(sorted(self._shown.streams())).encode(), _HEADERS)
        if path != "/events" and path not in Lookups.PATHS:
            return None
        return self._answer(path, parse_qsl(query))

    def _answer(self, path: str, given: list[tuple[str, str]]) -> HttpAnswer:
        """What is said of a stream."""
        asked = dict(given)
        stream = asked.get("stream", "")
        if stream not in self._shown.streams():
            return HttpAnswer.text(404, "no such stream is served here")
        if path != "/events":
            return self._lookups.answer(path, stream, asked)
        series = list(dict.fromkeys(value.encode() for name, value in given if name == "series"))
        if len(series) > MOST_SERIES:
            return HttpAnswer.text(400, f"{MOST_SERIES} series are shown at once, at most")
        return HttpAnswer(200, "text/event-stream", self._events(stream, series), _HEADERS)

    def _events(self, stream: str, series: Sequence[bytes]) -> Iterator[bytes]:
        """Events until the watcher leaves; without a series only figures."""
        if not self._places.acquire(blocking=False):
            yield event("trouble", {"message": f"{MOST_WATCHERS} are watching already; close a page"})
            return
        try:
            yield event("figures", self._shown.figures())
            values = self._values(stream, series)
            for tick in itertools.count(1):
                yield from next(values)
                if tick % FIGURES_EVERY == 0:
                    yield event("figures", self._shown.figures())
                self._pause(TICK_S)
        finally:
            self._places.release()

    def _values(self, stream: str, series: Sequence[bytes]) -> Iterator[list[bytes]]:
        """Once a tick, the events there are about the series; while the store is away it is tried now and then."""
        if not series:
            while True:
                yield []
        while True:
            try:
                with self._opened(stream) as connection:
                    yield from follow(connection, stream, series, above(self._shown.anomaly_above()))
            except StoreError as error:
                yield [event("trouble", {"message": str(error)})]
            for _ in range(RETRY_TICKS):
                yield []
