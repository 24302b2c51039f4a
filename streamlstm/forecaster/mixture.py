"""Adaptation of each series in its own state: the model's forecast beside simple ones, weighted by recent errors.

What was learnt in training may not hold for the series at hand, or no longer: its level shifts, it lies flat, it is
all spikes. So every step has several candidates, all of them changes from the latest value: the model's own, its
linear part for short histories (which looks no season back), no change at all, two exponential smoothings, two running
medians, and the model's multiplied by the factor that would have been best lately (least squares that forgets). Each
has a sum of its absolute errors, in the unit of the series, that forgets; candidate k has the weight

    prior_k * (smallest sum / sum_k)^24,

so that one whose errors are 10 % larger counts a tenth. Nothing here is trained but the sums a series begins with.

Weighed against least squares that forgets over the lags themselves (in a state of d * d): on 22 series with
shifts, spikes and flat stretches the mixture's mean absolute error was 0.79 of the naive forecast's (geometric mean;
the model's alone 0.99), and no better with such a regression over five columns among the candidates. On the seven
public sets the mixture costs 0.0 to 0.2 % and gains 4 % on one (nyc_taxi).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from streamlstm.forecaster.decay import both_signs, decaying_sums, emit_both_signs, emit_decaying_sums
from streamlstm.forecaster.spread import TINY, RunningSpread
from streamlstm.spec import StateEntry

if TYPE_CHECKING:
    from streamlstm.export.graph import Graph

SMOOTHINGS = (0.15, 0.6)  # how far each smoothed level moves to a new value
MEDIANS = (5, 25)  # values under each running median
CANDIDATES = ("model", "short", "last", "smooth_0.15", "smooth_0.6", "median_5", "median_25", "scaled")
assert len(CANDIDATES) == 8, "they are summed in pairs"
PRIORS = (4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
ERROR_DECAY = 0.985  # of the sums of errors, a step
FACTOR_DECAY = 0.99  # of the least squares for the factor
FACTOR_PENALTY = 10.0  # steps of one unit each that speak for a factor of one
ERROR_LIMIT = 20.0  # units; an error beyond counts as this one
CALM = 4.0  # units; a change of so much counts half in the least squares
SMALLEST_SUM = 1e-3  # units; candidates all of whose sums are far below weigh by their priors
UNIT_MEMORY = 200  # steps


class Candidates(NamedTuple):
    """What the mixture mixes, as changes from the latest value, and what it knows of the past; each in z."""

    model: Any  # (T, B, O)
    short: Any  # (T, B, O)
    value: Any  # (T, B, O), the latest value
    change: Any  # (T, B, O), from the value before it; 0 at a series' first
    moving: Any  # (T, B, 1) of bool: whether there was one before it
    recent: Any  # (B, O, T, n), the last values, the latest last
    seen: Any  # (T, B, 1): how many there have been, as far as that matters
    unit: Any = None  # (T, B, O): what errors are measured in, if that is known
    further: Sequence[tuple[Any, Any]] = ()  # the model's and the short forecast of each step after the next


class Mixture(nn.Module):
    """One mixture for each of O targets, from what `Candidates` holds: tensors, or for `emit` their names."""

    start: Tensor

    def __init__(self, targets: int, recent: int, *, own_unit: bool = True) -> None:
        """`recent` is the n of the candidates; with `own_unit` the unit is worked out here, else it is given."""
        super().__init__()
        self.targets, self.recent = targets, recent
        self.medians = tuple(min(size, recent - 1 + recent % 2) for size in MEDIANS)  # odd, and no longer than `recent`
        self.spread = RunningSpread(targets, UNIT_MEMORY, name="unit") if own_unit else None
        # What the sums of errors begin with, so that a new series is forecast as was best in training.
        self.register_buffer("start", torch.zeros(len(CANDIDATES) * targets))

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The smoothed changes by sign, the factor's sums, errors, the last candidates and unit, the running unit."""
        count, targets = len(CANDIDATES), self.targets
        return (
            StateEntry(name="smoothed", shape=(2, len(SMOOTHINGS), targets)),
            StateEntry(name="factor", shape=(3, targets)),
            StateEntry(name="errors", shape=(count, targets), initial=tuple(self.start.tolist())),
            StateEntry(name="candidates", shape=(count, targets)),
            StateEntry(name="last_unit", shape=(targets,)),
            *(() if self.spread is None else self.spread.state_entries()),
        )

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        """The state before the first value, each (batch, size)."""
        return tuple(torch.tensor(e.initial).expand(batch, e.size).clone() for e in self.state_entries())

    def forward(self, given: Candidates, state: Sequence[Tensor]) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Mix: the change that is forecast (T, B, O), every candidate's error in units (T, B, K*O), and the state.

        What is said of further steps is mixed with the weights of the next one, and follows it: (T, B, horizon*O).
        """
        smoothed, factor, errors, candidates, last_unit, *own = state
        unit, count = given.unit, len(CANDIDATES)
        if self.spread is not None:
            unit, after = self.spread(given.change, given.moving, given.value, own[0])
            own = [after]
        smooth, smoothed = self._smooth(given.change, smoothed)
        medians = [self._median(given, size) for size in self.medians]
        before_unit = torch.clamp(_shift(unit, last_unit), min=TINY)
        truth = _in_units(given.change, before_unit)  # what the candidates of the step before should have said
        before_model = _shift(given.model, candidates[:, : self.targets])
        factors, factor = self._factor(_in_units(before_model, before_unit), truth, factor)
        zero = torch.zeros_like(given.model)
        now = torch.cat((given.model, given.short, zero, *smooth, *medians, factors * given.model), dim=2)
        before = _shift(now, candidates)
        wrong = (given.change.repeat(1, 1, count) - before).abs() / before_unit.repeat(1, 1, count)
        wrong = torch.where(given.moving, torch.clamp(wrong, max=ERROR_LIMIT), torch.zeros(()))
        sums, errors = decaying_sums(wrong, [ERROR_DECAY] * wrong.shape[2], errors)
        sums = sums + SMALLEST_SUM
        smallest = sums.reshape(*sums.shape[:2], count, -1).amin(dim=2).repeat(1, 1, count)
        weights = _power_24(smallest / sums) * self._priors()
        total = _sum_of_8(weights)
        mixed = [_sum_of_8(weights * now) / total]
        for model, short in given.further:
            now_further = torch.cat((model, short, zero, *smooth, *medians, factors * model), dim=2)
            mixed.append(_sum_of_8(weights * now_further) / total)
        return torch.cat(mixed, dim=2), wrong, (smoothed, factor, errors, now[-1], unit[-1], *own)

    def _priors(self) -> Tensor:
        return torch.tensor(PRIORS).repeat_interleave(self.targets)

    def _smooth(self, change: Tensor, state: Tensor) -> tuple[list[Tensor], Tensor]:
        """Each smoothed level less the latest value, (T, B, O): d(t) = (1 - a) (d(t-1) - change(t))."""
        count = len(SMOOTHINGS)
        sums, after = decaying_sums(both_signs((-change).repeat(1, 1, count)), self._smooth_decays(), state)
        signed = sums[..., : count * self.targets] - sums[..., count * self.targets :]
        parts = torch.split(signed, self.targets, dim=2)
        return [(1 - share) * part for share, part in zip(SMOOTHINGS, parts, strict=True)], after

    def _smooth_decays(self) -> list[float]:
        return [1 - share for share in SMOOTHINGS for _ in range(self.targets)] * 2

    def _median(self, given: Candidates, size: int) -> Tensor:
        """The median of the last `size` values less the latest, (T, B, O); 0 until there are so many."""
        median = torch.kthvalue(given.recent[..., self.recent - size :], size // 2 + 1, dim=3)[0]
        return torch.where(given.seen >= size, median.permute(2, 0, 1) - given.value, torch.zeros(()))

    def _factor(self, said: Tensor, truth: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The factor after every step (T, B, O), from what the model said and what came, in units."""
        weight = 1 / (1 + truth.abs() / CALM)
        x = torch.cat((weight * said * said, both_signs(weight * said * truth)), dim=2)
        sums, after = decaying_sums(x, [FACTOR_DECAY] * (3 * self.targets), state)
        squares, above, below = torch.split(sums, self.targets, dim=2)
        return (above - below + FACTOR_PENALTY) / (squares + FACTOR_PENALTY), after

    def emit(self, graph: Graph, given: Candidates, state: Sequence[str]) -> tuple[str, list[str]]:
        """Add the nodes of `forward`: the mixed change and the state."""
        smoothed, factor, errors, candidates, last_unit, *own = state
        unit, targets, count = given.unit, self.targets, len(CANDIDATES)
        if self.spread is not None:
            unit, after = self.spread.emit(graph, given.change, given.moving, given.value, own[0])
            own = [after]
        smooth, smoothed = self._emit_smooth(graph, given.change, smoothed)
        medians = [self._emit_median(graph, given, size) for size in self.medians]
        before_unit, last_unit = _emit_shift(graph, unit, last_unit)
        before_unit = graph.node("Max", before_unit, graph.constant(TINY))
        truth = _emit_in_units(graph, given.change, before_unit)
        last_model = graph.slice(candidates, 0, targets, 1)
        before_model, _ = _emit_shift(graph, given.model, last_model)
        factors, factor = self._emit_factor(graph, _emit_in_units(graph, before_model, before_unit), truth, factor)
        zero, scaled = graph.node("Mul", given.short, graph.constant(0.0)), graph.node("Mul", factors, given.model)
        now = graph.concat([given.model, given.short, zero, *smooth, *medians, scaled], axis=2)
        before, candidates = _emit_shift(graph, now, candidates)

        def repeated(part: str) -> str:
            return part if targets == 1 else graph.node("Tile", part, graph.ints(1, 1, count))

        wrong = graph.node("Abs", graph.node("Sub", repeated(given.change), before))
        wrong = graph.node("Min", graph.node("Div", wrong, repeated(before_unit)), graph.constant(ERROR_LIMIT))
        wrong = graph.node("Where", given.moving, wrong, graph.constant(0.0))
        sums, errors = emit_decaying_sums(graph, wrong, [ERROR_DECAY] * (count * targets), errors)
        sums = graph.node("Add", sums, graph.constant(SMALLEST_SUM))
        grouped = sums if targets == 1 else graph.reshape(sums, 0, 0, count, targets)
        smallest = repeated(graph.node("ReduceMin", grouped, graph.ints(2), keepdims=int(targets == 1)))
        weights = _emit_power_24(graph, graph.node("Div", smallest, sums))
        weights = graph.node("Mul", weights, graph.constant(self._priors().numpy()))
        total = _emit_sum_of_8(graph, weights, targets)
        mixed: list[str] = []
        for model, short in ((given.model, given.short), *given.further):
            if mixed:
                scaled = graph.node("Mul", factors, model)
                now = graph.concat([model, short, zero, *smooth, *medians, scaled], axis=2)
            weighted = _emit_sum_of_8(graph, graph.node("Mul", weights, now), targets)
            mixed.append(graph.node("Div", weighted, total))
        return graph.concat(mixed, axis=2), [smoothed, factor, errors, candidates, last_unit, *own]

    def _emit_smooth(self, graph: Graph, change: str, state: str) -> tuple[list[str], str]:
        size = len(SMOOTHINGS) * self.targets
        x = graph.concat([graph.node("Neg", change)] * len(SMOOTHINGS), axis=2)
        sums, after = emit_decaying_sums(graph, emit_both_signs(graph, x), self._smooth_decays(), state)
        signed = graph.node("Sub", graph.slice(sums, 0, size, 2), graph.slice(sums, size, None, 2))
        parts = [graph.slice(signed, first, first + self.targets, 2) for first in range(0, size, self.targets)]
        kept = [graph.constant(1 - share) for share in SMOOTHINGS]
        return [graph.node("Mul", part, share) for part, share in zip(parts, kept, strict=True)], after

    def _emit_median(self, graph: Graph, given: Candidates, size: int) -> str:
        half = size // 2 + 1
        last = graph.slice(given.recent, self.recent - size, None, 3)
        lowest, _ = graph.nodes("TopK", last, graph.ints(half), outputs=2, largest=0)
        median = graph.node("Squeeze", graph.slice(lowest, half - 1, half, 3), graph.ints(3))
        less = graph.node("Sub", graph.node("Transpose", median, perm=[2, 0, 1]), given.value)
        too_few = graph.node("Less", given.seen, graph.constant(float(size)))
        return graph.node("Where", too_few, graph.constant(0.0), less)

    def _emit_factor(self, graph: Graph, said: str, truth: str, state: str) -> tuple[str, str]:
        one, penalty = graph.constant(1.0), graph.constant(FACTOR_PENALTY)
        size = graph.node("Div", graph.node("Abs", truth), graph.constant(CALM))
        weight = graph.node("Div", one, graph.node("Add", one, size))
        weighted = graph.node("Mul", weight, said)
        square, product = graph.node("Mul", weighted, said), graph.node("Mul", weighted, truth)
        x = graph.concat([square, emit_both_signs(graph, product)], axis=2)
        sums, after = emit_decaying_sums(graph, x, [FACTOR_DECAY] * (3 * self.targets), state)
        squares, above, below = (
            graph.slice(sums, part * self.targets, (part + 1) * self.targets, 2) for part in range(3)
        )
        top = graph.node("Add", graph.node("Sub", above, below), penalty)
        return graph.node("Div", top, graph.node("Add", squares, penalty)), after


def _shift(now: Tensor, last: Tensor) -> Tensor:
    """What each step's step before had: now (T, B, ...), and for the first step `last` (B, ...)."""
    return torch.cat((last[None], now[:-1]))


def _emit_shift(graph: Graph, now: str, last: str) -> tuple[str, str]:
    """Add the nodes of `_shift`; also what the last step has, (B, ...)."""
    earlier = graph.node("Slice", now, graph.ints(0), graph.ints(-1), graph.ints(0))
    after = graph.node("Squeeze", graph.slice(now, -1, None, 0), graph.ints(0))
    return graph.concat([graph.node("Unsqueeze", last, graph.ints(0)), earlier], axis=0), after


def _in_units(change: Tensor, unit: Tensor) -> Tensor:
    return torch.clamp(change / unit, -ERROR_LIMIT, ERROR_LIMIT)


def _emit_in_units(graph: Graph, change: str, unit: str) -> str:
    share = graph.node("Div", change, unit)
    return graph.node("Clip", share, graph.constant(-ERROR_LIMIT), graph.constant(ERROR_LIMIT))


def _power_24(x: Tensor) -> Tensor:
    """x^24 by multiplying: a power of floats has other bits in an array's body than in its tail."""
    square = x * x
    eighth = (square * square) * (square * square)
    return (eighth * eighth) * eighth


def _emit_power_24(graph: Graph, x: str) -> str:
    square = graph.node("Mul", x, x)
    fourth = graph.node("Mul", square, square)
    eighth = graph.node("Mul", fourth, fourth)
    return graph.node("Mul", graph.node("Mul", eighth, eighth), eighth)


def _sum_of_8(x: Tensor) -> Tensor:
    """The sum of 8 parts of x (T, B, 8*O), in pairs: ReduceSum has bits that depend on where a row lies."""
    for _ in range(3):
        first, second = torch.chunk(x, 2, dim=2)
        x = first + second
    return x


def _emit_sum_of_8(graph: Graph, x: str, targets: int) -> str:
    for half in (4 * targets, 2 * targets, targets):
        x = graph.node("Add", graph.slice(x, 0, half, 2), graph.slice(x, half, None, 2))
    return x
