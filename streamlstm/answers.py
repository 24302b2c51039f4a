"""What the two ways through a batch gave, together, and of one stream alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.flaw import Flaw
from streamlstm.mixed import Mixed
from streamlstm.plain import Stepped

Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]  # float32, or float64 where numbers are pairs
Float64 = NDArray[np.float64]

_NONE = np.empty(0, np.int64)


class Answers(NamedTuple):
    """What both ways gave together; items are numbered through all streams."""

    y: Floats  # (n, columns)
    alive: Mask | None  # (n,) whether the item has a prediction; None if all have
    slots: Index  # (g,) series whose record is to be stored
    stream: Index  # (g,)
    last_item: Index  # (g,)
    gone: Index  # (r,) slots of series whose record is to be removed
    gone_stream: Index  # (r,)
    without_past: Index  # items
    rejected: dict[int, Flaw]  # items that the model had no answer to
    anew: Index  # items that a series began anew with
    tally: Float64  # (streams, TALLY_COLUMNS)

    @classmethod
    def of(cls, plain: Stepped, mixed: Mixed | None) -> Answers:
        """Those of the plain way, and of the mixed one where anything was left for it."""
        if mixed is None:
            return cls(plain.y, None, *plain[2:5], _NONE, _NONE, _NONE, {}, _NONE, plain.tally)
        alive = np.zeros(len(plain.y), bool)
        alive[plain.items] = alive[mixed.items] = True
        plain.y[mixed.items] = mixed.y
        return cls(
            plain.y,
            alive,
            slots=np.concatenate([plain.slots, mixed.slots]),
            stream=np.concatenate([plain.stream, mixed.stream]),
            last_item=np.concatenate([plain.last_item, mixed.last_item]),
            gone=mixed.gone,
            gone_stream=mixed.gone_stream,
            without_past=mixed.without_past,
            rejected=mixed.rejected,
            anew=mixed.anew,
            tally=plain.tally,
        )

    def of_stream(self, number: int, first: int, last: int) -> Answers:
        """Those of one stream, its items numbered from 0."""
        mine = np.flatnonzero(self.stream == number)
        without_past, anew = (
            items[(items >= first) & (items < last)] - first if len(items) else items
            for items in (self.without_past, self.anew)
        )
        return self._replace(
            y=self.y[first:last],
            alive=None if self.alive is None else self.alive[first:last],
            slots=self.slots[mine],
            last_item=self.last_item[mine] - first,
            gone=self.gone[self.gone_stream == number] if len(self.gone) else self.gone,
            without_past=without_past,
            rejected={item - first: flaw for item, flaw in self.rejected.items() if first <= item < last},
            anew=anew,
        )
