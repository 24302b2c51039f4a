"""The values of seasons before that further steps look at, each no further off than others say of it.

One wrong value would else be forecast to come again a season later, whatever it was. So a value a season before is
moved to between

    min(o, n) - w    and    max(o, n) + w,

where n is the middle one of the five values around it, itself among them, o the value of one more season before (or of
one later, where that is not carried), and w some units of the series. What came twice at its place in the season is
looked at whole, so what recurs is forecast the third time; and a shift of the level is no single value.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from streamlstm.nn import OnnxOperations
from streamlstm.training.blending.ahead import MOST_SEASON, Ahead, Part, simple_parts

Float64 = NDArray[np.float64]
Sym = Any  # a symbol of the graph: `streamlstm.nn.symbols.Symbol`

AROUND = 5  # values whose middle one is held against the one in their middle; odd
MOST_ALONE = 5.0  # w above, in the universal model's scale of the series


@dataclass(frozen=True)
class Place:
    """A value that is looked at: how far behind the latest it is, and behind the one it is looked at from."""

    back: int
    seen_from: int  # how far behind the latest that is


@dataclass(frozen=True)
class SeasonsBefore:
    """Which values are looked at for the steps after the next, from the latest value and from some before it."""

    ahead: Ahead
    judged: tuple[int, ...] = ()  # steps for which they were looked at so many steps before

    @property
    def further(self) -> int:
        """How many steps there are after the next."""
        return len(self.ahead.shares)

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """All that are looked at, in a fixed order; none without a season."""
        looks = [(step, 0) for step in range(2, self.further + 2)] + [(step, step) for step in self.judged]
        found = {
            Place(back + seen_from, seen_from)
            for step, seen_from in looks
            for part in simple_parts(self.ahead.season, step)
            for _, back in part
            if back
        }
        return tuple(sorted(found, key=lambda place: (place.seen_from, place.back)))

    @cached_property
    def around(self) -> tuple[tuple[int, ...], ...]:
        """Of each place how far back the values around it are."""
        last = MOST_SEASON + 1 - AROUND
        starts = (min(max(place.seen_from, place.back - AROUND // 2), last) for place in self.places)
        return tuple(tuple(range(start, start + AROUND)) for start in starts)

    @cached_property
    def other(self) -> tuple[int, ...]:
        """Of each place how far back the value of another season is; where none is carried, a neighbour of it."""
        return tuple(self._other(place) for place in self.places)

    def _other(self, place: Place) -> int:
        season = self.ahead.season
        if place.back - season >= place.seen_from:
            return place.back - season
        return place.back + season if place.back + season <= MOST_SEASON else place.back - 1

    @cached_property
    def backs(self) -> tuple[int, ...]:
        """How far back all values are that are needed, each once."""
        needed = {place.back for place in self.places} | set(self.other)
        return tuple(sorted(needed.union(*self.around)))

    @property
    def kept(self) -> int:
        """How many changes are looked at."""
        return max((*self.backs, 1))

    def weights(self, part: Part, seen_from: int = 0) -> Float64:
        """What the limited values count in a part (places,), which is seen from so far behind the latest."""
        total = np.zeros(len(self.places))
        for weight, back in part:
            if back:
                total[self.places.index(Place(back + seen_from, seen_from))] += weight
        return total

    def shares(self) -> Float64:
        """The limited values times this are the simple parts' shares of the changes to further steps."""
        total = np.zeros((len(self.places), self.further))
        for number, shares in enumerate(self.ahead.shares):
            for share, part in zip(shares[2:], simple_parts(self.ahead.season, number + 2), strict=False):
                total[:, number] += share * self.weights(part)
        return total

    def nodes(self, side: OnnxOperations, changes: Sym, scale: Sym) -> Sym:
        """How far the limited values are from the latest, (B, places), by the latest changes and the scale (B, 1)."""
        backs = np.zeros((self.kept, len(self.backs)), np.float32)
        for column, back in enumerate(self.backs):
            backs[self.kept - back :, column] = -1.0
        path = changes[:, -self.kept :] @ torch.from_numpy(backs)
        at = {back: number for number, back in enumerate(self.backs)}

        def taken(places: Any) -> Sym:
            return side.take(path, torch.tensor([at[back] for back in places]), axis=1)

        count = len(self.places)
        around = side.reshape(taken([back for each in self.around for back in each]), -1, count, AROUND)
        middle, other = side.lowest(around, AROUND // 2 + 1, 2).squeeze(2), taken(self.other)
        room = scale * MOST_ALONE
        most, least = middle.maximum(other) + room, middle.node("Min", other) - room
        return taken([place.back for place in self.places]).node("Min", most).maximum(least)

    def limited(self, values: Float64, units: Float64) -> Float64:
        """The same after each of values (N,) in its unit (N,), (N, places); before the first there is that one."""
        now = np.arange(len(values))

        def taken(backs: Any) -> Float64:
            found: Float64 = values[np.maximum(now[:, None] - np.array(backs, int).reshape(1, -1), 0)] - values[:, None]
            return found

        around = taken(self.around).reshape(len(values), -1, AROUND)
        middle, other, room = np.median(around, axis=2), taken(self.other), units[:, None] * MOST_ALONE
        own = taken([place.back for place in self.places])
        cut: Float64 = np.clip(own, np.minimum(middle, other) - room, np.maximum(middle, other) + room)
        return cut

    def forecasts(self, values: Float64, units: Float64) -> Float64:
        """What each of the simple parts says of further steps after each of values (N,), (4, N, further)."""
        limited = self.limited(values, units)
        parts = [simple_parts(self.ahead.season, step) for step in range(2, self.further + 2)]
        said = [np.stack([values + limited @ self.weights(part) for part in of_step]) for of_step in parts]
        return np.stack(said, axis=2)
