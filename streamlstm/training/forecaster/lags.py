"""Lag features from a carried buffer: recent changes and the values around one season before the target.

A stateful LSTM does not learn a period of 48 or 336 by itself, so the values around one season before the value to
be forecast are fed to it from a buffer in the state. Everything is a difference to the latest value or between
neighbours, since it is the change that is predicted.

Far back and noisy seasons (a year of days) are looked at through three wide windows instead of single values: the
means around one season before the target. On min_temp they lower the skip's error by 1.6 %, single values by nothing.

Of further steps the skip sees the values around a season before each, where these are not among the recent ones. Until
it did, those of taylor (48 and 336 half-hours back) were 1.7 and 2.6 times as wrong 6 and 12 steps ahead.

One wrong value is looked at as far as others say the same (`limits`), else it would be forecast to come again a season
later, whatever it was. A value a season before is moved to between the least and the largest of three others, less and
more some room: the two values two steps before and after it, and that one more season before. So what came twice is
looked at whole, and what recurs is forecast the third time. Recent changes and wide windows are cut. The running
spread takes in no more of one change than some times what recent ones come to. What the room and
the cuts are is some units, or what there was in training if that is more.

Before its first value a series counts as having been at that value: what reaches further back than there are values
has not changed. `full` tells the forecaster where there is nothing of the kind.

All columns are linear in the values gathered, less the latest: in the graph they are one product with a constant. The
history is much the longest part of the state, so its copies are what costs: it stands at the state's end, and values
are gathered from the whole state with the new ones behind it.

An `exact` buffer holds pairs of float32 (`models.pairs`), whose differences are taken part by part: the high parts'
is exact, so a counter is seen as well after a billion steps as after the first, at twice the history.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from streamlstm.errors import UsageError
from streamlstm.models import StateEntry
from streamlstm.nn import Value, of
from streamlstm.training.forecaster.scaling import Z_LIMIT
from streamlstm.training.forecaster.spread import RunningSpread

LOCAL_LIMIT = 50.0  # units; a jump after a flat stretch counts as no more
# Units of room beside other seasons, of one recent change, of a value in a wide window; one change counts in the unit
# as so many times what recent ones come to, each the lesser one of two that are half of them apart, if that is not
# nothing.
ROOM, MOST_CHANGE, MOST_WIDE = 3.0, 20.0, 100.0
MOST_SPREAD = 50.0
MIN_WIDE_SEASON = 48  # steps; three windows around a shorter one would hardly differ
SMOOTHING = 0.15  # how far the smoothed level moves to a new value
MEDIAN = 25  # values under the running median
BIGGEST = float(torch.finfo(torch.float32).max)
NOTHING = -3e38  # stands in the buffer where there was no value yet; no z is as low


class Lagged(NamedTuple):
    """What the lags give at every step."""

    features: Value  # (T, B, F*K), standardised; in a graph less their mean only, the rest is left to what comes next
    full: Value  # (T, B, 1) of bool: whether all the history they need is there
    moving: Value  # (T, B, 1) of bool: whether it is not a series' first value
    unit: Value  # (T, B, F), in z: the mean absolute change of late
    change: Value  # (T, B, F), z(t) - z(t-1); 0 at a series' first value
    smoothed: Value  # (T, B, F), exponentially, less the latest; in units if `local`, else in z; none in a graph
    median: Value  # (T, B, F), of the last values, less the latest; in units if `local`, else in z
    seasonal: tuple[Value, ...]  # (T, B, F) of each single season: the value one before the next, less the latest
    z: Value  # (T, B, F), in float32
    state: tuple[Value, ...]  # after the last step


class LagFeatures(nn.Module):
    """K columns a step and feature from the last values z, standardised, and whether all the history is there.

    Columns of a feature: z(t-k) - z(t-k-1) for k from `recent` - 1 down to 0; z(t+1-m+j) - z(t) for every
    season m and every j from -`neighbours` to `neighbours`; for every wide season m the mean of z(t+1-m+j) over the j
    up to m/24 around -m/36, 0 and m/36, less z(t); the exponentially smoothed z of the last `recent` + 1, less z(t);
    the level z(t). The columns `recurrent` (the two newest changes, the seasonal ones, the level) are also the
    recurrent stack's, those not in `seasonal` need no season.

    With a `horizon` there are those around a season before each further step as well, behind the others of single
    seasons, as far as they are not among the recent ones: not for the recurrent stack, and step k + 1 ahead does not
    look at the columns `unseen[k]`.

    With `local`, all are measured in the series' own unit (`RunningSpread`), and the level is that above z(t-recent).
    With `exact`, z is float64.
    """

    mean: Tensor
    std: Tensor
    usual: Tensor
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
        horizon: int = 1,
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
        next_only = len(single)
        ahead = [_around(seasons, neighbours, step, recent) for step in range(2, horizon + 1)]
        single += sorted({lag for lags in ahead for lag in lags} - {*single})
        windows = [window for season in wide_seasons for window in _wide_windows(season)]
        self.features, self.recent, self.seasons, self.neighbours = features, recent, tuple(seasons), neighbours
        self.local, self.exact = local, exact
        self.stored = features * (1 + exact)  # C: numbers of a value in the history
        lags = [*reversed(range(recent + 1)), *single, *(lag for window in windows for lag in window)]
        self.length = max(lags)  # how many values before the latest there are once the history is full
        lags = self._with_others(lags, single, seasons)
        self.register_buffer("lags", torch.tensor(lags), persistent=False)
        self.columns = recent + len(single) + len(windows) + 2  # K
        self.size = features * self.columns  # what a step's features take
        seasonal = range(recent, self.columns - 2)
        further = range(recent + next_only, recent + len(single))
        newest = range(max(0, recent - 2), recent)
        of_next = (column for column in seasonal if column not in further)
        self.seasonal = self._of_all(seasonal)
        self.recurrent = self._of_all([*newest, *of_next, self.columns - 1])
        self.unseen = [
            self._of_all([column for column in further if single[column - recent] not in seen])
            for seen in (set[int](), *ahead)
        ]
        self.smoothed = self._of_all([self.columns - 2])
        self.newest = self._of_all([recent - 1])  # the latest change
        self._season_before = tuple(recent + single.index(season - 1) for season in seasons)  # of what is limited
        self.median_size = min(MEDIAN, recent + 1 - recent % 2)  # odd, and no more than the recent values
        self.spread = RunningSpread(features, 2 * self.length)
        self._map = self._set_maps(len(lags), windows)  # to K columns, or K - 1 without the level
        self.register_buffer("mean", torch.zeros(self.size))
        self.register_buffer("std", torch.ones(self.size))
        self.register_buffer(
            "usual", torch.zeros(features)
        )  # how much one change is in training, at most, or nearly so

    def _with_others(self, lags: list[int], single: Sequence[int], seasons: Sequence[int]) -> list[int]:
        """The lags, and behind them those that the single ones are held against."""
        self._singles, self._windowed = len(single), len(lags) - self.recent - 1 - len(single)
        # The others of each single one: two steps before and after it, and one more season before.
        others = [[max(0, lag - 2) for lag in single], [lag + 2 for lag in single]]
        others.append([lag + _season_of(lag, seasons, self.neighbours) for lag in single])
        lags = lags + sorted({lag for each in others for lag in each} - {*lags})
        self.carried = max(lags)  # L: how many values before the latest are carried
        self._others = [[lags.index(lag) for lag in each] for each in others]  # their places
        return lags

    def _set_maps(self, lags: int, windows: Sequence[Sequence[int]]) -> Tensor:
        """The products with the values at so many lags; the last of them, of what is limited, is returned."""
        recent = self.recent
        self._pair = torch.zeros(lags, 2)  # the change and the value
        self._pair[recent - 1 : recent + 1] = torch.tensor([[-1.0, 0.0], [1.0, 1.0]])
        # Recent values times this are the changes; these, singles and windows times the map are the columns.
        self._changes = torch.zeros(recent + 1, recent)
        for k in range(recent):
            self._changes[k : k + 2, k] = torch.tensor([-1.0, 1.0])
        return _linear_map(recent, self._singles, windows, local=self.local)

    def _of_all(self, columns: Iterable[int]) -> list[int]:
        """The places of some columns of every feature."""
        return [feature * self.columns + column for feature in range(self.features) for column in columns]

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The running spread; the first scaled values; the last L of them, oldest first."""
        first = StateEntry(name="first", shape=(self.stored,), initial=NOTHING)
        history = StateEntry(name="history", shape=(self.carried, self.stored), initial=NOTHING)
        return (*self.spread.state_entries(), first, history)

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        """The state before the first value, as `forward` takes it."""
        *ahead, history = (torch.tensor(e.initial).expand(batch, e.size).clone() for e in self.state_entries())
        return (*(part[None] for part in ahead), history)

    def taken(self, values: NDArray[np.float64]) -> Tensor:
        """Values in the precision in which they are to be scaled and given to `forward`."""
        x = torch.from_numpy(values)
        return x if self.exact else x.float()

    def forward(self, z: Value, state: Sequence[Value], width: int | None = None) -> Lagged:
        """Step through z (T, B, F) from spread (1, B, F + 2), the first values (1, B, C) and history (B, L*C).

        The history may stand at the end of something wider: (B, `width`). With one number a value (C = 1), what is
        gathered is (T, B, lags), else (T, B, C, lags).
        """
        side, (spread, first, whole) = of(z), state
        axis = 2 if self.features == 1 else 3
        high = z.float()
        stored = side.concat((high, (z - high.double()).float()), axis=2) if self.exact else z
        # onnxruntime's Where makes 0.0 of a -0.0 that the condition picks: once, not again at each call.
        first = side.where(first <= NOTHING / 3, stored[0:1], first)
        values, kept = self._gathered(stored, whole, whole.shape[1] if width is None else width)
        there = values > NOTHING / 3
        values = side.where(there, values, first if self.stored == 1 else first.unsqueeze(3))
        less, change, latest = self._exact_less(values) if self.exact else self._less(values)
        place = self.median_size // 2 + 1
        median = side.lowest(_of_axis(less, self.recent + 1 - self.median_size, self.recent + 1, axis), place, axis)
        changes = self._recent_changes(values)
        sizes = self._sizes(changes, change, _of_axis(less, 0, 1, axis) if self.exact else latest + median)
        unit, counts, spread = self.spread(sizes, spread)
        wide = unit if self.features == 1 else unit.unsqueeze(3)
        if self.local:
            less, changes, median = less / wide, changes / wide, median / wide
        limited = self._limited(less, changes, wide)
        columns = limited @ self._map
        columns = columns.clamp(-LOCAL_LIMIT, LOCAL_LIMIT) if self.local else side.concat((columns, latest), axis=axis)
        seasonal = tuple(_of_axis(limited, at, at + 1, axis) for at in self._season_before)
        if self.features > 1:
            columns = side.reshape(columns, 0, 0, self.size)
            change, median = change.squeeze(3), median.squeeze(3)
            seasonal = tuple(one.squeeze(3) for one in seasonal)
        smoothed = None if side.folds else side.columns(columns, self.smoothed)
        columns = columns - self.mean
        features = columns if side.folds else columns / self.std
        full, moving = counts > float(self.length), counts > 1.0
        state = (spread, first, kept)
        return Lagged(features, full, moving, unit, change, smoothed, median, seasonal, high, state)

    def _recent_changes(self, values: Value) -> Value:
        """The changes between the recent values at the lags, (T, B, recent); of several features (T, B, F, recent).

        Taken between neighbours: beside a wrong one that is the latest, what all others lack to it is the same number.
        """
        changes = _of_axis(values, 0, self.recent + 1, 2 if self.stored == 1 else 3) @ self._changes
        if not self.exact:
            return changes
        high, low = changes.split([self.features, self.features], dim=2)
        return (high + low).squeeze(2) if self.features == 1 else high + low

    def _sizes(self, changes: Value, change: Value, value: Value) -> Value:
        """What the spread takes in, (T, B, 2F): the latest of the recent changes (T, B, recent), cut, and a value.

        Of more than one feature (T, B, F, recent). Where most recent changes are nothing the change is not cut.
        """
        side, axis = of(change), 2 if self.features == 1 else 3
        half, size = max(1, self.recent // 2), changes.abs()
        both = _of_axis(size, 0, half, axis).minimum(_of_axis(size, self.recent - half, self.recent, axis))
        high = both.amax(dim=axis, keepdim=True)
        most = side.where(high > 0.0, (high * MOST_SPREAD).maximum(self._usual_most(1.0)), BIGGEST)
        # Of exact values `value` is a change as well, that over the recent ones.
        value = value.abs().minimum(most) if self.exact else value.abs()
        sizes = side.concat((change.abs().minimum(most), value), axis=axis)
        return sizes if self.features == 1 else side.reshape(sizes.permute(0, 1, 3, 2), 0, 0, 2 * self.features)

    def _usual_most(self, times: float) -> Tensor:
        """What one change is in training, at most, as it is broadcast to (T, B, n), or (T, B, F, n)."""
        return (self.usual * times).reshape(-1, 1) if self.features > 1 else self.usual * times

    def _limited(self, less: Value, changes: Value, unit: Value) -> Value:
        """Recent changes, single values less the latest and those of wide windows, each as far as it is looked at.

        Side by side, (T, B, n); of more than one feature (T, B, F, n). `less` and `changes` are in units if `local`.
        """
        side, axis, first = of(less), 2 if self.features == 1 else 3, self.recent + 1
        parts = [changes]
        if not self.local:
            most = (unit * MOST_CHANGE).maximum(self._usual_most(1.5))
            parts = [changes.minimum(most).maximum(-most)]
        if self._singles:
            single = _of_axis(less, first, first + self._singles, axis)
            one, two, three = (side.take(less, torch.tensor(places), axis=axis) for places in self._others)
            least, most = one.minimum(two).minimum(three), one.maximum(two).maximum(three)
            room = ROOM if self.local else (unit * ROOM).maximum(self._usual_most(1.0))
            parts.append(single.minimum(most + room).maximum(least - room))
        if self._windowed:
            wide = _of_axis(less, first + self._singles, first + self._singles + self._windowed, axis)
            most = torch.full((1,), MOST_WIDE) if self.local else (unit * MOST_WIDE).maximum(self._usual_most(1.0))
            parts.append(wide.minimum(most).maximum(-most))
        return side.concat(parts, axis=axis) if len(parts) > 1 else parts[0]

    def _less(self, values: Value) -> tuple[Value, Value, Value]:
        """The values less the latest; the change, and the latest."""
        axis = 2 if self.features == 1 else 3
        moved = values @ self._pair
        change, latest = (_of_axis(moved, place, place + 1, axis) for place in range(2))
        return values - latest, change, latest

    def _exact_less(self, values: Value) -> tuple[Value, Value, Value]:
        """The same of pairs (T, B, 2F, lags)."""
        axis = 2 if self.features == 1 else 3
        newest = _of_axis(values, self.recent, self.recent + 1, 3)
        high, low = (values - newest).split([self.features, self.features], dim=2)
        less, latest = high + low, newest[:, :, 0 : self.features]
        if self.features == 1:
            less, latest = less.squeeze(2), latest.squeeze(2)
        before = _of_axis(less, self.recent - 1, self.recent, axis)
        return less, -before, latest.clamp(-Z_LIMIT, Z_LIMIT)

    def _gathered(self, stored: Value, whole: Value, width: int) -> tuple[Value, Value]:
        """The values at every lag of every step, and the history kept (B, L*C)."""
        side = of(stored)
        seen = side.concat((whole, side.reshape(stored.permute(1, 0, 2), 0, -1)), axis=1)  # (B, width + T*C)
        kept = seen[:, -self.carried * self.stored :]
        order = side.steps(stored)  # (T,)
        places = width - self.lags[:, None] * self.stored  # (lags, 1)
        if self.stored > 1:
            order = order * self.stored
            places = (places + torch.arange(self.stored))[..., None]  # (lags, C, 1)
        gathered = side.take(seen, order + places, axis=1)  # (B, lags, T)
        return gathered.permute(*((2, 0, 1) if self.stored == 1 else (3, 0, 2, 1))), kept


def _of_axis(x: Value, first: int, end: int, axis: int) -> Value:
    """A piece of one axis."""
    return x[(*[slice(None)] * axis, slice(first, end))]


def _linear_map(recent: int, single: int, windows: Sequence[Sequence[int]], *, local: bool) -> Tensor:
    """The columns as a product of recent changes, single values and those of windows; the level's only if `local`."""
    total = recent + single + sum(map(len, windows))
    rows = torch.eye(total)
    columns = [rows[k] for k in range(recent + single)]
    first = recent + single
    for window in windows:
        columns.append(rows[first : first + len(window)].sum(dim=0) / len(window))
        first += len(window)
    shares = (1 - SMOOTHING) ** torch.arange(recent, -1, -1, dtype=torch.float64)
    # How far a recent value is from the latest is what came between them.
    before = (shares / shares.sum()).cumsum(dim=0)[:-1].float()
    columns.append(-(before @ rows[:recent]))
    if local:
        columns.append(rows[:recent].sum(dim=0))
    return torch.stack(columns, dim=1)


def _season_of(lag: int, seasons: Sequence[int], neighbours: int) -> int:
    """The season around which so many steps before the next, or one further ahead, a value is looked at."""
    near = (season for season in seasons if abs(season - 1 - lag) <= neighbours)
    return next(near, next((season for season in seasons if lag < season), max(seasons)))


def _around(seasons: Sequence[int], neighbours: int, step: int, recent: int) -> set[int]:
    """The lags of values around some whole seasons before that so many steps ahead, beyond the `recent` ones."""
    lags = {-step % season - j for season in seasons for j in range(-neighbours, neighbours + 1)}
    return {lag for lag in lags if lag > recent}


def _wide_windows(season: int) -> list[list[int]]:
    """The lags under each of the three windows of a wide season."""
    half, apart = season // 24, season // 36
    middles = (season - 1 + apart, season - 1, season - 1 - apart)
    return [list(range(middle - half, middle + half + 1)) for middle in middles]
