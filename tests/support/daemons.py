"""The real daemon loop over the memory store, run until all entries are answered."""

from __future__ import annotations

import itertools

from streamlstm.common.settings import DaemonSettings
from streamlstm.daemon.clock import Clock
from streamlstm.daemon.daemon import Daemon
from streamlstm.daemon.telemetry.metrics import Metrics
from streamlstm.engine.engine import Engine
from streamlstm.store.memory import MemoryServer, MemoryStore
from support import models

STREAM = "values"


def run_daemon(
    entries: list[tuple[str, list[str]]],
    *,
    server: MemoryServer | None = None,
    engine: Engine | None = None,
    store: type[MemoryStore] = MemoryStore,
) -> Metrics:
    """Answer entries (id, fields) of the stream `values` over a store of some kind; returns the metrics."""
    server, engine = server or MemoryServer(), engine or Engine(models.load_lstm(4))
    for entry_id, fields in entries:
        server.add(STREAM, entry_id, *fields)
    metrics = Metrics(engine.model.fingerprint, engine.columns, [STREAM])
    ticks = itertools.count()
    daemon = Daemon(
        engine=engine,
        store=store(server),
        metrics=metrics,
        settings=DaemonSettings(streams=(STREAM,)),
        clock=Clock(monotonic=lambda: 0.5 * next(ticks), wall=lambda: 0.0, processor=lambda: 0.0, sleep=lambda _: None),
    )
    daemon.start()
    added = server.stream(STREAM).ids
    for _ in range(1000):
        daemon.turn(0.0)
        if not added or server.stream(STREAM).position == bytes(added[-1]):
            break
    for _ in range(5):  # until the figures that are looked up now and then are of the end
        daemon.turn(0.0)
    return metrics
