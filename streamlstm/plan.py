"""The plan of one batch: which items are stepped, for which series, and in which order, over all its streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm import flaw
from streamlstm.arena import NO_SLOT
from streamlstm.batch import ALL_SERIES, RESET, Parsed, name_error, order_by_series
from streamlstm.flaw import Flaw
from streamlstm.stepping import Sequence as ValueSequence

Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
Float32 = NDArray[np.float32]

NO_PAST = Flaw(flaw.NO_PAST, "missing, and the series has no prediction yet that could stand in for it")


class Unknown(NamedTuple):
    """Series of a stream's items that are not in memory, each once."""

    beginners: list[bytes]  # with a value to begin with; in order of arrival, so that a limit bites the same ones
    others: list[bytes]  # that are served, or reset, only if there is a record; without one they are no series
    reset: list[int]  # slots of series that are in memory and reset

    @classmethod
    def of(cls, parsed: Parsed, find: Callable[[bytes], int]) -> Unknown:
        """Look through the items; `find` gives the slot of a series. A series cannot begin with a missing value."""
        items = np.flatnonzero(parsed.slots == NO_SLOT)
        names = parsed.names.take(items)
        beginners = dict.fromkeys(names)
        if parsed.plain and RESET not in beginners:
            return cls([name for name in beginners if name_error(name) is None], [], [])
        missing = set(np.flatnonzero(np.isnan(parsed.values).any(axis=1)).tolist())
        beginners, others, reset = {}, dict[bytes, None](), list[int]()
        for item, name in zip(items.tolist(), names, strict=True):
            if name == RESET:
                text = parsed.texts[item]
                if (slot := find(text)) != NO_SLOT:
                    reset.append(slot)
                elif text != ALL_SERIES:
                    others[text] = None
            elif item not in parsed.wrong:
                (others if item in missing else beginners)[name] = None
        found = [name for name in beginners if name_error(name) is None]
        return cls(found, [name for name in others if name not in beginners and name_error(name) is None], reset)


@dataclass
class Work:
    """One stream's items, sorted out: values by slot, resets, and dead letters with their reason."""

    parsed: Parsed
    slots: Index  # (n,) the series' slot; NO_SLOT for what is not stepped
    dead: dict[int, Flaw] = field(default_factory=dict)
    resets: list[int] = field(default_factory=list)  # items that reset one series; `slots` has which
    resets_all: list[int] = field(default_factory=list)  # items that reset every series
    removed: set[bytes] = field(default_factory=set)  # series reset without being in memory
    gaps: Mask | None = None  # (n,) items that may come after too long a silence of their series; None if none do

    @classmethod
    def of(cls, parsed: Parsed, find: Callable[[bytes], int], max_series: int, refused: Sequence[int] = ()) -> Work:
        """Sort out the items of a stream; `find` gives the slot of a series that was not in memory when it was read.

        `refused` are items that would begin a series where the stream has `max_series` of them.
        """
        work = cls(parsed, parsed.slots)
        if parsed.plain and work.slots.min(initial=0) > NO_SLOT:
            return work
        for item in np.flatnonzero(work.slots == NO_SLOT).tolist():
            work.slots[item] = find(parsed.names[item])
        for item in np.flatnonzero(work.slots == NO_SLOT).tolist():
            if parsed.names[item] == RESET:
                work._take_reset(item, find)
            else:
                work.dead[item] = work._unnamed(item) or work._unadmitted(item)
        for item, found_flaw in parsed.wrong.items():
            if item not in work.dead and parsed.names[item] != RESET:
                work.dead[item] = found_flaw
                work.slots[item] = NO_SLOT
        if refused:
            limit = f"too many series: the stream has reached its limit of {max_series} (--max-series)"
            work.dead.update(dict.fromkeys(refused, Flaw(flaw.TOO_MANY_SERIES, limit)))
            work.slots[refused] = NO_SLOT
        return work

    def plain(self) -> NDArray[np.uint8] | None:
        """Which items (n,) are plain values, that is numbers all of them; None if all are."""
        if self.parsed.plain and not self.resets and not self.resets_all and self.gaps is None:
            return None
        if self.resets_all:  # every series has one
            return np.zeros(len(self.slots), np.uint8)
        mark = (~self.parsed.odd).astype(np.uint8)
        mark[self.resets] = 0
        if self.gaps is not None:
            mark[self.gaps] = 0
        return mark

    def first(self, entries: int) -> Work:
        """The same of the first entries."""
        parsed = self.parsed.first(entries)
        items = parsed.items
        others = np.flatnonzero(self.slots[:items] == NO_SLOT).tolist() if self.removed else ()
        return Work(
            parsed,
            self.slots[:items],
            {item: found for item, found in self.dead.items() if item < items},
            [item for item in self.resets if item < items],
            [item for item in self.resets_all if item < items],
            {parsed.texts[item] for item in others if parsed.names[item] == RESET} & self.removed,
            None if self.gaps is None else self.gaps[:items],
        )

    def without(self, items: Index) -> Work:
        """The same with some items taken out, which were stepped already."""
        slots = self.slots.copy()
        slots[items] = NO_SLOT
        return replace(self, slots=slots)

    def _unnamed(self, item: int) -> Flaw | None:
        """Why an item names no series, if it does not; what stands for others of its entry has no name at all."""
        found = self.parsed.wrong.get(item)
        return (
            found if found is not None and found.kind == flaw.TOO_MANY_VALUES else name_error(self.parsed.names[item])
        )

    def _unadmitted(self, item: int) -> Flaw:
        """Why a series that has no row cannot begin with an item, unless it was refused."""
        return self.parsed.wrong.get(item, NO_PAST)

    def _take_reset(self, item: int, find: Callable[[bytes], int]) -> None:
        name = self.parsed.texts[item]
        if name == ALL_SERIES:
            self.resets_all.append(item)
        elif found := name_error(name):
            self.dead[item] = Flaw(found.kind, f"!reset names no series: {found.text}")
        elif (slot := find(name)) != NO_SLOT:
            self.slots[item] = slot
            self.resets.append(item)
        else:
            self.removed.add(name)


@dataclass
class Plan:
    """All streams' values in series order. Items are numbered through all streams; a group is one series."""

    offsets: Index  # (streams + 1,) where each stream's items begin
    slots: Index  # (g,) slot of each group
    stream: Index  # (g,) number of each group's stream
    resets: Index  # (g,) resets of each group in the batch
    items: Index  # (m,) the values to step
    sequence: ValueSequence  # the same values

    @classmethod
    def of(cls, works: Sequence[Work]) -> Plan:
        """Lay out the works of a batch."""
        offsets = np.concatenate([[0], np.cumsum([len(work.slots) for work in works])]).astype(np.int64)
        slots = np.concatenate([work.slots for work in works])
        is_reset = np.zeros(len(slots), bool)
        for work, offset in zip(works, offsets.tolist(), strict=False):
            is_reset[[offset + item for item in work.resets]] = True
        order = order_by_series(slots, np.flatnonzero(slots != NO_SLOT))
        resets_all = np.concatenate([np.searchsorted(work.resets_all, np.arange(len(work.slots))) for work in works])
        totals_all = np.array([len(work.resets_all) for work in works], np.int64)
        stream = np.searchsorted(offsets, order.items[order.first], side="right") - 1

        counted = np.cumsum(is_reset[order.items])
        before_group = counted[order.first] - is_reset[order.items[order.first]]
        epoch = counted - before_group[order.group] + resets_all[order.items]
        resets = counted[order.last] - before_group + totals_all[stream]
        value = ~is_reset[order.items]
        return cls(
            offsets=offsets,
            slots=slots[order.items[order.first]],
            stream=stream,
            resets=resets,
            items=order.items[value],
            sequence=_sequence(works, order.items[value], order.group[value], epoch[value]),
        )

    def take_missing(self) -> Skipped:
        """Take out all missing values, to be answered without a step (policy `skip`)."""
        missing = self.sequence.missing
        skipped = Skipped(
            items=self.items[missing],
            group=self.sequence.group[missing],
            epoch=self.sequence.epoch[missing],
            before=np.cumsum(~missing, dtype=np.int64)[missing],
            times_ms=self.sequence.times_ms[missing],
        )
        self._keep(~missing)
        return skipped

    def _keep(self, mask: Mask) -> None:
        old = self.sequence
        self.items = self.items[mask]
        self.sequence = ValueSequence(
            values=old.values[mask],
            times_ms=old.times_ms[mask],
            group=old.group[mask],
            epoch=old.epoch[mask],
            missing=old.missing[mask],
        )


@dataclass(frozen=True)
class Skipped:
    """Missing values that are not stepped but answered with the prediction before them."""

    items: Index
    group: Index
    epoch: Index
    before: Index  # how many values that are stepped come before each, in series order
    times_ms: Index

    def repeat(self, sequence: ValueSequence, y: Float32, kept: Index, last_output: Float32, idle_ms: int) -> Repeated:
        """Their answers: of the batch's accepted values `kept` the last one before each, else the record's (g, O).

        A value that came longer than `idle_ms` before is nobody's past.
        """
        answer = last_output[self.group]
        at = np.searchsorted(kept, self.before) - 1
        known = at >= 0
        at = kept[at[known]]
        same = (sequence.group[at] == self.group[known]) & (sequence.epoch[at] == self.epoch[known])
        same &= self.times_ms[known] - sequence.times_ms[at] <= idle_ms
        known[known] = same
        answer[known] = y[at[same]]
        return Repeated(y=answer, known=known)

    def after(self, sequence: ValueSequence, kept: Index, epoch: Index) -> Skipped:
        """The same where values of the sequence have other epochs (m,): each has as many more as the one before it."""
        at = np.searchsorted(kept, self.before) - 1
        follows = np.flatnonzero(at >= 0)
        before = kept[at[follows]]
        same = sequence.group[before] == self.group[follows]
        moved = self.epoch.copy()
        moved[follows[same]] += (epoch - sequence.epoch)[before[same]]
        return replace(self, epoch=moved)


class Repeated(NamedTuple):
    """Answers (n, O) to skipped values, and which of them are the batch's own."""

    y: Float32
    known: Mask


def _sequence(works: Sequence[Work], items: Index, group: Index, epoch: Index) -> ValueSequence:
    values = np.concatenate([work.parsed.values for work in works])[items]
    times = np.concatenate([work.parsed.item_times_ms for work in works])[items]
    missing = np.isnan(values).any(axis=1)
    return ValueSequence(values=values, times_ms=times, group=group, epoch=epoch, missing=missing)
