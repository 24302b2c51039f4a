"""Counters, gauges and histograms that one thread writes without a lock, collected when somebody scrapes.

prometheus_client's own instruments take a lock a call: the dozen calls of a micro-batch were 10 us, 3 % of what
answering a single value takes; these take 4. Only the loop's thread may write; any thread may read, and sees each
number whole. The text format stays prometheus_client's: it writes every line once, and from then on only the numbers
that have changed are filled in anew. A scrape of 256 streams, 20,000 lines, takes 13 ms this way, 4 where little has
changed, and 105 if `generate_latest` writes all of it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Counter:
    """A number that only grows."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1.0) -> None:
        self.value += amount

    def numbers(self) -> tuple[float, ...]:
        return (self.value,)


class Gauge:
    """A number that goes up and down."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def set(self, value: float) -> None:
        self.value = value

    def numbers(self) -> tuple[float, ...]:
        return (self.value,)


class Histogram:
    """How many observations fell under each edge and beyond the last; an edge belongs to its bucket."""

    __slots__ = ("counts", "edges", "total")

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = tuple(edges)
        self.counts = [0] * (len(edges) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """@@Counter@@ one observation."""
        self.counts[bisect_left(self.edges, value)] += 1
        self.total += value

    def add(self, counts: Iterable[float], total: float) -> None:
        """@@Counter@@ many that are sorted into buckets already, with their sum."""
        for place, new in enumerate(counts):
            if new:  # one, of a single value
                self.counts[place] += int(new)
        self.total += total

    def numbers(self) -> tuple[float, ...]:
        """What its lines show: how many were up to each edge and in all, and their sum."""
        below = tuple(accumulate(self.counts))
        return (*below, below[-1], self.total)


class _Lines:
    """The lines of one instrument, each written once but for its number."""

    def __init__(self, heads: Sequence[str]) -> None:
        self._heads = heads
        self._shown: tuple[tuple[float, ...], str] = ((), "")  # numbers and text of the last time

    def show(self, numbers: tuple[float, ...]) -> str:
        """The lines with these numbers."""
        before, text = self._shown
        if numbers != before:
            parts: list[str] = []
            last, written = math.nan, ""
            for head, number in zip(self._heads, numbers, strict=True):
                if number != last:  # neighbouring buckets are often equal
                    last, written = number, f"{floatToGoString(number)}\n"  # type: ignore[no-untyped-call]
                parts += (head, written)
            text = "".join(parts)
            self._shown = numbers, text  # at once, for scrapes come in threads of their own
        return text


Instrument = TypeVar("Instrument", Counter, Gauge, Histogram)


class Family(Collector, Generic[Instrument]):
    """The instruments of one metric, by label values; shown in the order in which they were asked for."""

    def __init__(self, name: str, text: str, labels: Sequence[str], make: Callable[[], Instrument]) -> None:
        """`name` is without `_total`; `make` gives a new instrument at 0."""
        self.name, self.text, self.label_names = name, text, tuple(labels)
        self._make: Callable[[], Instrument] = make
        self._instruments: dict[tuple[str, ...], Instrument] = {}
        self._lines: dict[tuple[str, ...], _Lines] = {}
        self._heading = ""

    def labels(self, *values: str) -> Instrument:
        """The instrument of some label values, made and shown at 0 if it is new."""
        assert len(values) == len(self.label_names), f"{self.name} has the labels {self.label_names}"
        found = self._instruments.get(values)
        if found is None:
            found = self._instruments[values] = self._make()
        return found

    def remove(self, *values: str) -> None:
        self._instruments.pop(values, None)
        self._lines.pop(values, None)

    def collect(self) -> Iterable[Metric]:
        """The metric family of this moment."""
        yield self._family(list(self._instruments.items()))

    def exposition(self) -> str:
        """The text of this moment, as `generate_latest` writes it."""
        instruments = list(self._instruments.items())
        new = [(values, instrument) for values, instrument in instruments if values not in self._lines]
        if new or not self._heading:
            self._write(new)
        found = [(self._lines.get(values), instrument) for values, instrument in instruments]
        return self._heading + "".join(
            [lines.show(instrument.numbers()) for lines, instrument in found if lines is not None]  # None: just removed
        )

    def _write(self, new: Sequence[tuple[tuple[str, ...], Instrument]]) -> None:
        """Have the lines of new instruments written by prometheus_client, and keep them without their numbers."""
        registry = CollectorRegistry()
        registry.register(_Once(self._family(new)))
        made, kind, *lines, _ = generate_latest(registry).decode().split("\n")
        self._heading = f"{made}\n{kind}\n"
        heads = iter([line.rpartition(" ")[0] + " " for line in lines])
        for values, instrument in new:
            self._lines[values] = _Lines([next(heads) for _ in instrument.numbers()])

    def _family(self, instruments: Sequence[tuple[tuple[str, ...], Instrument]]) -> Metric:
        return _family(self.name, self.text, self.label_names, self._make(), instruments)


class _Once(Collector):
    """A metric family as it is."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        yield self._metric


def _family(
    name: str,
    text: str,
    labels: Sequence[str],
    example: Counter | Gauge | Histogram,
    instruments: Sequence[tuple[tuple[str, ...], Counter | Gauge | Histogram]],
) -> Metric:
    """What instruments of one kind, that of the example, show."""
    if isinstance(example, Histogram):
        spreads = HistogramMetricFamily(name, text, labels=labels)
        for values, histogram in instruments:
            assert isinstance(histogram, Histogram)
            edges = [*map(str, histogram.edges), "+Inf"]
            spreads.add_metric(values, list(zip(edges, accumulate(histogram.counts), strict=True)), histogram.total)
        return spreads
    family = (CounterMetricFamily if isinstance(example, Counter) else GaugeMetricFamily)(name, text, labels=labels)
    for values, number in instruments:
        assert not isinstance(number, Histogram)
        family.add_metric(values, number.value)
    return family


class Laps:
    """Seconds by stage of a loop: what passed since the last lap belongs to the stage that ends with it."""

    def __init__(self, family: Family[Counter], stages: Sequence[str], monotonic: Callable[[], float]) -> None:
        self._counts = {stage: family.labels(stage) for stage in stages}
        self._monotonic = monotonic
        self._since_s: float | None = None

    def lap(self, stage: str) -> float:
        """End a stage and return the time; the first call only starts the watch."""
        now_s, since_s = self._monotonic(), self._since_s
        self._since_s = now_s
        if since_s is not None:
            self._counts[stage].value += now_s - since_s
        return now_s
