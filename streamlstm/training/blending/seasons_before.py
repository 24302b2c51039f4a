"""The values of seasons before that further steps look at, each no further off than others say of it.

One wrong value would else be forecast to come again a season later, whatever it was. So a value a season before is
moved to between

    min(p, n, o) - w    and    max(p, n, o) + w,

where p and n are the values two steps before and after it, o that of one more season before (or of one later, where
that is not carried), and w some units of the series. What came twice at its place in the season is looked at whole, so
what recurs is forecast the third time; and a shift of the level is no single value.
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

APART = 2  # steps that the values around one are away from it: also of two wrong ones in a row none is beside itself
MOST_ALONE = 5.0  # w above, in the universal model's scale of the series
FARTHEST = 1e38  # from the latest, that a value is: without end it would be no number wherever it has no weight


@dataclass(frozen=True)
class SeasonValue:
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
    def places(self) -> tuple[SeasonValue, ...]:
        """All that are looked at, in a fixed order; none without a season."""
        looks = [(step, 0) for step in range(2, self.further + 2)] + [(step, step) for step in self.judged]
        found = {
            SeasonValue(back + seen_from, seen_from)
            for step, seen_from in looks
            for part in simple_parts(self.ahead.season, step)
            for _, back in part
            if back
        }
        return tuple(sorted(found, key=lambda value: (value.seen_from, value.back)))

    @cached_property
    def others(self) -> tuple[tuple[int, ...], ...]:
        """How far back the values are that each is held against: of all those before, those after, other seasons'."""
        later = tuple(map(_after, self.places))
        steps = tuple(value.back + APART for value in self.places)
        earlier = tuple(step if step <= MOST_SEASON else near for step, near in zip(steps, later, strict=True))
        return earlier, later, tuple(self._other_season(value) for value in self.places)

    def _other_season(self, value: SeasonValue) -> int:
        """How far back that of another season is; where none is carried, a neighbour's."""
        season = self.ahead.season
        if value.back - season >= value.seen_from:
            return value.back - season
        return value.back + season if value.back + season <= MOST_SEASON else _after(value)

    @cached_property
    def backs(self) -> tuple[int, ...]:
        """How far back all values are that are needed, each once."""
        return tuple(sorted({value.back for value in self.places}.union(*self.others)))

    @property
    def kept(self) -> int:
        """How many changes are looked at."""
        return max((*self.backs, 1))

    def weights(self, part: Part, seen_from: int = 0) -> Float64:
        """What the limited values count in a part (places,), which is seen from so far behind the latest."""
        total = np.zeros(len(self.places))
        for weight, back in part:
            if back:
                total[self.places.index(SeasonValue(back + seen_from, seen_from))] += weight
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
        path = (changes[:, -self.kept :] @ torch.from_numpy(backs)).clamp(-FARTHEST, FARTHEST)
        at = {back: number for number, back in enumerate(self.backs)}
        every = [value.back for value in self.places] + [back for others in self.others for back in others]
        taken = side.take(path, torch.tensor([at[back] for back in every]), axis=1)
        own, *others = taken.split([len(self.places)] * 4, dim=1)
        room = scale * MOST_ALONE
        least, most = (others[0].node(kind, *others[1:]) for kind in ("Min", "Max"))
        return own.node("Min", most + room).maximum(least - room)

    def limited(self, values: Float64, units: Float64) -> Float64:
        """The same after each of values (N,) in its unit (N,), (N, places); before the first there is that one."""
        now = np.arange(len(values))

        def taken(backs: Any) -> Float64:
            found: Float64 = values[np.maximum(now[:, None] - np.array(backs, int).reshape(1, -1), 0)] - values[:, None]
            return found

        others, room = np.stack([taken(backs) for backs in self.others]), units[:, None] * MOST_ALONE
        own = taken([value.back for value in self.places])
        cut: Float64 = np.clip(own, others.min(axis=0) - room, others.max(axis=0) + room)
        return cut

    def forecasts(self, values: Float64, units: Float64) -> Float64:
        """What each of the simple parts says of further steps after each of values (N,), (4, N, further)."""
        limited = self.limited(values, units)
        parts = [simple_parts(self.ahead.season, step) for step in range(2, self.further + 2)]
        said = [np.stack([values + limited @ self.weights(part) for part in of_step]) for of_step in parts]
        return np.stack(said, axis=2)


def _after(value: SeasonValue) -> int:
    """How far back the value after it is that it is held against; at most the one it is looked at from."""
    return max(value.back - APART, value.seen_from)
