"""Lag features from a carried buffer: recent changes and the values around one season before the target.

A stateful LSTM does not learn a period of 48 or 336 by itself, so the values around one season before the value to
be forecast are fed to it from a buffer in the state. Everything is a difference to the latest value or between
neighbours, since it is the change that is predicted.

A buffer that is not full yet: `count` says how many values a series has had. A feature that reaches further back is
zero (its mean over the training part), and `full` tells the forecaster where all of them are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from streamlstm.errors import UsageError
from streamlstm.forecaster.spread import RunningSpread
from streamlstm.spec import StateEntry

if TYPE_CHECKING:
    from streamlstm.export.graph import Graph

LOCAL_LIMIT = 50.0  # units; a jump after a flat stretch counts as no more


class Lagged(NamedTuple):
    """What the lags give at every step."""

    features: Tensor  # (T, B, K*F)
    full: Tensor  # (T, B, 1) of bool: whether all the history they need is there
    unit: Tensor | None  # (T, B, F): what the features are measured in, if each series has its own unit
    state: tuple[Tensor, ...]  # after the last step


class LagFeatures(nn.Module):
    """K columns a step from the last values z, standardised, and whether all the history they need is there.

    Columns, each of F numbers: z(t-k) - z(t-k-1) for k from `recent` - 1 down to 0; z(t+1-m+j) - z(t) for every
    season m and every j from -`neighbours` to `neighbours`; the level z(t). The ones from `recurrent_from` on (the
    two newest changes, the seasonal ones and the level) are also the recurrent stack's.

    With `local`, all are measured in the series' own unit (`RunningSpread`), and the level is that above z(t-recent).
    """

    mean: Tensor
    std: Tensor
    minuend: Tensor
    subtrahend: Tensor

    def __init__(
        self,
        features: int,
        *,
        recent: int = 24,
        seasons: Sequence[int] = (),
        neighbours: int = 3,
        local: bool = False,
    ) -> None:
        super().__init__()
        if recent < 1 or neighbours < 0:
            raise UsageError(f"lags: recent must be at least 1 and neighbours at least 0, not {recent}, {neighbours}")
        for season in seasons:
            if season < 2:
                raise UsageError(f"a season has at least 2 steps, not {season}")
        pairs = [(k, k + 1) for k in reversed(range(recent))]
        for season in seasons:
            lags = (season - 1 - j for j in range(-neighbours, neighbours + 1))
            pairs += [(lag, 0) for lag in lags if lag > 0 and (lag, 0) not in pairs]
        if local:
            pairs.append((0, recent))
        self.features, self.recent, self.seasons, self.neighbours = features, recent, tuple(seasons), neighbours
        self.length = max(max(pair) for pair in pairs)  # L: how many values before the latest are carried
        self.size = (len(pairs) + (not local)) * features  # K * F, what a step's features take
        self.recurrent_from = max(0, recent - 2) * features
        self.recent_size = recent * features  # where the columns that need a season begin
        self.spread = RunningSpread(features, 2 * self.length) if local else None
        self.register_buffer("minuend", torch.tensor([pair[0] for pair in pairs]), persistent=False)
        self.register_buffer("subtrahend", torch.tensor([pair[1] for pair in pairs]), persistent=False)
        self.register_buffer("mean", torch.zeros(self.size))
        self.register_buffer("std", torch.ones(self.size))

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The last L scaled values of every feature, oldest first; how many values there have been (to L + 1)."""
        history = StateEntry(name="history", shape=(self.features, self.length))
        own = () if self.spread is None else self.spread.state_entries()
        return (history, StateEntry(name="count", shape=(1,)), *own)

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        """The state before the first value, each (batch, size)."""
        return tuple(torch.zeros(batch, entry.size) for entry in self.state_entries())

    def forward(self, z: Tensor, state: Sequence[Tensor]) -> Lagged:
        """Step through z (T, B, F) from history (B, F*L), count (B, 1) and, with `local`, spread (B, 2*F)."""
        steps, batch, features = z.shape
        history, count, *own = state
        seen = torch.cat((history.reshape(batch, features, self.length), z.permute(1, 2, 0)), dim=2)  # (B, F, L + T)
        now = torch.arange(steps)[:, None] + self.length  # (T, 1): where each step's own value stands
        raw = seen[:, :, now - self.minuend] - seen[:, :, now - self.subtrahend]  # (B, F, T, pairs)
        raw = raw.permute(2, 0, 3, 1).reshape(steps, batch, -1)  # (T, B, pairs * F)
        counts = torch.clamp(count + torch.arange(1, steps + 1)[:, None, None], max=self.length + 1)  # (T, B, 1)
        unit = None
        if self.spread is None:
            raw = torch.cat((raw, z), dim=2)
        else:
            newest = raw[..., self.recent_size - features : self.recent_size]
            unit, after = self.spread(newest, counts > 1, z, own[0])
            raw = torch.clamp(raw / unit.repeat(1, 1, self.size // features), -LOCAL_LIMIT, LOCAL_LIMIT)
            own = [after]
        scaled = torch.where(counts > self._needs(), (raw - self.mean) / self.std, torch.zeros(()))
        next_history = seen[:, :, steps:].reshape(batch, -1)
        return Lagged(scaled, counts > self.length, unit, (next_history, counts[-1], *own))

    def _needs(self) -> Tensor:
        """How many earlier values each column reaches back, (K*F,)."""
        needs = torch.maximum(self.minuend, self.subtrahend).repeat_interleave(self.features)
        return torch.cat((needs, needs.new_zeros(self.size - len(needs)))).float()

    def emit(self, graph: Graph, z: str, state: Sequence[str]) -> tuple[str, str, str | None, list[str]]:
        """Add the nodes of `forward`; the same features, full, unit and state."""
        history, count, *own = state
        seen, raw, order = self._emit_differences(graph, z, history)
        stepped = graph.node("Cast", graph.node("Add", order, graph.constant(1, dtype="int64")), to=1)  # 1 .. T
        counts = graph.node("Add", graph.node("Unsqueeze", stepped, graph.ints(1)), count)  # (T, B, 1)
        counts = graph.node("Min", counts, graph.constant(float(self.length + 1)))
        unit = None
        if self.spread is None:
            raw = graph.concat([raw, z], axis=2)
        else:
            newest = graph.slice(raw, self.recent_size - self.features, self.recent_size, 2)
            moving = graph.node("Greater", counts, graph.constant(1.0))
            unit, after = self.spread.emit(graph, newest, moving, z, own[0])
            own = [after]
            units = unit
            if self.features > 1:
                units = graph.node("Tile", unit, graph.ints(1, 1, self.size // self.features))
            raw = graph.node("Div", raw, units)
            raw = graph.node("Clip", raw, graph.constant(-LOCAL_LIMIT), graph.constant(LOCAL_LIMIT))
        scaled = graph.node("Sub", raw, graph.constant(self.mean.numpy()))
        scaled = graph.node("Div", scaled, graph.constant(self.std.numpy()))
        there = graph.node("Greater", counts, graph.constant(self._needs().numpy()))
        scaled = graph.node("Where", there, scaled, graph.constant(0.0))
        full = graph.node("Greater", counts, graph.constant(float(self.length)))
        latest = graph.slice(seen, -self.length, None, 2)
        next_history = graph.reshape(latest, -1, self.features * self.length)
        next_count = graph.node("Squeeze", graph.slice(counts, -1, None, 0), graph.ints(0))
        return scaled, full, unit, [next_history, next_count, *own]

    def _emit_differences(self, graph: Graph, z: str, history: str) -> tuple[str, str, str]:
        """Emit all values seen (B, F, L + T), the differences (T, B, pairs * F), and the steps' numbers (T, 1)."""
        steps = graph.node("Squeeze", graph.node("Shape", z, start=0, end=1), graph.ints(0))
        past = graph.reshape(history, -1, self.features, self.length)
        seen = graph.concat([past, graph.node("Transpose", z, perm=[1, 2, 0])], axis=2)
        zero, one = graph.constant(0, dtype="int64"), graph.constant(1, dtype="int64")
        order = graph.node("Unsqueeze", graph.node("Range", zero, steps, one), graph.ints(1))
        parts = []
        for lags in (self.minuend, self.subtrahend):
            index = graph.node("Add", order, graph.constant((self.length - lags).numpy(), dtype="int64"))  # (T, pairs)
            parts.append(graph.node("Gather", seen, index, axis=2))
        raw = graph.node("Transpose", graph.node("Sub", *parts), perm=[2, 0, 3, 1])  # (T, B, pairs, F)
        return seen, graph.reshape(raw, 0, 0, -1), order
