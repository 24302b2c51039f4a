"""What the inner parts of stepping in Python demand of their arrays: what the compiled ones do, of the same layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.scoring import BUCKETS, Scored
from streamlstm.store.record import CALIBRATION, CONSTANTS, HEADER
from streamlstm.store.resp import hold, hold_numbers, hold_tuple

Index = NDArray[np.int64]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

NO_ANSWER = -1  # slot of a group that is left out
FOUND_COLUMNS = 6  # what `scan_live` finds of a value
MOST_LIVE = 64  # values of a call


class Layout(NamedTuple):
    """Where things stand in a row: sizes in elements, places in bytes; target and feature are -1 and 0 for none."""

    outputs: int
    features: int
    state_size: int
    output_at: int
    value_at: int
    state_at: int
    target: int  # output that forecasts the scored feature
    feature: int
    calibration_at: int = 0  # 0: not calibrated
    interval: int = 0  # 1: columns for its ends follow the outputs
    score: int = 0  # 1: a column for it comes last
    exact: int = 0  # 1: numbers are pairs (`models.pairs`), and y is float64
    against: int = 0  # 1: behind the score, what the value was held against: the forecast of it, its interval's ends

    @property
    def columns(self) -> int:
        """How many numbers are written of a prediction."""
        return self.told + 3 * self.against

    @property
    def told(self) -> int:
        """How many of these are the prediction's, the score the last of them."""
        return self.outputs // (1 + self.exact) + 2 * self.interval + self.score

    @property
    def scored(self) -> Scored:
        """The number that is scored."""
        if not self.exact:
            return Scored(self.target, self.feature)
        return Scored(self.target, self.feature, self.target + self.outputs // 2, self.feature + self.features // 2)


class BatchArrays(NamedTuple):
    """The items of a batch, and where its predictions and scores go."""

    items: Index  # numbers of the n items, as they were laid out
    values: Float32  # (n, F)
    times_ms: Index  # (n,)
    marks: NDArray[np.uint8] | None  # (n,)
    y: Float32 | Float64  # (n, columns), written
    tally: Float64  # (streams, TALLY_COLUMNS), added to


class Answer(NamedTuple):
    """A model's answer to T steps of B groups."""

    places: Index  # (B,) where each one's items begin among those laid out
    slots: Index  # (B,) of its row; NO_ANSWER for a group that is left out
    streams: Index  # (B,)
    outputs: Float32  # (T, B, O)
    state: Float32  # (B, D)
    first: int  # steps that came before
    steps: int  # T
    ends: int  # groups from here on have no steps after these


class Groups(NamedTuple):
    """Groups that are stepped together, the longest first."""

    places: Index  # (B,) where each one's items begin among those laid out
    lengths: Index  # (B,) how many they are
    slots: Index  # (B,) of its row
    streams: Index  # (B,)


class Call(NamedTuple):
    """A call of the model through arrays that stay where they are: T steps of B groups."""

    x: Float32  # (T, B, F), written
    state: Float32  # (B, D), written
    time: Index  # (T, B), written where the model uses time
    y: Float32  # (T, B, O)
    next_state: Float32  # (B, D)
    step: Callable[[], object]


class ModelCalls(NamedTuple):
    """The model as the inner parts call it: a function for any shape, and calls bound to arrays for whole tiles."""

    advance: Callable[[Float32, Float32, Index | None], tuple[Float32, Float32]]  # as `StepModel.advance`
    uses_time: int
    calls: tuple[Call, ...]  # for whole tiles: of 1, 2, … steps


def hold_part(rows: Float32, place: int, size: int, what: str = "the parts do not fit the rows") -> None:
    """Raise ValueError unless rows hold `size` bytes at a place, whole numbers both."""
    hold_numbers(place)
    if place < 0 or place % 4 or place + size > rows.itemsize * rows.shape[1]:
        raise ValueError(what)


def hold_slots(slots: Index, rows: NDArray[Any], what: str = "the parts do not fit the rows") -> None:
    """Raise ValueError unless all slots are those of rows."""
    if not ((slots >= 0) & (slots < len(rows))).all():
        raise ValueError(what)


def hold_steps(items: Index, places: Index, first: int, steps: int, source: NDArray[Any]) -> None:
    """Raise ValueError unless steps first, first + 1, … of groups at these places are items of a source (n, …)."""
    hold("items", items, np.int64, 1)
    hold("places", places, np.int64, 1)
    hold_numbers(first, steps)
    last = len(items) - first - steps
    if first < 0 or steps < 0 or last < 0 or not ((places >= 0) & (places <= last)).all():
        raise ValueError("the steps do not fit the items: they are short, or lie beyond")
    hold_slots(steps_of(items, places, first, steps), source, "the steps do not fit the items: one lies beyond")


def steps_of(items: Index, places: Index, first: int, steps: int) -> Index:
    """The items of a rectangle, (T, B)."""
    found: Index = items[places + first + np.arange(steps)[:, None]]
    return found


def hold_layout(layout: tuple[int, ...], rows: Float32) -> Layout:
    """A layout whose parts lie behind the header of a row and within it; raises ValueError for another."""
    hold_tuple("layout", layout, len(Layout._fields))
    hold("rows", rows, np.float32, 2, writable=True)
    hold_numbers(*layout)
    lay, each = Layout(*layout), 4 * rows.shape[1]
    parts = [(lay.output_at, lay.outputs), (lay.value_at, lay.features), (lay.state_at, lay.state_size)]
    if lay.calibration_at:
        parts.append((lay.calibration_at, CALIBRATION.itemsize // 4))
    within = all(at >= HEADER.itemsize and at % 4 == 0 <= count <= (each - at) // 4 for at, count in parts)
    scored = -1 + bool(lay.calibration_at) <= lay.target < lay.outputs and 0 <= lay.feature < lay.features
    if lay.exact:  # the low parts of a pair stand behind all high ones
        scored = scored and lay.target < lay.outputs // 2 and lay.feature < lay.features // 2
        within = within and lay.outputs % 2 == lay.features % 2 == 0
    if min(lay.outputs, lay.features) < 1 or not within or not scored:
        raise ValueError("the layout does not fit the rows")
    columns = {lay.interval, lay.score}
    if not columns | {lay.exact, lay.against, lay.score - lay.against} <= {0, 1} or (
        columns != {0} and not lay.calibration_at
    ):
        raise ValueError("there are no calibrations for the columns asked for")
    return lay


def hold_numbers_of(lay: Layout, numbers: tuple[Float64, Float64], tally: Float64) -> None:
    """Raise ValueError unless there are the numbers that calibrate, and a tally of these edges' buckets."""
    hold_tuple("numbers", numbers, 2)
    constants, edges = numbers
    hold("constants", constants, np.float64, 1)
    hold("edges", edges, np.float64, 1)
    hold("tally", tally, np.float64, 2, writable=True)
    calibrates = not lay.calibration_at or len(constants) == CONSTANTS
    if not calibrates or tally.shape[1] != BUCKETS + len(edges) + 1:
        raise ValueError("the arrays of a rectangle do not fit each other")


def hold_rectangle(rows: Float32, batch: BatchArrays, answer: Answer) -> None:
    """Raise ValueError unless every item, row and tally of a rectangle is there."""
    places, slots, streams, _, _, first, steps, ends = answer
    hold("slots", slots, np.int64, 1)
    hold("streams", streams, np.int64, 1)
    hold("times_ms", batch.times_ms, np.int64, 1)
    hold_numbers(first, steps, ends)
    if first < 0 or steps < 1 or not 0 <= ends <= len(slots):
        raise ValueError("a rectangle has no steps")
    hold_steps(batch.items, places, first, steps, batch.times_ms)
    hold_slots(slots[slots != NO_ANSWER], rows, "a slot lies beyond the rows")
    hold_slots(streams, batch.tally, "a stream has no tally")
    if not len(places) == len(slots) == len(streams):
        raise ValueError("the arrays of a rectangle do not fit each other")
    if batch.marks is not None:
        hold("marks", batch.marks, np.uint8, 1)
        if len(batch.marks) != len(batch.times_ms):
            raise ValueError("the arrays of a rectangle do not fit each other")


def hold_groups(lay: Layout, rows: Float32, batch: BatchArrays, groups: Groups) -> None:
    """Raise ValueError unless groups stand the longest first, and their rows and the batch's arrays are there."""
    hold("places", groups.places, np.int64, 1)
    hold("lengths", groups.lengths, np.int64, 1)
    hold("slots", groups.slots, np.int64, 1)
    hold("streams", groups.streams, np.int64, 1)
    hold("items", batch.items, np.int64, 1)
    if batch.marks is not None:
        hold("marks", batch.marks, np.uint8, 1)
    hold_batch(lay, batch)
    count, items = len(groups.slots), len(batch.times_ms)
    marked = batch.marks is None or len(batch.marks) == items
    if not marked or not len(groups.places) == len(groups.lengths) == len(groups.streams) == count:
        raise ValueError("the arrays of tiles do not fit each other")
    if count and (groups.lengths.min() < 1 or (groups.lengths[1:] > groups.lengths[:-1]).any()):
        raise ValueError("the groups are not the longest first")
    hold_slots(groups.slots, rows, "a slot lies beyond the rows")


def hold_call(lay: Layout, call: tuple[Any, ...], steps: int, batch: int) -> Call:
    """A call of so many steps of so many groups; raises ValueError if the arrays that it reads are others."""
    hold_tuple("call", call, len(Call._fields))
    made = Call(*call)
    hold("x", made.x, np.float32, 3, writable=True)
    hold("state", made.state, np.float32, 2, writable=True)
    hold("time", made.time, np.int64, 2, writable=True)
    shapes = (made.x.shape, made.state.shape, made.time.shape)
    if shapes != ((steps, batch, lay.features), (batch, lay.state_size), (steps, batch)):
        raise ValueError("the arrays of a call do not fit the tile")
    return made


def hold_batch(lay: Layout, batch: BatchArrays) -> None:
    """Raise ValueError unless a batch's values and predictions have the layout's sizes."""
    hold("values", batch.values, np.float32, 2)
    hold("times_ms", batch.times_ms, np.int64, 1)
    hold("y", batch.y, np.float64 if lay.exact else np.float32, 2, writable=True)
    items = len(batch.times_ms)
    if batch.values.shape != (items, lay.features) or batch.y.shape != (items, lay.columns):
        raise ValueError("the arrays of a batch do not fit each other")


def hold_answer(lay: Layout, batch: BatchArrays, answer: Answer) -> None:
    """Raise ValueError unless what a model answered to steps of groups has the layout's sizes."""
    outputs, state = answer.outputs, answer.state
    hold_batch(lay, batch)
    hold("outputs", outputs, np.float32)
    hold("state", state, np.float32, 2)
    groups = len(answer.slots)
    answers = outputs.ndim and outputs.shape[-1] == lay.outputs and outputs.size == answer.steps * groups * lay.outputs
    if not answers or state.shape != (groups, lay.state_size):
        raise ValueError("the arrays of a rectangle do not fit each other")
