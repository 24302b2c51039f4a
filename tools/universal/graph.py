"""The universal model as a graph: what happens at every value of a series, in order.

A step knows little of the level: it takes the change d from the value before, and says the change to the next one.

1. Every expert's last forecast is held against d, in units of the series' running scale; errors forget.
2. The autoregression learns from d (a Kalman filter over its weights: recursive least squares that forgets).
3. The smoothings, with and without trend, take d in, once as it is and once less each of four seasonal profiles.
4. d is correlated with the changes of every lag of a bank; the best lag, if one stands out, is the period.
5. The profiles are read out of the history of changes at that period: the mean of the last seasons, the last
   season, seven seasons ago (the week of a daily period), and the mean in proportion to the level.
6. The experts say their forecasts, and are mixed by their errors.

Numbers are pairs of float32 (`streamlstm.models.pairs`), so that d is exact at any level.

A call is one step (T = 1). A loop in the graph, a Scan, was tried: it costs a live value more, and a step in it takes
as long.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import prior
import torch
from settings import (
    EXPERTS,
    LAGS,
    LARGEST,
    LENGTH,
    PER_PROFILE,
    PROFILES,
    READ,
    READ_SEASONS,
    RECENT,
    SHORTEST,
    SMOOTHED,
    SMOOTHINGS,
    SPAN,
    TINY,
    Settings,
)
from tables import tables, thresholds

from streamlstm.models import ModelSpec, StateEntry
from streamlstm.models.graph import Graph
from streamlstm.nn import OnnxOperations, added

Sym = Any  # a symbol of the graph: `streamlstm.nn.symbols.Symbol`

BIGGEST = float(np.finfo(np.float32).max)


def state_entries(settings: Settings) -> tuple[StateEntry, ...]:
    """The state, by name."""
    n = settings.columns
    first = prior.beginning(settings)
    return (
        StateEntry(name="last", shape=(2,)),
        StateEntry(name="count", shape=(1,)),
        StateEntry(name="scale", shape=(1,), initial=TINY),
        StateEntry(name="trends", shape=(SMOOTHED,)),
        StateEntry(name="said", shape=(EXPERTS,)),
        StateEntry(name="losses", shape=(EXPERTS,), initial=settings.first_losses),
        StateEntry(name="correlations", shape=(len(LAGS),)),
        StateEntry(name="gain", shape=(n + 1,)),
        StateEntry(name="doubt", shape=(1,)),
        StateEntry(name="weights", shape=(n + 1, n + 1), initial=tuple(first.ravel().tolist())),
        StateEntry(name="changes", shape=(LENGTH,)),
    )


def written(settings: Settings, facts: dict[str, Any]) -> tuple[bytes, str]:
    """The bytes of the model file, the same for the same settings and facts.

    And the name of the tensor that the autoregression sees, for `fit_prior.py`.
    """
    graph = Graph()
    side = OnnxOperations(graph)
    spec = ModelSpec(
        features=("y",),
        outputs=("yhat",),
        targets=(0,),
        state=state_entries(settings),
        chunking=False,
        exact=True,
        layers=(
            {"kind": "ExponentialSmoothings", "units": SMOOTHED, "parameters": 0},
            {"kind": "RecursiveLeastSquares", "units": settings.columns, "parameters": 0},
        ),
        training=facts,
    )
    x, state = side.symbol("x").squeeze(0), side.symbol("state")
    last, count, *carried = state.split([entry.size for entry in spec.state], dim=1)
    moved = ((x - last) @ torch.ones(2, 1)).clamp(-LARGEST, LARGEST) * count.clamp(max=1.0)
    high, low = x.split([1, 1], dim=1)
    step = Step(side, settings)
    said, after = step(moved, high, count, carried)
    y = side.concat(added((high, low), said, BIGGEST), axis=1).unsqueeze(0)
    model = graph.model(spec, y.name, side.concat((x, *after), axis=1).name)
    return model.SerializeToString(deterministic=True), step.sees


class Step:
    """The nodes of one step."""

    def __init__(self, side: OnnxOperations, settings: Settings) -> None:
        self.side, self.settings = side, settings
        self._tables = tables(settings)
        self.sees = ""  # the name of the tensor that the autoregression sees (B, n + 1)

    def __call__(self, change: Sym, level: Sym, count: Sym, state: list[Sym]) -> tuple[Sym, list[Sym]]:
        """Take a change (B, 1) in: the change that is forecast (B, 1), and the state after it but for the last value.

        `level` (B, 1) is the value, to within float32.
        """
        side, s = self.side, self.settings
        scale, trends, said, losses, correlations, gain, doubt, weights, changes = state
        count = count + 1.0  # float32 stays at 2^24
        unit = side.where(scale > 2 * TINY, scale, change.abs().maximum(TINY))
        z = change / unit
        wrong = change - said
        share = wrong / unit
        losses = losses * s.forget_losses + (share * share).clamp(s.least_loss, s.most_loss)
        weights = self.learnt(z, gain, doubt, weights)
        rate = 1.0 / count
        grown = (z * z).clamp(max=s.most_scaled) - 1.0
        scale = (unit * (1.0 + rate.maximum(s.scale_rate) * grown).sqrt()).maximum(TINY)
        trends, levels = self.smoothed(wrong, share, unit, trends, rate)
        changes = side.concat((changes[:, 1:], change), axis=1)
        correlations = self.correlated(changes, scale, correlations)
        profiles = self.profiles(changes, level, self.period(correlations, rate))
        seen = self.seen(changes, levels, profiles, scale)
        gain = (side.reshape(weights, -1, s.columns + 1, s.columns + 1) @ seen.unsqueeze(2)).squeeze(2)
        doubt = self.total(gain * seen, s.columns + 1)
        regressed = gain[:, s.columns :].clamp(-s.most_said, s.most_said) * scale
        smoothed = levels + self.seasonal(profiles)
        said = side.concat((smoothed, regressed, (smoothed + regressed) * 0.5), axis=1)
        losses_of_best = losses.amin(dim=1, keepdim=True) * (-1.0 / s.sharpness)
        shares = (losses / losses_of_best + torch.tensor(s.log_trust)).softmax(dim=1)
        mixed = self.total(shares * said, EXPERTS).clamp(-LARGEST, LARGEST)
        return mixed, [count, scale, trends, said, losses, correlations, gain, doubt, weights, changes]

    def total(self, x: Sym, count: int) -> Sym:
        """The sum over the last axis, by a product with ones: ONNX's ReduceSum has not the same bits for any batch."""
        return x @ torch.ones(count, 1)

    def learnt(self, z: Sym, gain: Sym, doubt: Sym, weights: Sym) -> Sym:
        """Covariance and, as its last row and column, the weights, (B, (n + 1) * (n + 1)), after what came."""
        side, s, n = self.side, self.settings, self.settings.columns
        moved, said = gain.split([n, 1], dim=1)
        wrong = (said - z).clamp(-s.most_error, s.most_error)
        # Both factors of the outer product are the same numbers, so the covariance stays symmetric to the bit: float32
        # would let what is not symmetric grow. What it forgets bounds it where nothing moves for long. The corner is
        # of no use, and begins anew at every step.
        both = side.concat((moved, wrong), axis=1) / (doubt.maximum(0.0) + 1.0).sqrt()
        outer = side.reshape(both.unsqueeze(2) * both.unsqueeze(1), -1, (n + 1) * (n + 1))
        kept, drift = np.ones((n + 1, n + 1), np.float32), np.zeros((n + 1, n + 1), np.float32)
        kept[:n, :n] -= np.float32(s.bounded)
        kept[n, n] = 0.0
        drift[:n, :n] = np.eye(n, dtype=np.float32) * np.float32(s.drift)
        return weights * torch.from_numpy(kept.ravel()) - outer + torch.from_numpy(drift.ravel())

    def smoothed(self, wrong: Sym, share: Sym, unit: Sym, trends: Sym, rate: Sym) -> tuple[Sym, Sym]:
        """Trends, and levels less the latest value with the trend on top, (B, SMOOTHED)."""
        wrong, share = (every.split([SMOOTHED, EXPERTS - SMOOTHED], dim=1)[0] for every in (wrong, share))
        table = np.array(SMOOTHINGS * PROFILES, np.float32)
        alpha, beta, damping = (torch.from_numpy(np.ascontiguousarray(column)) for column in table.T)
        most = self.settings.most_trend
        trends = trends * damping + (share.clamp(-most, most) * unit) * (alpha * beta)
        follows = np.where((alpha.numpy() == 1) & (beta.numpy() == 0), LARGEST, self.settings.most_step)
        bound = torch.from_numpy(follows.astype(np.float32))
        taken = share.maximum(-bound).node("Min", bound) * unit
        return trends, trends + (taken * rate.maximum(alpha) - wrong)

    def correlated(self, changes: Sym, scale: Sym, correlations: Sym) -> Sym:
        """Sums that forget of the products of the latest change and those before it, as far as the lags say."""
        side, s = self.side, self.settings
        lagged = changes.node("Gather", side.ints(*[LENGTH - 1 - lag for lag in LAGS]), axis=1) / scale
        bounded = lagged.clamp(-s.most_change, s.most_change)
        return correlations * s.forget_period + bounded * bounded[:, :1]

    def period(self, correlations: Sym, rate: Sym) -> Sym:
        """The place of the period among the lags (B,); 0 for none."""
        side, s = self.side, self.settings
        fixed, young = map(torch.from_numpy, thresholds(s))
        doubled = [lag >= 2 * SHORTEST for lag in LAGS]
        halves = [LAGS.index(lag // 2) if double else 0 for lag, double in zip(LAGS, doubled, strict=True)]
        half = correlations.node("Gather", side.ints(*halves), axis=1).relu() * (s.half * torch.tensor(doubled))
        score = correlations - (rate * young + fixed) * correlations[:, :1] - half
        return score.node("ArgMax", dtype=torch.int64, axis=1, keepdims=0)

    def profiles(self, changes: Sym, level: Sym, row: Sym) -> Sym:
        """Changes one season ago, (B, READ * SPAN + 1): those of each profile, and the grown one's of the next step."""
        side, s = self.side, self.settings
        places, shares, before = self._tables
        index = side.symbol(torch.from_numpy(places), torch.int64).node("Gather", row, axis=0)
        past = side.reshape(changes.node("GatherElements", index, axis=1), -1, len(READ_SEASONS), SPAN)
        read = side.reshape(side.take(torch.from_numpy(shares), row) @ past, -1, READ * SPAN)
        since = self.total(changes * side.take(torch.from_numpy(before), row), LENGTH)
        growth = level.abs() / (level - since).abs().maximum(TINY)
        grown = read[:, SPAN + 1 : SPAN + 2] * growth.clamp(1 / s.most_growth, s.most_growth)
        return side.concat((read, grown), axis=1)

    def seen(self, changes: Sym, levels: Sym, profiles: Sym, scale: Sym) -> Sym:
        """What the autoregression sees, (B, n + 1): its columns, the last of them 1, and a zero."""
        side, s = self.side, self.settings
        recent = range(LENGTH - RECENT, LENGTH)
        everything = side.concat((changes, levels, profiles, scale), axis=1)
        changed = LENGTH + SMOOTHED
        one, zero = changed + READ * SPAN + 1, changed  # the scale, and a change of the profile that is none
        places = (*recent, *(LENGTH + at for at in s.levels), *(changed + at for at in s.changes), one, zero)
        columns = (everything.node("Gather", side.ints(*places), axis=1) / scale).clamp(-s.most_seen, s.most_seen)
        self.sees = columns.name
        return columns

    def seasonal(self, profiles: Sym) -> Sym:
        """What each smoothing adds to its level, (B, SMOOTHED): its profile's next change."""
        # A product with ones and zeros has the bits of what it takes, and takes a batch sooner than Gather does.
        nexts = [*(profile * SPAN + 1 for profile in range(READ)), READ * SPAN]
        taken = np.zeros((READ * SPAN + 1, SMOOTHED), np.float32)
        taken[np.repeat(nexts, PER_PROFILE), np.arange(SMOOTHED)] = 1.0
        return profiles @ torch.from_numpy(taken)
