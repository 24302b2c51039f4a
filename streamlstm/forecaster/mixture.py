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
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from streamlstm.forecaster.decay import Decay, decaying_sums, emit_decaying_sums
from streamlstm.spec import StateEntry

if TYPE_CHECKING:
    from streamlstm.export.graph import Graph

# What a candidate is made of: shares of the model's forecast, of the short one, of the smoothed level, of the median.
CANDIDATES = {
    "model": (1.0, 0.0, 0.0, 0.0),
    "short": (0.0, 1.0, 0.0, 0.0),
    "smoothed": (0.0, 0.0, 1.0, 0.0),
    "median": (0.0, 0.0, 0.0, 1.0),
    "last": (0.0, 0.0, 0.0, 0.0),
    "model_0.5": (0.5, 0.0, 0.0, 0.0),
    "model_0.75": (0.75, 0.0, 0.0, 0.0),
    "model_1.5": (1.5, 0.0, 0.0, 0.0),
}
PARTS = 4
HANDICAPS = (0.942, *[1.0] * (len(CANDIDATES) - 1))  # what each candidate's errors are multiplied by
SHARPNESS = 24.0
ERROR_DECAY = 0.985  # of the sums of errors, a step
ERROR_LIMIT = 20.0  # units; an error beyond counts as this one
SMALLEST_SUM = 1e-3  # candidates all of whose sums are far below weigh the same


class Candidates(NamedTuple):
    """What the mixture mixes, as changes from the latest value; tensors, or for `emit` their names.

    The first four are in units of the series, if the lags are `local`, else in z, as the others are.
    """

    model: Any  # (T, B, O)
    short: Any  # (T, B, O)
    smoothed: Any  # (T, B, O)
    median: Any  # (T, B, O)
    change: Any  # (T, B, O), from the value before the latest; 0 at a series' first
    unit: Any  # (T, B, O), what errors are measured in
    further: Sequence[tuple[Any, Any]] = ()  # the model's and the short forecast of each step after the next


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
        """The state before the first value, each (batch, size)."""
        return tuple(torch.tensor(e.initial).expand(batch, e.size).clone() for e in self.state_entries())

    def forward(self, given: Candidates, state: Sequence[Tensor]) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Mix: the change that is forecast (T, B, O), what errors add to their sums (T, B, O*K), and the state.

        What is said of further steps is mixed with the weights of the next one, and follows it: (T, B, horizon*O).
        """
        errors, last = state
        steps, batch = given.unit.shape[:2]
        others = (given.smoothed, given.median)
        parts = torch.stack((given.model, given.short, *others), dim=3)
        now = torch.cat((parts, given.unit[..., None]), dim=3)  # (T, B, O, 5)
        before = torch.cat((last.reshape(1, batch, self.targets, PARTS + 1), now[:-1]))
        unit, change = before[..., PARTS:], given.change[..., None]
        said = before[..., :PARTS] @ self._shares
        wrong = (change / unit - said).abs() if self.local else (change - said).abs() / unit
        wrong = torch.clamp(wrong, max=ERROR_LIMIT)
        wrong = (wrong * wrong.sqrt().sqrt()).reshape(steps, batch, -1)
        sums, errors = decaying_sums(wrong, self._rule, errors)
        sums = sums.reshape(steps, batch, self.targets, -1)
        weights = torch.softmax(-SHARPNESS * (sums / sums.amin(dim=3, keepdim=True)), dim=3)
        weights = weights @ self._shares.t()  # of the parts
        mixed = [(weights * parts).sum(dim=3)]
        for model, short in given.further:
            mixed.append((weights * torch.stack((model, short, *others), dim=3)).sum(dim=3))
        return torch.cat(mixed, dim=2), wrong * self._handicaps, (errors, now[-1].reshape(batch, -1))

    def emit(self, graph: Graph, given: Candidates, state: Sequence[str]) -> tuple[str, list[str]]:
        """Add the nodes of `forward`: the mixed change and the state, states as (1, B, n)."""
        errors, last = state
        several = self.targets > 1
        axis = 3 if several else 2

        def joined(*columns: str) -> str:
            if several:
                columns = tuple(graph.node("Unsqueeze", column, graph.ints(3)) for column in columns)
            return graph.concat(list(columns), axis=axis)

        others = (given.smoothed, given.median)
        parts = joined(given.model, given.short, *others)
        now = joined(given.model, given.short, *others, given.unit)
        if several:
            last = graph.reshape(last, 1, -1, self.targets, PARTS + 1)
        earlier = graph.node("Slice", now, graph.ints(0), graph.ints(-1), graph.ints(0))
        before, unit = graph.nodes(
            "Split", graph.concat([last, earlier], axis=0), graph.ints(PARTS, 1), outputs=2, axis=axis
        )
        after = graph.slice(now, -1, None, 0)
        change = graph.node("Unsqueeze", given.change, graph.ints(3)) if several else given.change
        said = graph.node("MatMul", before, graph.constant(self._shares.numpy()))
        wrong = graph.node("Sub", graph.node("Div", change, unit) if self.local else change, said)
        wrong = graph.node("Abs", wrong)
        if not self.local:
            wrong = graph.node("Div", wrong, unit)
        wrong = graph.node("Min", wrong, graph.constant(ERROR_LIMIT))
        wrong = graph.node("Mul", wrong, graph.node("Sqrt", graph.node("Sqrt", wrong)))
        if several:
            wrong = graph.reshape(wrong, 0, 0, self.targets * len(CANDIDATES))
            after = graph.reshape(after, 1, -1, self.targets * (PARTS + 1))
        sums, errors = emit_decaying_sums(graph, wrong, self._rule, errors)
        if several:
            sums = graph.reshape(sums, 0, 0, self.targets, len(CANDIDATES))
        smallest = graph.node("ReduceMin", sums, graph.ints(axis))
        sharp = graph.node("Mul", smallest, graph.constant(-1 / SHARPNESS))
        weights = graph.node("Softmax", graph.node("Div", sums, sharp), axis=axis)
        weights = graph.node("MatMul", weights, graph.constant(self._shares.t().contiguous().numpy()))
        mixed = [self._emit_sum(graph, weights, parts)]
        for model, short in given.further:
            mixed.append(self._emit_sum(graph, weights, joined(model, short, *others)))
        return graph.concat(mixed, axis=2), [errors, after]

    def _emit_sum(self, graph: Graph, weights: str, parts: str) -> str:
        """The weighted sum of parts (T, B, O, 4) over the last axis, by a product: ReduceSum has not the same bits."""
        weighted = graph.node("Mul", weights, parts)
        total = graph.node("MatMul", weighted, graph.constant([[1.0]] * PARTS))
        return total if self.targets == 1 else graph.node("Squeeze", total, graph.ints(3))
