"""Streams of a Cluster whose server is away while others are not: tried again and again; each change is said once."""

from __future__ import annotations

import logging
from collections.abc import Callable

from streamlstm.daemon.store_health import tells_why
from streamlstm.daemon.streams import Status, Stream, Streams
from streamlstm.errors import StoreUnavailableError

log = logging.getLogger(__name__)

AWAY_PAUSE_S = 0.2  # between two tries


class UnreachableStreams:
    """When they are tried, and what is said of them."""

    def __init__(self, streams: Streams, monotonic: Callable[[], float]) -> None:
        self._streams, self._monotonic = streams, monotonic
        self._next_try_s = 0.0

    def due(self) -> list[Stream]:
        """Those to be tried again now."""
        return list(self._streams.away.values()) if self._monotonic() >= self._next_try_s else []

    def note(self, stream: Stream, error: StoreUnavailableError) -> None:
        """A stream cannot be reached; said if it is news: the first time, and when the reason given is another."""
        if stream.status is not Status.AWAY or (tells_why(error) and str(error) != stream.reason):
            log.warning("%s; %r waits for it", error, stream.name)
            self._streams.set(stream, Status.AWAY, str(error))
        self._next_try_s = self._monotonic() + AWAY_PAUSE_S

    def left(self, former: Status) -> None:
        """A stream that had a status has another; said if it was the last that was away."""
        if former is Status.AWAY and not self._streams.away and self._streams.open:
            log.info("connected again", extra={"streams": len(self._streams.open)})

    def unready(self) -> str | None:
        """Why nothing can be served just now, or None."""
        return "no server of its streams is reachable" if self._streams.away and not self._streams.open else None
