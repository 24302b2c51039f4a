"""What further steps are means of: forecasts of the trained one and of another, the last value, that a season before.

Each step has shares of its own. Far ahead there is little to know of many series, and what a model makes of it is worse
than no change; how much worse shows in training. Over the better one of no change and the value a season before, on 45
public series of 90 to 700 values (geometric means of RMSE at steps 3, 6 and 12, and the worst): means of the first two
by the shares of the next step 0.855, 0.888, 0.949, worst 3.5; by shares of their own of all four 0.851, 0.878, 0.920,
worst 3.1 (0.853, 0.882, 0.932, if those of the next step say nothing of what is likely); the trained one alone 1.01,
1.03, 1.02, worst 3.2.

The other one is ARIMAs of one series. Of several, which have none, it is the trained one moved by as much as the
universal model says another next value. Over the better one of no change and the value a season before, on 150 series
of nine public panels, not trained on but for the 22 of one: the trained one alone 0.899, 0.953, 0.954, worst 3.2, 3.3,
4.6; the mean 0.883, 0.941, 0.913, worst 2.9, 3.0, 4.1.

Tried and left: weighing parts by their errors so many steps ahead of late (no better at any step but the first few,
worse at 12), the universal model's next value and its trend for all steps, the trained one moved beside the ARIMAs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamlstm.training.blending.arimas import Arimas
from streamlstm.training.blending.shares import OTHER_POWER, TRAINED_POWER, shares_by

Float64 = NDArray[np.float64]

# How likely shares of the trained one, the other, the last value and that a season before are (`shares_by`): of one
# series half by these, and half as the first two have shares in the next step's forecast.
POWERS = (0.36, 1.44, 0.05, 0.05)
POWERS_OF_SEVERAL = (0.6, 0.6, 0.2, 0.2)
NEXT_POWERS = (TRAINED_POWER, OTHER_POWER)
MOST_JUDGED = 500  # errors of each step of one series, evenly spread
MOST_JUDGED_OF_SEVERAL = 3_000  # of all of them
MOST_SEASON = 344  # steps: the changes that the universal model carries


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """The shares of the second step ahead and those after it."""

    season: int  # steps; 0: none, and the last value stands for that a season before
    shares: tuple[tuple[float, ...], ...]  # of each step: trained, the other, last, a season before


def season_ahead(trained: Sequence[int], arimas: Arimas | None) -> int:
    """The season whose values before are looked at: the trained one's first, else the ARIMAs' that counts most."""
    season = trained[0] if trained else 0 if arimas is None else arimas.season
    return season if season <= MOST_SEASON else 0


def season_before(values: Float64, season: int, steps: int) -> Float64:
    """The values (N, steps) some whole seasons before those 1 to `steps` after each of (N,); the first before it.

    Without a season the last value.
    """
    places = np.arange(len(values))[:, None] - backwards(season, steps)
    found: Float64 = values[np.maximum(places, 0)]
    return found


def backwards(season: int, steps: int) -> NDArray[np.int64]:
    """How many values before the latest it stands, for each step, (steps,)."""
    return -np.arange(1, steps + 1) % season if season else np.zeros(steps, np.int64)


def find_ahead(
    values: Float64,
    observed: NDArray[np.bool_],
    trained: Float64,
    other: Float64,
    season: int,
    starts: NDArray[np.int64],
    units: Float64,
) -> Ahead:
    """By errors, in `units` (S,), on the values (N, S) that are `observed` from `starts` (S,) on.

    `trained` and `other` are what these say, (N, S, steps); NaN where the other has too few values.
    """
    steps, several = trained.shape[2], values.shape[1] > 1
    most = MOST_JUDGED_OF_SEVERAL if several else MOST_JUDGED

    def errors(step: int) -> Float64:
        """Of the four parts, (4, n)."""
        after = observed & (np.arange(len(values))[:, None] >= np.maximum(starts, step + 1))
        series, targets = np.nonzero(after.T)
        thinned = slice(None, None, -(-len(targets) // most) or 1)
        series, targets = series[thinned], targets[thinned]
        now = targets - step - 1
        before = np.maximum(now - backwards(season, steps)[step], 0)
        own, further = (said[now, series, step] for said in (trained, other))
        every = [own, np.where(np.isnan(further), own, further), values[now, series], values[before, series]]
        apart: Float64 = (values[targets, series] - np.stack(every)) / units[series]
        return apart

    powers = POWERS_OF_SEVERAL if several else _likely(shares_by(errors(0)[:2], NEXT_POWERS))
    shares = [shares_by(errors(step), powers, alike=step + 1.0) for step in range(1, steps)]
    return Ahead(season=season, shares=tuple(shares))


def _likely(following: Sequence[float]) -> tuple[float, ...]:
    """The powers of all four, where these are the shares of the first two in the next step's forecast."""
    first = sum(POWERS[:2])
    powers = [*(first * share for share in following), *POWERS[2:]]
    return tuple((one + other) / 2 for one, other in zip(POWERS, powers, strict=True))
