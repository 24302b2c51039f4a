"""What further steps are means of: forecasts of the trained one, of another, and of simple ones.

These are the last value, that a season before, the mean of those one and two seasons before, and, of several series,
the last value moved as it was then. Each step has shares of its own. Far ahead there is little to know of many series,
and what a model makes of it is worse than no change; how much worse shows in training. Root mean square errors over the
better one of no change and the value a season before at steps 3, 6 and 12 (geometric means; of one series those of
stored forecasts):

    80 public series of 90 to 700 values, chosen on    0.794  0.826  0.890
    74 others                                          0.833  0.863  0.893
    150 series of nine panels, every other chosen on   0.869  0.896  0.869

With the first four parts alone, those of one series judged on the validation part only, and of several as likely at
every step: 0.803, 0.831, 0.896; 0.838, 0.870, 0.901; 0.876, 0.932, 0.903 (a part of the last gain is that the trained
one sees the season at each step; without that 0.870, 0.911 and 0.875).

Tried and left: weighing these parts by their errors so many steps ahead of late (of one series no better; of several
1, 2 and 2 % at steps 3, 6 and 12, the worst worse; `late` weighs their mean beside simple ones), the universal model's
next value and its trend for all steps, the trained one moved beside the ARIMAs, damped Holt-Winters beside them (0.4 %
for as many nodes again), the season of several whose values before are nearest (better in validation, 10 % worse then),
the simple ones judged with the limits that they are served with (`seasons_before`; of 21 public series 14 have the same
shares, and errors 2, 3, 6 and 12 ahead are 1.001, 1.001, 1.000 and 0.999 of what they were, at worst 1.03).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamlstm.training.blending.arimas import Arimas
from streamlstm.training.blending.shares import OTHER_POWER, TRAINED_POWER, shares_by

Float64 = NDArray[np.float64]

# How likely shares are (`shares_by`) of the trained one, the other, and each of the simple ones: of one series half by
# these, and half as the first two have shares in the next step's forecast. Of several, the further ahead the likelier
# the simple ones are, and the less do several series tell more than one: what breaks a trend breaks that of others.
POWERS = (0.36, 1.44)
SIMPLE_POWER = 0.05
POWERS_OF_SEVERAL = (0.6, 0.6)
SIMPLE_POWERS_OF_SEVERAL = (0.2, 0.4)  # of the next step, and FAR steps ahead and further
FAR = 12
NEXT_POWERS = (TRAINED_POWER, OTHER_POWER)
SIMPLE, SIMPLE_OF_SEVERAL = 3, 4  # of `simple_parts`: one series has no moved ones
MOST_JUDGED = 500  # errors of each step of one series, evenly spread
MOST_JUDGED_OF_SEVERAL = 3_000  # of all of them
MOST_SEASON = 344  # steps: the changes that the universal model carries
LATE_SHARE = 0.01  # of each simple forecast that stands beside the mean until errors of late say another (`late`)

Part = tuple[tuple[float, int], ...]  # weights of how far values so many steps back are from the latest


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """The shares of the second step ahead and those after it."""

    season: int  # steps; 0: none, and the last value stands for that a season before
    shares: tuple[tuple[float, ...], ...]  # of each step: trained, the other, simple ones
    late_share: float = LATE_SHARE  # 0: the mean is not weighed by errors of late


@dataclass(frozen=True)
class Earlier:
    """What ARIMAs say that know only the beginning of a series."""

    forecasts: Float64  # (N, steps), after each of the first N values; NaN where there are too few
    start: int  # the first value that they do not know


def season_ahead(trained: Sequence[int], arimas: Arimas | None) -> int:
    """The season whose values before are looked at: the trained one's first, else the ARIMAs' that counts most."""
    season = trained[0] if trained else 0 if arimas is None else arimas.season
    return season if season <= MOST_SEASON else 0


def simple_parts(season: int, step: int) -> tuple[Part, ...]:
    """What is said of so many steps ahead: no change, a season before, one and two before, moved as after these."""
    if not season:
        return ((),) * SIMPLE_OF_SEVERAL
    whole = season * -(-step // season)
    twice = 2 * whole if 2 * whole <= MOST_SEASON else whole
    before, older = whole - step, twice - step
    moved = ((0.5, before), (-0.5, whole), (0.5, older), (-0.5, twice)) if whole <= MOST_SEASON else ()
    return (), ((1.0, before),), ((0.5, before), (0.5, older)), moved


def simple_at(values: Float64, series: NDArray[np.int64], now: NDArray[np.int64], season: int, step: int) -> Float64:
    """What each of `simple_parts` says of so many steps after some of values (N, S), (4, n).

    The values are chosen by series and time, each (n,); before the first of a series there is that one.
    """
    latest = values[now, series]
    said = np.repeat(latest[None], SIMPLE_OF_SEVERAL, axis=0)
    for number, part in enumerate(simple_parts(season, step)):
        for weight, back in part:
            said[number] += weight * (values[np.maximum(now - back, 0), series] - latest)
    return said


def find_ahead(
    values: Float64,
    observed: NDArray[np.bool_],
    trained: Float64,
    other: Float64,
    season: int,
    starts: NDArray[np.int64],
    units: Float64,
    earlier: Sequence[Earlier] = (),
) -> Ahead:
    """By errors, in `units` (S,), on the values (N, S) that are `observed` from `starts` (S,) on.

    `trained` and `other` are what these say, (N, S, steps); NaN where the other has too few values. Of one series what
    the other said `earlier` is judged too, beside the simple ones.
    """
    count, steps = values.shape[1], trained.shape[2]
    simple = SIMPLE if count == 1 else SIMPLE_OF_SEVERAL

    def errors(step: int) -> Float64:
        """Of all parts, (K, n)."""
        after = observed & (np.arange(len(values))[:, None] >= np.maximum(starts, step))
        series, targets = _thinned(after, MOST_JUDGED if count == 1 else MOST_JUDGED_OF_SEVERAL)
        now = targets - step
        own, further = (said[now, series, step - 1] for said in (trained, other))
        others = simple_at(values, series, now, season, step)[:simple]
        every = [own, np.where(np.isnan(further), own, further), *others]
        apart: Float64 = (values[targets, series] - np.stack(every)) / units[series]
        return apart

    def before(step: int) -> Float64 | None:
        """Of all but the trained one, (K - 1, m), before `starts`."""
        found = []
        for one in earlier:
            known = observed[: len(one.forecasts)] & (np.arange(len(one.forecasts))[:, None] >= max(one.start, step))
            series, targets = _thinned(known, MOST_JUDGED)
            now = targets - step
            said, others = one.forecasts[now, step - 1], simple_at(values, series, now, season, step)[:simple]
            every = [np.where(np.isnan(said), values[now, 0], said), *others]
            found.append((values[targets, 0] - np.stack(every)) / units[0])
        return np.concatenate(found, axis=1) if found else None

    first = None if count > 1 else shares_by(errors(1)[:2], NEXT_POWERS)
    shares = []
    for step in range(2, steps + 1):
        powers, alike = _of_several(step, count) if first is None else (_likely(first), float(step))
        shares.append(shares_by(errors(step), powers, alike, before(step)))
    return Ahead(season=season, shares=tuple(shares))


def _thinned(there: NDArray[np.bool_], most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places (N, S) that are there, evenly spread, no more than so many: of which series, and of which value."""
    series, targets = np.nonzero(there.T)
    some = slice(None, None, -(-len(targets) // most) or 1)
    return series[some], targets[some]


def _of_several(step: int, count: int) -> tuple[tuple[float, ...], float]:
    """How likely shares of so many series are, and how many times as long their errors are alike (`shares_by`)."""
    far = min(1.0, (step - 1) / (FAR - 1))
    near, most = SIMPLE_POWERS_OF_SEVERAL
    return (*POWERS_OF_SEVERAL, *[near + (most - near) * far] * SIMPLE_OF_SEVERAL), step * count ** (0.5 * far)


def _likely(following: Sequence[float]) -> tuple[float, ...]:
    """The powers of one series, where these are the shares of the first two in the next step's forecast."""
    powers = (sum(POWERS) * share for share in following)
    first = ((one + other) / 2 for one, other in zip(POWERS, powers, strict=True))
    return (*first, *[SIMPLE_POWER] * SIMPLE)
