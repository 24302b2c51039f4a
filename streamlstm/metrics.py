"""The daemon's Prometheus metrics: names, units and help texts, in a registry of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from streamlstm import __version__
from streamlstm.flaw import KINDS
from streamlstm.scoring import ABSOLUTE, BUCKETS, NAIVE, SCALED, SCALED_ERROR_EDGES, SCORED

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_VALUES = (1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000)


class BulkHistogram(Collector):
    """A histogram by stream that takes counts; prometheus_client's own takes one value a call."""

    def __init__(self, name: str, text: str, edges: NDArray[np.float64]) -> None:
        self._name, self._text, self._edges = name, text, edges
        self._counts: dict[str, NDArray[np.int64]] = {}
        self._sums: dict[str, float] = {}

    def begin(self, stream: str) -> None:
        """Show a stream at 0."""
        self._counts.setdefault(stream, np.zeros(len(self._edges) + 1, np.int64))
        self._sums.setdefault(stream, 0.0)

    def observe(self, stream: str, counts: NDArray[np.float64], total: float) -> None:
        """Add values counted by bucket (edges + 1,), and their sum; an upper edge belongs to its bucket."""
        self._counts[stream] = self._counts[stream] + counts.astype(np.int64)
        self._sums[stream] += total

    def collect(self) -> Iterable[Metric]:
        """The metric family of this moment."""
        family = HistogramMetricFamily(self._name, self._text, labels=["stream"])
        edges = [*map(str, self._edges.tolist()), "+Inf"]
        for stream, counts in list(self._counts.items()):
            buckets = list(zip(edges, np.cumsum(counts).tolist(), strict=True))
            family.add_metric([stream], buckets, self._sums[stream])
        yield family


@dataclass(frozen=True, kw_only=True)
class StreamMetrics:
    """The metrics of one stream, their labels looked up once."""

    entries: Counter
    values: Counter
    predictions: Counter
    dead_letters: Mapping[str, Counter]  # by reason
    fenced_commits: Counter
    lost_entries: Counter
    commit_seconds: Histogram
    end_to_end_seconds: Histogram
    lag_entries: Gauge
    lag_seconds: Gauge
    series: Gauge
    last_commit: Gauge
    skill: Gauge


class Metrics:
    """Everything `/metrics` shows. Label values known beforehand are there from the start, at 0."""

    def __init__(self, fingerprint: str, columns: str, streams: Sequence[str]) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self.of: dict[str, StreamMetrics] = {}  # by stream
        self._skill: dict[str, tuple[float, float]] = {}
        self._make_counters()
        self._make_histograms()
        self._make_gauges()
        self._gauge("build_info", "Version of the daemon; always 1.", ["version"]).labels(__version__).set(1)
        info = self._gauge("model_info", "The model being served; always 1.", ["fingerprint", "columns"])
        info.labels(fingerprint[:12], columns).set(1)
        for stream in streams:
            self.begin(stream)

    def _counter(self, name: str, text: str, labels: Sequence[str] = ("stream",)) -> Counter:
        return Counter(f"streamlstm_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: Sequence[str] = ("stream",)) -> Gauge:
        return Gauge(f"streamlstm_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()) -> Histogram:
        return Histogram(f"streamlstm_{name}", text, labels, buckets=buckets, registry=self.registry)

    def _make_counters(self) -> None:
        self.entries = self._counter("entries", "Input entries answered and committed.")
        self.values = self._counter("values", "Values read, stepped or not, and committed.")
        self.predictions = self._counter("predictions", "Predictions committed.")
        self.dead_letters = self._counter(
            "dead_letters", "Values that could not be stepped, by reason.", ["stream", "reason"]
        )
        self.fenced_commits = self._counter(
            "fenced_commits", "Commits refused because another process had moved the stream's position."
        )
        self.lost_entries = self._counter(
            "lost_entries", "Entries trimmed from the input by somebody before they were read."
        )
        self.batches = self._counter("batches", "Micro-batches stepped.", [])
        self.reconnects = self._counter("reconnects", "Times the connection to the store was lost.", [])
        self.evictions = self._counter("evictions", "Records dropped from memory to stay under its limit.", [])

    def _make_histograms(self) -> None:
        self.batch_values = self._histogram("batch_values", "Values in a micro-batch.", _VALUES)
        self.step_seconds = self._histogram("step_seconds", "Time to parse, step and pack a micro-batch.", _SECONDS)
        self.commit_seconds = self._histogram(
            "commit_seconds", "Time from sending a commit to its answer.", _SECONDS, ["stream"]
        )
        self.end_to_end_seconds = self._histogram(
            "end_to_end_seconds",
            "Age of a batch's newest entry, by its id, when its commit was answered; entries with ids over an hour "
            "old (history) are left out.",
            _SECONDS,
            ["stream"],
        )
        self.scaled_error = BulkHistogram(
            "streamlstm_scaled_absolute_error",
            "Absolute error of a prediction over the mean absolute error of the naive forecast of its series so far.",
            SCALED_ERROR_EDGES,
        )
        self.registry.register(self.scaled_error)

    def _make_gauges(self) -> None:
        self.lag_entries = self._gauge("lag_entries", "Entries after the stream's position.")
        self.lag_seconds = self._gauge("lag_seconds", "Age of the oldest entry after the stream's position.")
        self.series = self._gauge("series", "Series with a record.")
        self.last_commit = self._gauge("last_commit_timestamp_seconds", "When the stream's last commit was answered.")
        self.skill = self._gauge(
            "skill", "1 - mean absolute error / that of the naive forecast, since the daemon began; above 0 is better."
        )
        self.cached_series = self._gauge("cached_series", "Records in memory.", [])
        self.state_bytes = self._gauge("state_bytes", "Memory taken by records.", [])
        self.owned_streams = self._gauge("owned_streams", "Streams this process works on.", [])

    def begin(self, stream: str) -> None:
        """Show a stream's metrics at 0 before anything happens."""
        self.of[stream] = StreamMetrics(
            entries=self.entries.labels(stream),
            values=self.values.labels(stream),
            predictions=self.predictions.labels(stream),
            dead_letters={kind: self.dead_letters.labels(stream, kind) for kind in KINDS},
            fenced_commits=self.fenced_commits.labels(stream),
            lost_entries=self.lost_entries.labels(stream),
            commit_seconds=self.commit_seconds.labels(stream),
            end_to_end_seconds=self.end_to_end_seconds.labels(stream),
            lag_entries=self.lag_entries.labels(stream),
            lag_seconds=self.lag_seconds.labels(stream),
            series=self.series.labels(stream),
            last_commit=self.last_commit.labels(stream),
            skill=self.skill.labels(stream),
        )
        self.of[stream].skill.set(float("nan"))
        self.scaled_error.begin(stream)

    def score(self, stream: str, tally: NDArray[np.float64]) -> None:
        """Take what was scored in a committed batch into the stream's skill and error histogram."""
        if not tally[SCORED]:
            return
        before = self._skill.get(stream, (0.0, 0.0))
        sums = (before[0] + float(tally[ABSOLUTE]), before[1] + float(tally[NAIVE]))
        self._skill[stream] = sums
        if sums[1] > 0.0:
            self.of[stream].skill.set(1.0 - sums[0] / sums[1])
        self.scaled_error.observe(stream, tally[BUCKETS:], float(tally[SCALED]))

    def exposition(self) -> bytes:
        """The text Prometheus scrapes."""
        text: bytes = generate_latest(self.registry)
        return text


class Described(NamedTuple):
    """One metric as the README shows it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def described(metrics: Metrics) -> list[Described]:
    """Every metric, in order of definition; counters with the `_total` they are scraped under."""
    found = []
    for family in metrics.registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for sample in family.samples for label in sample.labels if label != "le"}
        found.append(Described(name, family.type, tuple(sorted(labels)), family.documentation))
    return found
