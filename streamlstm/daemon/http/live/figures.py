"""What the live page and the gauges of series are about: the streams that are served just now, and figures of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from prometheus_client import CollectorRegistry

from streamlstm.daemon.telemetry import Metrics


class Shown(Protocol):
    """What one process shows, or several together."""

    registry: CollectorRegistry  # of what is collected besides when somebody scrapes

    def exposition(self) -> bytes:
        """The text Prometheus scrapes."""

    def streams(self) -> Sequence[str]:
        """The streams that are served just now."""

    def anomaly_above(self) -> float:
        """Score from which on a value is told as an anomaly; NaN if none is."""

    def figures(self) -> dict[str, Any]:
        """What is drawn: `time` in seconds, `connected`, `edges` of latencies, and sums of each of the `streams`."""


class ProcessFigures:
    """Of this process, by its metrics."""

    def __init__(
        self,
        metrics: Metrics,
        unhealthy: Callable[[], str | None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics, self._unhealthy, self._monotonic = metrics, unhealthy, monotonic
        self.registry = metrics.registry

    def exposition(self) -> bytes:
        """The metrics, with what health says."""
        self._metrics.loop_beats.set(0.0 if self._unhealthy() else 1.0)
        return self._metrics.exposition()

    def streams(self) -> Sequence[str]:
        """Those that have metrics."""
        return list(self._metrics.of)

    def anomaly_above(self) -> float:
        """As it was set."""
        return self._metrics.anomaly_above.value

    def figures(self) -> dict[str, Any]:
        """Of every stream."""
        streams = {}
        for name, metrics in list(self._metrics.of.items()):
            latency = metrics.end_to_end_seconds
            streams[name] = {
                "values": metrics.values.value,
                "dead": sum(count.value for count in metrics.dead_letters.values()),
                "series": metrics.series.value,
                "lag_entries": metrics.lag_entries.value,
                "lag_seconds": metrics.lag_seconds.value,
                "latency": list(latency.counts),
                "errors": [metrics.absolute_error.value, metrics.naive_absolute_error.value],
            }
        edges = list(next(iter(self._metrics.of.values())).end_to_end_seconds.edges) if self._metrics.of else []
        connected = self._metrics.store_connected.value > 0
        return {"time": self._monotonic(), "connected": connected, "edges": edges, "streams": streams}
