"""Intervals several steps ahead: a series' own one step ahead, times how much its training saw intervals grow.

One step ahead it is what is tracked online and kept in the record (`store.record.conformal`): at the level it was
tracked for the very `lo` and `hi` of `serve --interval`, at others the quantiles that the anomaly score is read from.
Where nothing is kept it is the mean absolute error so far, as if errors were Gaussian. Further steps are wider by the
ratios of `models.step_widths`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.scoring import Scored
from streamlstm.models import ModelSpec, StepWidths, random_walk
from streamlstm.store.record import LEAST_SEEN, Constants, RecordFormat, Rows, is_level, tail_at

Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]
LARGEST = float(np.finfo(np.float32).max)

MEASURED, RANDOM_WALK = "measured", "root of the step"  # how widths grow


class HalfWidths(NamedTuple):
    """One step ahead, of n series, in raw units; NaN where a series has had too few values."""

    low: Float64  # (n,) from the forecast down
    high: Float64  # (n,) and up
    calibrated: Mask  # (n,) whether they were tracked online


def one_step(record_format: RecordFormat, rows: Rows, level: float, *, use_calibration: bool = True) -> HalfWidths:
    """The half-widths of intervals that cover this share of the values, from records (n, words)."""
    kept, header, constants = record_format.calibration(rows), record_format.header(rows), Constants(level)
    calibrated = (kept["seen"] >= LEAST_SEEN) & use_calibration
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # what is forged may hold anything
        tracked = is_level(kept, constants)
        tail = tail_at(kept, 1.0 - level)
        ends = [np.where(tracked, kept[name], tail) * kept["scale"] for name in ("low", "high")]
        mean = constants.first_end * header["absolute_error"] / header["scored"]
        mean = np.where(header["scored"] >= LEAST_SEEN, mean, np.nan)
    low, high = (np.where(calibrated, end, mean) for end in ends)
    return HalfWidths(low, high, calibrated)


def bounds_ahead(
    spec: ModelSpec, record_format: RecordFormat, rows: Rows, said: NDArray[Any], level: float
) -> tuple[Float64, Float64, str]:
    """The ends (n, H) of intervals around forecasts `said` (n, H) of the feature that is scored, and how they grow.

    NaN where a series has had fewer than ten values that score a forecast. Unless numbers are pairs, they are rounded
    to float32, as those of `serve` are.
    """
    width, widths = one_step(record_format, rows, level), StepWidths.of(spec.training)
    steps = said.shape[1]
    if widths is None:
        ratios = np.broadcast_to(random_walk(steps), said.shape)
    else:
        known = [widths.ratios(level, steps, calibrated=calibrated) for calibrated in (False, True)]
        ratios = np.where(width.calibrated[:, None], known[1], known[0])
    around = said.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        one, other = around - width.low[:, None] * ratios, around + width.high[:, None] * ratios
        low, high = (
            np.clip(end, -LARGEST, LARGEST)
            for end in (np.where(one < other, one, other), np.where(one < other, other, one))
        )
    if not spec.exact:
        low, high = (end.astype(np.float32).astype(np.float64) for end in (low, high))
    return low, high, RANDOM_WALK if widths is None else MEASURED


def scored_column(spec: ModelSpec) -> int:
    """Which of the columns that are forecast has an interval: that of the first feature with a forecast."""
    return list(spec.forecast).index(Scored.of(spec).feature)
