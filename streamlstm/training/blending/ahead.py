"""What further steps are means of: forecasts of the trained one and of ARIMAs, the last value, that a season before.

Each step has shares of its own. Far ahead there is little to know of many series, and what a model makes of it is worse
than no change; how much worse shows in training. Over the better one of no change and the value a season before, on 45
public series of 90 to 700 values (geometric means of RMSE at steps 3, 6 and 12, and the worst): means of the first two
by the shares of the next step 0.855, 0.888, 0.949, worst 3.5; by shares of their own of all four 0.851, 0.878, 0.920,
worst 3.1 (0.853, 0.882, 0.932, if those of the next step say nothing of what is likely); the trained one alone 1.01,
1.03, 1.02, worst 3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamlstm.training.blending.arimas import Arimas
from streamlstm.training.blending.shares import OTHER_POWER, TRAINED_POWER, shares_by

Float64 = NDArray[np.float64]

# How likely shares of the trained one, the ARIMAs, the last value and that a season before are (`shares_by`): half by
# these, and half as the first two have shares in the next step's forecast.
POWERS = (0.36, 1.44, 0.05, 0.05)
NEXT_POWERS = (TRAINED_POWER, OTHER_POWER)
MOST_JUDGED = 500  # errors of each step, evenly spread
MOST_SEASON = 344  # steps: the changes that the universal model carries


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """The shares of the second step ahead and those after it."""

    season: int  # steps; 0: none, and the last value stands for that a season before
    shares: tuple[tuple[float, ...], ...]  # of each step: trained, ARIMAs, last, a season before


def season_ahead(trained: Sequence[int], arimas: Arimas) -> int:
    """The season whose values before are looked at: the trained one's first, else the one that counts most."""
    season = trained[0] if trained else arimas.season
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
    values: Float64, observed: NDArray[np.bool_], trained: Float64, arimas: Float64, season: int, start: int
) -> Ahead:
    """By errors on the values (N,) that are `observed` from `start` on.

    `trained` and `arimas` are what these say, (N, steps); NaN where the ARIMAs have too few values.
    """
    steps = trained.shape[1]
    further = np.where(np.isnan(arimas), trained, arimas)
    before = season_before(values, season, steps)
    every = [trained, further, np.broadcast_to(values[:, None], trained.shape), before]

    def errors(step: int) -> Float64:
        targets = np.flatnonzero(observed)
        targets = targets[targets >= max(start, step + 1)]
        targets = targets[:: -(-len(targets) // MOST_JUDGED) or 1]
        apart: Float64 = values[targets] - np.stack([said[targets - step - 1, step] for said in every])
        return apart

    powers = _likely(shares_by(errors(0)[:2], NEXT_POWERS))
    shares = [shares_by(errors(step), powers, alike=step + 1.0) for step in range(1, steps)]
    return Ahead(season=season, shares=tuple(shares))


def _likely(following: Sequence[float]) -> tuple[float, ...]:
    """The powers of all four, where these are the shares of the first two in the next step's forecast."""
    first = sum(POWERS[:2])
    powers = [*(first * share for share in following), *POWERS[2:]]
    return tuple((one + other) / 2 for one, other in zip(POWERS, powers, strict=True))
