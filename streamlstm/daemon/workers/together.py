"""What workers show together: their metrics as one, whether all are well, forecasts from whoever has the stream."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import parse_qsl

from streamlstm.daemon.http import HttpAnswer
from streamlstm.daemon.telemetry import SUPERVISOR, SupervisorMetrics, Totals, merging
from streamlstm.daemon.workers.supervisor import Supervisor
from streamlstm.daemon.workers.worker import ASK_S, Reply, Worker, ask_all

FRESH_S = 0.5  # what was asked for so long ago does for those who watch
FORECAST_S = 30.0
_FORECAST_HEADERS = ("Cache-Control", "X-Content-Type-Options", "Retry-After")
_PREFIX = "streamlstm_"


class Together:
    """A `daemon.http.Shown` of all workers, and their health. Asked from any thread."""

    def __init__(self, supervisor: Supervisor, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._supervisor, self._monotonic = supervisor, monotonic
        self._own = SupervisorMetrics(supervisor.count)
        self.registry = self._own.registry
        self._totals = Totals()
        self._last: dict[int, tuple[int, merging.Families]] = {}  # by pid: the worker's number, what it showed last
        self._ended: deque[int] = deque()  # pids, of whom that is still to be taken into the totals
        self._owners: dict[str, int] = {}
        self._merged: merging.Families = {}
        self._merged_s: float | None = None
        self._lock = threading.Lock()
        supervisor.call_at_end(lambda worker: self._ended.append(worker.process.pid))

    # As `Shown`.

    def exposition(self) -> bytes:
        """Of all workers, and of the supervisor as worker 0."""
        with self._lock:
            merged = merging.write(self._merge())
        return merged.encode() + self._own.exposition(
            missing=len(self._supervisor.missing()), replaced=self._supervisor.replaced
        )

    def streams(self) -> Sequence[str]:
        """Those that any of them serves."""
        return list(merging.streams_of(self._recent(), f"{_PREFIX}lag_entries"))

    def anomaly_above(self) -> float:
        """The same for all."""
        return next(iter(merging.numbers_of(self._recent(), f"{_PREFIX}anomaly_above")), float("nan"))

    def figures(self) -> dict[str, Any]:
        """Of every stream, from the metrics together."""
        merged = self._recent()

        def by_stream(name: str) -> dict[str, list[float]]:
            return merging.streams_of(merged, _PREFIX + name)

        values, dead, series = (by_stream(name) for name in ("values_total", "dead_letters_total", "series"))
        entries, seconds = by_stream("lag_entries"), by_stream("lag_seconds")
        errors, naive = by_stream("absolute_error_total"), by_stream("naive_absolute_error_total")
        buckets, edges = merging.buckets_of(merged, f"{_PREFIX}end_to_end_seconds")
        streams = {
            stream: {
                "values": sum(values.get(stream, [])),
                "dead": sum(dead.get(stream, [])),
                "series": max(series.get(stream, [0.0])),
                "lag_entries": max(lag),
                "lag_seconds": max(seconds.get(stream, [0.0])),
                "latency": buckets.get(stream, []),
                "errors": [sum(errors.get(stream, [])), sum(naive.get(stream, []))],
            }
            for stream, lag in entries.items()
        }
        connected = merging.numbers_of(merged, f"{_PREFIX}store_connected")
        connects = bool(connected) and min(connected) > 0
        return {"time": self._monotonic(), "connected": connects, "edges": edges, "streams": streams}

    # Health.

    def unhealthy(self) -> str | None:
        """Which of them hang, and why that is thought."""
        return self._problems("/healthz")

    def unready(self) -> str | None:
        """Which of them could not serve just now; a place that is empty is one that could not."""
        if self._supervisor.stopping:
            return "draining"
        missing = self._supervisor.missing()
        if missing:
            begun = "ended and is started again" if self._supervisor.has_begun else "is being started"
            return f"worker {', '.join(map(str, missing))} {begun}"
        return self._problems("/readyz")

    def remark(self) -> str | None:
        """What they say besides."""
        said = (reply.text for reply in self._ask("/readyz").values() if reply is not None and reply.status == 200)
        return "; ".join(dict.fromkeys(text.removeprefix("ok; ") for text in said if text != "ok")) or None

    def _problems(self, path: str) -> str | None:
        found: dict[str, list[str]] = {}
        for number, reply in self._ask(path).items():
            if reply is None or reply.status != 200:
                why = f"does not answer within {ASK_S:.0f} s" if reply is None else reply.text
                found.setdefault(why, []).append(str(number))
        return "; ".join(f"worker {', '.join(numbers)}: {why}" for why, numbers in found.items()) or None

    # Forecasts.

    def forecast(self, query: str) -> HttpAnswer:
        """From the worker that serves the stream; where none does, as any says it."""
        asked = dict(parse_qsl(query, keep_blank_values=True)).get("stream", "values")
        self._recent()
        workers = sorted(self._serving(), key=lambda worker: worker.number != self._owners.get(asked))
        for reply in ask_all(workers[:1], f"/forecast?{query}", FORECAST_S).values():
            if reply is not None:
                passed = {name: reply.headers[name] for name in _FORECAST_HEADERS if name in reply.headers}
                return HttpAnswer(reply.status, reply.kind, reply.body, passed)
        return HttpAnswer.text(503, "no worker answers just now; ask again", {"Retry-After": "1"})

    # How metrics are asked for.

    def _ask(self, path: str) -> dict[int, Reply | None]:
        return ask_all(self._serving(), path)

    def _serving(self) -> list[Worker]:
        """Those that have been ready; who starts says itself when it is."""
        return [worker for worker in self._supervisor.workers() if worker.ready is not None]

    def _recent(self) -> merging.Families:
        """The metrics together, not asked for anew if that was just now."""
        with self._lock:
            now = self._monotonic()
            if self._merged_s is None or now - self._merged_s > FRESH_S:
                self._merge()
            return self._merged

    def _merge(self) -> merging.Families:
        while self._ended:
            _, last = self._last.pop(self._ended.popleft(), (0, {}))
            self._totals.end(last)
        asked = self._serving()
        replies = ask_all(asked, "/metrics")
        living = {SUPERVISOR: self._own.process()}
        for worker in asked:
            reply = replies[worker.number]
            if reply is not None and reply.status == 200:
                living[worker.number] = shown = merging.parse(reply.body.decode())
                self._last[worker.process.pid] = worker.number, shown
        answered = {worker.process.pid for worker in asked if worker.number in living}
        silent = [last for pid, last in self._last.items() if pid not in answered]
        self._merged, self._merged_s = self._totals.merge(living, silent), self._monotonic()
        self._owners = {
            stream: number
            for number, families in living.items()
            for stream in merging.streams_of(families, f"{_PREFIX}lag_entries")
        }
        return self._merged
