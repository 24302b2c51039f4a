"""`lay_out` in numpy: which items of a batch are stepped together, in the words of `engine.schedule`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlstm.store.resp import hold

Index = NDArray[np.int64]

# What is said of an item: a command; a value to be stood in for, one after a silence, one answered without a step.
RESET, MISSING, GAP, SKIPPED = 1, 2, 4, 8
FRESH, LAST = 1, 2  # of a chain: whether it begins after a reset, and whether none follows


def lay_out(
    slots: Index, marks: NDArray[np.uint8] | None, scratch: NDArray[np.int32], offsets: Index
) -> tuple[Index, ...]:
    """Sort items by series: (items, place, count, slot, stream), the last four by group, the longest first.

    Items of slot -1 are left out, and so are those that are SKIPPED. Items (m,) stand in the order of their group and
    then of arrival; a group's begin at its place. Groups of a length stand in order of arrival. `offsets`
    (streams + 1,) says where each stream's items begin; a slot belongs to one stream. `scratch` (slots,) may hold
    anything, and is -1 afterwards for the slots that occurred; the compiled twin notes them there.

    With `marks` (n,) only plain series are groups, those without a RESET, also of all series (then its slot is -1), and
    without a value that is MISSING or follows a GAP. The others' values are cut into *chains*, at resets, and those
    into *segments*, which begin with the values marked. Nine more columns follow: (place, count, chain, level) of
    segments by level, which is how many of the chain come before, the longest first; (slot, stream, flags) of chains;
    and (slot, stream) of series with a reset behind all their values.
    """
    hold("slots", slots, np.int64, 1)
    hold("scratch", scratch, np.int32, 1, writable=True)
    hold("offsets", offsets, np.int64, 1)
    if marks is not None:
        hold("marks", marks, np.uint8, 1)
    cut = len(offsets) > 1 and offsets[0] == 0 and offsets[-1] == len(slots) and (offsets[:-1] <= offsets[1:]).all()
    if not cut or (marks is not None and len(marks) != len(slots)):
        raise ValueError("offsets and marks do not fit the items")
    if len(slots) and slots.max() >= len(scratch):
        raise ValueError("a slot lies beyond the rows")
    scratch[slots[slots >= 0]] = -1
    stream = np.searchsorted(offsets, np.arange(len(slots)), side="right") - 1
    pairs = np.unique(np.stack([slots, stream])[:, slots >= 0], axis=1)
    if len(np.unique(pairs[0])) < pairs.shape[1]:
        raise ValueError("a slot is of two streams")
    if marks is None:
        return _groups(slots, np.flatnonzero(slots >= 0), offsets)
    reset = (marks & RESET) > 0
    of_all = np.unique(stream[reset & (slots < 0)])
    odd = (slots >= 0) & (((marks & (RESET | MISSING | GAP)) > 0) | np.isin(stream, of_all))
    plain = (slots >= 0) & ~np.isin(slots, slots[odd])
    stepped = plain & ((marks & SKIPPED) == 0)
    items, *groups = _groups(slots, np.flatnonzero(stepped), offsets)
    others = np.flatnonzero(((slots >= 0) & ~plain) | (reset & (slots < 0)))
    more, *columns = _segments(slots, marks, stream, others, len(items))
    return (np.concatenate([items, more]), *groups, *columns)


def _groups(slots: Index, chosen: Index, offsets: Index) -> tuple[Index, ...]:
    """The chosen items by series; a series came when its first item did, chosen or not."""
    found, group, count = np.unique(slots[chosen], return_inverse=True, return_counts=True)
    came = np.unique(slots, return_index=True)
    first = came[1][np.searchsorted(came[0], found)]
    order = np.lexsort((first, -count))
    rank = np.argsort(order)
    items = chosen[np.argsort(rank[group], kind="stable")]
    place = np.cumsum(count[order]) - count[order]
    stream = np.searchsorted(offsets, first[order], side="right") - 1
    return items, place, count[order], found[order], stream


def _segments(
    slots: Index, marks: NDArray[np.uint8], stream: Index, others: Index, place: int
) -> tuple[NDArray[np.int64], ...]:
    """Items of series that are not plain, and resets of all of them: the items by series, then the nine columns."""
    of_series: dict[int, list[int]] = {}
    for item in others.tolist():
        if slots[item] >= 0:
            of_series.setdefault(int(slots[item]), []).append(item)
    of_all = [item for item in others.tolist() if slots[item] < 0]
    for items in of_series.values():
        items += [item for item in of_all if stream[item] == stream[items[0]]]
    laid, segments, chains, reset = list[int](), list[list[int]](), list[list[int]](), list[tuple[int, int]]()
    first_items = list[int]()
    for slot, items in of_series.items():
        chain, level, is_reset = -1, -1, False
        for item in sorted(items):
            is_reset = is_reset or bool(marks[item] & RESET)
            if slots[item] < 0 or marks[item] & (RESET | SKIPPED):
                continue
            begins = chain < 0 or is_reset
            if begins:
                chain, level = len(chains), -1
                chains.append([slot, int(stream[item]), FRESH if is_reset else 0])
                first_items.append(item)
                is_reset = False
            if begins or marks[item] & (MISSING | GAP):
                level += 1
                segments.append([place + len(laid), 0, chain, level, item])
            segments[-1][1] += 1
            laid.append(item)
        if is_reset:
            reset.append((slot, int(stream[items[0]])))
        elif chain >= 0:
            chains[chain][2] |= LAST
    arrival = np.argsort(first_items)
    number = np.argsort(arrival)
    segments.sort(key=lambda segment: (segment[3], -segment[1], segment[4]))
    columns = np.array([segment[:4] for segment in segments], np.int64).reshape(-1, 4).T
    columns[2] = number[columns[2]] if len(chains) else columns[2]
    kinds = np.array(chains, np.int64).reshape(-1, 3)[arrival.astype(np.int64)].T
    return (
        np.array(laid, np.int64),
        *map(np.ascontiguousarray, columns),
        *map(np.ascontiguousarray, kinds),
        *np.array(reset, np.int64).reshape(-1, 2).T.copy(),
    )
