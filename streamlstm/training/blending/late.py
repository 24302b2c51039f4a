"""How further steps are weighed by their errors of late: the mean of `ahead` beside simple forecasts, in the state.

Shares of a mean that were right in training are wrong after a trend has broken, and of a series unlike those trained
on. So what is said of so many steps ahead is held against what came that many steps later, of four parts: the mean, the
last value, that a season before, and the last value moved as after these. Part k has the weight

    share_k (least sum + s)^12 / (sum_k + s)^12 / what makes all weights one,

where sums are of squared errors, which forget, s is the lesser sum of the last value and of a season before, and the
shares are 1 for the mean and LATE_SHARE for each other. So where the mean is not far worse than what is known without
any model, it stays as it is: steps of many values ahead err alike, and a sharper choice would be one of chance.

Errors are kept of some steps; those between have weights between. Each step is judged by the steps before it as well,
which show a break sooner.

Besides, the mean is believed as far as it is to be trusted: what it has of the way from the middle of the last value
and that a season before is multiplied by

    trust = (sum x y + k) / (sum x^2 + k),    cut to 0 to 1.05,

where x is how far it was from that middle, y how far what came was, both over as much as makes x one unit at most; and
sums forget slowly. Of a series that several were not trained on, or that has become unlike itself, a mean goes too far,
most of all many steps ahead. What the trust differs from one by counts less where the mean's errors of late are far
smaller than those of what is known without any model.

A value that is the one before may have been held in place of a missing one, and what came is then no proof for the last
value. So nothing is learnt of it, unless the series has stood still for STANDS steps, as sensors do that are stuck.

Root mean square errors over the better one of no change and the value a season before at steps 3, 6 and 12, of the
mean, weighed, and trusted too (geometric means, of panels those of the panels; the worst of the series):

    59 public series, chosen on      0.830 0.849 0.881    0.830 0.849 0.882    0.826 0.838 0.868    worst 3.0, 2.7, 1.8
    43 others                        0.852 0.880 0.851    0.852 0.880 0.852    0.850 0.877 0.852    worst 1.6, 1.6, 1.6
    66 series of seven panels        0.791 0.836 0.927    0.774 0.818 0.907    0.769 0.807 0.898    worst 5.2, 1.6, 1.7
    65 others of these               0.781 0.839 0.920    0.768 0.822 0.902    0.764 0.811 0.892    worst 8.3, 1.5, 1.4
    34 made-up breaks of trend       1.305 1.408 1.503    0.713 0.827 1.028    0.708 0.822 1.020    worst 5.4, 2.1, 2.1

Tried and left: the mean corrected by its mean error of late as one more part (breaks 5 to 11 % better with a season and
no better without, others up to 0.2 % worse, and twice as much to carry), also with errors of the nearest steps drawn
on; sums that forget slower (0.95: breaks some 10 % worse), also beside those that forget fast; powers without s (other
single series up to 1.7 % worse); how much moved of late where there is no season (nothing); the trained one's errors
counting half as much again on values it was fitted to (other single series up to 0.6 % worse); larger shares the
further ahead (breaks 6 % better at step 12, single series 0.5 to 0.9 % worse); the mean damped alike for all series
(those worse than no model fewer by up to a third, and all worse by 0.5 to 3 %); more trust than 1.05 (1.1: other panels
0.2 % better 12 ahead, and 2 more of 393 forecasts more than 5 % worse than no model); the better one of the two that
know no model in place of their middle (nyc_taxi and taylor 2 and 4 % worse 12 ahead); no learning of a value that
is the one before, however long it has stood (of a stuck sensor up to 9 % worse).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from streamlstm.models import StateEntry
from streamlstm.nn import OnnxOperations
from streamlstm.training.blending.ahead import MOST_SEASON, Ahead, Part, simple_parts
from streamlstm.training.blending.seasons_before import SeasonsBefore

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
STANDS = 9  # changes of nothing in a row: a series that stands still; fewer may be values held in place of missing ones
TRUST_DECAY = 0.99  # of the sums that trust is made of, a step
TRUST_PRIOR = 0.3  # k above: squared units times the root of how many steps ahead
MOST_TRUST = 1.05
DOUBTED = 2.0  # where the mean's sum is less than one in so many of s, its trust counts less


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
        """What was said of each judged step, the oldest first, changes from the value then; the sums of errors.

        And those of which the trust in the mean is made.
        """
        if not self.judged:
            return ()
        return (
            StateEntry(name="ahead.said", shape=(sum(self.judged),)),
            StateEntry(name="ahead.errors", shape=(PARTS * len(self.judged),), initial=FIRST_SUM),
            StateEntry(name="ahead.trust", shape=(2 * len(self.judged),)),
        )

    @cached_property
    def before(self) -> SeasonsBefore:
        """The values of seasons before that are looked at."""
        return SeasonsBefore(self.ahead, self.judged)

    @property
    def came(self) -> int:
        """How many changes tell what came of what was said."""
        return max(self.judged)

    def forecasts(self) -> Float64:
        """The values of seasons before times this are what a season before and the moved one say, (n, 2 * further)."""
        columns = [part for number in (1, 2) for part in (self._parts(s)[number] for s in range(2, self.further + 2))]
        return np.stack([self.before.weights(part) for part in columns], axis=1)

    def errors(self) -> Float64:
        """Of values of seasons before, latest changes and what was said, the errors of each part and judged step.

        Each over the root of how many steps ahead; (n + came + said, 4 judged).
        """
        count, judged, before = len(self.judged), self.judged, self.before
        looked = len(before.places)
        total = np.zeros((looked + self.came + sum(judged), PARTS * count))
        firsts = looked + self.came + np.cumsum([0, *judged])
        for place, step in enumerate(judged):
            root = 1 / math.sqrt(step)
            since = slice(looked + self.came - step, looked + self.came)  # what came is the last value's error
            total[since, place::count] = root
            total[firsts[place], place] = -root
            for number, part in enumerate(self._parts(step)):
                column = place + (1 + number) * count
                # Values are from the latest one, and were said from the one so many steps ago.
                total[:looked, column] -= root * before.weights(part, step)
                total[since, column] -= root * sum(weight for weight, back in part if back)
        return total

    def shifted(self) -> NDArray[np.int64]:
        """Of changes, what was said, and what is said of all further steps: the places of what was said next."""
        first = len(self.before.places) + self.came
        firsts, new = first + np.cumsum([0, *self.judged]), first + sum(self.judged)
        ends = zip(firsts, self.judged, strict=False)
        return np.array([one for first, step in ends for one in (*range(first + 1, first + step), new + step - 2)])

    def pooled(self) -> Float64:
        """Squared errors times this are their means over each judged step and those before it, of each part."""
        count = len(self.judged)
        means = np.triu(np.ones((count, count))) / np.arange(1, count + 1)
        return np.kron(np.eye(PARTS), means).astype(np.float64)

    def from_middle(self) -> tuple[Float64, Float64]:
        """Errors times these are how far what came, and the mean, were from the middle, and twice how far the mean was.

        The middle of the last value and that a season before; (4 judged, 2 judged) each.
        """
        count = len(self.judged)
        came, mean = np.array([0.0, 0.5, 0.5, 0.0]), np.array([-1.0, 0.5, 0.5, 0.0])
        each = np.eye(count)
        of_came, of_mean = (np.kron(one[:, None], each) for one in (came, mean))
        return np.concatenate([of_came, of_mean], axis=1), np.concatenate([of_mean, of_mean], axis=1)

    def prior(self) -> Float64:
        """What is added to the sums that trust is made of, (judged,)."""
        return TRUST_PRIOR * np.sqrt(np.array(self.judged, np.float64))

    def given_up(self) -> Float64:
        """What the mean's weights are less by times this goes to the last value's and a season before's."""
        return np.kron(np.array([[-1.0, 0.5, 0.5, 0.0]]), np.eye(len(self.judged)))

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


def weighed(
    side: OnnxOperations, mean: Sym, seen: tuple[Sym, Sym | None], scale: Sym, late: Late, state: list[Sym]
) -> list[Sym]:
    """The weighed changes to further steps (B, H - 1), and the state after; of the `mean` of ahead.

    Seen are the latest changes and, of a season, the values of seasons before (`SeasonsBefore.nodes`); `scale` (B, 1)
    is what errors are measured in.
    """
    (changes, looked), (said, sums, trust) = seen, state
    count, further = len(late.judged), late.further
    known = side.concat([*([] if looked is None else [looked]), changes[:, -late.came :], said], axis=1)
    units = (known / scale.clamp(min=TINY)).clamp(-MOST_CHANGE, MOST_CHANGE)
    errors = (units @ _tensor(late.errors())).clamp(-MOST_ERROR, MOST_ERROR)
    came = _came(changes)
    both, twice = (errors @ _tensor(matrix) for matrix in late.from_middle())
    more = [(errors * errors) @ _tensor(late.pooled()), both * twice / (twice * twice).clamp(min=1.0)]
    kept_back = np.repeat([DECAY - 1.0, TRUST_DECAY - 1.0], [PARTS * count, 2 * count])
    earlier = side.concat([sums, trust], axis=1)
    every_sum = earlier + (earlier * _tensor(kept_back) + side.concat(more, axis=1)) * came
    sums, trust = every_sum.split([PARTS * count, 2 * count], dim=1)
    each = sums.split([count] * PARTS, dim=1)
    known_without = each[1].node("Min", each[2]) + LEAST
    least = each[0].node("Min", *each[1:]) + known_without
    ratio = side.concat([least] * PARTS, axis=1) / (sums + side.concat([known_without] * PARTS, axis=1))
    fourth = ratio * ratio * (ratio * ratio)
    weights = fourth * fourth * fourth * _tensor(np.repeat([1.0, *[late.ahead.late_share] * (PARTS - 1)], count))
    weights = weights / (weights @ _tensor(np.tile(np.eye(count), (PARTS, PARTS))))
    # Without a season the last value stands for that before it.
    simple = changes[:, -1:] @ torch.zeros(1, 2 * further) if looked is None else looked @ _tensor(late.forecasts())
    every = side.concat([mean, simple], axis=1).clamp(-MOST_SAID, MOST_SAID)
    doubt = _doubt(late, trust, each[0] / known_without)
    weights = weights + (weights[:, :count] * doubt) @ _tensor(late.given_up())
    total = (every * (weights @ _tensor(late.between()))) @ _tensor(np.tile(np.eye(further), (PARTS - 1, 1)))
    after = side.take(side.concat([known, every], axis=1), torch.from_numpy(late.shifted()), axis=1)
    return [total, after, sums, trust]


def _doubt(late: Late, trust: Sym, worse: Sym) -> Sym:
    """What one is more than the trust in the mean, (B, judged), by the sums that it is made of.

    `worse` is how the mean's sums are to those of what is known without any model, (B, judged).
    """
    count = len(late.judged)
    along, squares = (trust + _tensor(np.tile(late.prior(), 2))).split([count, count], dim=1)
    return (1.0 - (along / squares).clamp(0.0, MOST_TRUST)) * (worse * DOUBTED).clamp(max=1.0)


def _came(changes: Sym) -> Sym:
    """Whether a value came, 1 or 0, (B, 1), by the latest changes: 0 where it is the one before, for a while."""
    moved = changes[:, -STANDS:].node("Sign").abs()
    return moved[:, -1:].maximum(1.0 - moved.amax(dim=1, keepdim=True))


def _tensor(numbers: NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(numbers)).float()
