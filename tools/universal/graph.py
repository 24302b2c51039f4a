"""The universal model as a graph: what happens at every value of a series, in order.

A step knows nothing of the level: it takes the change d from the value before, and says the change to the next one.

1. Every expert's last forecast is held against d, in units of the series' running scale; errors forget.
2. The autoregression learns from d (a Kalman filter over its weights: recursive least squares that forgets).
3. The smoothings, with and without trend, take d in, once as it is and once less each of three seasonal profiles.
4. d is correlated with the changes of every lag of a bank; the best lag, if one stands out, is the period.
5. The profiles are read out of the history of changes at that period: the mean of the last seasons, the last
   season, seven seasons ago (the week of a daily period).
6. The experts say their forecasts, and are mixed by their errors.

Numbers are pairs of float32 (`streamlstm.models.pairs`), so that d is exact at any level.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from settings import (
    CONSTANT,
    FIRST_LAGS,
    LAGS,
    LARGEST,
    LENGTH,
    PROFILES,
    RECENT,
    SEASONS,
    SMOOTHINGS,
    SPAN,
    TINY,
    Settings,
)

from streamlstm.models import ModelSpec, StateEntry
from streamlstm.models.graph import Graph
from streamlstm.nn import OnnxOperations

Sym = Any  # a symbol of the graph: `streamlstm.nn.symbols.Symbol`

PER_PROFILE = len(SMOOTHINGS)
SMOOTHED = PROFILES * PER_PROFILE  # experts that smooth
EXPERTS = SMOOTHED + 1  # and the autoregression


def columns(settings: Settings) -> int:
    """How many columns the autoregression has."""
    return RECENT + len(settings.smoothed_columns) + len(settings.profile_columns) + 1


def state_entries(settings: Settings) -> tuple[StateEntry, ...]:
    """The state, by name."""
    n = columns(settings)
    covariance = np.zeros((n + 1, n))
    covariance[:n] = np.diag(np.full(n, settings.prior))
    return (
        StateEntry(name="last", shape=(2,)),
        StateEntry(name="count", shape=(1,)),
        StateEntry(name="scale", shape=(1,)),
        StateEntry(name="trends", shape=(SMOOTHED,)),
        StateEntry(name="said", shape=(EXPERTS,)),
        StateEntry(name="losses", shape=(EXPERTS,), initial=tuple(settings.first_losses)),
        StateEntry(name="correlations", shape=(len(LAGS),)),
        StateEntry(name="gain", shape=(n + 1,)),
        StateEntry(name="doubt", shape=(1,)),
        StateEntry(name="weights", shape=(n + 1, n), initial=tuple(covariance.ravel().tolist())),
        StateEntry(name="changes", shape=(LENGTH,)),
    )


def write(settings: Settings, facts: dict[str, Any]) -> bytes:
    """The bytes of the model file; the same for the same settings and facts."""
    graph = Graph()
    side = OnnxOperations(graph)
    spec = ModelSpec(
        features=("y",),
        outputs=("yhat",),
        targets=(0,),
        state=state_entries(settings),
        exact=True,
        layers=(),
        training=facts,
    )
    x, state = side.symbol("x"), side.symbol("state")
    last, *carried = state.split([entry.size for entry in spec.state], dim=1)
    before = side.where(carried[0] > 0.5, last, x[0:1].squeeze(0)).unsqueeze(0)
    moved = x - side.concat((before, x[:-1]), axis=0)
    high, low = moved.split([1, 1], dim=2)
    change = (high + low).clamp(-LARGEST, LARGEST)
    n = columns(settings)
    carried[8] = side.reshape(carried[8], -1, n + 1, n)
    (said,), after = side.loop(lambda xs, before: Step(side, settings)(xs[0], before), [change], tuple(carried))
    ends = list(after)
    ends[8] = side.reshape(ends[8], 0, (n + 1) * n)
    wide = x.double()
    total = wide[:, :, 0:1] + (wide[:, :, 1:2] + said.double())
    total = total.clamp(-float(np.finfo(np.float32).max), float(np.finfo(np.float32).max))
    rounded = total.float()
    y = side.concat((rounded, (total - rounded.double()).float()), axis=2)
    following = side.concat((x[-1:].squeeze(0), *ends), axis=1)
    model = graph.model(spec, y.name, following.name)
    done: bytes = model.SerializeToString(deterministic=True)
    return done


class Step:
    """The nodes of one step."""

    def __init__(self, side: OnnxOperations, settings: Settings) -> None:
        self.side, self.settings = side, settings

    def __call__(self, change: Sym, state: tuple[Sym, ...]) -> tuple[list[Sym], tuple[Sym, ...]]:
        """Take a change (B, 1) in: the change that is forecast (B, 1), and the state."""
        side, s = self.side, self.settings
        count, scale, trends, said, losses, correlations, gain, doubt, weights, changes = state
        count = (count + 1.0).clamp(max=float(1 << 23))
        unit = side.where(scale > TINY, scale, change.abs().clamp(min=TINY))
        z = change / unit
        wrong = change - said
        share = wrong / unit
        losses = losses * s.forget_losses + (share * share).clamp(max=s.most_loss)
        weights = self.learnt(z, gain, doubt, weights)
        rate = 1.0 / (count - 1.0).clamp(min=1.0)
        grown = (z * z).clamp(max=s.most_scaled) - 1.0
        scale = unit * (1.0 + rate.clamp(min=s.scale_rate) * grown).sqrt()
        scale = side.where(count > 1.5, scale, 0.0)
        trends, smoothed = self.smoothed(wrong[:, :SMOOTHED], trends, scale, 1.0 - 1.0 / count)
        changes = side.concat((changes[:, 1:], change), axis=1)
        measure = scale.clamp(min=TINY)
        correlations = self.correlated(changes, change, measure, correlations)
        profiles = self.profiles(changes, count, self.period(correlations, count))
        seen = self.seen(changes, smoothed, profiles, measure)
        gain = (weights @ seen.unsqueeze(2)).squeeze(2)
        both = gain.split([seen_size := columns(s), 1], dim=1)
        assert seen_size
        doubt = self.total(both[0] * seen, columns(s)).clamp(min=0.0)
        regressed = both[1].clamp(-s.most_said, s.most_said) * scale
        seasonal = profiles.node("Gather", side.ints(*[6 * p + 1 for p in range(PROFILES) for _ in SMOOTHINGS]), axis=1)
        said = side.concat((smoothed + seasonal, regressed), axis=1)
        best = losses.amin(dim=1, keepdim=True)
        shares = ((best - losses) / ((best + s.calm) * (1.0 / s.sharpness))).softmax(dim=1)
        forecast = self.total(shares * said, EXPERTS).clamp(-LARGEST, LARGEST)
        return [forecast], (count, scale, trends, said, losses, correlations, gain, doubt, weights, changes)

    def total(self, x: Sym, count: int) -> Sym:
        """The sum over the last axis, by a product with ones: ONNX's ReduceSum has not the same bits for any batch."""
        return x @ torch.ones(count, 1)

    def learnt(self, z: Sym, gain: Sym, doubt: Sym, weights: Sym) -> Sym:
        """Covariance and, as its last row, the weights (B, n + 1, n), after what came."""
        s, n = self.settings, columns(self.settings)
        moved, said = gain.split([n, 1], dim=1)
        wrong = (z - said).clamp(-s.most_error, s.most_error)
        column = self.side.concat((moved, -wrong), axis=1) / (doubt + 1.0)
        drift = np.zeros((n + 1, n), np.float32)
        drift[:n] = s.drift * np.eye(n)
        return (weights - column.unsqueeze(2) * moved.unsqueeze(1)) + torch.from_numpy(drift)

    def smoothed(self, wrong: Sym, trends: Sym, scale: Sym, young: Sym) -> tuple[Sym, Sym]:
        """The trends, and levels that they begin at less the latest value: all of every profile."""
        table = np.tile(np.array(SMOOTHINGS, np.float32), (PROFILES, 1))
        alpha, beta, damping = (torch.from_numpy(np.ascontiguousarray(column)) for column in table.T)
        bound = scale * self.settings.most_trend
        kept = wrong.maximum(-bound).node("Min", bound)
        trends = trends * damping + kept * (alpha * beta)
        held = young.node("Min", 1.0 - alpha)
        return trends, trends - held * wrong

    def correlated(self, changes: Sym, change: Sym, measure: Sym, correlations: Sym) -> Sym:
        """Sums that forget of the products of the latest change and those before it, as far as the lags say."""
        side, s = self.side, self.settings
        lagged = changes.node("Gather", side.ints(*[LENGTH - 1 - lag for lag in LAGS]), axis=1)
        now = (change / measure).clamp(-s.most_change, s.most_change)
        return correlations * s.forget_period + (lagged / measure).clamp(-s.most_change, s.most_change) * now

    def period(self, correlations: Sym, count: Sym) -> Sym:
        """Which row of the tables the period has (B, 1): 0 for none."""
        side, s, first = self.side, self.settings, FIRST_LAGS
        halves = [LAGS.index(lag // 2) for lag in LAGS[first:]]
        half = correlations.node("Gather", side.ints(*halves), axis=1).relu()
        lags = torch.tensor([lag + 1.0 for lag in LAGS[first:]])
        compared = (count - lags).clamp(0.01, s.most_compared)
        chance = correlations[:, 0:1] * s.threshold / compared.sqrt()
        score = correlations[:, first:] - half * s.half_share - chance
        padded = score.node("Pad", side.ints(0, 1, 0, 0))
        return padded.node("ArgMax", dtype=torch.int64, axis=1, keepdims=0)

    def profiles(self, changes: Sym, count: Sym, row: Sym) -> Sym:
        """Changes one season ago, (B, 4 * 6): of each profile that of the step after the next, of the next, …."""
        side = self.side
        places, shares, ready = tables(self.settings)
        index = side.symbol(torch.from_numpy(places), torch.int64).node("Gather", row, axis=0)
        there = count > side.take(torch.from_numpy(ready), row)
        mask = there.node("Cast", dtype=torch.float32, to=TensorProto.FLOAT).unsqueeze(1)
        share = side.take(torch.from_numpy(shares), row) * mask
        past = side.reshape(changes.node("GatherElements", index, axis=1), 0, SEASONS, SPAN)
        total = share @ torch.ones(SEASONS, 1) + 1e-9
        return side.reshape((share @ past) / total, 0, PROFILES * SPAN)

    def seen(self, changes: Sym, smoothed: Sym, profiles: Sym, measure: Sym) -> Sym:
        """What the autoregression sees, (B, n)."""
        side, s = self.side, self.settings
        parts = (
            changes[:, LENGTH - RECENT :],
            smoothed.node("Gather", side.ints(*s.smoothed_columns), axis=1),
            profiles.node("Gather", side.ints(*s.profile_columns), axis=1),
        )
        columns_ = (side.concat(parts, axis=1) / measure).clamp(-s.most_seen, s.most_seen)
        return columns_.node("Pad", side.ints(0, 0, 0, 1), side.symbol(CONSTANT))


def tables(settings: Settings) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """For each period, the first of which is none: places in the history (M, 8 * 6), what each of 8 seasons counts in
    each profile (M, 4, 8), and after how many values it is there (M, 8).
    """
    periods = [0, *LAGS[FIRST_LAGS:]]
    places = np.zeros((len(periods), SEASONS, SPAN), np.int64)
    shares = np.zeros((len(periods), PROFILES, SEASONS), np.float32)
    ready = np.zeros((len(periods), SEASONS), np.float32)
    for row, period in enumerate(periods):
        for season in range(1, SEASONS + 1):
            back = season * period
            ready[row, season - 1] = back + 1
            if period == 0 or back + SPAN - 1 > LENGTH:
                continue
            places[row, season - 1] = LENGTH + 1 - np.arange(SPAN) - back
            shares[row, 1, season - 1] = settings.older_seasons**season
            shares[row, 2, season - 1] = season == 1
            shares[row, 3, season - 1] = season == 7
    return places.reshape(len(periods), -1), shares, ready
