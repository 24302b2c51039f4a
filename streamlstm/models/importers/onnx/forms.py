"""Step models around a foreign graph, in several forms: as it stands, in a loop over steps, in one over series too.

Only operators are used that have been as they are since operator set 11, since the whole has the graph's own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from streamlstm.models import ModelSpec, StateEntry
from streamlstm.models.graph import Graph
from streamlstm.models.importers import OuterScaling
from streamlstm.models.importers.onnx.reading import LETTERS, Axes, Carried, Given, Reading, letters_of

# Windows of one call of the graph, as in `nn.window`.
BLOCK_ROWS = 1_024
LAST = np.iinfo(np.int64).max


class Form(Enum):
    """How the graph is called."""

    WHOLE = "all steps of all series in a call"
    STEPS = "one step of all series, in a loop over the steps"
    ROWS = "one step of one series, in a loop over both"
    WINDOWS = "the windows of many steps and series in a call"
    EACH_WINDOW = "one window, in a loop over steps and series"
    SINGLE = "one step of all series, and one a call"


def possible(reading: Reading) -> list[Form]:
    """The forms that may hold for a graph that is read so, best first."""
    if reading.window is not None:
        return [Form.WINDOWS, Form.EACH_WINDOW] if reading.batches else [Form.EACH_WINDOW]
    if not reading.batches:
        return [Form.ROWS]
    return (
        [Form.WHOLE, Form.STEPS, Form.ROWS, Form.SINGLE] if reading.over_time else [Form.STEPS, Form.ROWS, Form.SINGLE]
    )


def state_entries(reading: Reading) -> tuple[StateEntry, ...]:
    """The layout of the state: the states, or the last values and how many of them have come."""
    if reading.window is None:
        return tuple(StateEntry(name=one.name, shape=one.shape, initial=one.initial) for one in reading.states)
    if reading.window == 1:
        return ()
    return (StateEntry(name="window", shape=(reading.window, reading.width)), StateEntry(name="count", shape=(1,)))


def write(
    foreign: onnx.ModelProto, reading: Reading, form: Form, spec: ModelSpec, scaling: OuterScaling | None
) -> bytes:
    """The bytes of the step model."""
    graph = Graph()
    x = "x" if scaling is None else scaling.emit_scaled(graph)
    caller = _Caller(foreign.graph, reading)
    if reading.window is None:
        y, state = _carrying(graph, caller, x, form)
    else:
        y, state = _over_windows(graph, caller, x, form)
    if scaling is not None:
        y = scaling.emit_unscaled(graph, y)
    model = graph.model(spec, y, state, like=foreign)
    data: bytes = model.SerializeToString(deterministic=True)
    return data


class _Caller:
    """Calls of the foreign graph on values x [T, B, F] and states, each [B, size]."""

    def __init__(self, foreign: onnx.GraphProto, reading: Reading) -> None:
        self.foreign, self.reading = foreign, reading

    def __call__(
        self, graph: Graph, x: str, states: list[str], steps: int | None, batch: int | None
    ) -> tuple[str, list[str]]:
        """Add a call; None of `steps` and `batch` are known when it runs. Returns y [T, B, O] and the next states."""
        feeds, at = {}, 0
        for one in self.reading.fed:
            part = x if len(self.reading.fed) == 1 else graph.slice(x, at, at + one.width, 2)
            sizes = {"T": steps, "B": batch, "F": one.width}
            feeds[one.name] = _cast(graph, _laid_out(graph, part, one.axes, sizes), one.dtype)
            at += one.width
        left = iter(states)
        for carried in self.reading.carried:
            is_state = carried in self.reading.states
            rows = next(left) if is_state else self._constant(graph, x, carried, batch)
            feeds[carried.name] = _cast(graph, _state(graph, rows, carried), carried.dtype)
        found = graph.graft(self.foreign, feeds)
        answers = [self._answer(graph, found, one, steps, batch) for one in self.reading.given]
        after = [_next_state(graph, found, one) for one in self.reading.states]
        return graph.concat(answers, axis=2), after

    def _constant(self, graph: Graph, x: str, carried: Carried, batch: int | None) -> str:
        row = graph.constant(np.full((1, carried.size), carried.initial, np.float32))
        if batch == 1:
            return row
        rows = graph.slice(graph.node("Shape", x), 1, 2, 0)
        return graph.node("Expand", row, graph.concat([rows, graph.ints(carried.size)], axis=0))

    def _answer(self, graph: Graph, found: Mapping[str, str], one: Given, steps: int | None, batch: int | None) -> str:
        y = graph.node("Cast", found[one.name], to=TensorProto.FLOAT)
        axes = one.axes
        if self.reading.window is not None and "T" in axes:  # an answer a value of the window: the newest's
            y, steps = graph.node("Slice", y, graph.ints(-1), graph.ints(LAST), graph.ints(axes.index("T"))), 1
        steps = 1 if self.reading.window is not None else steps
        order = [axes.index(letter) for letter in "TB" if letter in axes]
        order += [place for place, letter in enumerate(axes) if letter == "O"]
        if order != sorted(order):
            y = graph.node("Transpose", y, perm=order)
        if "T" in axes and "B" in axes:
            return graph.reshape(y, 0, 0, one.width)
        if "T" in axes:
            return graph.reshape(y, -1, 1, one.width)
        assert steps == 1, "an output without steps is called one step at a time"
        return graph.reshape(y, 1, 1 if batch == 1 else -1, one.width)


def _laid_out(graph: Graph, x: str, axes: Axes, sizes: Mapping[str, int | None]) -> str:
    """A tensor [T, B, F] with these axes."""
    letters = letters_of(axes)
    absent = "".join(letter for letter in LETTERS if letter not in letters)
    order = [LETTERS.index(letter) for letter in absent + letters]
    if order != [0, 1, 2]:
        x = graph.node("Transpose", x, perm=order)
    if not absent and all(len(axis) == 1 and axis != "1" for axis in axes):
        return x
    lengths = [[sizes[letter] for letter in axis if letter != "1"] for axis in axes]
    known = [math.prod(n for n in each if n is not None) if None not in each else None for each in lengths]
    if known.count(None) <= 1:
        return graph.reshape(x, *(-1 if size is None else size for size in known))
    shape, parts = graph.node("Shape", x), []
    for axis, size in zip(axes, known, strict=True):
        if size is not None:
            parts.append(graph.ints(size))
            continue
        assert len(axis) == 1, "only a window's axis holds two, and its length is known"
        place = (absent + letters).index(axis)
        parts.append(graph.slice(shape, place, place + 1, 0))
    return graph.node("Reshape", x, graph.concat(parts, axis=0))


def _cast(graph: Graph, tensor: str, dtype: np.dtype[Any]) -> str:
    kind = helper.np_dtype_to_tensor_dtype(dtype)
    return tensor if kind == TensorProto.FLOAT else graph.node("Cast", tensor, to=kind)


def _state(graph: Graph, rows: str, carried: Carried) -> str:
    """A state [B, size] as the graph takes it."""
    axis = carried.batch_axis
    if axis is None:
        return graph.reshape(rows, *carried.shape)
    apart = graph.reshape(rows, -1, *carried.shape) if len(carried.shape) != 1 else rows
    order = [*range(1, axis + 1), 0, *range(axis + 1, len(carried.shape) + 1)]
    return apart if axis == 0 else graph.node("Transpose", apart, perm=order)


def _next_state(graph: Graph, found: Mapping[str, str], carried: Carried) -> str:
    """The next state as [B, size]."""
    assert carried.output is not None
    state, axis = graph.node("Cast", found[carried.output], to=TensorProto.FLOAT), carried.batch_axis
    if axis is None:
        return graph.reshape(state, 1, carried.size)
    if axis > 0:
        order = [axis, *range(axis), *range(axis + 1, len(carried.shape) + 1)]
        state = graph.node("Transpose", state, perm=order)
    return graph.reshape(state, -1, carried.size)


def _carrying(graph: Graph, call: _Caller, x: str, form: Form) -> tuple[str, str]:
    """The whole of a graph that gives its next state."""
    reading, parts, at = call.reading, [], 0
    for one in reading.states:
        parts.append(graph.slice("state", at, at + one.size, 1))
        at += one.size
    if form is Form.WHOLE:
        y, after = call(graph, x, parts, None, None)
    elif form is Form.SINGLE:
        y, after = call(graph, x, parts, 1, None)
    elif form is Form.STEPS:

        def step(body: Graph, slices: list[str], carried: list[str]) -> tuple[list[str], list[str]]:
            y, after = call(body, body.reshape(slices[0], 1, -1, reading.width), carried, 1, None)
            return [body.reshape(y, -1, reading.outputs)], after

        (y,), after = graph.scan(step, [x], parts)
    else:
        (y,), after = graph.scan(lambda *args: _row_by_row(call, *args), [x], parts)
    return y, graph.concat(after, axis=1)


def _row_by_row(call: _Caller, graph: Graph, slices: list[str], carried: list[str]) -> tuple[list[str], list[str]]:
    """One step of series after series."""
    reading = call.reading

    def row(body: Graph, given: list[str], _: list[str]) -> tuple[list[str], list[str]]:
        values, *states = given
        states = [body.reshape(state, 1, one.size) for state, one in zip(states, reading.states, strict=True)]
        y, after = call(body, body.reshape(values, 1, 1, reading.width), states, 1, 1)
        flat = [body.reshape(state, one.size) for state, one in zip(after, reading.states, strict=True)]
        return [body.reshape(y, reading.outputs), *flat], []

    (y, *after), _ = graph.scan(row, [slices[0], *carried], [])
    return [y], after


def _over_windows(graph: Graph, call: _Caller, x: str, form: Form) -> tuple[str, str]:
    """A graph run afresh over the last W values at every step.

    Until W values have come the first of them stands for those before it, which is what a series that has not moved
    would have given: a graph of a fixed length cannot be run over fewer.
    """
    W, F = call.reading.window or 1, call.reading.width
    shape = graph.node("Shape", x)
    batch = graph.slice(shape, 1, 2, 0)
    if W == 1:
        values, state = x, graph.node("Identity", "state")
    else:
        values, state = _remembered(graph, x, shape, W, F)
    flat = graph.reshape(values, -1, F)
    count = graph.node("Mul", graph.slice(shape, 0, 1, 0), batch)
    places = list(range(W)) if not call.reading.newest_first else list(range(W - 1, -1, -1))
    # Row t * B + b of the answers reads values t + 1 to t + W of series b, since W are carried: those at rows
    # (t + 1 + k) * B + b.
    ahead = graph.node("Mul", graph.constant([[place + (W > 1)] for place in places], "ints", np.int64), batch)
    if form is Form.EACH_WINDOW:
        blocks, each = _blocks(graph, count, 1), 1
    else:
        blocks, each = _blocks(graph, count, BLOCK_ROWS), None

    def block(body: Graph, slices: list[str], _: list[str]) -> tuple[list[str], list[str]]:
        index = body.node("Add", body.reshape(slices[0], 1, -1), ahead)  # (W, rows)
        y, _ = call(body, body.node("Gather", flat, index, axis=0), [], W, each)
        return [body.reshape(y, -1, call.reading.outputs)], []

    (y,), _ = graph.scan(block, [blocks], [], [TensorProto.INT64])
    y = graph.reshape(y, -1, call.reading.outputs)
    y = graph.node("Slice", y, graph.ints(0), count, graph.ints(0))
    lengths = graph.concat([graph.slice(shape, 0, 2, 0), graph.ints(call.reading.outputs)], axis=0)
    return graph.node("Reshape", y, lengths), state


def _scalar(graph: Graph, tensor: str) -> str:
    return graph.node("Reshape", tensor, graph.ints())


def _remembered(graph: Graph, x: str, shape: str, W: int, F: int) -> tuple[str, str]:
    """The values [W + T, B, F] that end with x, and the next state."""
    batch = graph.slice(shape, 1, 2, 0)
    window = graph.slice("state", 0, W * F, 1)
    count = graph.slice("state", W * F, W * F + 1, 1)
    kept = graph.node("Transpose", graph.reshape(window, -1, W, F), perm=[1, 0, 2])
    empty = graph.reshape(graph.node("Less", count, graph.constant(0.5)), 1, -1, 1)
    # onnxruntime's Where makes 0.0 of a -0.0 that the condition picks: what is kept is not picked again at each call.
    kept = graph.node("Where", empty, graph.slice(x, 0, 1, 0), kept)
    values = graph.concat([kept, x], axis=0)
    last = graph.node("Slice", values, graph.ints(-W), graph.ints(LAST), graph.ints(0))
    last = graph.node("Transpose", last, perm=[1, 0, 2])
    last = graph.node("Reshape", last, graph.concat([batch, graph.ints(W * F)], axis=0))
    steps = graph.node("Cast", graph.slice(shape, 0, 1, 0), to=TensorProto.FLOAT)
    count = graph.node("Min", graph.node("Add", count, steps), graph.constant(float(W)))
    return values, graph.concat([last, count], axis=1)


def _blocks(graph: Graph, count: str, rows: int) -> str:
    """The numbers from 0 up to N in blocks [blocks, at most `rows`]; the last block's excess repeats the last."""
    most = graph.ints(rows)
    size = graph.node("Where", graph.node("Less", count, most), count, most)
    one = graph.ints(1)
    number = graph.node("Div", graph.node("Sub", graph.node("Add", count, size), one), size)
    total = _scalar(graph, graph.node("Mul", number, size))
    places = graph.node("Range", _scalar(graph, graph.ints(0)), total, _scalar(graph, one))
    last = graph.node("Sub", count, one)
    places = graph.node("Where", graph.node("Less", places, last), places, last)
    return graph.node("Reshape", places, graph.concat([number, size], axis=0))
