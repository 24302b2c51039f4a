"""Intervals and anomaly scores, calibrated online per series: what is kept of a series, and how a value changes it.

Errors are measured in units of the series' own scale, an exponentially weighted mean of |error|. An interval's two
ends, and the quantiles that a score is read from, are tracked by what is called quantile tracking or adaptive
conformal inference (Gibbs and Candes, "Adaptive conformal inference under distribution shift", 2021; Angelopoulos,
Candes and Tibshirani, "Conformal PID control for time series prediction", 2023): a miss moves an end outwards by so
much, a hit inwards by so little, that in the long run it is missed as often as it says, whatever the errors do.

A value far off throws the forecasts after it off too: back where the value was expected, the next one is as far from
its forecast. So for the ten values after one that was odd (a score of 0.99 and more) a value is scored by the
least of three errors: of the forecast; of what was expected in place of the odd value, for series that come back; and
of the odd value, for those that stay there. What is learned is the error of the forecast all the same, so intervals
are what they were, and alarms are no more than the promised share. Weighed on the 57 files of the Numenta Anomaly
Benchmark that can be trained on (`tools/evaluate_anomalies.py`), with 309 false alarms and 70 windows of 113: learning
from the least error makes a dozen more and finds 2 windows more; three values instead of ten, or the value before
instead of the odd one, make 3 more.

What is given is the smallest interval that holds both ends and the forecast. The ends alone may be on one side of it:
where forecasts are mostly too high, or too low, and after many that were exact, since each moved the ends in. What is
learned is where the ends are without it, so where values stay on one side of their forecasts, more of them are covered
than are told, at most those that one end is to miss (95 % for 90). Of 203 public series, their next values forecast by
the universal model, 6 have such forecasts at all: coverage is 89.97 % instead of 89.95 in the mean, of one 91.1 instead
of 89.9, and interval scores are the same to 0.001 %. With every forecast too high by one and a half mean changes, as no
model should be left, 31 % are outside of their ends; coverage is 93.3 % instead of 92.2, widths are 1.1 times as large.

Everything is float64 and in order of arrival, multiplications and sums only, so that the compiled twin
(`engine._kernels`) and this one give the same bits, however the values were batched.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.store.resp import hold, hold_numbers, hold_tuple

Index = NDArray[np.int64]
Float64 = NDArray[np.float64]
Flags = NDArray[np.uint8]

# How rare the errors are that the score tracks: a score of 1 - 0.01 or more is a false alarm once in a hundred values.
TAILS = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
# How fast each is tracked: what is rare has to move far when it happens.
_TAIL_RATES = (0.05, 0.05, 0.08, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5)
# What each edge begins with, in scales: about the medians that real series have after a thousand values. Their tails
# are longer than a Gaussian's (4.1 scales once in a thousand), and a score that starts from a Gaussian's makes alarms
# until it has learned that: in the first thousand values of 196 public series 2.5 at 0.999, and 1.0 from these.
FIRST_TAILS = (0.7, 1.5, 2.1, 2.8, 4.1, 5.4, 7.5, 11.0, 16.0)
# The share of its first place that an end is moved by. With 0.05, 124 of 203 public series were covered to 88 to 92 %,
# no more than by luck alone; with this 139 are, and intervals are 1 % worse by their score.
_END_RATE = 0.1
SCALE_WEIGHT = 0.05  # of the newest |error| in the scale: the last twenty values or so
_NEARLY_WHOLE = 1e-5  # by how much sums of a million float64 are off
LEAST_SEEN = 10.0  # scored values before the first interval or score is given
ODD = 0.99  # a value with this score or more throws off the forecasts after it,
AFTERMATH = 10.0  # of so many values

# Of one series; all zero but `low`, `high` and `tails` before its first value.
CALIBRATION = np.dtype(
    [
        ("seen", "<f8"),  # predictions whose value has come
        ("scale", "<f8"),  # mean |error|, weighted
        ("low", "<f8"),  # scales from the prediction down to the interval's lower end; below 0 where that is above it
        ("high", "<f8"),  # up to the upper
        ("covered", "<f8"),  # values inside their interval
        ("tails", "<f8", (len(TAILS),)),  # scales that |error| exceeds as rarely as TAILS say
        ("expected", "<f8"),  # what was forecast in place of the first odd value of those at work
        ("odd", "<f8"),  # the last one
        ("aftermath", "<f8"),  # values that it still bears on; 0 where there is none
    ]
)
# What it was before scores took what was odd into account; records may have it still.
OLDER_CALIBRATION_SIZE = 112

# No values lead to more than this: an error is below twice the largest float32, an end moves by less than one a value,
# an edge is exceeded, and so moved out, only while errors grow. From numbers below, no step leads to one without end.
_MOST_SEEN = 2.0**53
_MOST_SCALE = 1e39
_MOST_END = 1e16
_MOST_TAIL = 1e100
_MOST = np.array(
    [
        *(_MOST_SEEN, _MOST_SCALE, _MOST_END, _MOST_END, _MOST_SEEN),
        *[_MOST_TAIL] * len(TAILS),
        *(_MOST_SCALE, _MOST_SCALE, AFTERMATH),
    ]
)
_LEAST = np.array(
    [*(0.0, 0.0, -_MOST_END, -_MOST_END, 0.0), *[math.ulp(0.0)] * len(TAILS), *(-_MOST_SCALE, -_MOST_SCALE, 0.0)]
)
# A series that stands still brings its edges down to here and no further: they move by shares of themselves, so from
# the smallest double they would never come up again, and from here they take hundreds of values.
_LEAST_TAIL = 1e-9

CONSTANTS = 4 + 3 * len(TAILS)  # numbers of an interval level
LABELLED, BEGINS = 1, 2  # flags of an event: its value scores the prediction before it; the series begins anew with it
COVERED, GIVEN = 0, 1  # what `calibrate` counts: values inside an interval, values that had one
_LARGEST = float(np.finfo(np.float32).max)


def numbers_of(kept: NDArray[Any]) -> Float64:
    """A copy of some calibrations (n,) as numbers alone (n, 17): one call looks at all of them."""
    return np.ascontiguousarray(kept).view(np.float64).reshape(len(kept), -1)


def is_learned(numbers: Float64) -> NDArray[np.bool_]:
    """Which of some calibrations' numbers (n, 17), as `numbers_of` gives them, a series may have: (n,).

    With others, intervals and scores would be wrong, or grow without bound, and the series lose its state once it is
    loaded anew.
    """
    seen, covered = numbers[:, 0], numbers[:, 4]
    within = ((numbers >= _LEAST) & (numbers <= _MOST)).all(axis=1)
    left = numbers[:, -1]
    return np.asarray(within & (covered <= np.maximum(seen - LEAST_SEEN, 0.0)) & (left == np.rint(left)))


class Constants:
    """The numbers of one interval level, as both twins take them."""

    def __init__(self, level: float = 0.9) -> None:
        """Level in (0, 1): the share of values an interval is to cover."""
        side = (1.0 - level) / 2
        # What a Gaussian's quantiles are in units of its mean absolute value, sqrt(2 / pi) of a standard deviation.
        unit = math.sqrt(math.pi / 2)
        self.first_end = NormalDist().inv_cdf(1 - side) * unit
        step = _END_RATE * self.first_end
        rates = list(zip(TAILS, _TAIL_RATES, strict=True))
        self.numbers = np.array(
            [
                LEAST_SEEN,
                SCALE_WEIGHT,
                step * (1 - side),  # a miss moves an end out by this
                step * side,  # a hit moves it in
                *TAILS,
                *(math.exp(rate * (1 - tail)) for tail, rate in rates),  # an excess multiplies a tail by this
                *(math.exp(-rate * tail) for tail, rate in rates),
            ]
        )

    def fresh(self) -> NDArray[np.void]:
        """The calibration of a series before its first value, one `CALIBRATION` of no shape."""
        made = np.zeros((), CALIBRATION)
        made["low"] = made["high"] = self.first_end
        made["tails"] = FIRST_TAILS
        return made


def is_level(kept: NDArray[Any], constants: Constants) -> NDArray[np.bool_]:
    """Of which calibrations (n,) the ends were tracked for the level of these constants; a record does not say it.

    Every value moves an end in by a share of its first place that the level decides, and a miss out by a whole number
    more: what an end has moved, less what that many values moved it in, is a whole number of steps at its own level,
    and at hardly any other.
    """
    step = _END_RATE * constants.first_end
    moved_in = constants.numbers[3] / step * np.maximum(kept["seen"] - 1.0, 0.0)  # a first error has no scale yet
    misses = [(kept[name] - constants.first_end) / step + moved_in for name in ("low", "high")]
    found = [np.abs(count - np.rint(count)) < _NEARLY_WHOLE for count in misses]
    return np.asarray(found[0] & found[1])


def tail_at(kept: NDArray[Any], share: float) -> Float64:
    """How many scales |error| exceeds as rarely as `share`, by calibrations (n,): between those tracked on a line.

    The line is over logarithms of shares; beyond the rarest, and above the most frequent, it is that one.
    """
    reach = np.maximum.accumulate(kept["tails"], axis=1)
    weights = [np.interp(-math.log(share), -np.log(np.array(TAILS)), one) for one in np.eye(len(TAILS))]
    found: Float64 = reach @ np.array(weights)
    return found


class Events(NamedTuple):
    """Values of some groups, those of a group in order."""

    group: Index  # (k,)
    flags: Flags  # (k,)
    x: Float64  # (k,) the value
    predicted: Float64  # (k,) the prediction of it that was made before
    y: Float64  # (k,) the prediction made after it


def calibrate(
    kept: NDArray[Any],
    fresh: NDArray[np.void],
    constants: Float64,
    events: tuple[Any, ...],
    out: Float64,
    counts: Float64,
    exact: int,
) -> None:
    """Take `Events` (k,) into the groups' calibrations `kept` (g,).

    Written are for each event the interval around y and the score of x: out (k, 3), NaN where there is none; and for
    each group what was covered and given: counts (g, 2) is added to. NaN is the quiet one without a sign, wherever it
    came from.

    Unless numbers are `exact`, what is written, and what values are held against, is rounded to float32.
    """
    hold_numbers(exact)
    hold_tuple("events", events, len(Events._fields))
    held = Events(*events)
    _hold(kept, fresh, constants, held)
    hold("out", out, np.float64, 2, writable=True)
    hold("counts", counts, np.float64, 2, writable=True)
    if out.shape != (len(held.x), 3) or counts.shape != (len(kept), 2):
        raise ValueError("the events do not fit the groups")
    if exact not in (0, 1):
        raise ValueError("numbers are exact or not")
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # what is forged may hold anything
        _calibrate(kept, fresh, constants, held, out, counts, exact)


def ends_around(around: Float64, down: Float64, up: Float64, *, exact: int) -> tuple[Float64, Float64]:
    """The smallest intervals that hold forecasts (…), what lies so far below and what lies so far above: (…) each.

    Distances may be below 0. Unless numbers are `exact`, ends are rounded to float32, and none lies beyond its largest.
    """
    one, other = around - down, around + up
    # Chosen, not `minimum` and `maximum`: of 0.0 and -0.0 those give either.
    low, high = np.where(one < other, one, other), np.where(one < other, other, one)
    low, high = np.where(around < low, around, low), np.where(around > high, around, high)
    ends = _rounded(np.clip(np.stack([low, high]), -_LARGEST, _LARGEST), exact)
    ends[np.isnan(ends)] = np.nan
    return ends[0], ends[1]


def intervals_around(kept: NDArray[Any], around: Float64, constants: Float64, *, exact: int) -> Float64:
    """The intervals (k, 2) around forecasts (k,) of series with such calibrations (k,); NaN where there is none."""
    low, high = _ends(kept, around, exact)
    return np.where((kept["seen"] >= constants[0])[:, None], np.stack([low, high], axis=1), np.nan)


def _hold(kept: NDArray[Any], fresh: NDArray[np.void], constants: Float64, events: Events) -> None:
    hold("kept", kept, CALIBRATION, 1, writable=True)
    hold("fresh", fresh, CALIBRATION, 0)
    hold("constants", constants, np.float64, 1)
    for name, dtype in zip(Events._fields, (np.int64, np.uint8, np.float64, np.float64, np.float64), strict=True):
        hold(name, getattr(events, name), dtype, 1)
    known = ((events.group >= 0) & (events.group < len(kept))).all()
    if len({len(column) for column in events}) > 1 or not known or len(constants) != CONSTANTS:
        raise ValueError("the events do not fit the groups")


def _calibrate(
    kept: NDArray[Any],
    fresh: NDArray[np.void],
    constants: Float64,
    events: Events,
    out: Float64,
    counts: Float64,
    exact: int,
) -> None:
    group, flags, x, predicted, y = events
    per_group = np.bincount(group, minlength=len(kept))
    order = np.argsort(group, kind="stable")
    starts = np.cumsum(per_group) - per_group
    for rank in range(int(per_group.max(initial=0))):
        chosen = np.flatnonzero(per_group > rank)
        at = order[starts[chosen] + rank]
        mine = kept[chosen]
        mine[(flags[at] & BEGINS) > 0] = fresh
        labelled = (flags[at] & LABELLED) > 0
        part = mine[labelled]
        error = x[at[labelled]] - predicted[at[labelled]]
        known = part["seen"] >= constants[0]
        low, high = _ends(part, predicted[at[labelled]], exact)
        inside = known & (low <= x[at[labelled]]) & (x[at[labelled]] <= high)
        part["covered"][known] += inside[known]
        counts[chosen[labelled], COVERED] += inside
        counts[chosen[labelled], GIVEN] += known
        scores = np.full(len(at), np.nan)
        found = np.where(known, _surprise(part, _least_error(part, x[at[labelled]], error)), np.nan)
        scores[labelled] = _rounded(found, exact)
        learned = _learn(part, error, constants)
        _note_odd(learned, found, x[at[labelled]], predicted[at[labelled]])
        mine[labelled] = learned
        kept[chosen] = mine
        given = mine["seen"] >= constants[0]
        low, high = _ends(mine, y[at], exact)
        out[at, 0], out[at, 1] = np.where(given, low, np.nan), np.where(given, high, np.nan)
        out[at, 2] = scores


def _rounded(numbers: Float64, exact: int) -> Float64:
    return numbers if exact else numbers.astype(np.float32).astype(np.float64)


def _ends(part: NDArray[Any], around: Float64, exact: int) -> tuple[Float64, Float64]:
    return ends_around(around, part["low"] * part["scale"], part["high"] * part["scale"], exact=exact)


def _least_error(part: NDArray[Any], x: Float64, error: Float64) -> Float64:
    """How far values are from where they may be: their forecasts, and after an odd value what it leaves open."""
    size = np.abs(error)
    after = part["aftermath"] > 0.0
    for name in ("expected", "odd"):
        other = np.abs(x - part[name])
        size = np.where(after & (other < size), other, size)
    return size


def _note_odd(part: NDArray[Any], scores: Float64, x: Float64, predicted: Float64) -> None:
    odd, after = scores >= ODD, part["aftermath"] > 0.0
    part["expected"] = np.where(odd & ~after, predicted, part["expected"])
    part["odd"] = np.where(odd, x, part["odd"])
    part["aftermath"] = np.where(odd, AFTERMATH, np.where(after, part["aftermath"] - 1.0, part["aftermath"]))


def _surprise(part: NDArray[Any], size: Float64) -> Float64:
    """1 - how often a series that goes on as before has an error of this size or more."""
    tails = np.array(TAILS)
    reach = np.maximum.accumulate(part["tails"], axis=1)  # tracked one by one, they may cross for a while
    share = np.empty(len(part))
    for i in range(len(part)):
        scale, edges = part["scale"][i], reach[i]
        if not scale > 0.0:
            share[i] = 0.0 if size[i] > 0.0 else 1.0
            continue
        ratio = size[i] / scale
        above = int(np.searchsorted(edges, ratio, side="left"))  # the first edge at or above it
        if above == 0:
            share[i] = 1.0 - (1.0 - tails[0]) * (ratio / edges[0])
        elif above == len(tails):
            share[i] = tails[-1] * (edges[-1] / ratio)
        else:
            run = (ratio - edges[above - 1]) / (edges[above] - edges[above - 1])
            share[i] = tails[above - 1] + (tails[above] - tails[above - 1]) * run
    share[np.isnan(share)] = np.nan
    return 1.0 - share


def _learn(part: NDArray[Any], error: Float64, constants: Float64) -> NDArray[Any]:
    count = len(TAILS)
    out, in_ = constants[2], constants[3]
    up, down = constants[4 + count : 4 + 2 * count], constants[4 + 2 * count :]
    moved = part["scale"] > 0.0
    scale = part["scale"][moved]
    learned = part[moved]
    size = np.abs(error[moved])
    missed_high, missed_low = error[moved] > learned["high"] * scale, error[moved] < -(learned["low"] * scale)
    learned["high"] += np.where(missed_high, out, -in_)
    learned["low"] += np.where(missed_low, out, -in_)
    over = (size / scale)[:, None] > learned["tails"]
    learned["tails"] = np.maximum(learned["tails"] * np.where(over, up, down), _LEAST_TAIL)
    part = part.copy()
    part[moved] = learned
    part["seen"] += 1.0
    weight = np.maximum(constants[1], 1.0 / part["seen"])
    part["scale"] += weight * (np.abs(error) - part["scale"])
    return part
