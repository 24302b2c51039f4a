"""What came of a batch: which values have an answer, which records are to be stored or removed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.batch import Batch
from streamlstm.engine.rejection import Flaw
from streamlstm.engine.schedule import Chains, Schedule

Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]  # float32, or float64 where numbers are pairs
Float64 = NDArray[np.float64]


class Answers(NamedTuple):
    """Of a batch; items are numbered through all streams."""

    y: Floats  # (n, columns)
    alive: Mask | None  # (n,) whether the item has a prediction; None if all have
    slots: Index  # (g,) series whose record is to be stored
    stream: Index  # (g,)
    item: Index  # (g,) one of each
    gone: Index  # (r,) slots of series whose record is to be removed
    gone_stream: Index  # (r,)
    without_past: Index  # items that are missing, of series with nothing to stand in for them
    rejected: dict[int, Flaw]  # items that the model had no answer to
    anew: Index  # items that a series began anew with
    tally: Float64  # (streams, TALLY_COLUMNS)

    @classmethod
    def of(cls, schedule: Schedule, batch: Batch) -> Answers:
        plain, count = schedule.plain, schedule.plain_items
        found = cls(
            batch.y,
            None,
            plain.row,
            plain.stream,
            plain.first_items(),  # in order of arrival where lengths are the same: names are found one after the other
            schedule.reset,
            schedule.reset_stream,
            np.array(batch.without_past, np.int64),
            batch.rejected,
            np.array(batch.anew, np.int64),
            batch.tally,
        )
        if len(plain.items) == len(batch.y) and schedule.others is None and not batch.refused:
            return found
        alive = np.zeros(len(batch.y), bool)
        alive[plain.items] = True
        alive[batch.refused] = False
        stored = alive.copy()
        stored[batch.counted] = True
        if batch.refused and len(plain.row):
            written = np.logical_or.reduceat(stored[plain.items[:count]], plain.place)
            found = found._replace(slots=plain.row[written], stream=plain.stream[written], item=found.item[written])
        found = found._replace(alive=alive)
        return found if schedule.others is None else found._with_chains(schedule.others, plain.items[count:], stored)

    def _with_chains(self, chains: Chains, items: Index, stored: Mask) -> Answers:
        """The same with the records of series that are not plain, whose items are these."""
        chain = chains.of_items()
        item = np.zeros(len(chains.slot), np.int64)
        item[chain] = items
        changed = np.bincount(chain, stored[items], len(chains.slot)) > 0
        written, gone = chains.last & changed, chains.last & chains.begins_anew & ~changed
        return self._replace(
            slots=np.concatenate([self.slots, chains.slot[written]]),
            stream=np.concatenate([self.stream, chains.stream[written]]),
            item=np.concatenate([self.item, item[written]]),
            gone=np.concatenate([self.gone, chains.slot[gone]]),
            gone_stream=np.concatenate([self.gone_stream, chains.stream[gone]]),
        )

    def without(self, warm: Mask) -> tuple[Answers, int]:
        """The same without the predictions of items (n,) that are not to be answered; and how many those are."""
        assert self.alive is not None, "the command itself is no value"
        unanswered = self.alive & warm
        return self._replace(alive=self.alive & ~warm), int(np.count_nonzero(unanswered))

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
            item=self.item[mine] - first,
            gone=self.gone[self.gone_stream == number] if len(self.gone) else self.gone,
            without_past=without_past,
            rejected={item - first: flaw for item, flaw in self.rejected.items() if first <= item < last},
            anew=anew,
        )
