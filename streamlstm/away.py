"""Streams of a Cluster whose server is away while others are not: tried again and again; each change is said once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

from streamlstm.errors import StoreUnavailableError
from streamlstm.standing import tells_why

log = logging.getLogger(__name__)

AWAY_PAUSE_S = 0.2  # between two tries


class Away:
    """Of one loop."""

    def __init__(self, served: Collection[str], monotonic: Callable[[], float]) -> None:
        """`served` are the streams that are open, as they change."""
        self._served, self._monotonic = served, monotonic
        self._said: dict[str, str] = {}  # of each stream, what was said last
        self._next_try_s = 0.0

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._said)

    def due(self) -> list[str]:
        """Those to be tried again now."""
        return list(self._said) if self._monotonic() >= self._next_try_s else []

    def note(self, stream: str, error: StoreUnavailableError) -> None:
        """A stream cannot be reached; said if it is news: the first time, and when the reason given is another."""
        is_news = stream not in self._said or (tells_why(error) and str(error) != self._said[stream])
        if is_news:
            log.warning("%s; %r waits for it", error, stream)
            self._said[stream] = str(error)
        self._next_try_s = self._monotonic() + AWAY_PAUSE_S

    def reached(self, stream: str) -> None:
        """A stream is open, or will not be opened here."""
        if self._said.pop(stream, None) is not None and not self._said and self._served:
            log.info("connected again", extra={"streams": len(self._served)})

    def clear(self) -> None:
        """All connections are made anew."""
        self._said.clear()

    def unready(self) -> str | None:
        """Why nothing can be served just now, or None."""
        return "no server of its streams is reachable" if self._said and not self._served else None
