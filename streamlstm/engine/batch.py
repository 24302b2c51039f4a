"""The values of a batch while they are stepped, and what came of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.rejection import Flaw
from streamlstm.engine.schedule import Items
from streamlstm.engine.schedule_python import MISSING

Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
Float32 = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]  # float32, or float64 where numbers are pairs
Float64 = NDArray[np.float64]


@dataclass(slots=True)
class Batch:
    """The values of a batch, and what came of them. Items are numbered through all streams.

    While they are stepped they stand in the schedule's order: what a series reads and writes lies side by side.
    """

    items: Items
    values: Float32  # (n, F) as the model is fed: what stands in for missing ones is written here
    y: Floats  # (n, columns) predictions; meaningless for items that have none
    tally: Float64  # (streams, TALLY_COLUMNS)
    refused: list[int] = field(default_factory=list)  # items without an answer
    without_past: list[int] = field(default_factory=list)  # of these the missing ones
    rejected: dict[int, Flaw] = field(default_factory=dict)  # of these the others, and why
    counted: list[int] = field(default_factory=list)  # of these the ones that their series' record counts
    anew: list[int] = field(
        default_factory=list
    )  # items that a series began anew with, as it had had too many of those

    def is_missing(self, items: Index) -> Mask | None:
        """Which of some items (n,) were missing, (n,); None if none of the batch was out of the ordinary."""
        return None if self.items.marks is None else (self.items.marks[items] & MISSING) > 0

    def number_back(self, order: Index, count: int) -> None:
        """Have all stand by the numbers of the `count` items again, which stood in their order (m,) in the schedule.

        Items that are not in it have anything for a prediction.
        """
        said = np.empty((count, self.y.shape[1]), self.y.dtype)
        whole = f"V{said.itemsize * said.shape[1]}"  # a prediction as one thing: half the time of one with columns
        said.view(whole).reshape(-1)[order] = self.y.view(whole).reshape(-1)
        self.y = said
        for items in (self.refused, self.without_past, self.counted, self.anew):
            items[:] = order[items].tolist()
        self.rejected = {int(order[item]): flaw for item, flaw in self.rejected.items()}
