"""Adaptation of each series in its own state: the model's forecast beside simple ones, weighted by recent errors.

What was learnt in training may not hold for the series at hand, or no longer: its level shifts, it lies flat, it is
all spikes. So every step has several candidates, all of them changes from the latest value: the model's own and shares
of it, its linear part for short histories (which looks no season back), no change at all, an exponential smoothing, a
running median, the value a season before; and the model's and the seasonal ones corrected by the mean of their own
errors of late, which takes off what a trend that broke leaves them. Each has a sum of its errors to a power, in the
unit of the series, that forgets; candidate k has the weight

    exp(-24 (sum_k / smallest sum - 1)) / what makes all weights one,

so that one whose sum is 10 % larger counts a tenth. The model's sums count 6 % less than they are: it is preferred.
Nothing here is trained but the sums a series begins with.

The power is 1.25, chosen on 66 made-up and public series (`tools/robustness.py` has most): errors to the power 1 give
0.4 % larger root mean squares there, and to the power 1.5 a 1.5 % larger mean absolute error. It prefers the middle of
what may come to its mean, which are far apart where most values are one and the same: of counts that are mostly zero
forecasts added up to 60 % of what came. For those it is 2.

The seasonal and the corrected candidates were chosen on 62 other public and made-up series: after a break of trend the
root mean square error halves, sparse counts have 4 % less, no other series has 1 % more. Fewer recent changes for short
series, chosen by validation or averaged, were tried with them: 30 % better on some, as much worse on others.

Least squares that forget over the lags themselves (in a state of d * d) were no better than a mixture: 0.79 of the
naive forecast's mean absolute error on 22 series, where the model alone has 0.99.

Forecasts of further steps are mixed with the weights of the next one; what has no forecast of them leaves its weight to
the model. Weights by errors of their own, which are known that many steps later, were worse on 18 series: 0.7 % two
steps ahead, 3 % six steps ahead, a third after a level shift.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from streamlstm.models import FIRST_PARTS, SHARPNESS, StateEntry, candidate_shares
from streamlstm.nn import Value, of
from streamlstm.training.forecaster.decay import Decay, decaying_sums

PREFERENCE = 0.942  # what the model's errors are multiplied by
ERROR_DECAY = 0.985  # of the sums of errors, a step
ERROR_LIMIT = 20.0  # units; an error beyond counts as this one
SMALLEST_SUM = 1e-3  # candidates all of whose sums are far below weigh the same
# Of the mean error by which a candidate is corrected, a step: the model's is nearly none, that of a season before the
# trend. An error beyond so many units counts as so many: a spike is no trend.
MODEL_ERROR_DECAY, SEASONAL_ERROR_DECAY = 0.85, 0.6
CORRECTION_LIMIT = 4.0


class Candidates(NamedTuple):
    """What the mixture mixes, as changes from the latest value.

    The first four are in units of the series, if the lags are `local`, else in z, as the others are.
    """

    model: Value  # (T, B, O)
    short: Value  # (T, B, O)
    smoothed: Value  # (T, B, O)
    median: Value  # (T, B, O)
    change: Value  # (T, B, O), from the value before the latest; 0 at a series' first
    unit: Value  # (T, B, O), what errors are measured in
    # The model's and the short forecast of each step after the next; of one target, of all of these side by side.
    further: Sequence[tuple[Value, Value]] = ()
    seasonal: Sequence[Value] = ()  # (T, B, O) of each season: the value one before the next; as the first four


class Mixture(nn.Module):
    """One mixture for each of O targets, from what `Candidates` holds."""

    start: Tensor

    def __init__(self, targets: int, *, local: bool, seasons: Sequence[int] = (), sparse: bool = False) -> None:
        """`sparse` is for values most of which are one and the same."""
        super().__init__()
        self.targets, self.local, self.sparse = targets, local, sparse
        candidates = candidate_shares(seasons)
        self.candidates = len(candidates)  # K
        self._shares = torch.tensor(list(candidates.values())).t().contiguous()  # (P, K)
        self.parts = len(self._shares)  # P
        self._of_parts = torch.cat((self._shares, torch.zeros(1, self.candidates))).t().contiguous()  # (K, P + 1)
        self._corrected = 1 + len(seasons)  # C, the last of the parts: the model and the seasonal ones, corrected
        self._sources = self.parts - self._corrected
        picked = torch.eye(self._sources)[:, [0, *range(FIRST_PARTS, self._sources)]]
        self._picked = picked.contiguous()  # (P - C, C)
        # What is too high and what is too low is added up apart: `decaying_sums` takes nothing below zero.
        self._apart = torch.cat((picked, -picked), dim=1).contiguous()
        self._joint = torch.cat((torch.eye(self._corrected), -torch.eye(self._corrected)))
        decays = torch.tensor([MODEL_ERROR_DECAY, *[SEASONAL_ERROR_DECAY] * len(seasons)] * 2 * targets)
        self._means = Decay(torch.diag(1 - decays), decays, torch.zeros_like(decays))
        # Of further steps there is the model's forecast, and what does not depend on the step.
        self._further = torch.eye(self.parts + 1)[:, :FIRST_PARTS].clone()
        self._further[FIRST_PARTS : self.parts, 0] = 1.0
        self._preferences = torch.tensor([PREFERENCE, *[1.0] * (self.candidates - 1)]).repeat(targets)
        bias = torch.full((self.candidates * targets,), SMALLEST_SUM * (1 - ERROR_DECAY))
        decays = torch.full((self.candidates * targets,), ERROR_DECAY)
        self._rule = Decay(torch.diag(self._preferences), decays, bias)
        # What the sums of errors begin with, so that a new series is forecast as was best in training.
        self.register_buffer("start", torch.full((self.candidates * targets,), SMALLEST_SUM))

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The sums of errors; the last parts and unit of each target; mean errors, too low and too high apart."""
        last = (*[0.0] * self.parts, 1.0) * self.targets
        start = tuple(self.start.tolist())
        return (
            StateEntry(name="errors", shape=(self.targets, self.candidates), initial=start),
            StateEntry(name="said", shape=(self.targets, self.parts + 1), initial=last),
            StateEntry(name="mean_errors", shape=(self.targets, 2 * self._corrected)),
        )

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        """The state before the first value, each (1, batch, size)."""
        return tuple(torch.tensor(e.initial).expand(1, batch, e.size).clone() for e in self.state_entries())

    def forward(self, given: Candidates, state: Sequence[Value]) -> tuple[Value, Value | None, tuple[Value, ...]]:
        """Mix: the change that is forecast (T, B, O), what errors add to their sums (T, B, O*K), and the state.

        What is said of further steps is mixed with the weights of the next one, and follows it: (T, B, horizon*O).
        States are (1, B, n). In a graph the errors are left out.
        """
        side, (errors, last, means), axis = of(given.unit), state, 3 if self.targets > 1 else 2
        others = (given.smoothed, given.median)
        parts = self._joined(
            given.model, given.short, *others, *given.seasonal
        )  # (T, B, O, P - C); of one (T, B, P - C)
        change, unit = self._joined(given.change), self._joined(given.unit)
        last = self._by_target(last, self.parts + 1, steps=1)
        corrected, means = self._corrections(parts, change, unit, last, means)
        now = side.concat((parts, corrected, unit), axis=axis)
        before, former = side.concat((last, now[:-1]), axis=0).split([self.parts, 1], dim=axis)
        wrong = self._in_units(change, former, before @ self._shares).abs().clamp(max=ERROR_LIMIT)
        wrong = self._flat(wrong * (wrong if self.sparse else wrong.sqrt().sqrt()), self.candidates)
        sums, errors = decaying_sums(wrong, self._rule, errors)
        sums = self._by_target(sums, self.candidates)
        sharp = sums.amin(dim=axis, keepdim=True) @ torch.full((1, 1), -1 / SHARPNESS)
        weights = (sums / sharp).softmax(dim=axis) @ self._of_parts  # of the parts, and none of the unit
        mixed = [self._sum(weights, now, self.parts + 1)]
        weights = weights @ self._further if given.further else weights
        mixed += [self._further_sum(weights, model, short, *others) for model, short in given.further]
        after = self._flat(now[-1:], self.parts + 1)
        wrong = None if side.folds else wrong * self._preferences
        return side.concat(mixed, axis=2), wrong, (errors, after, means)

    def _corrections(self, parts: Value, change: Value, unit: Value, last: Value, means: Value) -> tuple[Value, Value]:
        """The parts that are corrected by mean errors; and these after the last step."""
        side, axis = of(parts), 3 if self.targets > 1 else 2
        source, _, former = last.split([self._sources, self._corrected, 1], dim=axis)
        before = side.concat((source, parts[:-1]), axis=0)
        off = self._in_units(change, side.concat((former, unit[:-1]), axis=0), before)
        off = (off.clamp(-CORRECTION_LIMIT, CORRECTION_LIMIT) @ self._apart).relu()
        sums, means = decaying_sums(self._flat(off, 2 * self._corrected), self._means, means)
        shift = self._by_target(sums, 2 * self._corrected) @ self._joint
        return parts @ self._picked + (shift if self.local else shift * unit), means

    def _in_units(self, change: Value, unit: Value, said: Value) -> Value:
        """How far a change is above what was said of it, in the unit it was said in."""
        return change / unit - said if self.local else (change - said) / unit

    def _flat(self, x: Value, columns: int) -> Value:
        """(T, B, O, n) as (T, B, O * n), of one target as it is."""
        return x if self.targets == 1 else of(x).reshape(x, 0, 0, self.targets * columns)

    def _by_target(self, x: Value, columns: int, steps: int = 0) -> Value:
        """The reverse; `steps` is T where it is known."""
        return x if self.targets == 1 else of(x).reshape(x, steps, -1 if steps else 0, self.targets, columns)

    def _joined(self, *columns: Value) -> Value:
        """Columns (T, B, O) side by side: (T, B, O, n), of one target (T, B, n)."""
        if self.targets > 1:
            columns = tuple(column.unsqueeze(3) for column in columns)
        return of(columns[0]).concat(columns, axis=3 if self.targets > 1 else 2)

    def _further_sum(self, weights: Value, model: Value, short: Value, smoothed: Value, median: Value) -> Value:
        """The weighted sum of a further step's parts, or of one target those of all further steps (T, B, n)."""
        if self.targets > 1:
            return self._sum(weights, self._joined(model, short, smoothed, median))
        of_model, of_short, of_smoothed, of_median = weights.split([1] * FIRST_PARTS, dim=2)
        return model * of_model + short * of_short + (smoothed * of_smoothed + median * of_median)

    def _sum(self, weights: Value, parts: Value, count: int = FIRST_PARTS) -> Value:
        """The weighted sum of parts over the last axis, by a product: ONNX's ReduceSum has not the same bits."""
        total = (weights * parts) @ torch.ones(count, 1)
        return total if self.targets == 1 else total.squeeze(3)
