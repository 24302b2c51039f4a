"""The inner parts of stepping in numpy: those of the compiled `engine._kernels`, for where there is none.

It says what the compiled ones must do; the tests hold the two against each other. `engine.schedule` has the words.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.kernel_demands import (
    FOUND_COLUMNS,
    MOST_LIVE,
    NO_ANSWER,
    Answer,
    BatchArrays,
    Groups,
    ModelCalls,
    hold_answer,
    hold_call,
    hold_groups,
    hold_layout,
    hold_numbers_of,
    hold_part,
    hold_rectangle,
    hold_slots,
    hold_steps,
    steps_of,
)
from streamlstm.engine.kernel_demands import Layout as Layout  # noqa: PLC0414  (as `apply_outputs` takes it)
from streamlstm.engine.schedule_python import MISSING
from streamlstm.engine.schedule_python import lay_out as lay_out  # noqa: PLC0414  (one of the twin's functions)
from streamlstm.engine.scoring import COVERED, GIVEN, add_scores, take_scores
from streamlstm.engine.staircase import rectangles
from streamlstm.models import join
from streamlstm.store.record import CALIBRATION, HEADER, LABELLED, Events, count_on, intervals_around
from streamlstm.store.record import calibrate as calibrate  # noqa: PLC0414  (one of the twin's functions)
from streamlstm.store.resp import SLOT, TIME, hold, hold_numbers, hold_tuple

Index = NDArray[np.int64]
Float32 = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]  # float32, or float64 where numbers are pairs
Float64 = NDArray[np.float64]


def gather_columns(rows: Float32, place: int, slots: Index, out: Float32) -> None:
    """Copy what each slot's row has at so many bytes into it to out (slots, …), as much as there is room for."""
    hold("rows", rows, np.float32, 2)
    hold("slots", slots, np.int64, 1)
    hold("out", out, np.float32, 2, writable=True)
    hold_part(rows, place, 4 * out.shape[1])
    hold_slots(slots, rows)
    if len(out) != len(slots):
        raise ValueError("the parts do not fit the rows")
    out[:] = rows[slots, place // 4 : place // 4 + out.shape[1]]


def gather_steps(source: NDArray[Any], items: Index, places: Index, first: int, out: NDArray[Any]) -> None:
    """Copy what the items of steps first, first + 1, … of each group have in source (n, …): out is (T, B, …)."""
    for name, array in (("source", source), ("out", out)):
        hold(name, array, np.int64 if getattr(array, "dtype", None) == np.int64 else np.float32, writable=name == "out")
    hold("places", places, np.int64, 1)
    steps = len(out) if out.ndim else 0
    if not source.ndim or source.dtype != out.dtype or out.shape != (steps, len(places), *source.shape[1:]):
        raise ValueError("the steps do not fit the items")
    hold_steps(items, places, first, steps, source)
    out[:] = source[steps_of(items, places, first, steps)]


def all_finite(numbers: Float32) -> bool:
    """Whether all numbers are finite."""
    hold("numbers", numbers, np.float32)
    return bool(np.isfinite(numbers).all())


@np.errstate(over="ignore", invalid="ignore")
def apply_outputs(
    rows: Float32,
    layout: tuple[int, ...],
    numbers: tuple[Float64, Float64],
    batch: tuple[Any, ...],
    answer: tuple[Any, ...],
) -> None:
    """Take the answer to a rectangle, an `Answer` to items of `BatchArrays`, into the rows of its groups.

    `numbers` are those of `calibration.Constants` and the edges of scaled errors. A group of slot NO_ANSWER is left
    out. Scores each prediction by the value that follows, unless that is MISSING; notes time, steps, last prediction
    and value; puts the states of groups that end; writes the predictions, and what calibration gives besides, to y.
    """
    lay = hold_layout(layout, rows)
    hold_tuple("batch", batch, len(BatchArrays._fields))
    hold_tuple("answer", answer, len(Answer._fields))
    items, values, times_ms, marks, y, tally = held = BatchArrays(*batch)
    hold_numbers_of(lay, numbers, tally)
    hold_rectangle(rows, held, Answer(*answer))
    hold_answer(lay, held, Answer(*answer))
    places, slots, streams, outputs, state, first, steps, ends = _answered(lay, Answer(*answer))
    if not len(slots):
        return
    at = steps_of(items, places, first, steps)
    part = rows[slots]
    header = np.ndarray(shape=(len(part),), dtype=HEADER, buffer=part, strides=part.strides[:1])
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
        scores = add_scores(header, group, error, naive_error)
        take_scores(tally, streams[group], (error, naive_error), scores, numbers[1])
    said = join(outputs) if lay.exact else outputs
    y[at, : said.shape[-1]] = said
    if lay.calibration_at:
        events = _Events(lay.scored.value(values[at]), outputs, labelled, streams)
        y[at, said.shape[-1] :] = _calibrated(lay, part, numbers[0], events, tally)
    last_output[:], last_value[:] = outputs[-1], values[at[-1]]
    header["steps"] = count_on(header["steps"], steps)
    header["rejected"] = 0
    header["time_ms"] = times_ms[at[-1]]
    part[ends:, lay.state_at // 4 : lay.state_at // 4 + lay.state_size] = state[ends:]
    rows[slots] = part


def step_tiles(
    rows: Float32,
    layout: tuple[int, ...],
    numbers: tuple[Float64, Float64],
    batch: tuple[Any, ...],
    groups: tuple[Any, ...],
    model: tuple[Any, ...],
    most: int,
    done: Index,
) -> bool:
    """Step `Groups` of `BatchArrays`, `most` at a time: ask a model (`ModelCalls`), take answers in as `apply_outputs`.

    What the model raises comes out. `done` (1,) gets how many groups are stepped, whole tiles; False if not all that
    the model gives to the next tile is finite: of that and those behind it nothing is touched.
    """
    lay = hold_layout(layout, rows)
    hold_tuple("batch", batch, len(BatchArrays._fields))
    hold_tuple("groups", groups, len(Groups._fields))
    hold_tuple("model", model, len(ModelCalls._fields))
    hold_tuple("calls", model[2], len(model[2]))
    hold_numbers(model[1], most)
    hold("done", done, np.int64, 1, writable=True)
    held, whole = BatchArrays(*batch), Groups(*groups)
    hold_numbers_of(lay, numbers, held.tally)
    hold_groups(lay, rows, held, whole)
    if most < 1 or len(done) != 1:
        raise ValueError("the arrays of tiles do not fit each other")
    for one in _rectangles(whole):
        hold_rectangle(rows, held, one)
    done[0] = 0
    for first in range(0, len(whole.slots), most):
        tile = Groups(*(part[first : first + most] for part in whole))
        answers = _asked(rows, lay, held, tile, ModelCalls(*model), most)
        if answers is None:
            return False
        for one in answers:
            apply_outputs(rows, layout, numbers, batch, one)
        done[0] = first + len(tile.slots)
    return True


def _rectangles(groups: Groups) -> list[Answer]:
    """The rectangles of some groups, with nothing answered yet."""
    none = np.empty((0, 0), np.float32)
    return [
        Answer(groups.places[:count], groups.slots[:count], groups.streams[:count], none, none, first, steps, ends)
        for (first, steps, count), ends in (rectangles(groups.lengths) if len(groups.slots) else ())
    ]


def _asked(
    rows: Float32, lay: Layout, batch: BatchArrays, tile: Groups, model: ModelCalls, most: int
) -> list[Answer] | None:
    """A model's answers to a tile; None if not all are finite."""
    answers = _rectangles(tile)
    state = np.empty((len(tile.slots), lay.state_size), np.float32)
    gather_columns(rows, lay.state_at, tile.slots, state)
    for number, one in enumerate(answers):
        at = steps_of(batch.items, one.places, one.first, one.steps)
        x, times = batch.values[at], batch.times_ms[at] if model.uses_time else None
        if number == 0 and len(tile.slots) == most and one.steps <= len(model.calls):
            call = hold_call(lay, model.calls[one.steps - 1], one.steps, most)
            call.x[:], call.state[:] = x, state
            if times is not None:
                call.time[:] = times
            call.step()
            outputs, state = call.y, call.next_state
        else:
            outputs, state = model.advance(x, state[: len(one.slots)], times)
        answers[number] = one._replace(outputs=outputs, state=state)
        hold_answer(lay, batch, answers[number])
        if not (all_finite(outputs) and all_finite(state)):
            return None
    return answers


def _answered(lay: Layout, answer: Answer) -> Answer:
    """An answer without the groups that are left out."""
    chosen = np.flatnonzero(answer.slots != NO_ANSWER)
    return answer._replace(
        places=answer.places[chosen],
        slots=answer.slots[chosen],
        streams=answer.streams[chosen],
        ends=int(np.searchsorted(chosen, answer.ends)),
        outputs=answer.outputs.reshape(answer.steps, len(answer.slots), lay.outputs)[:, chosen],
        state=answer.state[chosen],
    )


def gather_live(rows: Float32, place: int, found: Index, silence_ms: int, state: Float32) -> bool:
    """Copy the states of live values' series, at so many bytes into their rows, to `state` (B, D).

    `found` is what `codec_python.scan_live` found of n values: B is n, or 1 if all are of one series. False, and
    nothing is copied, if one comes after a longer silence of its series.
    """
    hold("rows", rows, np.float32, 2)
    hold("found", found, np.int64, 2)
    hold("state", state, np.float32, 2, writable=True)
    hold_numbers(silence_ms)
    count, batch, wrong = found.shape[1], len(state), "the rows of the values do not hold their states"
    if len(found) != FOUND_COLUMNS or place < HEADER.itemsize or batch < 1 or batch not in {1, count} or count < 1:
        raise ValueError(wrong)
    slots, times = found[SLOT, :batch], found[TIME].tolist()
    hold_slots(slots, rows, wrong)
    hold_part(rows, place, 4 * state.shape[1], what=wrong)
    part = rows[slots]
    header = np.ndarray(shape=(batch,), dtype=HEADER, buffer=part, strides=part.strides[:1])
    before = [last if steps else None for last, steps in zip(*_heard(header), strict=True)]
    before += times[:-1] if batch == 1 else []
    if any(last is not None and time - last > silence_ms for time, last in zip(times, before, strict=True)):
        return False
    state[:] = part[:, place // 4 : place // 4 + state.shape[1]]
    return True


def _heard(header: NDArray[Any]) -> tuple[list[int], list[int]]:
    """When series were heard last, and how many steps they had."""
    return header["time_ms"].tolist(), header["steps"].tolist()


def apply_live(
    rows: Float32,
    layout: tuple[int, ...],
    numbers: tuple[Float64, Float64],
    found: Index,
    values: Float32,
    answer: tuple[Float32, Float32],
    y: Floats,
    tally: Float64,
) -> bool:
    """`apply_outputs` for live values (n, F): outputs (T, B, O) and state (B, D) to their rows and y (n, columns).

    B is n, the slots of which are different, or 1 if all are of one series. False, and nothing is touched, if an answer
    is not finite.
    """
    hold("found", found, np.int64, 2)
    hold_tuple("answer", answer, 2)
    outputs, state = answer
    hold("state", state, np.float32, 2)
    count, batch = found.shape[1], len(state)
    fits = len(found) == FOUND_COLUMNS and 1 <= count <= MOST_LIVE and batch in {1, count}
    if not fits or found[SLOT, :batch].min() < 0:
        raise ValueError("the arrays of live values do not fit each other")
    lay, order = hold_layout(layout, rows), np.arange(count)
    batched = BatchArrays(order, values, found[TIME], None, y, tally)
    streams = np.zeros(batch, np.int64)
    whole = Answer(order[:batch], found[SLOT, :batch], streams, *answer, first=0, steps=count // batch, ends=0)
    hold_numbers_of(lay, numbers, tally)
    hold_rectangle(rows, batched, whole)
    hold_answer(lay, batched, whole)
    if not (all_finite(outputs) and all_finite(state)):
        return False
    apply_outputs(rows, layout, numbers, batched, whole)
    return True


class _Events(NamedTuple):
    """What is calibrated by: values (T, B), forecasts (T, B, O), which values score one, and the groups' streams."""

    x: Float64
    outputs: Float32
    labelled: NDArray[np.bool_]
    streams: Index


def _calibrated(lay: Layout, part: Float32, constants: Float64, events: _Events, tally: Float64) -> Float64:
    """The columns after the outputs, (T, B, columns - O), of values x (T, B); the rows' calibrations are carried."""
    x, outputs, labelled, streams = events
    steps, batch = x.shape
    held: NDArray[Any] = np.ndarray(
        (batch,), CALIBRATION, buffer=part, offset=lay.calibration_at, strides=part.strides[:1]
    )
    kept, counts = held.copy(), np.zeros((batch, 2))
    last_output = part[:, lay.output_at // 4 : lay.output_at // 4 + lay.outputs]
    y = np.ascontiguousarray(lay.scored.forecast(outputs).T)
    predicted = np.concatenate([lay.scored.forecast(last_output)[:, None], y[:, :-1]], axis=1)
    flags = np.where(labelled.T, np.uint8(LABELLED), np.uint8(0))
    out = np.empty((batch, steps, 3))
    fresh = np.zeros((), CALIBRATION)  # no series begins anew here
    group = np.repeat(np.arange(batch), steps)
    scored = Events(group, flags.ravel(), x.T.ravel(), predicted.ravel(), y.ravel())
    calibrate(kept, fresh, constants, scored, out.reshape(-1, 3), counts, lay.exact)
    against = _held_against(held, constants, predicted, out, exact=lay.exact)
    held[:] = kept
    np.add.at(tally[:, COVERED], streams, counts[:, 0])
    np.add.at(tally[:, GIVEN], streams, counts[:, 1])
    found = np.concatenate([out, against], axis=2)
    return chosen_extras(found, lay.interval, lay.score, lay.against).transpose(1, 0, 2)


def _held_against(before: NDArray[Any], constants: Float64, predicted: Float64, out: Float64, *, exact: int) -> Float64:
    """What values with a score were held against, (B, T, 3): forecasts of them (B, T), and the ends given with those.

    `before` (B,) are the calibrations before the first, `out` (B, T, 3) what was given after each and its score.
    """
    first = intervals_around(before, predicted[:, 0], constants, exact=exact)[:, None]
    ends = np.concatenate([first, out[:, :-1, :2]], axis=1)
    found = np.concatenate([predicted[..., None], ends], axis=2)
    return np.where(np.isnan(out[..., 2:]), np.nan, found)


def chosen_extras(extras: Float64, interval: int, score: int, against: int) -> Float64:
    """Of the interval's ends, the score and what it is of (…, 6), those that are asked for."""
    return extras[..., (0 if interval else 2) : (6 if against else 3 if score else 2)]
