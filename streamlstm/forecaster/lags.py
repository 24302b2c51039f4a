"""Lag features from a carried buffer: recent changes and the values around one season before the target.

A stateful LSTM does not learn a period of 48 or 336 by itself, so the values around one season before the value to
be forecast are fed to it from a buffer in the state. Everything is a difference to the latest value or between
neighbours, since it is the change that is predicted.

Far back and noisy seasons (a year of days) are looked at through three wide windows instead of single values: the
means around one season before the target. On min_temp they lower the skip's error by 1.6 %, single values by nothing.

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
MIN_WIDE_SEASON = 48  # steps; three windows around a shorter one would hardly differ


class Lagged(NamedTuple):
    """What the lags give at every step."""

    features: Tensor  # (T, B, K*F)
    full: Tensor  # (T, B, 1) of bool: whether all the history they need is there
    unit: Tensor | None  # (T, B, F): what the features are measured in, if each series has its own unit
    change: Tensor  # (T, B, F), z(t) - z(t-1); 0 at a series' first value
    moving: Tensor  # (T, B, 1) of bool: whether it is not the first
    recent: Tensor  # (B, F, T, recent + 1): the last values, the latest last; zeros where there were none yet
    counts: Tensor  # (T, B, 1): how many values there have been, up to L + 1
    state: tuple[Tensor, ...]  # after the last step


class EmittedLags(NamedTuple):
    """The names of the same tensors in a graph."""

    features: str
    full: str
    unit: str | None
    change: str
    moving: str
    recent: str
    counts: str
    state: list[str]


class LagFeatures(nn.Module):
    """K columns a step from the last values z, standardised, and whether all the history they need is there.

    Columns, each of F numbers: z(t-k) - z(t-k-1) for k from `recent` - 1 down to 0; z(t+1-m+j) - z(t) for every
    season m and every j from -`neighbours` to `neighbours`; for every wide season m the mean of z(t+1-m+j) over the j
    up to m/24 around -m/36, 0 and m/36, less z(t); the level z(t). The ones from `recurrent_from` on (the two newest
    changes, the seasonal ones and the level) are also the recurrent stack's.

    With `local`, all are measured in the series' own unit (`RunningSpread`), and the level is that above z(t-recent).
    """

    mean: Tensor
    std: Tensor
    lags: Tensor
    averages: Tensor

    def __init__(
        self,
        features: int,
        *,
        recent: int = 24,
        seasons: Sequence[int] = (),
        wide_seasons: Sequence[int] = (),
        neighbours: int = 3,
        local: bool = False,
    ) -> None:
        super().__init__()
        if recent < 1 or neighbours < 0:
            raise UsageError(f"lags: recent must be at least 1 and neighbours at least 0, not {recent}, {neighbours}")
        for season in seasons:
            if season < 2:
                raise UsageError(f"a season has at least 2 steps, not {season}")
        for season in wide_seasons:
            if season < MIN_WIDE_SEASON:
                raise UsageError(f"a season looked at through wide windows has {MIN_WIDE_SEASON} steps, not {season}")
        single: list[int] = []
        for season in seasons:
            around = (season - 1 - j for j in range(-neighbours, neighbours + 1))
            single += [lag for lag in around if lag > 0 and lag not in single]
        windows = [window for season in wide_seasons for window in _wide_windows(season)]
        self.features, self.recent, self.seasons, self.neighbours = features, recent, tuple(seasons), neighbours
        lags = [*reversed(range(recent + 1)), *single, *(lag for window in windows for lag in window)]
        self.length = max(lags)  # L: how many values before the latest are carried
        self.single, self.wide = len(single), len(windows)
        self.size = (recent + self.single + self.wide + 1) * features  # K * F, what a step's features take
        self.recurrent_from = max(0, recent - 2) * features
        self.recent_size = recent * features  # where the columns that need a season begin
        self.spread = RunningSpread(features, 2 * self.length) if local else None
        averages = torch.zeros(sum(map(len, windows)), self.wide)
        for column, window in enumerate(windows):
            first = sum(map(len, windows[:column]))
            averages[first : first + len(window), column] = 1 / len(window)
        needs = [*reversed(range(1, recent + 1)), *single, *(max(window) for window in windows), recent * local]
        self._needs = torch.tensor(needs).repeat_interleave(features).float()  # how far back each column reaches
        self.register_buffer("lags", torch.tensor(lags), persistent=False)
        self.register_buffer("averages", averages, persistent=False)
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
        counts = torch.clamp(count + torch.arange(1, steps + 1)[:, None, None], max=self.length + 1)  # (T, B, 1)
        values = seen[:, :, now - self.lags]  # (B, F, T, lags)
        recent, latest = values[..., : self.recent + 1], values[..., self.recent : self.recent + 1]
        less = values[..., self.recent + 1 :] - latest
        parts = [recent[..., 1:] - recent[..., :-1], less[..., : self.single], less[..., self.single :] @ self.averages]
        parts.append(latest if self.spread is None else latest - recent[..., :1])
        raw = torch.cat(parts, dim=3).permute(2, 0, 3, 1).reshape(steps, batch, -1)  # (T, B, columns * F)
        moving = counts > 1
        newest = raw[..., self.recent_size - features : self.recent_size]
        unit = None
        if self.spread is not None:
            unit, after = self.spread(newest, moving, z, own[0])
            raw = torch.clamp(raw / unit.repeat(1, 1, self.size // features), -LOCAL_LIMIT, LOCAL_LIMIT)
            own = [after]
        scaled = torch.where(counts > self._needs, (raw - self.mean) / self.std, torch.zeros(()))
        change = torch.where(moving, newest, torch.zeros(()))
        carried = (seen[:, :, steps:].reshape(batch, -1), counts[-1], *own)
        return Lagged(scaled, counts > self.length, unit, change, moving, recent, counts, carried)

    def emit(self, graph: Graph, z: str, state: Sequence[str]) -> EmittedLags:
        """Add the nodes of `forward`."""
        history, count, *own = state
        seen, order = self._emit_seen(graph, z, history)
        raw, recent = self._emit_columns(graph, seen, order)
        stepped = graph.node("Cast", graph.node("Add", order, graph.constant(1, dtype="int64")), to=1)  # 1 .. T
        counts = graph.node("Add", graph.node("Unsqueeze", stepped, graph.ints(1)), count)  # (T, B, 1)
        counts = graph.node("Min", counts, graph.constant(float(self.length + 1)))
        moving = graph.node("Greater", counts, graph.constant(1.0))
        newest = graph.slice(raw, self.recent_size - self.features, self.recent_size, 2)
        unit = None
        if self.spread is not None:
            unit, after = self.spread.emit(graph, newest, moving, z, own[0])
            own = [after]
            units = unit
            if self.features > 1:
                units = graph.node("Tile", unit, graph.ints(1, 1, self.size // self.features))
            raw = graph.node("Div", raw, units)
            raw = graph.node("Clip", raw, graph.constant(-LOCAL_LIMIT), graph.constant(LOCAL_LIMIT))
        scaled = graph.node("Sub", raw, graph.constant(self.mean.numpy()))
        scaled = graph.node("Div", scaled, graph.constant(self.std.numpy()))
        there = graph.node("Greater", counts, graph.constant(self._needs.numpy()))
        scaled = graph.node("Where", there, scaled, graph.constant(0.0))
        full = graph.node("Greater", counts, graph.constant(float(self.length)))
        change = graph.node("Where", moving, newest, graph.constant(0.0))
        kept = graph.reshape(graph.slice(seen, -self.length, None, 2), -1, self.features * self.length)
        next_count = graph.node("Squeeze", graph.slice(counts, -1, None, 0), graph.ints(0))
        return EmittedLags(scaled, full, unit, change, moving, recent, counts, [kept, next_count, *own])

    def _emit_seen(self, graph: Graph, z: str, history: str) -> tuple[str, str]:
        """Emit all values seen (B, F, L + T), and the steps' numbers (T, 1)."""
        steps = graph.node("Squeeze", graph.node("Shape", z, start=0, end=1), graph.ints(0))
        past = graph.reshape(history, -1, self.features, self.length)
        seen = graph.concat([past, graph.node("Transpose", z, perm=[1, 2, 0])], axis=2)
        zero, one = graph.constant(0, dtype="int64"), graph.constant(1, dtype="int64")
        return seen, graph.node("Unsqueeze", graph.node("Range", zero, steps, one), graph.ints(1))

    def _emit_columns(self, graph: Graph, seen: str, order: str) -> tuple[str, str]:
        """Emit the columns as they are (T, B, columns * F), and the recent values (B, F, T, recent + 1)."""
        index = graph.node("Add", order, graph.constant((self.length - self.lags).numpy(), dtype="int64"))  # (T, lags)
        values = graph.node("Gather", seen, index, axis=2)
        recent = graph.slice(values, 0, self.recent + 1, 3)
        latest = graph.slice(values, self.recent, self.recent + 1, 3)
        parts = [graph.node("Sub", graph.slice(recent, 1, None, 3), graph.slice(recent, 0, -1, 3))]
        if self.single or self.wide:
            less = graph.node("Sub", graph.slice(values, self.recent + 1, None, 3), latest)
            if self.single:
                parts.append(graph.slice(less, 0, self.single, 3))
            if self.wide:  # a product, since the bits of ReduceMean depend on where a row lies in memory
                wide = graph.slice(less, self.single, None, 3)
                parts.append(graph.node("MatMul", wide, graph.constant(self.averages.numpy())))
        oldest = graph.slice(recent, 0, 1, 3)
        parts.append(latest if self.spread is None else graph.node("Sub", latest, oldest))
        columns = graph.node("Transpose", graph.concat(parts, axis=3), perm=[2, 0, 3, 1])
        return graph.reshape(columns, 0, 0, -1), recent


def _wide_windows(season: int) -> list[list[int]]:
    """The lags under each of the three windows of a wide season."""
    half, apart = season // 24, season // 36
    middles = (season - 1 + apart, season - 1, season - 1 - apart)
    return [list(range(middle - half, middle + half + 1)) for middle in middles]
