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
as long. Alone, a step takes what onnxruntime takes for its nodes, 0.2 to 0.5 us each however small: so what is linear
in one another is one product with a constant (`tables`), zeros among it or not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import prior
import tables
import torch
from settings import (
    EXPERTS,
    LAGS,
    LARGEST,
    LARGEST_SHARE,
    LENGTH,
    MOST_UNITS,
    PROFILES,
    RECENT,
    SIMPLE,
    SMOOTHED,
    SMOOTHINGS,
    TINY,
    Settings,
)

from streamlstm.models import ModelSpec, StateEntry
from streamlstm.models.graph import Graph
from streamlstm.nn import OnnxOperations, added_pair

Sym = Any  # a symbol of the graph: `streamlstm.nn.symbols.Symbol`

BIGGEST = float(np.finfo(np.float32).max)
STEEP = 1e7  # so that there is next to nothing between still and moved
FASTEST = 1.0 - 1e-4  # that the scale follows: that of a series that has not moved yet gets smaller, and not nothing


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
        StateEntry(name="gain", shape=(n,)),
        StateEntry(name="regressed", shape=(1,)),
        StateEntry(name="doubt", shape=(1,), initial=1.0),
        StateEntry(name="weights", shape=(n + 1, n + 1), initial=tuple(first.ravel().tolist())),
        # A zero, for what is no season, and the changes; the oldest is the one that is left out next.
        StateEntry(name="nothing", shape=(1,)),
        StateEntry(name="oldest", shape=(1,)),
        StateEntry(name="older", shape=(LENGTH - RECENT,)),
        StateEntry(name="recent", shape=(RECENT - 1,)),
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
    step = Step(side, settings)
    said, after = step(moved, x @ torch.tensor([[1.0], [0.0]]), count, carried)
    y = added_pair(x, said, BIGGEST).unsqueeze(0)
    model = graph.model(spec, y.name, side.concat((x, *after), axis=1).name)
    return model.SerializeToString(deterministic=True), step.sees


class Step:
    """The nodes of one step."""

    def __init__(self, side: OnnxOperations, settings: Settings) -> None:
        self.side, self.settings = side, settings
        self.sees = ""  # the name of the tensor that the autoregression sees (B, n + 1)

    def __call__(self, change: Sym, level: Sym, count: Sym, state: list[Sym]) -> tuple[Sym, list[Sym]]:
        """Take a change (B, 1) in: the change that is forecast (B, 1), and the state after it but for the last value.

        `level` (B, 1) is the value, to within float32.
        """
        side, s = self.side, self.settings
        scale, trends, said, losses, correlations, gain, regressed, doubt, weights, nothing, _, older, recent = state
        count = count + 1.0  # float32 stays at 2^24
        rate = 1.0 / count
        # 1 while nothing has moved, at a scale of TINY and below; 0 from 2 TINY on.
        still = scale.node("HardSigmoid", alpha=-1.0 / TINY * STEEP, beta=2.0 * STEEP)
        unit = scale.maximum(change.abs() * still).clamp(min=TINY)
        share = ((change - said) / unit).clamp(-LARGEST_SHARE, LARGEST_SHARE)
        missed = share[:, PROFILES:SIMPLE]
        z = change / unit  # the first expert's error; may be infinite, and each use of it is cut
        weights = self.learnt(z, gain, regressed, doubt, weights)
        growth = self.growth(z, rate)
        scale = unit * growth.sqrt()
        # Errors count in units of the scale that knows this change too: in those of one that the first changes of a
        # series had made too small, what experts were off by at first would decide for fifty values.
        losses = losses * s.forget_losses + (share * share / growth).clamp(s.least_loss, s.most_loss)
        trends, levels = self.smoothed(missed, unit, trends, rate)
        history = side.concat((nothing, older, recent, change), axis=1)
        correlations = self.correlated(z, history, scale, correlations)
        past, grown = self.past(history, level, scale, self.period(correlations))
        read = side.concat((levels, past, recent, change, grown, scale), axis=1)
        seen = self.seen(read, scale)
        square = side.reshape(weights, -1, s.columns + 1, s.columns + 1)
        gain = (square @ seen.unsqueeze(2)).squeeze(2)
        doubt = (gain * seen).node("Gemm", torch.ones(s.columns + 1, 1), torch.ones(1))
        said = self.said(read, gain, scale)
        mixed = self.mixed(said, losses)
        return mixed, [count, scale, trends, said, losses, correlations, gain, doubt, weights, history]

    def growth(self, z: Sym, rate: Sym) -> Sym:
        """What the square of the scale grows by (B, 1) with a change of z units (B, 1).

        A young one follows faster than a mean does, and takes more of a change in: the first changes say little, be it
        that a series begins with a value that is none of its own or with a change next to nothing.
        """
        s = self.settings
        # Half of it, and twice what it is of: a rate of 2 is no node, and halves have the same bits.
        follows = rate.clamp(s.scale_rate / s.young_rate, FASTEST / s.young_rate)
        most = follows.node("Gemm", torch.full((1, 1), s.young_scaled * s.young_rate), torch.full((1,), s.most_scaled))
        more = torch.full((1, 1), s.young_rate), torch.full((1,), -s.young_rate)
        return follows * (z * z).node("Min", most).node("Gemm", *more) + 1.0

    def mixed(self, said: Sym, losses: Sym) -> Sym:
        """The mean of what the experts say (B, 1), weighed by their losses."""
        s = self.settings
        losses_of_best = losses.amin(dim=1, keepdim=True) * (-1.0 / s.sharpness)
        shares = (losses / losses_of_best + torch.tensor(s.log_trust)).softmax(dim=1)
        return self.total(shares * said, EXPERTS).clamp(-LARGEST, LARGEST)

    def total(self, x: Sym, count: int) -> Sym:
        """The sum over the last axis, by a product with ones: ONNX's ReduceSum has not the same bits for any batch."""
        return x @ torch.ones(count, 1)

    def learnt(self, z: Sym, gain: Sym, said: Sym, doubt: Sym, weights: Sym) -> Sym:
        """Covariance and, as its last row and column, the weights, (B, (n + 1) * (n + 1)), after what came.

        `doubt` is one and the variance of what was said; the drift keeps it above one.
        """
        side, s, n = self.side, self.settings, self.settings.columns
        wrong = (said - z).clamp(-s.most_error, s.most_error)
        # Both factors of the outer product are the same numbers, so the covariance stays symmetric to the bit: float32
        # would let what is not symmetric grow. What it forgets bounds it where nothing moves for long. The corner is
        # of no use, and begins anew at every step.
        both = (side.concat((gain, wrong), axis=1) / doubt.sqrt()).unsqueeze(2)
        outer = side.reshape(both @ both.permute(0, 2, 1), -1, (n + 1) * (n + 1))
        kept, drift = np.ones((n + 1, n + 1), np.float32), np.zeros((n + 1, n + 1), np.float32)
        kept[:n, :n] -= np.float32(s.bounded)
        kept[n, n] = 0.0
        drift[:n, :n] = np.eye(n, dtype=np.float32) * np.float32(s.drift)
        return weights * torch.from_numpy(kept.ravel()) - outer + torch.from_numpy(drift.ravel())

    def smoothed(self, missed: Sym, unit: Sym, trends: Sym, rate: Sym) -> tuple[Sym, Sym]:
        """Trends, and levels less the latest value with the trend on top, (B, SMOOTHED), after errors in units."""
        s = self.settings
        table = np.array(SMOOTHINGS * PROFILES, np.float32)
        alpha, beta, damping = (torch.from_numpy(np.ascontiguousarray(column)) for column in table.T)
        taken = missed.clamp(-s.most_taken, s.most_taken)
        trends = trends * damping + taken * (alpha * beta) * unit
        return trends, trends + (taken * rate.maximum(alpha) - missed) * unit

    def correlated(self, z: Sym, history: Sym, scale: Sym, correlations: Sym) -> Sym:
        """Sums that forget of the products of the latest change and those before it, as far as the lags say."""
        side, s = self.side, self.settings
        lagged = history.node("Gather", side.ints(*[LENGTH - lag for lag in LAGS]), axis=1) / scale
        bounded = lagged.clamp(-s.most_change, s.most_change)
        return correlations * s.forget_period + bounded * z.clamp(-s.most_change, s.most_change)

    def period(self, correlations: Sym) -> Sym:
        """The place of the period among the lags (B,); 0 for none."""
        weights, young, halves = map(torch.from_numpy, tables.scores(self.settings))
        score = correlations.relu().node("Gemm", halves, correlations.node("Gemm", weights, young))
        return score.node("ArgMax", dtype=torch.int64, axis=1, keepdims=0)

    def past(self, history: Sym, level: Sym, scale: Sym, row: Sym) -> tuple[Sym, Sym]:
        """Changes of seasons before (B, PAST), and the next one of the mean profile, grown as the level has (B, 1)."""
        side, s = self.side, self.settings
        places, standing, before = tables.tables(s)
        index, stands = (
            side.symbol(torch.from_numpy(table), torch.int64).node("Gather", row, axis=0)
            for table in (places, standing)
        )
        past = self.limited(history.node("GatherElements", index, axis=1), scale).node("GatherElements", stands, axis=1)
        since = self.total(history * side.take(torch.from_numpy(before), row), tables.HISTORY)
        growth = level.abs() / (level - since).abs().clamp(min=TINY)
        return past, (past @ torch.from_numpy(tables.mean_next(s))) * growth.clamp(1 / s.most_growth, s.most_growth)

    def limited(self, past: Sym, scale: Sym) -> Sym:
        """Changes of seasons before (B, LOOKED_AT), each no more than those of the others say of it.

        That is so many units, and besides a share of the squares of those at the same place of the other seasons: else
        one wrong value, or a shift of the level, would be forecast to come again after each season. Of what has come
        twice nothing is cut.
        """
        s = self.settings
        units = (past / scale).clamp(-MOST_UNITS, MOST_UNITS)
        others = torch.from_numpy(tables.others(s))
        most = (units * units).node("Gemm", others, torch.full((1,), s.most_alone))
        return units.node("Min", most).node("Max", most.node("Neg")) * scale

    def seen(self, read: Sym, scale: Sym) -> Sym:
        """What the autoregression sees, (B, n + 1): its columns, the last of them 1, and a zero."""
        # Products with ones and zeros have the bits of what they take, and take less time than Gather does.
        s = self.settings
        columns = (read @ torch.from_numpy(tables.columns(s)) / scale).clamp(-s.most_seen, s.most_seen)
        self.sees = columns.name
        return columns

    def said(self, read: Sym, gain: Sym, scale: Sym) -> Sym:
        """What the experts say, (B, EXPERTS)."""
        side, s = self.side, self.settings
        simple, shares = map(torch.from_numpy, tables.said(s))
        regressed = gain.node("Gather", side.ints(s.columns), axis=1).clamp(-s.most_said, s.most_said) * scale
        return regressed.node("Gemm", shares, read @ simple)
