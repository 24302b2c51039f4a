"""How the daemon stands with its store: connected, refused or away; each change is said once."""

from __future__ import annotations

import logging
import random

from streamlstm.daemon.telemetry import Metrics
from streamlstm.errors import (
    StoreError,
    StoreHandshakeError,
    StoreNotNowError,
    StoreRefusesError,
    StoreUnavailableError,
)

log = logging.getLogger(__name__)

_WAITING = "nothing is lost: entries wait in the stream, and the same commit is tried again"

FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.1, 5.0


def tells_why(error: StoreError) -> bool:
    """Whether an error names something that somebody has to mend, so that another text is news."""
    return isinstance(error, StoreNotNowError | StoreHandshakeError)


class StoreHealth:
    """What is known of the store, as the loop meets it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.connected = False
        self._refused: str | None = None  # what was said by a store that does not take commits just now
        self._said = ""  # of the last thing that went wrong
        self._backoff_s = FIRST_BACKOFF_S  # longest pause before the next try; doubled until a commit holds again

    def unready(self) -> str | None:
        """Why nothing can be served just now, or None."""
        if self._refused is not None:
            return "the store takes no commits"
        return None if self.connected else "the store is not reachable"

    def gain(self, streams: int, *, again: bool) -> None:
        self.connected = True
        self._metrics.store_connected.set(1)
        if again and self._refused is None:
            log.info("connected again", extra={"streams": streams})

    def lose(self, error: StoreError) -> None:
        """Something went wrong, and will be tried again; what was said of it before is not said once more."""
        refused = not isinstance(error, StoreUnavailableError) or isinstance(error, StoreRefusesError)
        text = error.refusal if isinstance(error, StoreNotNowError) else str(error)
        # That a server cannot be reached says nothing new while it is away; why it turns one away does.
        is_news = text != self._refused if refused else self.connected or (tells_why(error) and text != self._said)
        if is_news:
            self._metrics.reconnects.inc(self.connected)
            log.warning("%s; %s", error, _WAITING if isinstance(error, StoreRefusesError) else "trying again")
        self.connected, self._said, self._refused = False, text, text if refused else None
        self._metrics.store_connected.set(0)

    def take(self) -> None:
        """A commit holds, or nothing waits for one."""
        self._backoff_s = FIRST_BACKOFF_S
        if self._refused is not None:
            self._refused = None
            log.info("the store takes commits again")

    def pause_s(self) -> float:
        """How long to wait before the next try; full jitter, so that many that lost one server do not come in step."""
        longest, self._backoff_s = self._backoff_s, min(2 * self._backoff_s, LAST_BACKOFF_S)
        return random.uniform(0.0, longest)  # noqa: S311  (not for secrets)
