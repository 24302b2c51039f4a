"""How wide intervals have to be several steps ahead: measured on a part held out of a training.

Of errors so many steps ahead, each over the half-width that the series' own interval had when the forecast was made,
grown as the model responds to an error, it is the quantile that covers the level. With the response alone it would be
1, and how far it is from that is believed as far as there are forecasts to tell. Those made one after the other err
alike, so there are fewer than are counted: n / tau of them, tau the sum of the autocorrelations of "outside" (as in the
variance of a mean). The logarithm of the quantile is taken n / (n + k) times, k so many that ten of them are outside,
or thirty where it would make bands narrower.

A quantile of few errors that is to cover the level in the mean of all such few (conformal: Vovk, Gammerman and Shafer
2005) is nearly their largest, and bands are too wide: of those of 90 % of 40 public tables of 250 to 3,000 values, at
five steps from 1 to 24, 143 of 200 were within two standard errors of 90 %, and of 160 ahead 80 covered above 93 % and
24 below 87 %. With the plain one 172 are, 42 and 39 do, and bands are 5 % better by their interval score (as at 95 %;
4 % at 98 % and 80 %). With the response alone they are as good there, so what is measured is believed slowly; it is for
models whose response says little. Where a series has no more than its mean absolute error, that is known so badly that
its one-step width is measured with the conformal quantile, and steps further ahead are wider in proportion.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine import Ahead, one_step
from streamlstm.evaluation.ahead import say_ahead, spread
from streamlstm.models import Model, StepWidths
from streamlstm.tables import Series

Float64 = NDArray[np.float64]

LEVELS = (0.5, 0.8, 0.9, 0.95, 0.98)
MOMENTS = 500  # forecast from, of all series
STEPS, MOST_STEPS = 48, 96
SEASONS = 2  # at least so many are measured, up to MOST_STEPS
FEWEST = 10  # errors that a quantile is taken of
LEAST_CORRELATION = 0.05  # the sum ends before the first that is less
# So many errors outside of the level weigh as much as the model's own response, where they say wider or narrower.
WIDER, NARROWER = 10.0, 30.0
FIRST_WIDER, FIRST_NARROWER = 3.0, 30.0  # as much as the mean absolute error, one step ahead


def measured_widths(
    model: Model, series: Sequence[Series], begins: Sequence[int], *, season: int | None, missing: str | None = None
) -> StepWidths | None:
    """The ratios of a model on some series from their values `begins` on, none of which it was fitted to.

    None if that is too little to say anything of even two steps. Raises as `serve` of this folder.
    """
    each = max(2, MOMENTS // len(series))
    chosen = set(spread(0, len(series) - 1, MOMENTS // 2))
    moments = [
        spread(max(begin, 1), len(one.values) - 1, each) if number in chosen else []
        for number, (one, begin) in enumerate(zip(series, begins, strict=True))
    ]
    steps = min(MOST_STEPS, max(STEPS, SEASONS * (season or 0)))
    said = say_ahead(model, series, moments, steps, level=LEVELS[2], missing=missing)
    errors = np.abs(said.forecasts - said.came)
    known = int((np.isfinite(errors).sum(axis=0) >= FEWEST).sum())
    if known < 2:
        return None
    record_format = Ahead(model).format
    tables: dict[bool, list[Float64]] = {True: [], False: []}
    for level in LEVELS:
        for calibrated, table in tables.items():
            width = one_step(record_format, said.rows, level, use_calibration=calibrated)
            half = (width.low + width.high) / 2
            usable = np.isfinite(half) & (half > 0)
            scores = errors[usable, :known] / (half[usable, None] * said.grown[usable, :known])
            table.append(_ratios(scores, level, first=1.0 if calibrated else None))
    found = {calibrated: np.array(table) for calibrated, table in tables.items()}
    if not all(np.isfinite(table).all() and (table > 0).all() for table in found.values()):
        return None
    return StepWidths(LEVELS, found[True], found[False])


def _ratios(scores: Float64, level: float, *, first: float | None) -> Float64:
    """What scores (m, H) have to be multiplied with so that this share of them is covered at each step: (H,).

    One step ahead it is `first` where the interval is one that is tracked; what it is there, it is at all steps.
    """
    steps = [column[np.isfinite(column)] for column in scores.T]
    one = _first_ratio(steps[0], level) if first is None else first
    if not one > 0:
        return np.full(len(steps), math.nan)
    return one * np.array([1.0, *(_ratio(step / one, level) for step in steps[1:])])


def _ratio(scores: Float64, level: float) -> float:
    if len(scores) < FEWEST:
        return math.nan
    quantile = float(np.quantile(scores, level))
    return _believed(quantile, _independent(scores, level), level, WIDER, NARROWER)


def _first_ratio(scores: Float64, level: float) -> float:
    if len(scores) < FEWEST:
        return math.nan
    count = max(_independent(scores, level), 1.0 / (1 - level) - 1)
    share = min(1.0, math.ceil((count + 1) * level - 1e-9) / count)
    quantile = float(np.quantile(scores, share, method="higher"))
    return _believed(quantile, count, level, FIRST_WIDER, FIRST_NARROWER)


def _independent(scores: Float64, level: float) -> float:
    """How many scores that are independent say as much."""
    outside = scores > np.quantile(scores, level)
    return len(scores) / correlation_time(outside.astype(np.float64))


def _believed(quantile: float, count: float, level: float, wider: float, narrower: float) -> float:
    outside_alike = wider if quantile > 1 else narrower
    return float(quantile ** (count / (count + outside_alike / (1 - level))))


def correlation_time(signs: Float64) -> float:
    """By how much more the mean of numbers (n,) scatters than that of independent ones."""
    centred = signs - signs.mean()
    variance, total = float(np.mean(centred**2)), 1.0
    for lag in range(1, max(len(signs) // 3, 1)):
        correlation = float(np.mean(centred[lag:] * centred[:-lag])) / variance if variance else 0.0
        if correlation < LEAST_CORRELATION:
            break
        total += 2 * correlation
    return total
