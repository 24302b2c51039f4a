"""Missing values that are answered without a step (`--missing skip`): by the prediction before them, once more."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.kernels_python import Layout, chosen_extras
from streamlstm.engine.schedule import Items
from streamlstm.engine.schedule_python import RESET, SKIPPED
from streamlstm.engine.series_cache import NO_SLOT
from streamlstm.models import join
from streamlstm.store.record import RecordFormat, Rows, intervals_around

Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]  # float32, or float64 where numbers are pairs
Float64 = NDArray[np.float64]


class Skipped(NamedTuple):
    """The skipped values of a batch, and what their series' records say before it is stepped."""

    items: Index  # (k,)
    y: Floats  # (k, columns) the predictions of the records
    known: Mask  # (k,) whether there is one, and not from before too long a silence

    @classmethod
    def of(
        cls, items: Items, rows: Rows, record_format: RecordFormat, layout: Layout, constants: Float64, idle_ms: int
    ) -> Skipped | None:
        """Look at the records of a batch that is about to be stepped; None if nothing of it is skipped."""
        if items.marks is None:
            return None
        at = np.flatnonzero((items.marks & SKIPPED) > 0)
        if not len(at):
            return None
        before = rows.take(items.slots[at], axis=0)
        header, output = record_format.header(before), record_format.last_output(before)
        y: Floats = join(output) if layout.exact else output
        if layout.calibration_at:
            around = layout.scored.forecast(output)
            ends = intervals_around(record_format.calibration(before), around, constants, exact=layout.exact)
            extras = np.concatenate([ends, np.full((len(at), 4), np.nan)], axis=1)
            extras = chosen_extras(extras, layout.interval, layout.score, layout.against)
            y = np.concatenate([y, extras.astype(y.dtype)], axis=1)
        known = (header["steps"] > 0) & (items.times_ms[at] - header["time_ms"] <= idle_ms)
        return cls(at, y, known)

    def answer(self, items: Items, y: Floats, alive: Mask, layout: Layout, idle_ms: int) -> Index:
        """Write the answers to skipped values into y (n, columns); returns the items that nothing stands in for.

        `alive` (n,) says which items were stepped and answered: of those the last one before a value answers it, else
        its series' record. A reset lets neither through, and neither does a silence that was too long.
        """
        past = _Past.of(items, alive)
        before, has_one, is_reset = past.before[self.items], past.before[self.items] >= 0, past.is_reset[self.items]
        recent = items.times_ms[self.items] - items.times_ms[before] <= idle_ms
        by_batch = has_one & recent & (past.epoch[self.items] == past.epoch[before])
        by_record = ~has_one & ~is_reset & self.known
        y[self.items[by_batch]] = y[before[by_batch]]
        if layout.score:
            y[self.items[by_batch], layout.told - 1 :] = np.nan
        y[self.items[by_record]] = self.y[by_record]
        known = by_batch | by_record
        alive[self.items[known]] = True
        unknown: Index = self.items[~known]
        return unknown


class _Past(NamedTuple):
    """What came before each item (n,) of a series in the batch."""

    before: Index  # the last item that is alive; -1 if none is
    epoch: Index  # how many resets of the series or of all
    is_reset: Mask  # whether any

    @classmethod
    def of(cls, items: Items, alive: Mask) -> _Past:
        marks, slots = items.marks, items.slots
        assert marks is not None, "there are skipped items"
        count = np.arange(len(slots))
        reset = (marks & RESET) > 0
        of_all = np.cumsum(reset & (slots == NO_SLOT))
        order = np.argsort(slots, kind="stable")
        begins = np.ones(len(order), bool)
        begins[1:] = slots[order][1:] != slots[order][:-1]
        first = np.maximum.accumulate(np.where(begins, count, 0))
        last = np.maximum.accumulate(np.where(alive[order], count, -1))
        own = np.cumsum(reset[order] & (slots[order] != NO_SLOT))
        own -= (own - (reset[order] & (slots[order] != NO_SLOT)))[first]
        stream = np.searchsorted(items.offsets, count, side="right") - 1
        earlier = np.concatenate([[0], of_all])[items.offsets[stream]]
        before, epoch = np.empty(len(slots), np.int64), np.empty(len(slots), np.int64)
        before[order] = np.where(last >= first, order[last], -1)
        epoch[order] = own
        epoch += of_all - earlier
        return cls(before, epoch, epoch > 0)
