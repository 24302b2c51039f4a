"""How errors grow over the steps ahead: as far as the model lets an error of one step go on.

Forecasts several steps ahead err by what was not foreseen of each value on the way, and what an unforeseen value does
to the forecasts after it is the model's own answer: it is asked what it would say if the next value came, as large an
error off its forecast as this series has. With r(j) its response j steps after, in units of that error, errors h steps
ahead are sqrt(1 + r(1)^2 + ... + r(h - 1)^2) times as large as one step ahead (the weights of Wold's moving average; of
a random walk they are all 1, and this is the root of the step; of values around a season they are nearly 0). It costs
one course of forecasts more (two where a model says several steps at once), and each series has its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.ahead import HELD, Ahead, Fed, scored_column
from streamlstm.engine.target_times import Spacing
from streamlstm.store.record import LEAST_SEEN, RecordFormat, Rows

Float64 = NDArray[np.float64]

# An error is at least this share of its forecast, where numbers are float32: a few of its last bits are rounding.
_LEAST_SHARE = 2.0**-17


def growth(ahead: Ahead, rows: Rows, said: NDArray[Any], *, spacing_ms: Spacing = None, fed: Fed = HELD) -> Float64:
    """How many times as large as one step ahead errors are at steps 1 to H, (n, H), never less than a step before.

    Of series whose records are rows (n, words) and forecasts `said` (n, H) of the feature that is scored. Where the
    model has no finite answer they grow no more. Raises as `Ahead.forecast`.
    """
    steps = said.shape[1]
    if steps < 2:
        return np.ones(said.shape)
    column = scored_column(ahead.spec)
    first = said[:, 0].astype(np.float64)
    error = _typical_error(ahead.format, rows)
    if not ahead.spec.exact:
        error = np.maximum(error, np.abs(first) * _LEAST_SHARE)
    largest = float(np.finfo(np.float32).max)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        other = np.clip(np.where(np.isfinite(error), first + error, first), -largest, largest)
        other = np.where(np.isfinite(other), other, 0.0)
        shocked = ahead.if_next(rows, steps, other, spacing_ms=spacing_ms, fed=fed)[:, :, column]
        plain = said
        if ahead.spec.horizon > 1:  # a block that was said before the next value is no answer to it
            known = np.where(np.isfinite(first), first, 0.0)
            plain = ahead.if_next(rows, steps, known, spacing_ms=spacing_ms, fed=fed)[:, :, column]
        response = (shocked[:, 1:].astype(np.float64) - plain[:, 1:]) / (other - first)[:, None]
        squares = np.where(np.isfinite(response), response, 0.0) ** 2
        grown = np.sqrt(1.0 + np.cumsum(squares, axis=1))
    return np.concatenate([np.ones((len(rows), 1)), grown], axis=1)


def _typical_error(record_format: RecordFormat, rows: Rows) -> Float64:
    """The mean |error| of series of late, or of all their values where none is tracked: (n,); 0 before the first."""
    kept, header = record_format.calibration(rows), record_format.header(rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(header["scored"] > 0, header["absolute_error"] / header["scored"], 0.0)
    found: Float64 = np.where(kept["seen"] >= LEAST_SEEN, kept["scale"], mean)
    return found
