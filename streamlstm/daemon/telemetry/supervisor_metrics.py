"""What a supervisor counts itself, beside what its workers do."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from streamlstm.daemon.telemetry.instruments import Counter, Family, Gauge
from streamlstm.daemon.telemetry.merging import Families, parse


class SupervisorMetrics:
    """How many of so many workers serve, and how many were replaced."""

    def __init__(self, count: int) -> None:
        self.registry = CollectorRegistry()  # of what others count
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        text = "Processes that serve as one (`--workers`): how many there are to be, and how many of them serve."
        self._workers = Family("streamlstm_workers", text, ["state"], Gauge)
        self._workers.labels("wanted").set(count)
        self._replaced = Family("streamlstm_workers_replaced", "Workers that ended and were replaced.", [], Counter)
        self._count = count

    def process(self) -> Families:
        """Processor time, memory and descriptors of this process; Linux only."""
        return parse(generate_latest(self._process).decode())

    def exposition(self, *, missing: int, replaced: int) -> bytes:
        """The text of all else; so many workers do not serve just now, and so many were replaced."""
        self._workers.labels("ready").set(self._count - missing)
        self._replaced.labels().value = float(replaced)
        others: bytes = generate_latest(self.registry)
        return (self._workers.exposition() + self._replaced.exposition()).encode() + others
