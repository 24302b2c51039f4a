"""Events that may come by the thousand, logged once at once and then at most once a minute with how many there were."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from streamlstm.daemon.telemetry.metrics import StreamMetrics
from streamlstm.engine import BAD_RECORD, MOST_REJECTED
from streamlstm.store import DeadLetter

EVERY_S = 60.0  # between two lines about the same thing
SHOWN_BYTES = 64  # of a series' name in a line


@dataclass
class _Held:
    """What has not been said yet of a kind of event."""

    said: float  # monotonic time of the last line
    times: int
    message: str
    extra: dict[str, Any]


class ThrottledLog:
    """Warnings on behalf of a logger."""

    def __init__(self, log: logging.Logger, monotonic: Callable[[], float]) -> None:
        self._log, self._monotonic = log, monotonic
        self._held: dict[tuple[str, ...], _Held] = {}

    def note(self, kind: tuple[str, ...], message: str, times: int = 1, **extra: Any) -> None:
        """Warn of an event; of a kind that was warned of within a minute, keep the latest for `flush`."""
        held = self._held.get(kind)
        if held is None:
            self._held[kind] = _Held(self._monotonic(), 0, message, extra)
            self._log.warning("%s", message, extra={**extra, "times": times})
        else:
            held.times, held.message, held.extra = held.times + times, message, extra

    def count_dead(self, stream: str, dead: Sequence[DeadLetter], metrics: StreamMetrics) -> None:
        """Count the dead letters of a commit, and warn of each reason with an example."""
        examples = {letter.kind: letter for letter in dead}
        for kind, example in examples.items():
            times = sum(letter.values for letter in dead if letter.kind == kind)
            metrics.dead_letters[kind].inc(times)
            if kind == BAD_RECORD:
                metrics.quarantined_records.inc(times)
            series = example.series[:SHOWN_BYTES].decode(errors="backslashreplace")  # as one would look for it
            message = f"a value of {stream!r} cannot be stepped, of series {series!r}: {example.error}"
            self.note(("dead", stream, kind), message, times, stream=stream, reason=kind)

    def count_anew(self, stream: str, series: Sequence[bytes], metrics: StreamMetrics) -> None:
        """Count the series of a commit that began anew because the model had no answer to their values, and warn."""
        metrics.series_begun_anew.inc(len(series))
        shown = series[-1][:SHOWN_BYTES].decode(errors="backslashreplace")
        message = (
            f"series {shown!r} of {stream!r} began anew: the model had no answer to {MOST_REJECTED} values in a row"
        )
        self.note(("anew", stream), message, len(series), stream=stream)

    def flush(self) -> None:
        """Say what is due; called now and then."""
        now = self._monotonic()
        for kind, held in list(self._held.items()):
            if now - held.said < EVERY_S:
                continue
            if not held.times:
                del self._held[kind]  # it is over; the next one is news
                continue
            self._log.warning("%s", held.message, extra={**held.extra, "times": held.times})
            held.said, held.times = now, 0
