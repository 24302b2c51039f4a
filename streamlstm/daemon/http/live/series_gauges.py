"""Gauges of a few chosen series (`--series-metrics`): value, forecast and interval, read when Prometheus scrapes.

For small deployments and a Grafana panel. A label per series is what makes a Prometheus fall over, so the number is
limited, and a series that is not among the newest predictions at a scrape keeps what was seen last. The effort of a
scrape is limited as well: the newest predictions of each stream, and once the number is reached only of those streams
that show series. Without that a scrape of 50 streams read 2,000 values of each, for seconds beside the loop.
"""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from streamlstm.daemon.http.page_store import PageStore
from streamlstm.daemon.telemetry import Described
from streamlstm.errors import StoreError, StoreUnavailableError
from streamlstm.store import BACK_FIELDS, Answered, Recent, as_number, finite, number_at
from streamlstm.store.resp import Connection

# Column of a prediction -> gauge and its help; other columns are not shown.
_COLUMNS = {
    "yhat": ("streamlstm_series_forecast", "Forecast of a chosen series' next value."),
    "lo": ("streamlstm_series_interval_lower", "Lower end of the interval for a chosen series' next value."),
    "hi": ("streamlstm_series_interval_upper", "Upper end of the interval for a chosen series' next value."),
}
_ACTUAL = ("streamlstm_series_actual", "Last value of a chosen series (--series-metrics).")
_LABELS = ("stream", "series")


def described_gauges() -> list[Described]:
    """Every gauge, in the order of a scrape."""
    return [Described(name, "gauge", _LABELS, text) for name, text in (_ACTUAL, *_COLUMNS.values())]


@dataclass
class _Stream:
    """What is known of one stream."""

    connection: Connection
    recent: Recent
    columns: list[str] = field(default_factory=list)  # known with the first answer
    latest: dict[bytes, Answered] = field(default_factory=dict)


class SeriesGauges(Collector):
    """A collector to register beside the metrics."""

    def __init__(self, store: PageStore, streams: Callable[[], Sequence[str]], *, pattern: str, most: int) -> None:
        """`pattern` is a glob (`*`, `?`, `[seq]`) for names of series; of those the first `most` seen are shown."""
        self._store, self._names, self._pattern, self._most = store, streams, pattern, most
        self._streams: dict[str, _Stream] = {}
        self._lock = threading.Lock()  # two scrapes at once share the connections

    def describe(self) -> Iterable[Metric]:
        """Nothing is read when it is registered."""
        return []

    def collect(self) -> Iterable[Metric]:
        """What was seen last; without the store, nothing of it."""
        with self._lock:
            try:
                self._look_over_connections()
            except StoreError:
                self._forget()
            return self._families()

    def _look_over_connections(self) -> None:
        """Those kept since the last scrape, which may be broken though the server is there.

        It may have gone and come back meanwhile, or close what is idle for longer than between two scrapes.
        """
        try:
            self._look()
        except StoreUnavailableError:
            self._store.doubt()
            if not self._streams:
                raise
            for name, stream in self._streams.items():
                stream.connection.close()
                stream.connection = self._store.connect(name)
                stream.recent = Recent(stream.connection, name)
            self._look()

    def _look(self) -> None:
        names = self._names()
        for name in self._streams.keys() - set(names):  # another process's now
            self._close(name)
        for name in names:
            stream = self._streams.get(name)
            if self._shown() >= self._most and not (stream and stream.latest):
                self._close(name)  # nothing of it could be shown
                continue
            if stream is None:
                connection = self._store.connect(name)
                stream = self._streams[name] = _Stream(connection, Recent(connection, name))
            answered = stream.recent.latest(self._choose(stream), BACK_FIELDS // len(names))
            stream.latest.update((item.series, item) for item in answered)
            if answered:
                stream.columns = stream.recent.columns()

    def _choose(self, stream: _Stream) -> Callable[[bytes], bool]:
        """Whether a series is one of those shown; new ones that match are while there is room."""
        chosen = set(stream.latest)
        room = self._most - self._shown() + len(chosen)

        def wanted(series: bytes) -> bool:
            if series in chosen:
                return True
            if len(chosen) >= room or not fnmatch.fnmatchcase(series.decode("utf-8", "replace"), self._pattern):
                return False
            chosen.add(series)
            return True

        return wanted

    def _shown(self) -> int:
        return sum(len(stream.latest) for stream in self._streams.values())

    def _close(self, name: str) -> None:
        stream = self._streams.pop(name, None)
        if stream is not None:
            stream.connection.close()

    def _forget(self) -> None:
        for name in list(self._streams):
            self._close(name)

    def _families(self) -> list[Metric]:
        actual = GaugeMetricFamily(*_ACTUAL, labels=_LABELS)
        columns = {column: GaugeMetricFamily(*text, labels=_LABELS) for column, text in _COLUMNS.items()}
        for name, stream in self._streams.items():
            for answered in stream.latest.values():
                values = (name, answered.series.decode("utf-8", "replace"))
                value = finite(number_at(answered.value, 0))
                if value is not None:
                    actual.add_metric(values, value)
                texts = dict(zip(stream.columns, answered.prediction.split(b","), strict=False))
                for column, family in columns.items():
                    forecast = finite(as_number(texts.get(column, b"")))
                    if forecast is not None:
                        family.add_metric(values, forecast)
        return [actual, *(family for family in columns.values() if family.samples)]
