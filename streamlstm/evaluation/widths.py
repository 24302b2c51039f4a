"""How wide intervals have to be several steps ahead: measured on a training part, and on what was held out of it.

Of errors so many steps ahead, each over the half-width of an interval of Gaussian errors as large as in the mean of
late, on its side of the forecast (`engine.ahead_intervals`), grown as the model that is served responds to an error and
gone back to what is usual (`engine.usual_errors`), it is the quantile that covers the level. With the response alone it
would be what it is one step ahead, and with Gaussian errors that would be 1; how far it is from there is believed as
far as there are forecasts to tell. Those made one after the other err alike, so there are fewer than are counted:
n / tau of them, tau the sum of the autocorrelations of "outside" (as in the variance of a mean). The logarithm of the
quantile is taken n / (n + k) times, k so many that five of them are outside.

Of what is held out there are some twenty independent forecasts twelve steps ahead, which tell nothing: over 90
trainings on 46 tables the logarithm of what they say is off by 0.32 from that of the test part (root mean square), as
is the response alone. Errors in the part that was learnt from are as honest in this: they are over the widths that the
same forecasts had one step ahead, which are as much too small. There are four times as many; of both together, each
weighed by its count, it is off by 0.27, and seven to nine tenths of what they say come true.

What is measured is measured by the model that has not seen what is held out, and another one is served, which was
fitted anew. One that says several steps at once may respond less to the same error by a third, from the same moments;
and intervals are as much too narrow. So widths are grown as the served one responds.

A quantile of few errors that is to cover the level in the mean of all such few (conformal: Vovk, Gammerman and Shafer
2005) is nearly their largest, and intervals are too wide; the plain one was 5 % better by the interval score on 40
tables. Where a series has no more than its mean absolute error, that is known so badly that its one-step width is
measured with the conformal quantile, and steps further ahead are wider in proportion.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine import Ahead, of_mean, one_step, returned
from streamlstm.evaluation.ahead import Said, say_ahead, spread
from streamlstm.models import Model, StepWidths
from streamlstm.store.record import RecordFormat
from streamlstm.tables import Series

Float64 = NDArray[np.float64]

LEVELS = (0.5, 0.8, 0.9, 0.95, 0.98)
MOMENTS = 500  # forecast from, of all series, in what is held out
LEARNT = 250  # and in what was learnt from, which is longer: of those further apart more are independent
COMPARED = 100  # of them, from which two models' responses are compared
STEPS, MOST_STEPS = 48, 96
SEASONS = 2  # at least so many are measured, up to MOST_STEPS
FEWEST = 10  # errors that a quantile is taken of
LEAST_CORRELATION = 0.05  # the sum ends before the first that is less
USUAL = 0.15  # of the square of errors of late, that goes back to the usual
OUTSIDE = 5.0  # so many errors outside of the level weigh as much as what is believed beforehand
FIRST_WIDER, FIRST_NARROWER = 3.0, 30.0  # as much as the mean absolute error, one step ahead


def measured_widths(
    model: Model,
    series: Sequence[Series],
    begins: Sequence[int],
    *,
    season: int | None,
    missing: str | None = None,
    served: Model | None = None,
) -> StepWidths | None:
    """The ratios of a model on some series, which it was fitted to before their values `begins`, and to none after.

    They are for another model that is `served` in its place, if there is one: what is measured multiplies that one's
    response. None if what is held out is too little to say anything of even two steps. Raises as `serve` of this
    folder.
    """
    learnt, each = (max(2, most // len(series)) for most in (LEARNT, MOMENTS))
    chosen = set(spread(0, len(series) - 1, MOMENTS // 2))
    begins = [max(begin, 1) for begin in begins]
    moments = [
        [*spread(1, begin - 1, learnt), *spread(begin, len(one.values) - 1, each)] if number in chosen else []
        for number, (one, begin) in enumerate(zip(series, begins, strict=True))
    ]
    steps = min(MOST_STEPS, max(STEPS, SEASONS * (season or 0)))
    said = say_ahead(model, series, moments, steps, level=LEVELS[2], missing=missing)
    held_out = np.array([one.after >= begins[one.series] for one in said.moments], bool)
    known = int((np.isfinite(said.forecasts - said.came)[held_out].sum(axis=0) >= FEWEST).sum())
    if known < 2:
        return None
    record_format = Ahead(model).format
    times = np.ones(steps) if served is None else _responds(served, said, series, missing=missing)
    tables: dict[bool, list[Float64]] = {True: [], False: []}
    for level in LEVELS:
        for calibrated, table in tables.items():
            scores = (_scores(record_format, said, level, calibrated=calibrated) / times)[:, :known]
            parts = scores[held_out], scores[~held_out]
            table.append(_ratios(*parts, level, calibrated=calibrated))
    found = {calibrated: np.array(table) for calibrated, table in tables.items()}
    if not all(np.isfinite(table).all() and (table > 0).all() for table in found.values()):
        return None
    return StepWidths(LEVELS, found[True], found[False], usual=USUAL, of_mean=True)


def _responds(served: Model, said: Said, series: Sequence[Series], *, missing: str | None) -> Float64:
    """How many times as far as in what another model has `said` a model lets errors grow, from the same moments: (H,).

    In the median of some of them.
    """
    compared = spread(0, len(said.moments) - 1, COMPARED)
    moments = [list[int]() for _ in series]
    for place in compared:
        moments[said.moments[place].series].append(said.moments[place].after)
    other = say_ahead(served, series, moments, said.grown.shape[1], level=LEVELS[2], missing=missing)
    places = {moment: place for place, moment in enumerate(said.moments)}
    own = said.grown[[places[moment] for moment in other.moments]]
    found: Float64 = np.exp(np.median(np.log(other.grown) - np.log(own), axis=0))
    return np.where(np.isfinite(found), found, 1.0)


def _scores(record_format: RecordFormat, said: Said, level: float, *, calibrated: bool) -> Float64:
    """Errors (m, H) over half-widths as they would be with the response alone; NaN where there is none."""
    width = one_step(record_format, said.rows, level, use_calibration=calibrated)
    mean, errors = of_mean(record_format, said.rows, level, width), said.came - said.forecasts
    half = np.where(errors > 0, mean.high[:, None], mean.low[:, None])
    half = np.where(np.isfinite(half) & (half > 0), half, np.nan)
    scores: Float64 = np.abs(errors) / (half * returned(record_format, said.rows, width, said.grown, USUAL))
    return scores


def _ratios(held_out: Float64, learnt: Float64, level: float, *, calibrated: bool) -> Float64:
    """What scores (m, H) have to be multiplied with so that this share of them is covered at each step: (H,).

    What it is one step ahead it is at all steps, as far as there are no more scores to tell. Of an interval that is
    tracked there it is 1 all the same.
    """
    steps = [[column[np.isfinite(column)] for column in scores.T] for scores in (held_out, learnt)]
    one = _ratio([part[0] for part in steps], level) if calibrated else _first_ratio(steps[0][0], level)
    if calibrated and not one > 0:
        one = 1.0
    if not one > 0:
        return np.full(len(steps[0]), math.nan)
    further = zip(*(part[1:] for part in steps), strict=True)
    return np.array([1.0 if calibrated else one, *(one * _ratio([p / one for p in parts], level) for parts in further)])


def _ratio(parts: Sequence[Float64], level: float) -> float:
    """Of the scores of each part the quantile, its logarithm weighed by how many are independent."""
    quantiles = [(part, float(np.quantile(part, level))) for part in parts if len(part) >= FEWEST]
    found = [(quantile, _independent(part, quantile)) for part, quantile in quantiles if quantile > 0]
    if len(parts[0]) < FEWEST or not found:
        return math.nan
    count = sum(count for _, count in found)
    quantile = math.exp(sum(count * math.log(quantile) for quantile, count in found) / count)
    return _believed(quantile, count, level, OUTSIDE, OUTSIDE)


def _first_ratio(scores: Float64, level: float) -> float:
    if len(scores) < FEWEST:
        return math.nan
    count = max(_independent(scores, float(np.quantile(scores, level))), 1.0 / (1 - level) - 1)
    share = min(1.0, math.ceil((count + 1) * level - 1e-9) / count)
    quantile = float(np.quantile(scores, share, method="higher"))
    return _believed(quantile, count, level, FIRST_WIDER, FIRST_NARROWER)


def _independent(scores: Float64, quantile: float) -> float:
    """How many scores that are independent say as much of their quantile."""
    outside = scores > quantile
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
