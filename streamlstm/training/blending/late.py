"""How further steps are weighed by their errors of late: the mean of `ahead` beside simple forecasts, in the state.

Shares of a mean that were right in training are wrong after a trend has broken, and of a series unlike those trained
on. So what is said of so many steps ahead is held against what came that many steps later, of four parts: the mean, the
last value, that a season before, and the last value moved as after these. Part k has the weight

    share_k (least sum + s)^12 / (sum_k + s)^12 / what makes all weights one,

where sums are of squared errors, which forget, s is the lesser sum of the last value and of a season before, and the
shares are 1 for the mean and LATE_SHARE for each other. So where the mean is not far worse than what is known without
any model, it stays as it is: steps of many values ahead err alike, and a sharper choice would be one of chance.

Errors are kept of some steps; those between have weights between. Each step is judged by the steps before it as well,
which show a break sooner. Root mean square errors over the better one of no change and the value a season before at
steps 3, 6 and 12, of the mean and weighed (geometric means, and the worst of the series):

    102 public series of 90 to 700 values    0.839 0.862 0.868    0.839 0.862 0.869    worst 3.0, 2.7
    131 series of seven panels               0.786 0.837 0.923    0.771 0.819 0.904    worst 8.3, 1.6
    34 made-up breaks of trend               1.305 1.408 1.503    0.713 0.827 1.028    worst 5.4, 2.1

Tried and left: the mean corrected by its mean error of late as one more part (breaks 5 to 11 % better with a season and
no better without, others up to 0.2 % worse, and twice as much to carry), also with errors of the nearest steps drawn
on; sums that forget slower (0.95: breaks some 10 % worse); powers without s (other single series up to 1.7 % worse);
how much moved of late where there is no season (nothing); the trained one's errors counting half as much again on
values it was fitted to (other single series up to 0.6 % worse); sums that stay as they are where a value is that before
(held in place of missing ones, eight at a time, it makes errors 22 to 31 % larger than the mean's, so 3 to 20 %; but of
a sensor that stands still, now 32, 23 and 11 % smaller 2, 3 and 6 ahead, they are the mean's then).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from streamlstm.models import StateEntry
from streamlstm.nn import OnnxOperations
from streamlstm.training.blending.ahead import MOST_SEASON, Ahead, Part, simple_parts

Float64 = NDArray[np.float64]
Sym = Any  # a symbol of the graph: `streamlstm.nn.symbols.Symbol`

STEPS = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48)  # whose errors are kept: so many numbers of what was said of each
PARTS = 4  # the mean, the last value, a season before, moved
DECAY = 0.85  # of the sums of squared errors, a step
FIRST_SUM = 3.0  # of each, squared units
MOST_ERROR = 7.0  # units: the universal model's scale of the series times the root of how many steps ahead
MOST_CHANGE = 1e4  # of the scale, that a change or what was said of one counts as
MOST_SAID = 1e38  # from the value, of what a part says: without end it would be no number wherever it has no weight
LEAST = 1e-6  # of s above
TINY = 1e-30


@dataclass(frozen=True)
class Late:
    """Which steps are judged, and the constant matrices of it."""

    ahead: Ahead

    @property
    def further(self) -> int:
        """How many steps there are after the next."""
        return len(self.ahead.shares)

    @property
    def judged(self) -> tuple[int, ...]:
        """The steps whose errors are kept: those for which the changes that are carried tell what was said."""
        steps = [step for step in STEPS if step <= self.further + 1]
        return tuple(step for step in steps if step + self._oldest(step) <= MOST_SEASON)

    def state(self) -> tuple[StateEntry, ...]:
        """What was said of each judged step, the oldest first, changes from the value then; the sums of errors."""
        if not self.judged:
            return ()
        return (
            StateEntry(name="ahead.said", shape=(sum(self.judged),)),
            StateEntry(name="ahead.errors", shape=(PARTS * len(self.judged),), initial=FIRST_SUM),
        )

    @property
    def kept(self) -> int:
        """How many changes are looked at."""
        steps = range(2, self.further + 2)
        before = max(back for step in steps for part in self._parts(step) for _, back in (*part, (0.0, 1)))
        return max(before, *(step + self._oldest(step) for step in self.judged))

    def forecasts(self) -> Float64:
        """The latest changes times this are what a season before and the moved one say, (kept, 2 * further)."""
        columns = [part for number in (1, 2) for part in (self._parts(s)[number] for s in range(2, self.further + 2))]
        return np.stack([self._changes(part) for part in columns], axis=1)

    def errors(self) -> Float64:
        """Changes and what was said times this: the errors of each part and judged step, (kept + said, 4 judged).

        Each over the root of how many steps ahead.
        """
        count, judged = len(self.judged), self.judged
        total = np.zeros((self.kept + sum(judged), PARTS * count))
        firsts = self.kept + np.cumsum([0, *judged])
        for place, step in enumerate(judged):
            root = 1 / math.sqrt(step)
            total[self.kept - step : self.kept, place::count] = root  # what came since is the last value's error
            total[firsts[place], place] = -root
            for number, part in enumerate(self._parts(step)):
                said = np.roll(self._changes(part), -step)  # as it was so many steps ago
                total[: self.kept, place + (1 + number) * count] -= root * said
        return total

    def shifted(self) -> NDArray[np.int64]:
        """Of changes, what was said, and what is said of all further steps: the places of what was said next."""
        firsts, new = self.kept + np.cumsum([0, *self.judged]), self.kept + sum(self.judged)
        ends = zip(firsts, self.judged, strict=False)
        return np.array([one for first, step in ends for one in (*range(first + 1, first + step), new + step - 2)])

    def pooled(self) -> Float64:
        """Squared errors times this are their means over each judged step and those before it, of each part."""
        count = len(self.judged)
        means = np.triu(np.ones((count, count))) / np.arange(1, count + 1)
        return np.kron(np.eye(PARTS), means).astype(np.float64)

    def between(self) -> Float64:
        """Weights at the judged steps times this are those of all further steps: of the mean, a season, moved."""
        count, steps = len(self.judged), np.arange(2, self.further + 2)
        one = np.stack([np.interp(steps, self.judged, row) for row in np.eye(count)])
        return np.kron(np.delete(np.eye(PARTS), 1, axis=1), one).astype(np.float64)

    def _parts(self, step: int) -> tuple[Part, Part, Part]:
        """Of the last value, a season before, and the last one moved."""
        parts = simple_parts(self.ahead.season, step)
        return parts[0], parts[1], parts[3]

    def _oldest(self, step: int) -> int:
        """How far back the parts look."""
        return max((back for part in self._parts(step) for _, back in part), default=0)

    def _changes(self, part: Part) -> Float64:
        """The latest changes (kept,) times this are how far a part is from the latest value."""
        column = np.zeros(self.kept)
        for weight, back in part:
            column[self.kept - back :] -= weight
        return column


def weighed(side: OnnxOperations, mean: Sym, changes: Sym, scale: Sym, late: Late, state: list[Sym]) -> list[Sym]:
    """The weighed changes to further steps (B, H - 1), and the state after; of the `mean` of ahead, and late changes.

    `scale` (B, 1) is what errors are measured in.
    """
    said, sums = state
    count, further, kept = len(late.judged), late.further, late.kept
    recent = changes[:, -kept:]
    known = side.concat([recent, said], axis=1)
    units = (known / scale.clamp(min=TINY)).clamp(-MOST_CHANGE, MOST_CHANGE)
    errors = (units @ _tensor(late.errors())).clamp(-MOST_ERROR, MOST_ERROR)
    sums = sums * DECAY + (errors * errors) @ _tensor(late.pooled())
    each = sums.split([count] * PARTS, dim=1)
    known_without = each[1].node("Min", each[2]) + LEAST
    least = each[0].node("Min", *each[1:]) + known_without
    ratio = side.concat([least] * PARTS, axis=1) / (sums + side.concat([known_without] * PARTS, axis=1))
    fourth = ratio * ratio * (ratio * ratio)
    weights = fourth * fourth * fourth * _tensor(np.repeat([1.0, *[late.ahead.late_share] * (PARTS - 1)], count))
    weights = weights / (weights @ _tensor(np.tile(np.eye(count), (PARTS, PARTS))))
    every = side.concat([mean, recent @ _tensor(late.forecasts())], axis=1).clamp(-MOST_SAID, MOST_SAID)
    total = (every * (weights @ _tensor(late.between()))) @ _tensor(np.tile(np.eye(further), (PARTS - 1, 1)))
    after = side.take(side.concat([known, every], axis=1), torch.from_numpy(late.shifted()), axis=1)
    return [total, after, sums]


def _tensor(numbers: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(numbers)).float()
