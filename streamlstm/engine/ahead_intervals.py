"""Intervals several steps ahead: a series' own one step ahead, grown as its model responds, times what training saw.

One step ahead it is what is tracked online and kept in the record (`store.record.conformal`): at the level it was
tracked for the very `lo` and `hi` of `serve --interval`, at others the quantiles that the anomaly score is read from.
Where nothing is kept it is the mean absolute error so far, as if errors were Gaussian.

Further steps are wider as `engine.response` has it. With a model file that says so (`models.StepWidths`) they also go
back to what is usual (`engine.usual_errors`), times ratios that training measured (`evaluation.widths`), and what grows
is not the interval one step ahead but what it were if errors were Gaussian and as large as in the mean of late, leaning
half as far to one side. No end is nearer to the forecast than a step before, and none is beyond it: as one step ahead,
an interval is the smallest that holds the forecast and both ends.

Why the mean: ends that are tracked move at a miss by a tenth of their first place, and that is put right by the misses
after it only one step ahead. Beside the mean of late they wander by 7 % in the median of 35 tables, by 12 % and more in
a quarter of them; and while a sensor stands still, one of them is often on the wrong side of the forecast. Why it
leans: intervals of errors that mostly go up (requests a minute) cover more than they should without.

Files without ratios keep the ends that are tracked. Of 41 series held out and 38 chosen on, forecast by the universal
model, scores of 90 % at steps 3 to 24 are 2.6 and 3.4 % better with the mean error of late, but coverages at step 3 are
off by 3.5 and 4.3 points instead of 3.4 and 3.7. With half of each scores are 1.6 and 2.1 % better, and coverages off
by 4.2 and 5.1 points instead of 5.3 and 5.7 over all steps; but scores of 50 % are 0.8 and 0.3 % worse (21 and 19 of
the series), as errors are not Gaussian and nothing puts that right. Imported files were not measured.

Weighed besides, and not taken, since it brought no coverage nearer (62 public tables, forecast before there were
blends, and 21 short ones forecast by blends):

- The spread of late: by how much more values so many steps apart differ than neighbours do, over the last 344 values,
  which a blend carries, than in what training held out; widths were multiplied with the root of that. Of 248 coverages
  of the 62 tables 150 are within 87 to 93 % instead of 143, of 84 of the 21 34 as before; scores are 0.3 % worse.
- The usual response beside that of the moment, each believed half. Scores are another 1 to 2 % better, and series with
  a season, whose response has one too, are covered worse (nyc_taxi, with all three, 86.0 and 85.4 % at 6 and 12 instead
  of 88.4 and 88.0).
- Going back to what is usual where the file has no ratios (155 series of the universal model): it and the spread of
  late are 0.1 to 2.7 % worse. With ratios of what is held out alone it brought no coverage nearer either.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.ahead import HELD, Ahead, Fed
from streamlstm.engine.response import growth
from streamlstm.engine.target_times import Spacing
from streamlstm.engine.usual_errors import back_to_usual, usual_over_late
from streamlstm.models import StepWidths
from streamlstm.store.record import LEAST_SEEN, Constants, RecordFormat, Rows, ends_around, is_level, tail_at

Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]

# How far further steps lean to the side where the interval one step ahead is wider, of how far that one does; it is
# taken to be no more than nine times as wide as the other side. Of 0.3, 0.5, 0.7 and 1 (69 trainings on 35 tables)
# interval scores of 90 % are 2.8, 2.7, 2.5 and 2.1 % better than of the interval one step ahead, without leaning 2.9.
LEANING, MOST_LEAN = 0.5, 0.8

MEASURED, RESPONSE = "measured", "response"  # how widths grow: as training measured, or as the model alone has it


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


def of_mean(
    record_format: RecordFormat, rows: Rows, level: float, width: HalfWidths, *, most: float = 1.0
) -> HalfWidths:
    """Intervals of Gaussian errors, as large as in the mean of late, that lean to where the series' own ends are wider.

    Of series (n) whose `width` this is, which is theirs where no more is kept than the mean of all errors. Above the
    level `most` they are wider than there as the series' own tails are.
    """
    kept = record_format.calibration(rows)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        late = Constants(min(level, most)).first_end * kept["scale"]
        if level > most:
            late = late * (tail_at(kept, 1.0 - level) / tail_at(kept, 1.0 - most))
        both = kept["low"] + kept["high"]
        lean = LEANING * np.clip((kept["high"] - kept["low"]) / both, -MOST_LEAN, MOST_LEAN)
    lean = np.where(np.isfinite(lean) & (both > 0), lean, 0.0)
    low, high = (
        np.where(width.calibrated, late * share, end)
        for share, end in ((1.0 - lean, width.low), (1.0 + lean, width.high))
    )
    return HalfWidths(low, high, width.calibrated)


def returned(record_format: RecordFormat, rows: Rows, width: HalfWidths, grown: Float64, share: float) -> Float64:
    """How half-widths grow (n, H) of which so much goes back to the usual, where errors grow as the model responds.

    Those that are the mean absolute error are usual already.
    """
    times = np.where(width.calibrated, usual_over_late(record_format, rows), 1.0)
    return back_to_usual(grown, times, share)


def bounds_ahead(
    ahead: Ahead,
    rows: Rows,
    said: NDArray[Any],
    level: float,
    *,
    spacing_ms: Spacing = None,
    fed: Fed = HELD,
    grown: Float64 | None = None,
) -> tuple[Float64, Float64, str]:
    """The ends (n, H) of intervals around forecasts `said` (n, H) of the feature that is scored, and how they grow.

    NaN where a series has had fewer than ten values that score a forecast. Unless numbers are pairs, they are rounded
    to float32, as those of `serve` are. Spacing and what is fed are those of the forecasts; raises as those do. What
    `growth` gives (n, H) is asked for where it is needed and not given.
    """
    width, widths = one_step(ahead.format, rows, level), StepWidths.of(ahead.spec.training)
    ratios = np.ones(said.shape)
    if widths is not None:
        known = [widths.ratios(level, said.shape[1], calibrated=calibrated) for calibrated in (False, True)]
        ratios = np.where(width.calibrated[:, None], known[1], known[0])
    if widths is None or widths.on_response:
        grown = growth(ahead, rows, said, spacing_ms=spacing_ms, fed=fed) if grown is None else grown
        if widths is not None:
            grown = returned(ahead.format, rows, width, grown, widths.usual)
        ratios = ratios * grown
        if widths is None or not widths.of_mean:
            ratios = np.maximum.accumulate(ratios, axis=1)
    around = said.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        down, up = (end[:, None] * ratios for end in (width.low, width.high))
        if widths is not None and widths.of_mean:
            mean = of_mean(ahead.format, rows, level, width, most=widths.levels[-1])
            down, up = (
                _never_nearer(end[:, :1], of_all[:, None] * ratios[:, 1:])
                for end, of_all in ((down, mean.low), (up, mean.high))
            )
        low, high = ends_around(around, down, up, exact=ahead.spec.exact)
    return low, high, RESPONSE if widths is None else MEASURED


def _never_nearer(first: Float64, further: Float64) -> Float64:
    """How far an end is from the forecasts of steps 1 (n, 1) and 2 to H (n, H - 1), or as far as a step before."""
    found: Float64 = np.maximum.accumulate(np.concatenate([first, further], axis=1), axis=1)
    return found
