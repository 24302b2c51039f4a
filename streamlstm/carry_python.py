"""The plain way's inner parts in numpy: the functions of the compiled `streamlstm._carry`, for where there is none.

It says what the compiled ones must do; the tests hold the two against each other. See `streamlstm.plain` for the words.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlstm.arrays import hold, hold_numbers
from streamlstm.calibration import CALIBRATION, LABELLED
from streamlstm.calibration import calibrate as calibrate  # noqa: PLC0414  (one of the twin's functions)
from streamlstm.carry_demands import (
    FOUND_COLUMNS,
    hold_answer,
    hold_layout,
    hold_numbers_of,
    hold_part,
    hold_rectangle,
    hold_slots,
    hold_steps,
    steps_of,
)
from streamlstm.carry_demands import Layout as Layout  # noqa: PLC0414  (as `absorb` takes it)
from streamlstm.codec import SLOT, TIME
from streamlstm.pairs import join
from streamlstm.record import HEADER, count_on
from streamlstm.scoring import COVERED, GIVEN, add_scores, take_scores

Index = NDArray[np.int64]
Float32 = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]  # float32, or float64 where numbers are pairs
Float64 = NDArray[np.float64]


def lay_out(
    slots: Index, plain: NDArray[np.uint8] | None, scratch: NDArray[np.int32], offsets: Index
) -> tuple[Index, Index, Index, Index, Index]:
    """Sort items by series: (items, place, count, slot, stream), the last four by group, the longest first.

    Items of slot -1 are left out, and so is every series with an item that is not plain (n,). Items (m,) stand in the
    order of their group and then of arrival; a group's begin at its place. Groups of a length stand in order of
    arrival. `offsets` (streams + 1,) says where each stream's items begin; a slot belongs to one stream. `scratch`
    (slots,) may hold anything, and is -1 afterwards for the slots that occurred; the compiled twin notes them there.
    """
    hold("slots", slots, np.int64, 1)
    hold("scratch", scratch, np.int32, 1, writable=True)
    hold("offsets", offsets, np.int64, 1)
    if plain is not None:
        hold("plain", plain, np.uint8, 1)
    cut = len(offsets) > 1 and offsets[0] == 0 and offsets[-1] == len(slots) and (offsets[:-1] <= offsets[1:]).all()
    if not cut or (plain is not None and len(plain) != len(slots)):
        raise ValueError("offsets and marks do not fit the items")
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
    scratch[found] = -1
    return items, place, count[order], found[order], stream


def take_parts(rows: Float32, each: int, place: int, size: int, slots: Index, out: Float32) -> None:
    """Copy `size` bytes at `place` of each slot's row of `each` bytes."""
    hold("rows", rows, np.float32, 2)
    hold("slots", slots, np.int64, 1)
    hold("out", out, np.float32, writable=True)
    hold_part(rows, each, place, size)
    hold_slots(slots, rows)
    if out.shape != (len(slots), size // 4):
        raise ValueError("the parts do not fit the rows")
    out[:] = rows[slots, place // 4 : (place + size) // 4]


def take_steps(source: NDArray, size: int, items: Index, places: Index, first: int, steps: int, out: NDArray) -> None:  # type: ignore[type-arg]
    """Copy what the items of steps first, first + 1, … of each group have in source (n, …): out is (T, B, …)."""
    for name, array in (("source", source), ("out", out)):
        hold(name, array, np.int64 if getattr(array, "dtype", None) == np.int64 else np.float32, writable=name == "out")
    hold_numbers(size)
    hold_steps(items, places, first, steps, source)
    fits = source.dtype == out.dtype and out.shape == (steps, len(places), *source.shape[1:])
    if not fits or source.itemsize * math.prod(source.shape[1:]) != size:
        raise ValueError("the steps do not fit the items")
    out[:] = source[steps_of(items, places, first, steps)]


def all_finite(numbers: Float32) -> bool:
    """Whether all numbers are finite."""
    hold("numbers", numbers, np.float32)
    return bool(np.isfinite(numbers).all())


@np.errstate(over="ignore", invalid="ignore")
def absorb(
    rows: Float32,
    layout: tuple[int, ...],
    constants: Float64,
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
    y: Floats,
    tally: Float64,
) -> None:
    """Take the answers to a rectangle, outputs (T, B, O) and state (B, D), into the rows of its groups (B,).

    Scores each prediction by the value that follows; notes time, steps, last prediction and value; puts the states of
    groups from `ends` on, which have no steps after these; writes the predictions, and what calibration gives besides,
    to their items in y (n, columns).
    """
    lay = hold_layout(layout)
    hold_numbers_of(lay, rows, constants, edges, tally)
    hold_rectangle(rows, items, places, slots, streams, (first, steps, ends), times_ms, tally)
    hold_answer(lay, (steps, len(slots)), values, times_ms, outputs, state, y)
    outputs = outputs.reshape(steps, len(slots), lay.outputs)
    at = steps_of(items, places, first, steps)
    part = rows[slots]
    header = np.ndarray(shape=(len(part),), dtype=HEADER, buffer=part, strides=(lay.each,))
    last_output = part[:, lay.output_at // 4 : lay.output_at // 4 + lay.outputs]
    last_value = part[:, lay.value_at // 4 : lay.value_at // 4 + lay.features]
    if lay.target >= 0:
        scored = lay.scored
        x = scored.value(values[at])
        before = np.concatenate([scored.value(last_value[None]), x[:-1]])
        predicted = np.concatenate([scored.forecast(last_output[None]), scored.forecast(outputs[:-1])])
        labelled = np.ones(x.shape, bool)
        labelled[0] = header["steps"] > 0
        chosen = labelled.T.ravel()  # by group, then by step
        group = np.repeat(np.arange(len(part)), steps)[chosen]
        error, naive_error = ((x - other).T.ravel()[chosen] for other in (predicted, before))
        scaled = add_scores(header, group, error, naive_error)
        take_scores(tally, streams[group], error, naive_error, scaled, edges)
    said = join(outputs) if lay.exact else outputs
    y[at, : said.shape[-1]] = said
    if lay.calibration_at:
        x = lay.scored.value(values[at])
        y[at, said.shape[-1] :] = _calibrated(lay, part, constants, x, outputs, streams, tally)
    last_output[:], last_value[:] = outputs[-1], values[at[-1]]
    header["steps"] = count_on(header["steps"], steps)
    header["rejected"] = 0
    header["time_ms"] = times_ms[at[-1]]
    part[ends:, lay.state_at // 4 : lay.state_at // 4 + lay.state_size] = state[ends:]
    rows[slots] = part


def take_one(rows: Float32, each: int, place: int, found: Index, silence_ms: int, state: Float32) -> bool:
    """Copy the state of a single value's series, at `place` of its row of `each` bytes, to `state` (1, D).

    False, and nothing is copied, if the value comes after a longer silence of its series. `found` is what
    `codec_python.scan_single` found.
    """
    hold("rows", rows, np.float32, 2)
    hold("found", found, np.int64, 1)
    hold("state", state, np.float32, 2, writable=True)
    hold_numbers(silence_ms)
    if found.size != FOUND_COLUMNS or not 0 <= found[SLOT] < len(rows) or len(state) != 1 or place < HEADER.itemsize:
        raise ValueError("the row of a value does not hold its state")
    hold_part(rows, each, place, state.nbytes, what="the row of a value does not hold its state")
    time_ms, slot = int(found[TIME]), int(found[SLOT])
    header = np.ndarray(shape=(1,), dtype=HEADER, buffer=rows[slot], strides=(each,))[0]
    if header["steps"] and time_ms - int(header["time_ms"]) > silence_ms:
        return False
    state[0] = rows[slot, place // 4 : place // 4 + state.size]
    return True


def absorb_one(
    rows: Float32,
    layout: tuple[int, ...],
    constants: Float64,
    edges: Float64,
    found: Index,
    value: Float32,
    outputs: Float32,
    state: Float32,
    y: Floats,
    tally: Float64,
) -> bool:
    """`absorb` for a single value (1, F): the answer (1, 1, O) and the state (1, D) to its row and y (1, columns).

    False, and nothing is touched, if the answer is not finite.
    """
    hold("found", found, np.int64, 1)
    if found.size != FOUND_COLUMNS:
        raise ValueError("the arrays of a value do not fit each other")
    one, cut = np.zeros(1, np.int64), (0, 1, 0)
    slot, time_ms = found[SLOT : SLOT + 1], found[TIME : TIME + 1]
    lay = hold_layout(layout)
    hold_numbers_of(lay, rows, constants, edges, tally)
    hold_rectangle(rows, one, one, slot, one, cut, time_ms, tally)
    hold_answer(lay, (1, 1), value, time_ms, outputs, state, y)
    if not (all_finite(outputs) and all_finite(state)):
        return False
    absorb(rows, layout, constants, edges, one, one, slot, one, *cut, value, time_ms, outputs, state, y, tally)
    return True


def _calibrated(
    lay: Layout, part: Float32, constants: Float64, x: Float64, outputs: Float32, streams: Index, tally: Float64
) -> Float64:
    """The columns after the outputs, (T, B, columns - O), of values x (T, B); the rows' calibrations are carried."""
    steps, batch = x.shape
    header = np.ndarray(shape=(batch,), dtype=HEADER, buffer=part, strides=(lay.each,))
    held: NDArray[Any] = np.ndarray((batch,), CALIBRATION, buffer=part, offset=lay.calibration_at, strides=(lay.each,))
    kept, counts = held.copy(), np.zeros((batch, 2))
    last_output = part[:, lay.output_at // 4 : lay.output_at // 4 + lay.outputs]
    y = np.ascontiguousarray(lay.scored.forecast(outputs).T)
    predicted = np.concatenate([lay.scored.forecast(last_output)[:, None], y[:, :-1]], axis=1)
    flags = np.full((batch, steps), LABELLED, np.uint8)
    flags[header["steps"] == 0, 0] = 0
    out = np.empty((batch, steps, 3))
    fresh = np.zeros((), CALIBRATION)  # no series begins anew here
    calibrate(
        kept,
        fresh,
        constants,
        np.repeat(np.arange(batch), steps),
        flags.ravel(),
        x.T.ravel(),
        predicted.ravel(),
        y.ravel(),
        out.reshape(-1, 3),
        counts,
        lay.exact,
    )
    held[:] = kept
    np.add.at(tally[:, COVERED], streams, counts[:, 0])
    np.add.at(tally[:, GIVEN], streams, counts[:, 1])
    return chosen_extras(out, lay.interval, lay.score).transpose(1, 0, 2)


def chosen_extras(extras: Float64, interval: int, score: int) -> Float64:
    """Of the interval's ends and the score (…, 3), those that are asked for."""
    return extras[..., (0 if interval else 2) : (3 if score else 2)]
