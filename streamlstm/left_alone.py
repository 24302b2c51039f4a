"""Streams that this process leaves alone because of what their keys hold: said in the log, in metrics, to who asks."""

from __future__ import annotations

import logging

from streamlstm.errors import StoreError
from streamlstm.metrics import Metrics
from streamlstm.sharing import Sharing

log = logging.getLogger(__name__)


class LeftAlone:
    """Which they are, and why; a stream is tried again when `sharing` offers it again."""

    def __init__(self, sharing: Sharing, metrics: Metrics) -> None:
        self._sharing, self._metrics = sharing, metrics
        self._reasons: dict[str, str] = {}
        self.first: StoreError | None = None  # what was wrong with the first of them

    def note(self, stream: str, error: StoreError) -> None:
        """Leave a stream alone for a while."""
        self.first = self.first or error
        log.error("%s; %r is not served", error, stream, extra={"stream": stream})
        self._reasons[stream] = str(error)
        self._metrics.refuse(stream)
        self._sharing.refuse(stream)

    def served(self, stream: str) -> None:
        """It is served now."""
        self._reasons.pop(stream, None)
        self._metrics.of[stream].refused.set(0)

    def look(self) -> None:
        """Forget those whose time is over: this process or another one may find them mended."""
        for stream in [stream for stream in self._reasons if not self._sharing.is_refused(stream)]:
            del self._reasons[stream]
            self._metrics.refused.labels(stream).set(0)

    def is_all(self) -> bool:
        """Whether no stream is left to be served."""
        return bool(self._reasons) and not self._sharing.has_any()

    def said(self) -> str | None:
        """What is wrong with each, or None; asked by other threads."""
        return "; ".join(f"{stream!r} is not served: {why}" for stream, why in list(self._reasons.items())) or None
