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
    hold_marks,
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
    marks: NDArray[np.uint8] | None,
) -> None:
    """Take the answers to a rectangle, outputs (T, B, O) and state (B, D), into the rows of its groups (B,).

    A group of slot -1 is left out. Scores each prediction by the value that follows, unless that is MISSING; notes
    time, steps, last prediction and value; puts the states of groups from `ends` on, which have no steps after these;
    writes the predictions, and what calibration gives besides, to their items in y (n, columns).
    """
    lay = hold_layout(layout)
    hold_numbers_of(lay, rows, constants, edges, tally)
    hold_rectangle(rows, items, places, slots, streams, (first, steps, ends), times_ms, tally)
    hold_answer(lay, (steps, len(slots)), values, times_ms, outputs, state, y)
    hold_marks(marks, times_ms)
    outputs = outputs.reshape(steps, len(slots), lay.outputs)
    answered = np.flatnonzero(slots >= 0)
    ends = int(np.searchsorted(answered, ends))
    places, slots, streams, outputs, state = (
        places[answered],
        slots[answered],
        streams[answered],
        outputs[:, answered],
        state[answered],
    )
    if not len(slots):
        return
    at = steps_of(items, places, first, steps)
    part = rows[slots]
    header = np.ndarray(shape=(len(part),), dtype=HEADER, buffer=part, strides=(lay.each,))
    last_output = part[:, lay.output_at // 4 : lay.output_at // 4 + lay.outputs]
    last_value = part[:, lay.value_at // 4 : lay.value_at // 4 + lay.features]
    labelled = np.ones(at.shape, bool) if marks is None else (marks[at] & MISSING) == 0
    labelled[0] &= header["steps"] > 0
    if lay.target >= 0:
        scored = lay.scored
        x = scored.value(values[at])
        before = np.concatenate([scored.value(last_value[None]), x[:-1]])
        predicted = np.concatenate([scored.forecast(last_output[None]), scored.forecast(outputs[:-1])])
        chosen = labelled.T.ravel()  # by group, then by step
        group = np.repeat(np.arange(len(part)), steps)[chosen]
        error, naive_error = ((x - other).T.ravel()[chosen] for other in (predicted, before))
        scaled = add_scores(header, group, error, naive_error)
        take_scores(tally, streams[group], error, naive_error, scaled, edges)
    said = join(outputs) if lay.exact else outputs
    y[at, : said.shape[-1]] = said
    if lay.calibration_at:
        x = lay.scored.value(values[at])
        y[at, said.shape[-1] :] = _calibrated(lay, part, constants, x, outputs, labelled, streams, tally)
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
    if found.size != FOUND_COLUMNS or found[SLOT] < 0:
        raise ValueError("the arrays of a value do not fit each other")
    one, cut = np.zeros(1, np.int64), (0, 1, 0)
    slot, time_ms = found[SLOT : SLOT + 1], found[TIME : TIME + 1]
    lay = hold_layout(layout)
    hold_numbers_of(lay, rows, constants, edges, tally)
    hold_rectangle(rows, one, one, slot, one, cut, time_ms, tally)
    hold_answer(lay, (1, 1), value, time_ms, outputs, state, y)
    if not (all_finite(outputs) and all_finite(state)):
        return False
    absorb(rows, layout, constants, edges, one, one, slot, one, *cut, value, time_ms, outputs, state, y, tally, None)
    return True


def _calibrated(
    lay: Layout,
    part: Float32,
    constants: Float64,
    x: Float64,
    outputs: Float32,
    labelled: NDArray[np.bool_],
    streams: Index,
    tally: Float64,
) -> Float64:
    """The columns after the outputs, (T, B, columns - O), of values x (T, B); the rows' calibrations are carried."""
    steps, batch = x.shape
    held: NDArray[Any] = np.ndarray((batch,), CALIBRATION, buffer=part, offset=lay.calibration_at, strides=(lay.each,))
    kept, counts = held.copy(), np.zeros((batch, 2))
    last_output = part[:, lay.output_at // 4 : lay.output_at // 4 + lay.outputs]
    y = np.ascontiguousarray(lay.scored.forecast(outputs).T)
    predicted = np.concatenate([lay.scored.forecast(last_output)[:, None], y[:, :-1]], axis=1)
    flags = np.where(labelled.T, np.uint8(LABELLED), np.uint8(0))
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
