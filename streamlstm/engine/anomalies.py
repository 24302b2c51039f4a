"""Values that score as anomalies, as events: what came, what was forecast in its place, and how odd that is.

An event is told in the commit of the prediction that has the score, and is made of nothing but what the step wrote, so
it is there exactly once and the same however values were batched.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlstm.common import EngineSettings
from streamlstm.engine.kernel_demands import Layout
from streamlstm.store import Anomalies
from streamlstm.store.resp import Texts, write_numbers

Index = NDArray[np.int64]
Float32 = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]  # float32, or float64 where numbers are pairs

DEFAULT_ABOVE = 0.999


def anomaly_threshold(settings: EngineSettings) -> float | None:
    """The score from which on a value is an event; None without scores."""
    if not settings.score:
        return None
    return DEFAULT_ABOVE if settings.anomaly_above is None else settings.anomaly_above


class AnomalyFinder:
    """Finds the events among what was answered."""

    def __init__(self, layout: Layout, above: float) -> None:
        """`above` is a score; what it is of stands behind it in y."""
        self._layout, self._above = layout, above
        self._told = layout.told

    def said(self, y: Floats) -> Floats:
        """Of what was written (n, columns) the predictions alone."""
        return np.ascontiguousarray(y[:, : self._told])

    def has_any(self, y: Floats) -> bool:
        """Whether any of a few values is one, y (n, columns)."""
        if len(y) == 1:
            return bool(y.item(self._told - 1) >= self._above)
        return bool((y[:, self._told - 1] >= self._above).any())

    def find(self, y: Floats, values: Float32, ids: Texts, fields: Texts, counts: Index) -> Anomalies | None:
        """The events among answered items: y (n, columns) of values (n, F); None if there are none.

        `ids` and `counts` are those of their entries, `fields` the names of their series.
        """
        chosen = np.flatnonzero(y[:, self._told - 1] >= self._above)
        if not len(chosen):
            return None
        entry = np.repeat(np.arange(len(counts)), counts)[chosen]
        of_entry = np.bincount(entry, minlength=len(counts))
        numbers = np.empty((len(chosen), 5), y.dtype)
        numbers[:, 0] = self._layout.scored.value(values[chosen])
        numbers[:, 1:4] = y[chosen, self._told :]
        numbers[:, 4] = y[chosen, self._told - 1]
        there = of_entry > 0
        return Anomalies(ids.take(there), fields.take(chosen), write_numbers(numbers), of_entry[there])
