"""Series that go on from another record in the midst of a batch, as a value of theirs was corrected there.

To the schedule it is a reset: what follows is a chain of its own, which does not wait for what was before, but it
begins with the record it is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.schedule import Schedule
from streamlstm.engine.series_cache import Arena
from streamlstm.engine.sorted_items import Work
from streamlstm.store.record import RecordFormat, Rows

Index = NDArray[np.int64]


class Restarts(NamedTuple):
    """Those of a batch, by slot and then by item."""

    slots: Index  # (r,) of the series
    items: Index  # (r,) from which on
    rows: Rows  # (r, words) the records
    anew: NDArray[np.bool_]  # (r,) whether it has none, and begins anew

    @classmethod
    def of(cls, works: Sequence[Work], offsets: Index, record_format: RecordFormat) -> Restarts | None:
        """Look through works, whose items begin at the offsets; None if there are none."""
        found = sorted(
            (int(work.slots[item]), int(first) + item, work.parsed.restarts[item][1])
            for work, first in zip(works, offsets[:-1], strict=True)
            for item in work.restarts
        )
        if not found:
            return None
        slots, items, records = zip(*found, strict=True)
        fresh = record_format.fresh
        rows = np.stack([fresh if one is None else np.frombuffer(one, np.float32) for one in records])
        return cls(np.array(slots), np.array(items), rows, np.array([one is None for one in records]))

    def schedule(self, schedule: Schedule) -> Schedule:
        """The same with the records in it: chains begin with them, and who has one is not removed."""
        last = self._before(schedule.reset, np.full(len(schedule.reset), self._most))
        gone = (last < 0) | self.anew[last]
        made = schedule._replace(reset=schedule.reset[gone], reset_stream=schedule.reset_stream[gone])
        chains = schedule.others
        if chains is None:
            return made
        begins = chains.segments.take(chains.level == 0)
        first = np.zeros(len(chains.slot), np.int64)
        first[begins.row] = begins.first_items()
        found = np.where(chains.begins_anew, self._before(chains.slot, first), -1)
        found[found >= 0] = np.where(self.anew[found[found >= 0]], -1, found[found >= 0])
        return made._replace(others=chains._replace(goes_on=found, records=self.rows))

    def finish(self, schedule: Schedule, arena: Arena) -> None:
        """Put the records of series in place that had no value behind them, of what `schedule` was given."""
        last = self._before(schedule.reset, np.full(len(schedule.reset), self._most))
        chosen = (last >= 0) & ~self.anew[last]
        arena.scatter(schedule.reset[chosen], self.rows[last[chosen]])
        arena.give_up_copies(self.slots)

    @property
    def _most(self) -> int:
        """An item behind all of them."""
        return int(self.items.max()) + 1

    def _before(self, slots: Index, items: Index) -> Index:
        """The last of a slot before an item, of each; -1 where there is none."""
        size = max(self._most, int(items.max(initial=0))) + 1
        at = np.searchsorted(self.slots * size + self.items, slots * size + items) - 1
        found: Index = np.where((at >= 0) & (self.slots[at] == slots), at, -1)
        return found
