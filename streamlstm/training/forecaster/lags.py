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

All columns are linear in what is looked at: in the graph they are one product with a constant, and what is looked at,
and what it is held against, are one product with the values gathered, each of which is gathered once. So there are few
nodes, which is what a value alone costs, most of all those that cut a tensor or join some. In batches what costs is
each value that is gathered, and operators on tensors of unlike shapes, where onnxruntime goes through the rows one by
one: so numbers of a row are spread over its columns by a product.

An `exact` buffer holds pairs of float32 (`models.pairs`), whose differences are taken part by part: the high parts'
is exact, so a counter is seen as well after a billion steps as after the first, at twice the history.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

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
SMALLEST = float(torch.finfo(torch.float32).tiny)
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


class Gathered(NamedTuple):
    """What is seen in the values at the lags, not limited; all (T, B, n), of several features (T, B, F, n)."""

    changes: tuple[
        Value | None, Value | None, Value | None
    ]  # the recent ones: the older half, an odd one, the newer half
    change: Value  # the latest
    latest: Value
    median: Value  # less the latest value
    size: Value  # of values, positive
    single: Value | None
    others: list[Value]  # what single values are held against
    wide: Value | None  # those of wide windows, less the latest value


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
        narrow = self._set_lags(single, [lag for window in windows for lag in window])
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
        self._sizes, self._picked = self._set_picked(narrow, single)
        self._map = _linear_map(recent, len(single), windows, local=local, less=exact)
        self.register_buffer("mean", torch.zeros(self.size))
        self.register_buffer("std", torch.ones(self.size))
        self.register_buffer("usual", torch.zeros(features))  # one change in training, at most, or nearly so

    def _set_lags(self, single: list[int], wide: list[int]) -> list[int]:
        """Which values are gathered: the lags of all but those of wide windows, each once, are returned."""
        looked_at = (*range(self.recent + 1), *single)
        narrow = sorted({*looked_at, *(lag for lags in self._others(single) for lag in lags)})
        self.length: int = max(
            *looked_at, *wide
        )  # how many values before the latest there are once the history is full
        self.carried = max(*narrow, *wide)  # L: how many values before the latest are carried
        self.register_buffer("lags", torch.tensor([*narrow, *wide]), persistent=False)
        self._parts = len(narrow), len(wide)
        return narrow

    def _others(self, single: Sequence[int]) -> list[list[int]]:
        """The lags that single ones are held against: two steps before and after each, and one more season before."""
        earlier = [lag + _season_of(lag, self.seasons, self.neighbours) for lag in single]
        return [[lag + 2 for lag in single], [max(0, lag - 2) for lag in single], earlier]

    def _set_picked(self, lags: list[int], single: list[int]) -> tuple[list[int], Tensor]:
        """The product with the values at the lags that gives what `_seen` takes apart, and how wide its pieces are."""
        rows, recent, half = torch.eye(len(lags)), self.recent, self.recent // 2

        def at(places: Sequence[int]) -> Tensor:
            taken = rows[:, [lags.index(lag) for lag in places]]
            return taken - rows[:, :1] if self.exact else taken

        changes = rows[:, range(recent)].flip(1) - rows[:, range(1, recent + 1)].flip(1)
        pieces = [changes[:, :half], changes[:, half : recent - half], changes[:, recent - half :]]
        pieces += [rows[:, :1], changes[:, -1:], at([recent] if self.exact else [])]
        pieces += [at(range(self.median_size)), *(at(places) for places in (single, *self._others(single)))]
        return [piece.shape[1] for piece in pieces], torch.cat(pieces, dim=1)

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

    def forward(self, z: Value, state: Sequence[Value]) -> Lagged:
        """Step through z (T, B, F) from spread (1, B, F + 2), the first values (1, B, C) and history (B, L*C).

        With one number a value (C = 1), what is gathered is (T, B, lags), else (T, B, C, lags).
        """
        side, (spread, first, history) = of(z), state
        axis = 2 if self.features == 1 else 3
        high = z.float()
        stored = side.concat((high, (z - high.double()).float()), axis=2) if self.exact else z
        # onnxruntime's Where makes 0.0 of a -0.0 that the condition picks: once, not again at each call.
        first = side.where(first <= NOTHING / 3, stored[0:1], first)
        values, kept = self._gathered(stored, history)
        there = values > NOTHING / 3
        values = side.where(there, values, first if self.stored == 1 else first.unsqueeze(3))
        seen = self._seen(values)
        unit, counts, spread = self.spread(*self._moved(seen), spread)
        wide = unit if self.features == 1 else unit.unsqueeze(3)
        columns, median = self._limited(seen, wide) @ self._map, seen.median
        if self.local:
            columns, median = columns / wide, median / wide
        seasonal = tuple(_of_axis(columns, at, at + 1, axis) for at in self._season_before)
        columns = columns.clamp(-LOCAL_LIMIT, LOCAL_LIMIT) if self.local else columns
        change = seen.change
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

    def _seen(self, values: Value) -> Gathered:
        """What is seen in the values at the lags (T, B, lags), or (T, B, F, lags); of pairs (T, B, 2F, lags).

        Changes are taken between neighbours: beside a wrong one that is the latest, what all others lack to it is the
        same number.
        """
        side, axis = of(values), 2 if self.features == 1 else 3
        narrow, wide = _pieces(values, self._parts, 2 if self.stored == 1 else 3)
        seen = self._whole(narrow @ self._picked)
        first, odd, last, latest, change, over, recent, single, *others = _pieces(seen, self._sizes, axis)
        median = side.lowest(recent, self.median_size // 2 + 1, axis)
        if wide is not None:
            wide = self._whole(wide - narrow[:, :, :, 0:1]) if self.exact else wide - latest
        if self.exact:
            # A counter's own value has nothing to do with how much it moves: that over the recent ones stands for it.
            latest, size = latest.clamp(-Z_LIMIT, Z_LIMIT), over.abs()
        else:
            median, size = median - latest, median.abs()
        return Gathered((first, odd, last), change, latest, median, size, single, others, wide)

    def _whole(self, pairs: Value) -> Value:
        """The sums of pairs (T, B, 2F, n): (T, B, F, n), of one feature (T, B, n); what are no pairs as they are."""
        if not self.exact:
            return pairs
        high, low = pairs.split([self.features, self.features], dim=2)
        return (high + low).squeeze(2) if self.features == 1 else high + low

    def _moved(self, seen: Gathered) -> tuple[Value, Value]:
        """What the spread takes in, (T, B, F) each: the size of the latest change, cut, and that of values.

        Where most recent changes are nothing the change is not cut.
        """
        axis = 2 if self.features == 1 else 3
        first, _, last = seen.changes
        both = seen.change.abs() if first is None or last is None else first.abs().minimum(last.abs())
        high = both.amax(dim=axis, keepdim=True)
        # One over nothing is beyond all numbers, and so is the smallest number times it.
        most = _times(high, MOST_SPREAD).maximum(_times(high.reciprocal(), SMALLEST))
        most = most if self.local else self._at_least(most, 1.0)
        sizes = seen.change.abs().minimum(most), seen.size.minimum(most) if self.exact else seen.size
        return sizes if self.features == 1 else tuple(size.squeeze(3) for size in sizes)

    def _at_least(self, x: Value, usual: float) -> Value:
        """(T, B, n) or (T, B, F, n), but so many times what one change is in training, at most, if that is more."""
        if self.features > 1:
            return x.maximum((self.usual * usual).reshape(-1, 1))
        return x.clamp(min=float(self.usual) * usual)

    def _most(self, unit: Value, units: float, usual: float, width: int) -> Value:
        """So many units, or so many times what one change is in training if that is more, in so many columns."""
        most = _times(unit, units, width)
        return most if self.local else self._at_least(most, usual)

    def _limited(self, seen: Gathered, unit: Value) -> Value:
        """Changes, the latest value, single values and those of wide windows, each as far as it is looked at.

        Side by side, (T, B, n); of more than one feature (T, B, F, n).
        """
        changes, single, wide = list(seen.changes), seen.single, seen.wide
        if not self.local:
            widths = self._sizes[: len(changes)]
            bounds = {width: self._most(unit, MOST_CHANGE, 1.5, width) for width in widths if width}
            changes = [_between(*pair) for pair in zip(changes, map(bounds.get, widths), strict=True)]
        if single is not None:
            least, most = of(single).ends(seen.others)
            room = self._most(unit, ROOM, 1.0, self._sizes[-1])
            single = single.minimum(most + room).maximum(least - room)
        if wide is not None:
            wide = _between(wide, self._most(unit, MOST_WIDE, 1.0, self._parts[1]))
        parts = [part for part in (*changes, seen.latest, single, wide) if part is not None]
        return of(unit).concat(parts, axis=2 if self.features == 1 else 3)

    def _gathered(self, stored: Value, history: Value) -> tuple[Value, Value]:
        """The values at every lag of every step, and the history kept (B, L*C)."""
        side = of(stored)
        seen = side.concat((history, side.reshape(stored.permute(1, 0, 2), 0, -1)), axis=1)  # (B, (L + T) * C)
        kept = seen[:, -self.carried * self.stored :]
        order = side.steps(stored)  # (T,)
        places = (self.carried - self.lags[:, None]) * self.stored  # (lags, 1)
        if self.stored > 1:
            order = order * self.stored
            places = (places + torch.arange(self.stored))[..., None]  # (lags, C, 1)
        gathered = side.take(seen, order + places, axis=1)  # (B, lags, T)
        return gathered.permute(*((2, 0, 1) if self.stored == 1 else (3, 0, 2, 1))), kept


def _of_axis(x: Value, first: int, end: int, axis: int) -> Value:
    """A piece of one axis."""
    return x[(*[slice(None)] * axis, slice(first, end))]


def _between(x: Value | None, most: Value) -> Value | None:
    """No more than that, and no less than its negative; nothing of nothing."""
    return None if x is None else x.minimum(most).maximum(-most)


def _times(x: Value, number: float, width: int = 1) -> Value:
    """(…, 1) times a number, in so many columns: as a product, which in onnxruntime takes less time than Mul does."""
    return x @ torch.full((1, width), number)


def _pieces(x: Value, sizes: Sequence[int], axis: int) -> list[Any]:
    """The pieces of these sizes of an axis; None for one of nothing."""
    there = [size for size in sizes if size]
    pieces = iter(x.split(there, dim=axis) if len(there) > 1 else [x])
    return [next(pieces) if size else None for size in sizes]


def _linear_map(recent: int, single: int, windows: Sequence[Sequence[int]], *, local: bool, less: bool) -> Tensor:
    """The columns as a product of what is looked at (`_limited`); `less` if single values are less the latest there."""
    total = recent + 1 + single + sum(map(len, windows))
    rows = torch.eye(total)
    latest, first = rows[recent], recent + 1
    columns = [rows[k] for k in range(recent)]
    columns += [rows[first + k] - (0.0 if less else latest) for k in range(single)]
    first += single
    for window in windows:
        columns.append(rows[first : first + len(window)].sum(dim=0) / len(window))
        first += len(window)
    shares = (1 - SMOOTHING) ** torch.arange(recent, -1, -1, dtype=torch.float64)
    # How far a recent value is from the latest is what came between them.
    before = (shares / shares.sum()).cumsum(dim=0)[:-1].float()
    columns.append(-(before @ rows[:recent]))
    columns.append(rows[:recent].sum(dim=0) if local else latest)
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
