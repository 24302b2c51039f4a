"""Which values of a batch are stepped together, and in which order.

A *segment* is a run of values of one series that can be stepped in one call. What stands in for a missing value is
known only once the step before it is done, and so is what a series does after a silence: such a value begins a new
segment. A reset makes what follows independent of what was before: the values between two resets are a *chain*, and the
chains of a series are stepped beside each other as if they were series. Segments of the same ordinal in their chain
(their *level*) are independent of each other. Nearly all of any input is plain: a segment for each series, one level.

The segments of a level are cut into *tiles*, small enough that their states stay in the processor's cache, and those
into exact rectangles of T steps of B series, one call of the model each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.kernels import lay_out
from streamlstm.engine.schedule_python import FRESH, LAST
from streamlstm.engine.sorted_items import Work
from streamlstm.store.record import Rows

Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
Marks = NDArray[np.uint8]
Float32 = NDArray[np.float32]

_NONE = np.empty(0, np.int64)


class Items(NamedTuple):
    """The items of a batch through all its streams."""

    offsets: Index  # (streams + 1,) where each stream's items begin
    slots: Index  # (n,)
    values: Float32  # (n, F)
    times_ms: Index  # (n,)
    marks: Marks | None  # (n,) what each has out of the ordinary: see `schedule_python.lay_out`; None if nothing is

    @classmethod
    def of(cls, works: Sequence[Work], *, skip: bool) -> Items:
        """The works' items, one stream after the other; to `skip` is to answer missing values without a step."""
        marks = [work.marks(skip=skip) for work in works]
        if len(works) == 1:
            work, parsed = works[0], works[0].parsed
            offsets = np.array([0, len(work.slots)], np.int64)
            return cls(offsets, work.slots, parsed.values, parsed.item_times_ms, marks[0])
        some = any(mark is not None for mark in marks)
        pairs = zip(works, marks, strict=True)
        whole = [np.zeros(len(work.slots), np.uint8) if mark is None else mark for work, mark in pairs] if some else []
        return cls(
            offsets=np.cumsum([0, *(len(work.slots) for work in works)]),
            slots=np.concatenate([work.slots for work in works]),
            values=np.concatenate([work.parsed.values for work in works]),
            times_ms=np.concatenate([work.parsed.item_times_ms for work in works]),
            marks=np.concatenate(whole) if some else None,
        )

    def take(self, chosen: Index) -> Items:
        """Those that are chosen (n,), by index; the offsets stay those of all."""
        marks = None if self.marks is None else self.marks.take(chosen)
        values, times_ms = self.values.take(chosen, axis=0), self.times_ms.take(chosen)
        return Items(self.offsets, self.slots.take(chosen), values, times_ms, marks)


class Segments(NamedTuple):
    """Segments of one level, the longest first."""

    items: Index  # of the whole schedule
    place: Index  # (s,) where each one's begin among them
    length: Index  # (s,)
    row: Index  # (s,) where the record is that each goes on from
    stream: Index  # (s,) number of the stream

    def take(self, chosen: Index | Mask | slice) -> Segments:
        return Segments(self.items, self.place[chosen], self.length[chosen], self.row[chosen], self.stream[chosen])

    def tiles(self, most: int) -> Iterator[Segments]:
        """All of them, at most so many at a time."""
        if len(self.row) <= most:
            if len(self.row):
                yield self
            return
        for first in range(0, len(self.row), most):
            yield self.take(slice(first, first + most))

    def halves(self) -> tuple[Segments, Segments]:
        """The first and the second half of each, of segments with more than one value."""
        first = (self.length + 1) // 2
        return self._replace(length=first), self._replace(place=self.place + first, length=self.length - first)

    def first_items(self) -> Index:
        """The first item of each, (s,)."""
        first: Index = self.items[self.place]
        return first


class Chains(NamedTuple):
    """Series that are not plain, chain by chain."""

    slot: Index  # (c,) of the series
    stream: Index  # (c,)
    flags: Index  # (c,) FRESH, LAST or both
    segments: Segments  # whose rows are chains, by level
    level: Index  # (s,) of each segment
    goes_on: Index | None = None  # (c,) number of the record it goes on from; -1 if that is its series' own, or fresh
    records: Rows | None = None  # (r, words) of those (`engine.restarts`)

    def runs(self, most: int) -> Iterator[Chains]:
        """All of them, in runs of at most so many chains, which can be worked on one after the other."""
        if len(self.slot) <= most:
            yield self
            return
        for first in range(0, len(self.slot), most):
            cut = slice(first, first + most)
            chosen = (self.segments.row >= first) & (self.segments.row < first + most)
            segments = self.segments.take(chosen)
            segments = segments._replace(row=segments.row - first)
            goes_on = None if self.goes_on is None else self.goes_on[cut]
            own = (self.slot[cut], self.stream[cut], self.flags[cut])
            yield Chains(*own, segments, self.level[chosen], goes_on, self.records)

    def levels(self) -> Iterator[Segments]:
        """The segments, level by level."""
        ends = [*(np.flatnonzero(np.diff(self.level)) + 1).tolist(), len(self.level)]
        for first, end in zip([0, *ends[:-1]], ends, strict=True):
            yield self.segments.take(slice(first, end))

    def rows(self, rows: Rows, fresh: Rows) -> Rows:
        """The records (c, words) they go on from: copies of the series' own, or a fresh one after a reset."""
        made = rows.take(self.slot, axis=0)
        made[self.begins_anew] = fresh
        if self.goes_on is not None and self.records is not None:
            chosen = self.goes_on >= 0
            made[chosen] = self.records[self.goes_on[chosen]]
        return made

    def of_items(self) -> Index:
        """The chain of each item, in the order of the segments' places: (items,)."""
        order = np.argsort(self.segments.place)
        return np.repeat(self.segments.row[order], self.segments.length[order])

    @property
    def begins_anew(self) -> Mask:
        """Which ones begin after a reset without a record, (c,)."""
        fresh: Mask = (self.flags & FRESH) > 0
        return fresh if self.goes_on is None else fresh & (self.goes_on < 0)

    @property
    def last(self) -> Mask:
        """Which ones are the last of their series, (c,)."""
        return (self.flags & LAST) > 0


class Schedule(NamedTuple):
    """What is stepped of a batch."""

    plain: Segments  # one for each plain series, whose rows are slots
    others: Chains | None
    reset: Index  # slots of series with a reset behind all their values
    reset_stream: Index

    @classmethod
    def of(cls, items: Items, scratch: NDArray[np.int32]) -> Schedule:
        """Lay out the items of a batch; `scratch` is for `lay_out`."""
        if len(items.slots) == 1 and items.marks is None and items.slots[0] >= 0:  # as live streams mostly have
            return cls(_ONE_VALUE._replace(row=items.slots), None, _NONE, _NONE)
        laid = lay_out(items.slots, items.marks, scratch, items.offsets)
        plain = Segments(*laid[:5])
        if items.marks is None:
            return cls(plain, None, _NONE, _NONE)
        place, length, chain, level, slot, stream, flags, reset, reset_stream = laid[5:]
        segments = Segments(plain.items, place, length, chain, stream[chain])
        return cls(plain, Chains(slot, stream, flags, segments, level) if len(slot) else None, reset, reset_stream)

    def laid_out(self) -> tuple[Segments, Chains | None]:
        """What is stepped of items that stand in its order (`plain.items`)."""
        items, others = np.arange(len(self.plain.items)), self.others
        if others is not None:
            others = others._replace(segments=others.segments._replace(items=items))
        return self.plain._replace(items=items), others

    @property
    def plain_items(self) -> int:
        """How many items are of plain series; they come first."""
        return len(self.plain.items) - (0 if self.others is None else int(self.others.segments.length.sum()))


_ONE_VALUE = Segments(*(np.array([number], np.int64) for number in (0, 0, 1, 0, 0)))
