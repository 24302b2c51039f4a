"""The nodes of the mean of ARIMAs in a blended model's step graph.

All members are stepped at once: what each looks at is linear in what they carry, so one product gives the changes over
a season of all, and another what is forecast, for as many steps as are asked for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamlstm.models import ARIMA, StateEntry
from streamlstm.nn import OnnxOperations
from streamlstm.training.blending.arima import (
    ALIKE,
    MOST_ALONE,
    MOST_CHANGE,
    MOST_ERROR,
    Arima,
    further_changes,
    least_seasonal,
)
from streamlstm.training.blending.arimas import Arimas, seasons_of
from streamlstm.training.forecaster.scaling import EXPONENT_LIMIT, RAW_LIMIT

Float64 = NDArray[np.float64]
Sym = Any  # a symbol of the graph: `streamlstm.nn.symbols.Symbol`

MOST_SEEN = 1e9  # of a change a season before, by what more is carried; its fourth power is finite
MOST_PICKED = 64  # numbers picked by a product, whose matrix is as wide squared
LARGEST = 1e30  # of what the ARIMAs look at, so that no difference is infinite


def arimas_state(arimas: Arimas | None) -> tuple[StateEntry, ...]:
    """What they carry; nothing of none.

    The changes of each group, Theta times the errors of each member with a season, and of each member the latest error,
    the change over its season, and what was forecast of the next.
    """
    if arimas is None:
        return ()
    count = len(arimas.members)
    sizes = {"changes": sum(_kept(arimas)), "seasonal": sum(_held(arimas))}
    sizes |= {"errors": count, "moved": count, "said": count}
    return tuple(StateEntry(name=f"{ARIMA}.{name}", shape=(size,)) for name, size in sizes.items() if size)


def _kept(arimas: Arimas) -> list[int]:
    """How many changes of each group are looked at."""
    return [max(1, *(one.season for one in group)) for group in arimas.groups]


def _held(arimas: Arimas) -> list[int]:
    """How many errors of each member are looked at a season later."""
    return [one.lag if one.season else 0 for one in arimas.members]


class ArimaNodes:
    """The nodes of `Arimas.further`, a step."""

    def __init__(self, side: OnnxOperations, arimas: Arimas, steps: int) -> None:
        """`steps` ahead are forecast, one at least."""
        self.side, self.arimas, self.steps = side, arimas, steps
        self._groups, self._members = arimas.groups, arimas.members
        self._seasonal = [place for place, held in enumerate(_held(arimas)) if held]  # members with a season

    def __call__(
        self, value: Sym, moved: Sym, count: Sym, instead: Sym, state: list[Sym]
    ) -> tuple[Sym, Sym | None, list[Sym]]:
        """The change that is forecast (B, 1), after `moved` to a value with `count` before it; and the state.

        It is `instead` while there are too few values. Between them changes from the value to those from the second
        ahead on, (B, steps - 1), if there are such.
        """
        side, groups = self.side, self._groups
        changes, *seasonal, _, before, said = state
        lags = torch.tensor([float(one.lag) for one in self._members])
        full = (count - (lags - 1.0)).clamp(0.0, 1.0)
        latest = side.concat([self._moved(group, value, moved, count) for group in groups], axis=1)
        everything = side.concat([changes, latest], axis=1)
        over = self._bounded(everything @ self._over(), MOST_CHANGE) * full
        wrong = self._bounded(over - said, MOST_ERROR) * full
        everything = side.concat([changes, self._carried(changes, latest)], axis=1)
        if seasonal:
            # What a season later knows of the error is that of what is carried.
            kept = self._bounded(everything @ self._over(), MOST_CHANGE) * full
            errors = self._counting(self._bounded(kept - said, MOST_ERROR) * full, count)
            seasonal = [self._shifted(side.concat([*seasonal, errors], axis=1), self._errors())]
        changes = self._shifted(everything, _kept(self.arimas))
        ahead = side.concat([changes, *seasonal, wrong, before, over], axis=1) @ self._ahead()
        said, *means = ahead.split([len(self._members), *[self.steps] * len(groups)], dim=1)
        first, *others = (self._of_group(*pair, value) for pair in zip(groups, means, strict=True))
        total = sum(others, first).clamp(-RAW_LIMIT, RAW_LIMIT)
        first, *further = total.split([1, self.steps - 1], dim=1) if self.steps > 1 else [total]
        first = side.where(self.full(count) > 0.5, first, instead)
        return first, further[0] if further else None, [changes, *seasonal, wrong, over, said]

    def _carried(self, changes: Sym, latest: Sym) -> Sym:
        """What is carried of the latest changes (B, groups) after those before (`carried_changes`)."""
        ends = np.cumsum(_kept(self.arimas))
        seasons = [(group, season) for group, members in enumerate(self._groups) for season in seasons_of(members)]
        if not seasons:
            return latest
        at = torch.tensor([int(ends[group]) - season for group, season in seasons])
        picks = torch.zeros(len(seasons), len(ends))
        for row, (group, _) in enumerate(seasons):
            picks[row, group] = ALIKE**0.5
        before = self.side.take(changes, at, axis=1).clamp(-MOST_SEEN, MOST_SEEN)
        squares = (before * before) @ picks
        most = (squares * squares + MOST_ALONE).clamp(max=LARGEST)
        return latest.node("Min", most).maximum(-most)

    def _of_group(self, group: tuple[Arima, ...], mean: Sym, value: Sym) -> Sym:
        """What a group adds to the changes that are forecast (B, steps), of the mean of its members'."""
        if group[0].log:
            mean = value.maximum(group[0].floor) * mean.clamp(-EXPONENT_LIMIT, EXPONENT_LIMIT).exp() - value
        return mean * self.arimas.weight(group) if len(self._groups) > 1 else mean

    def full(self, count: Sym) -> Sym:
        """1 where there are enough values before the one that has so many before it (B, 1), else 0."""
        return (count - (self.arimas.lag - 1.0)).clamp(0.0, 1.0)

    def _moved(self, group: tuple[Arima, ...], value: Sym, moved: Sym, count: Sym) -> Sym:
        """The latest change of values, or of their logarithms, in units (B, 1)."""
        if group[0].log:
            former = (value - moved).maximum(group[0].floor)
            moved = _log(value.maximum(group[0].floor) / former)
        return (moved / group[0].unit).clamp(-LARGEST, LARGEST) * count.clamp(max=1.0)

    def _bounded(self, x: Sym, most: float) -> Sym:
        """Cut to so many standard deviations of each member's errors."""
        bound = torch.tensor([most * one.spread for one in self._members])
        return x.maximum(-bound).node("Min", bound)

    def _counting(self, wrong: Sym, count: Sym) -> Sym:
        """The errors of the members with a season, times Theta: (B, how many)."""
        members = [self._members[place] for place in self._seasonal]
        picked = torch.eye(len(self._members))[:, self._seasonal].contiguous()
        seasons, lags, thetas = (
            torch.tensor(numbers, dtype=torch.float32)
            for numbers in zip(*((one.season, one.lag, one.numbers[3]) for one in members), strict=True)
        )
        seen = (count - lags).clamp(min=0.0) / seasons
        return (wrong @ picked) * least_seasonal(seen).maximum(thetas)

    def _shifted(self, x: Sym, sizes: list[int]) -> Sym:
        """Rows of so many numbers each without their first, and with the new ones, which stand behind them all."""
        ends = np.cumsum(sizes)
        places = [
            place
            for number, (end, size) in enumerate(zip(ends, sizes, strict=True))
            for place in (*range(int(end) - size + 1, int(end)), int(ends[-1]) + number)
        ]
        if len(sizes) == 1:
            return x[:, 1:]
        if len(places) > MOST_PICKED:
            return self.side.take(x, torch.tensor(places), axis=1)
        # A product with ones and zeros has the bits of what it takes, and takes less time than Gather does.
        return x @ torch.eye(len(places) + len(sizes))[:, places].contiguous()

    def _errors(self) -> list[int]:
        return [held for held in _held(self.arimas) if held]

    def _over(self) -> Tensor:
        """The changes and the new ones times this are the changes over the season of each member."""
        kept = _kept(self.arimas)
        rows, starts = sum(kept) + len(kept), np.cumsum([0, *kept])
        columns = np.zeros((rows, len(self._members)))
        for column, one in enumerate(self._members):
            group = self._group(one.log)
            columns[sum(kept) + group, column] = 1.0
            if one.season:
                columns[starts[group + 1] - one.season, column] = -1.0
        return torch.from_numpy(columns).float()

    def _ahead(self) -> Tensor:
        """What is carried times this: the next change over its season of each member, and the means of each group."""
        kept, held, members = _kept(self.arimas), _held(self.arimas), self._members
        changes, errors = np.cumsum([0, *kept]), sum(kept) + np.cumsum([0, *held])
        rest = int(errors[-1])  # the latest errors, the changes over a season before, and the latest
        count = len(members)
        result = np.zeros((rest + 3 * count, count + len(kept) * self.steps))
        for number, one in enumerate(members):
            group = self._group(one.log)
            own, further = max(1, one.season), further_changes(one, self.steps)
            places = [
                *range(changes[group + 1] - own, changes[group + 1]),
                *range(errors[number], errors[number + 1]),
                *(rest + number + count * part for part in range(3)),
            ]
            result[places, number] = further[:, 0]
            if one.season:
                result[places[0], number] -= 1.0  # the change a season before, which is none of a season
            first = count + group * self.steps
            result[places, first : first + self.steps] += self.arimas.share(one) * one.unit * further
        return torch.from_numpy(result).float()

    def _group(self, log: bool) -> int:
        return [group[0].log for group in self._groups].index(log)


def _log(x: Sym) -> Sym:
    """The logarithm of (B, 1)."""
    return x.unsqueeze(0).log().squeeze(0)
