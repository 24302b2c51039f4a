"""Counters, gauges and histograms that one thread writes without a lock, collected when somebody scrapes.

prometheus_client's own instruments take a lock a call: the dozen calls of a micro-batch were 10 us, 3 % of what
answering a single value takes; these take 4. Only the loop's thread may write; any thread may read, and sees each
number whole. The text format stays prometheus_client's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class Count:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Add."""
        self.value += amount


class Level:
    """A number that goes up and down."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def set(self, value: float) -> None:
        """Replace."""
        self.value = value


class Spread:
    """How many observations fell under each edge and beyond the last; an edge belongs to its bucket."""

    __slots__ = ("counts", "edges", "total")

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = tuple(edges)
        self.counts = [0] * (len(edges) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.edges, value)] += 1
        self.total += value

    def add(self, counts: Iterable[float], total: float) -> None:
        """Count many that are sorted into buckets already, with their sum."""
        self.counts = [old + int(new) for old, new in zip(self.counts, counts, strict=True)]
        self.total += total


Instrument = TypeVar("Instrument", Count, Level, Spread)


class Family(Collector, Generic[Instrument]):
    """The instruments of one metric, by label values; shown in the order in which they were asked for."""

    def __init__(self, name: str, text: str, labels: Sequence[str], make: Callable[[], Instrument]) -> None:
        """`name` is without `_total`; `make` gives a new instrument at 0."""
        self.name, self.text, self.label_names = name, text, tuple(labels)
        self._make: Callable[[], Instrument] = make
        self._instruments: dict[tuple[str, ...], Instrument] = {}

    def labels(self, *values: str) -> Instrument:
        """The instrument of some label values, made and shown at 0 if it is new."""
        assert len(values) == len(self.label_names), f"{self.name} has the labels {self.label_names}"
        found = self._instruments.get(values)
        if found is None:
            found = self._instruments[values] = self._make()
        return found

    def remove(self, *values: str) -> None:
        """Show them no more."""
        self._instruments.pop(values, None)

    def collect(self) -> Iterable[Metric]:
        """The metric family of this moment."""
        yield _family(self.name, self.text, self.label_names, self._make(), list(self._instruments.items()))


def _family(
    name: str,
    text: str,
    labels: Sequence[str],
    example: Count | Level | Spread,
    instruments: Sequence[tuple[tuple[str, ...], Count | Level | Spread]],
) -> Metric:
    """What instruments of one kind, that of the example, show."""
    if isinstance(example, Spread):
        spreads = HistogramMetricFamily(name, text, labels=labels)
        for values, spread in instruments:
            assert isinstance(spread, Spread)
            edges = [*map(str, spread.edges), "+Inf"]
            spreads.add_metric(values, list(zip(edges, accumulate(spread.counts), strict=True)), spread.total)
        return spreads
    family = (CounterMetricFamily if isinstance(example, Count) else GaugeMetricFamily)(name, text, labels=labels)
    for values, number in instruments:
        assert not isinstance(number, Spread)
        family.add_metric(values, number.value)
    return family


class Laps:
    """Seconds by stage of a loop: what passed since the last lap belongs to the stage that ends with it."""

    def __init__(self, family: Family[Count], stages: Sequence[str]) -> None:
        self._counts = {stage: family.labels(stage) for stage in stages}
        self._since: float | None = None

    def lap(self, stage: str, now: float) -> None:
        """End a stage at a monotonic time in seconds; the first call only starts the watch."""
        if self._since is not None:
            self._counts[stage].value += now - self._since
        self._since = now
