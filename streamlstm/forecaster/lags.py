"""Lag features from a carried buffer: recent changes and the values around one season before the target.

A stateful LSTM does not learn a period of 48 or 336 by itself, so the values around one season before the value to
be forecast are fed to it from a buffer in the state. Everything is a difference to the latest value or between
neighbours, since it is the change that is predicted.

Far back and noisy seasons (a year of days) are looked at through three wide windows instead of single values: the
means around one season before the target. On min_temp they lower the skip's error by 1.6 %, single values by nothing.

Before its first value a series counts as having been at that value: what reaches further back than there are values
has not changed. `full` tells the forecaster where there is nothing of the kind.

All columns are linear in the values gathered, less the latest: in the graph they are one product with a constant. The
history is much the longest part of the state, so its copies are what costs: it stands at the state's end, and values
are gathered from the whole state with the new ones behind it.

An `exact` buffer holds pairs of float32 (`streamlstm.pairs`), whose differences are taken part by part: the high parts'
is exact, so a counter is seen as well after a billion steps as after the first, at twice the history.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from streamlstm.errors import UsageError
from streamlstm.forecaster.scaling import Z_LIMIT
from streamlstm.forecaster.spread import RunningSpread
from streamlstm.spec import StateEntry

if TYPE_CHECKING:
    from streamlstm.export.graph import Graph

LOCAL_LIMIT = 50.0  # units; a jump after a flat stretch counts as no more
MIN_WIDE_SEASON = 48  # steps; three windows around a shorter one would hardly differ
SMOOTHING = 0.15  # how far the smoothed level moves to a new value
MEDIAN = 25  # values under the running median
NOTHING = -3e38  # stands in the buffer where there was no value yet; no z is as low


class Lagged(NamedTuple):
    """What the lags give at every step."""

    features: Tensor  # (T, B, F*K), standardised
    full: Tensor  # (T, B, 1) of bool: whether all the history they need is there
    moving: Tensor  # (T, B, 1) of bool: whether it is not a series' first value
    unit: Tensor  # (T, B, F), in z: the mean absolute change of late
    change: Tensor  # (T, B, F), z(t) - z(t-1); 0 at a series' first value
    smoothed: Tensor  # (T, B, F), exponentially, less the latest; in units if `local`, else in z
    median: Tensor  # (T, B, F), of the last values, less the latest; in units if `local`, else in z
    state: tuple[Tensor, ...]  # after the last step


class EmittedLags(NamedTuple):
    """The names of the same tensors in a graph, but for the smoothed change, which is among the features.

    Those have a mean of 0, but no deviation of 1 yet; states are (1, B, n), the history (B, L*F).
    """

    features: str
    full: str
    moving: str
    unit: str
    change: str
    median: str
    state: list[str]


class LagFeatures(nn.Module):
    """K columns a step and feature from the last values z, standardised, and whether all the history is there.

    Columns of a feature: z(t-k) - z(t-k-1) for k from `recent` - 1 down to 0; z(t+1-m+j) - z(t) for every
    season m and every j from -`neighbours` to `neighbours`; for every wide season m the mean of z(t+1-m+j) over the j
    up to m/24 around -m/36, 0 and m/36, less z(t); the exponentially smoothed z of the last `recent` + 1, less z(t);
    the level z(t). The columns `recurrent` (the two newest changes, the seasonal ones, the level) are also the
    recurrent stack's, those not in `seasonal` need no season.

    With `local`, all are measured in the series' own unit (`RunningSpread`), and the level is that above z(t-recent).
    With `exact`, z is float64 in torch and pairs in the graph.
    """

    mean: Tensor
    std: Tensor
    lags: Tensor

    def __init__(
        self,
        features: int,
        *,
        recent: int = 24,
        seasons: Sequence[int] = (),
        wide_seasons: Sequence[int] = (),
        neighbours: int = 3,
        local: bool = False,
        exact: bool = False,
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
        self.local, self.exact = local, exact
        self.stored = features * (1 + exact)  # C: numbers of a value in the history
        lags = [*reversed(range(recent + 1)), *single, *(lag for window in windows for lag in window)]
        self.length = max(lags)  # L: how many values before the latest are carried
        self.register_buffer("lags", torch.tensor(lags), persistent=False)
        self.columns = recent + len(single) + len(windows) + 2  # K
        self.size = features * self.columns  # what a step's features take
        seasonal = range(recent, self.columns - 2)
        self.seasonal = self._of_all(seasonal)
        self.recurrent = self._of_all([*range(max(0, recent - 2), recent), *seasonal, self.columns - 1])
        self.smoothed = self._of_all([self.columns - 2])
        self.median_size = min(MEDIAN, recent + 1 - recent % 2)  # odd, and no more than the recent values
        self.spread = RunningSpread(features, 2 * self.length)
        self._map = _linear_map(recent, len(single), windows, local=local)  # (lags, K), or K - 1 without the level
        self.register_buffer("mean", torch.zeros(self.size))
        self.register_buffer("std", torch.ones(self.size))

    def _of_all(self, columns: Sequence[int]) -> list[int]:
        """The places of some columns of every feature."""
        return [feature * self.columns + column for feature in range(self.features) for column in columns]

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The running spread; the first scaled values; the last L of them, oldest first."""
        first = StateEntry(name="first", shape=(self.stored,), initial=NOTHING)
        history = StateEntry(name="history", shape=(self.length, self.stored), initial=NOTHING)
        return (*self.spread.state_entries(), first, history)

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        """The state before the first value, each (batch, size)."""
        return tuple(torch.tensor(e.initial).expand(batch, e.size).clone() for e in self.state_entries())

    def taken(self, values: NDArray[np.float64]) -> Tensor:
        """Values in the precision in which they are to be scaled and given to `forward`."""
        x = torch.from_numpy(values)
        return x if self.exact else x.float()

    def forward(self, z: Tensor, state: Sequence[Tensor]) -> Lagged:
        """Step through z (T, B, F) from spread (B, F + 2), the first values (B, C) and history (B, L*C)."""
        steps, batch, features = z.shape
        spread, first, history = state
        high = z.float()
        stored = torch.cat((high, (z - high.double()).float()), dim=2) if self.exact else z
        first = torch.where(first > NOTHING / 3, first, stored[0])
        seen = torch.cat((history.reshape(batch, self.length, -1), stored.transpose(0, 1)), dim=1)  # (B, L + T, C)
        now = torch.arange(steps)[:, None] + self.length  # (T, 1): where each step's own value stands
        values = seen[:, now - self.lags].permute(1, 0, 3, 2)  # (T, B, C, lags)
        values = torch.where(values > NOTHING / 3, values, first[..., None])
        less = values - values[..., self.recent : self.recent + 1]
        if self.exact:
            less = less[:, :, :features] + less[:, :, features:]
        change = -less[..., self.recent - 1]
        size = less[..., 0] if self.exact else z
        level = high.clamp(-Z_LIMIT, Z_LIMIT)
        unit, counts, spread = self.spread(torch.cat((change, size), dim=2).abs(), spread)
        if self.local:
            less = less / unit[..., None]
        raw = less @ self._map
        raw = torch.clamp(raw, -LOCAL_LIMIT, LOCAL_LIMIT) if self.local else torch.cat((raw, level[..., None]), dim=3)
        scaled = (raw.reshape(steps, batch, -1) - self.mean) / self.std
        last = less[..., self.recent + 1 - self.median_size : self.recent + 1]
        median = torch.kthvalue(last, self.median_size // 2 + 1, dim=3)[0]
        carried = (spread, first, seen[:, steps:].reshape(batch, -1))
        smoothed = raw[..., self.columns - 2]
        return Lagged(scaled, counts > self.length, counts > 1, unit, change, smoothed, median, carried)

    def emit(self, graph: Graph, z: str, whole: str, size: int, state: Sequence[str]) -> EmittedLags:
        """Add the nodes of `forward`, but for the division by `std`.

        `whole` is the state (B, D) of `size` numbers, the history at its end; `state` the other entries (1, B, n).
        With `exact`, z holds pairs (T, B, 2F).
        """
        spread, first = state
        axis = 2 if self.features == 1 else 3
        begun = graph.node("Greater", first, graph.constant(NOTHING / 3))
        first = graph.node("Where", begun, first, graph.slice(z, 0, 1, 0))
        values, kept = self._emit_values(graph, z, whole, size)  # (T, B, lags), with C > 1 (T, B, C, lags)
        there = graph.node("Greater", values, graph.constant(NOTHING / 3))
        filler = first if self.stored == 1 else graph.node("Unsqueeze", first, graph.ints(3))
        values = graph.node("Where", there, values, filler)
        less, change, latest, moved = (
            self._emit_exact_less(graph, values) if self.exact else self._emit_less(graph, values)
        )
        sizes = graph.node("Abs", moved)
        if self.features > 1:
            sizes = graph.reshape(graph.node("Transpose", sizes, perm=[0, 1, 3, 2]), 0, 0, 2 * self.features)
        unit, counts, spread = self.spread.emit(graph, sizes, spread)
        if self.local:
            wide = unit if self.features == 1 else graph.node("Unsqueeze", unit, graph.ints(3))
            less = graph.node("Div", less, wide)
        columns = graph.node("MatMul", less, graph.constant(self._map.numpy()))
        if self.local:
            columns = graph.node("Clip", columns, graph.constant(-LOCAL_LIMIT), graph.constant(LOCAL_LIMIT))
        else:
            columns = graph.concat([columns, latest], axis=axis)
        last = graph.slice(less, self.recent + 1 - self.median_size, self.recent + 1, axis)
        half = self.median_size // 2 + 1
        lowest, _ = graph.nodes("TopK", last, graph.ints(half), outputs=2, largest=0)
        median = graph.slice(lowest, half - 1, half, axis)
        if self.features > 1:
            columns = graph.reshape(columns, 0, 0, self.size)
            change, median = (graph.node("Squeeze", part, graph.ints(3)) for part in (change, median))
        columns = graph.node("Sub", columns, graph.constant(self.mean.numpy()))
        full = graph.node("Greater", counts, graph.constant(float(self.length)))
        moving = graph.node("Greater", counts, graph.constant(1.0))
        return EmittedLags(columns, full, moving, unit, change, median, [spread, first, kept])

    def _emit_less(self, graph: Graph, values: str) -> tuple[str, str, str, str]:
        """Emit the values less the latest; the change, the latest, and both side by side."""
        axis = 2 if self.features == 1 else 3
        pair = torch.zeros(len(self.lags), 2)  # the change and the value
        pair[self.recent - 1 : self.recent + 1] = torch.tensor([[-1.0, 0.0], [1.0, 1.0]])
        moved = graph.node("MatMul", values, graph.constant(pair.numpy()))
        change, latest = (graph.slice(moved, first, first + 1, axis) for first in range(2))
        return graph.node("Sub", values, latest), change, latest, moved

    def _emit_exact_less(self, graph: Graph, values: str) -> tuple[str, str, str, str]:
        """Emit the same of pairs (T, B, 2F, lags), but beside the change that over the recent values.

        A counter's own value has nothing to do with how much it moves.
        """
        axis = 2 if self.features == 1 else 3
        newest = graph.slice(values, self.recent, self.recent + 1, 3)
        parts = graph.node("Sub", values, newest)
        high, low = graph.nodes("Split", parts, graph.ints(self.features, self.features), outputs=2, axis=2)
        less, latest = graph.node("Add", high, low), graph.slice(newest, 0, self.features, 2)
        if self.features == 1:
            less, latest = (graph.node("Squeeze", part, graph.ints(2)) for part in (less, latest))
        before = graph.slice(less, self.recent - 1, self.recent, axis)
        moved = graph.concat([before, graph.slice(less, 0, 1, axis)], axis=axis)
        latest = graph.node("Clip", latest, graph.constant(-Z_LIMIT), graph.constant(Z_LIMIT))
        return less, graph.node("Neg", before), latest, moved

    def _emit_values(self, graph: Graph, z: str, whole: str, size: int) -> tuple[str, str]:
        """Emit the values gathered (T, B, lags), with C > 1 (T, B, C, lags), and the history kept (B, L*C)."""
        across = graph.reshape(graph.node("Transpose", z, perm=[1, 0, 2]), 0, -1)  # (B, T*C)
        seen = graph.concat([whole, across], axis=1)
        kept = graph.slice(seen, -self.length * self.stored, None, 1)
        steps = graph.node("Squeeze", graph.node("Shape", z, start=0, end=1), graph.ints(0))
        zero, one = graph.constant(0, dtype="int64"), graph.constant(1, dtype="int64")
        order = graph.node("Range", zero, steps, one)
        places = size - self.lags[:, None] * self.stored  # (lags, 1)
        if self.stored > 1:
            order = graph.node("Mul", order, graph.constant(self.stored, dtype="int64"))
            places = (places + torch.arange(self.stored))[..., None]  # (lags, C, 1)
        index = graph.node("Add", order, graph.constant(places.numpy(), dtype="int64"))  # (lags, T)
        gathered = graph.node("Gather", seen, index, axis=1)  # (B, lags, T)
        return graph.node("Transpose", gathered, perm=[2, 0, 1] if self.stored == 1 else [3, 0, 2, 1]), kept


def _linear_map(recent: int, single: int, windows: Sequence[Sequence[int]], *, local: bool) -> Tensor:
    """The columns as a product of the values gathered, less the latest: (lags, K), the level's only if `local`."""
    total = recent + 1 + single + sum(map(len, windows))
    rows = torch.eye(total)
    columns = [rows[k + 1] - rows[k] for k in range(recent)]
    columns += [rows[recent + 1 + k] for k in range(single)]
    first = recent + 1 + single
    for window in windows:
        columns.append(rows[first : first + len(window)].sum(dim=0) / len(window))
        first += len(window)
    shares = (1 - SMOOTHING) ** torch.arange(recent, -1, -1, dtype=torch.float64)
    columns.append((shares / shares.sum()).float() @ rows[: recent + 1])
    if local:
        columns.append(-rows[0])
    return torch.stack(columns, dim=1)


def _wide_windows(season: int) -> list[list[int]]:
    """The lags under each of the three windows of a wide season."""
    half, apart = season // 24, season // 36
    middles = (season - 1 + apart, season - 1, season - 1 - apart)
    return [list(range(middle - half, middle + half + 1)) for middle in middles]
