"""The plain way's inner parts in numpy: the functions of the compiled `streamlstm._carry`, for where there is none.

It says what the compiled ones must do; the tests hold the two against each other. See `streamlstm.plain` for the words.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.record import HEADER
from streamlstm.scoring import add_scores, take_scores

Index = NDArray[np.int64]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


class Layout(NamedTuple):
    """Where things stand in a row: sizes in elements, places in bytes; target and feature are -1 and 0 for none."""

    each: int  # bytes of a row
    outputs: int
    features: int
    state_size: int
    output_at: int
    value_at: int
    state_at: int
    target: int  # output that forecasts the scored feature
    feature: int


def lay_out(
    slots: Index, plain: NDArray[np.uint8] | None, scratch: NDArray[np.int32], offsets: Index
) -> tuple[Index, Index, Index, Index, Index]:
    """Sort items by series: (items, place, count, slot, stream), the last four by group, the longest first.

    Items of slot -1 are left out, and so is every series with an item that is not plain (n,). Items (m,) stand in the
    order of their group and then of arrival; a group's begin at its place. Groups of a length stand in order of
    arrival. `offsets` (streams + 1,) says where each stream's items begin; a slot belongs to one stream. `scratch` is
    -1 for every slot, before and after.
    """
    if len(slots) and slots.max() >= len(scratch):
        raise ValueError("a slot lies beyond the rows")
    chosen = np.flatnonzero(slots >= 0)
    found, first, group, count = np.unique(slots[chosen], return_index=True, return_inverse=True, return_counts=True)
    good = np.ones(len(found), bool)
    if plain is not None:
        good[group[plain[chosen] == 0]] = False
    order = np.lexsort((first, -count))
    order = order[good[order]]
    rank = np.full(len(found), len(order))
    rank[order] = np.arange(len(order))
    by_rank = np.argsort(rank[group], kind="stable")
    items = chosen[by_rank][: int(count[order].sum())]
    place = np.cumsum(count[order]) - count[order]
    stream = np.searchsorted(offsets, chosen[first[order]], side="right") - 1
    return items, place, count[order], found[order], stream


def take_parts(rows: Float32, each: int, place: int, size: int, slots: Index, out: Float32) -> None:
    """Copy `size` bytes at `place` of each slot's row of `each` bytes."""
    assert rows.itemsize * rows.shape[1] == each
    out[:] = rows[slots, place // 4 : (place + size) // 4]


def take_steps(source: NDArray, size: int, items: Index, places: Index, first: int, steps: int, out: NDArray) -> None:  # type: ignore[type-arg]
    """Copy what the items of steps first, first + 1, … of each group have in source (n, …): out is (T, B, …)."""
    assert source.itemsize * int(np.prod(source.shape[1:])) == size
    out[:] = source[items[places + first + np.arange(steps)[:, None]]].reshape(out.shape)


def all_finite(numbers: Float32) -> bool:
    """Whether all numbers are finite."""
    return bool(np.isfinite(numbers).all())


def absorb(
    rows: Float32,
    layout: tuple[int, ...],
    edges: Float64,
    items: Index,
    places: Index,
    slots: Index,
    streams: Index,
    first: int,
    steps: int,
    ends: int,
    values: Float32,
    times_ms: Index,
    outputs: Float32,
    state: Float32,
    y: Float32,
    tally: Float64,
) -> None:
    """Take the answers to a rectangle, outputs (T, B, O) and state (B, D), into the rows of its groups (B,).

    Scores each prediction by the value that follows; notes time, steps, last prediction and value; puts the states of
    groups from `ends` on, which have no steps after these; writes the predictions to their items in y (n, O).
    """
    lay = Layout(*layout)
    at = items[places + first + np.arange(steps)[:, None]]  # (T, B)
    part = rows[slots]
    header = np.ndarray(shape=(len(part),), dtype=HEADER, buffer=part, strides=(lay.each,))
    last_output = part[:, lay.output_at // 4 : lay.output_at // 4 + lay.outputs]
    last_value = part[:, lay.value_at // 4 : lay.value_at // 4 + lay.features]
    if lay.target >= 0:
        x = values[at, lay.feature].astype(np.float64)
        before = np.concatenate([last_value[None, :, lay.feature], x[:-1]])
        predicted = np.concatenate([last_output[None, :, lay.target], outputs[:-1, :, lay.target]])
        labelled = np.ones(x.shape, bool)
        labelled[0] = header["steps"] > 0
        chosen = labelled.T.ravel()  # by group, then by step
        group = np.repeat(np.arange(len(part)), steps)[chosen]
        error, naive_error = ((x - other).T.ravel()[chosen] for other in (predicted, before))
        scaled = add_scores(header, group, error, naive_error)
        take_scores(tally, streams[group], error, naive_error, scaled, edges)
    y[at] = outputs
    last_output[:], last_value[:] = outputs[-1], values[at[-1]]
    header["steps"] += np.uint64(steps)
    header["time_ms"] = times_ms[at[-1]]
    part[ends:, lay.state_at // 4 : lay.state_at // 4 + lay.state_size] = state[ends:]
    rows[slots] = part
