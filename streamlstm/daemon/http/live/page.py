"""The live page: static files, the names of series to choose from, and server-sent events with figures and values.

Everything is read when somebody watches, in the thread of the watcher's request: figures from the metrics, values from
Redis over a connection of the watcher's own, by `recent` with an effort that load does not raise.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

from streamlstm.daemon.http.answer import Answer
from streamlstm.daemon.http.live.figures import Shown
from streamlstm.daemon.http.live.series_gauges import number
from streamlstm.errors import StoreError
from streamlstm.store import Answered, Keys, Recent
from streamlstm.store.resp import Connection

TICK_S = 0.2  # between two looks at the predictions
FIGURES_EVERY = 5  # ticks
CHALLENGER_EVERY = 10  # ticks
RETRY_TICKS = 10  # while the store is away
HISTORY_VALUES = 240  # of a series, drawn at first
MOST_WATCHERS = 16  # each has a thread and a connection
MOST_NAMES = 500  # to choose from

_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
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
        connect: Callable[[str], Connection],
        shown: Shown,
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connect, self._shown, self._pause = connect, shown, pause
        self._places = threading.BoundedSemaphore(MOST_WATCHERS)

    def answer(self, path: str, query: Mapping[str, str]) -> Answer | None:
        """What a path shows; None if it is not one of the page's. Streams that are not served do not exist here."""
        if path in _FILES:
            name, kind = _FILES[path]
            return Answer(200, kind, resources.files(__package__).joinpath(name).read_bytes(), _HEADERS)
        if path == "/streams":
            return Answer(200, "application/json", json.dumps(sorted(self._shown.streams())).encode(), _HEADERS)
        if path not in {"/series", "/events"}:
            return None
        stream = query.get("stream", "")
        if stream not in self._shown.streams():
            return Answer.text(404, "no such stream is served here")
        if path == "/series":
            return self._names(stream)
        return Answer(200, "text/event-stream", self._events(stream, query.get("series", "").encode()), _HEADERS)

    def _names(self, stream: str) -> Answer:
        try:
            connection = self._connect(stream)
            try:
                names = Recent(connection, stream).names()[:MOST_NAMES]
            finally:
                connection.close()
        except StoreError as error:
            return Answer.text(503, str(error))
        found = [name.decode("utf-8", "replace") for name in names]
        return Answer(200, "application/json", json.dumps(found).encode(), _HEADERS)

    def _events(self, stream: str, series: bytes) -> Iterator[bytes]:
        """Events until the watcher leaves; without a series only figures."""
        if not self._places.acquire(blocking=False):
            yield _event("trouble", {"message": f"{MOST_WATCHERS} are watching already; close a page"})
            return
        try:
            yield _event("figures", self._shown.figures())
            values = self._values(stream, series)
            for tick in itertools.count(1):
                yield from next(values)
                if tick % FIGURES_EVERY == 0:
                    yield _event("figures", self._shown.figures())
                self._pause(TICK_S)
        finally:
            self._places.release()

    def _values(self, stream: str, series: bytes) -> Iterator[list[bytes]]:
        """Once a tick, the events there are about the series; while the store is away it is tried now and then."""
        if not series:
            while True:
                yield []
        while True:
            connection = None
            try:
                connection = self._connect(stream)
                yield from _follow(connection, stream, series, number(str(self._shown.anomaly_above()).encode()))
            except StoreError as error:
                yield [_event("trouble", {"message": str(error)})]
            finally:
                if connection is not None:
                    connection.close()
            for _ in range(RETRY_TICKS):
                yield []


def _follow(connection: Connection, stream: str, series: bytes, above: float | None) -> Iterator[list[bytes]]:
    """Events about a series, of which values that score `above` or more are marked."""

    def wanted(name: bytes) -> bool:
        return name == series

    recent = Recent(connection, stream)
    columns = recent.columns()
    past = recent.back(wanted, HISTORY_VALUES)
    beside = _beside(connection, stream, wanted)
    begun = {"points": _points(past), "begin": True, "missed": False}
    yield [_event("values", {"columns": columns, "above": above, **begun}), *next(beside)]
    while True:
        news = recent.look(wanted)
        found = []
        if news.answered:
            columns = recent.columns()
            come = {"points": _points(news.answered), "missed": news.missed}
            found = [_event("values", {"columns": columns, "above": above, **come})]
        yield found + next(beside)


def _beside(connection: Connection, stream: str, wanted: Callable[[bytes], bool]) -> Iterator[list[bytes]]:
    """Once a tick, what the challenger has said of the series; whether there is one is looked up now and then."""
    known, recent = None, Recent(connection, stream, challenger=True)
    for tick in itertools.count():
        if tick % CHALLENGER_EVERY == 0:
            challenger = connection.call("HGET", Keys(stream).meta, "challenger")
            if challenger != known:
                known, recent = challenger, Recent(connection, stream, challenger=True)
                past = recent.back(wanted, HISTORY_VALUES) if challenger else []
                yield [_event("beside", {"points": _points(past), "begin": True})]
                continue
        if not known:
            news = []
        elif recent.has_begun:
            news = recent.look(wanted).answered
        else:  # it had said nothing yet; a look would take the newest entries only of what it has said since
            news = recent.back(wanted, HISTORY_VALUES)
        yield [_event("beside", {"points": _points(news)})] if news else []


def _points(answered: Sequence[Answered]) -> list[list[Any]]:
    """Time in ms, value, then the prediction's columns; None for what is no finite number."""
    return [
        [item.time_ms, number(item.value.partition(b",")[0]), *map(number, item.prediction.split(b","))]
        for item in answered
    ]


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, allow_nan=False)}\n\n".encode()
