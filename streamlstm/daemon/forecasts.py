"""Forecasts several steps ahead for whoever asks the daemon: from the records in the store, beside the loop.

The records are those of the last commit, read over a connection of the asker's thread; the loop, its memory and what it
has under way are not touched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from streamlstm.daemon.http import ForecastQuery
from streamlstm.engine import HOLD, REFUSE, Ahead, Asked, forecast_records
from streamlstm.errors import StoreError
from streamlstm.models import StepModel
from streamlstm.store import Keys, Recent
from streamlstm.store.record import DEFAULT_LEVEL
from streamlstm.store.resp import Connection
from streamlstm.store.snapshots import States


@dataclass(frozen=True)
class Forecasts:
    """Those of the models that were loaded; may be called from any thread."""

    find: Callable[
        [str | None], StepModel | None
    ]  # by fingerprint: the models themselves, which tell no loop they work
    level: float | None  # of the intervals that are served
    spacing_ms: int | None = None  # the time between two values as `serve` was told; None: the model's

    def __call__(self, connection: Connection, query: ForecastQuery) -> list[dict[str, Any]]:
        """As JSON has them, a series each; raises NoSeriesError, RecordError, UsageError, StoreError."""
        states = States(connection, Keys(query.stream), token="")
        fingerprint = states.meta().model
        model = self.find(fingerprint)
        if model is None:
            raise StoreError(
                f"the champion of {query.stream!r}, {str(fingerprint)[:12]}, is not loaded here yet; ask again"
            )
        ahead = Ahead(model)
        spacing: int | dict[str, int] | None = self.spacing_ms if query.spacing_ms is None else query.spacing_ms
        if spacing is None and model.spec.spacing_ms is None:
            spacing = Recent(connection, query.stream).spacings_ms(query.series)
        asked = Asked(
            steps=query.steps,
            level=query.interval or self.level or DEFAULT_LEVEL,
            spacing_ms=spacing,
            future=HOLD if query.hold else REFUSE,
        )
        records = states.get([name.encode() for name in query.series])
        known = dict(zip(query.series, records, strict=True))
        found = forecast_records(ahead, query.stream, model.fingerprint, known, asked)
        return [one.as_json() for one in found]
