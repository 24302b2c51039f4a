"""Adaptation of each series in its own state: the model's forecast beside simple ones, weighted by recent errors.

What was learnt in training may not hold for the series at hand, or no longer: its level shifts, it lies flat, it is
all spikes. So every step has several candidates, all of them changes from the latest value: the model's own and shares
of it, its linear part for short histories (which looks no season back), no change at all, an exponential smoothing, a
running median. Each has a sum of its errors to the power 1.25, in the unit of the series, that forgets; candidate k has
the weight

    exp(-24 (sum_k / smallest sum - 1)) / what makes all weights one,

so that one whose sum is 10 % larger counts a tenth. The model's sums count 6 % less than they are: it is preferred.
Nothing here is trained but the sums a series begins with.

Chosen on 66 made-up and public series (`tools/robustness.py` has most): errors to the power 1 give 0.4 % larger root
mean squares there, and to the power 1.5 a 1.5 % larger mean absolute error. Least squares that forget over the lags
themselves (in a state of d * d) were no better than a mixture: 0.79 of the naive forecast's mean absolute error on 22
series, where the model alone has 0.99.

Forecasts of further steps are mixed with the weights of the next one. Weights by errors of their own, which are known
that many steps later, were worse on 18 series: 0.7 % two steps ahead, 3 % six steps ahead, a third after a level shift.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from streamlstm.models import CANDIDATES, PARTS, SHARPNESS, StateEntry
from streamlstm.nn import Value, of
from streamlstm.training.forecaster.decay import Decay, decaying_sums

HANDICAPS = (0.942, *[1.0] * (len(CANDIDATES) - 1))  # what each candidate's errors are multiplied by
ERROR_DECAY = 0.985  # of the sums of errors, a step
ERROR_LIMIT = 20.0  # units; an error beyond counts as this one
SMALLEST_SUM = 1e-3  # candidates all of whose sums are far below weigh the same


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
    further: Sequence[tuple[Value, Value]] = ()  # the model's and the short forecast of each step after the next


class Mixture(nn.Module):
    """One mixture for each of O targets, from what `Candidates` holds."""

    start: Tensor

    def __init__(self, targets: int, *, local: bool) -> None:
        super().__init__()
        self.targets, self.local = targets, local
        count = len(CANDIDATES)
        self._shares = torch.tensor(list(CANDIDATES.values())).t().contiguous()  # (4, K)
        self._handicaps = torch.tensor(HANDICAPS).repeat(targets)
        bias = torch.full((count * targets,), SMALLEST_SUM * (1 - ERROR_DECAY))
        self._rule = Decay(torch.diag(self._handicaps), torch.full((count * targets,), ERROR_DECAY), bias)
        # What the sums of errors begin with, so that a new series is forecast as was best in training.
        self.register_buffer("start", torch.full((count * targets,), SMALLEST_SUM))

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The sums of errors; the last parts and unit of each target."""
        last = (*[0.0] * PARTS, 1.0) * self.targets
        return (
            StateEntry(name="errors", shape=(self.targets, len(CANDIDATES)), initial=tuple(self.start.tolist())),
            StateEntry(name="said", shape=(self.targets, PARTS + 1), initial=last),
        )

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        """The state before the first value, each (1, batch, size)."""
        return tuple(torch.tensor(e.initial).expand(1, batch, e.size).clone() for e in self.state_entries())

    def forward(self, given: Candidates, state: Sequence[Value]) -> tuple[Value, Value | None, tuple[Value, ...]]:
        """Mix: the change that is forecast (T, B, O), what errors add to their sums (T, B, O*K), and the state.

        What is said of further steps is mixed with the weights of the next one, and follows it: (T, B, horizon*O).
        States are (1, B, n). In a graph the errors are left out.
        """
        side, (errors, last), count, K = of(given.unit), state, self.targets, len(CANDIDATES)
        axis = 3 if count > 1 else 2
        others = (given.smoothed, given.median)
        parts = self._joined(given.model, given.short, *others)
        now = self._joined(given.model, given.short, *others, given.unit)  # (T, B, O, 5), of one target (T, B, 5)
        if count > 1:
            last = side.reshape(last, 1, -1, count, PARTS + 1)
        before, unit = side.concat((last, now[:-1]), axis=0).split([PARTS, 1], dim=axis)
        after = now[-1:]
        change = given.change.unsqueeze(3) if count > 1 else given.change
        said = before @ self._shares
        wrong = ((change / unit if self.local else change) - said).abs()
        wrong = (wrong if self.local else wrong / unit).clamp(max=ERROR_LIMIT)
        wrong = wrong * wrong.sqrt().sqrt()
        if count > 1:
            wrong, after = side.reshape(wrong, 0, 0, count * K), side.reshape(after, 1, -1, count * (PARTS + 1))
        sums, errors = decaying_sums(wrong, self._rule, errors)
        if count > 1:
            sums = side.reshape(sums, 0, 0, count, K)
        sharp = sums.amin(dim=axis, keepdim=True) * (-1 / SHARPNESS)
        weights = (sums / sharp).softmax(dim=axis) @ self._shares.t().contiguous()  # of the parts
        mixed = [self._sum(weights, parts)]
        for model, short in given.further:
            mixed.append(self._sum(weights, self._joined(model, short, *others)))
        return side.concat(mixed, axis=2), None if side.folds else wrong * self._handicaps, (errors, after)

    def _joined(self, *columns: Value) -> Value:
        """Columns (T, B, O) side by side: (T, B, O, n), of one target (T, B, n)."""
        if self.targets > 1:
            columns = tuple(column.unsqueeze(3) for column in columns)
        return of(columns[0]).concat(columns, axis=3 if self.targets > 1 else 2)

    def _sum(self, weights: Value, parts: Value) -> Value:
        """The weighted sum of parts over the last axis, by a product: ONNX's ReduceSum has not the same bits."""
        total = (weights * parts) @ torch.ones(PARTS, 1)
        return total if self.targets == 1 else total.squeeze(3)
