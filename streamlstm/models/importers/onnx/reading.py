"""How a foreign graph is read: what each axis of its inputs and outputs is, what is carried, and as arrays.

Axes are written with a letter each: T steps (of a window: its values, oldest first), B series, F numbers of a value, O
numbers of an answer, 1 an axis of one. Letters together, as TF, are one axis that holds both in this order. Values are
handed around as x [T, B, F], states as [B, size], answers as [T, B, O]: what a step model takes and gives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import StepError

Array = NDArray[Any]
Axes = tuple[str, ...]

LETTERS = "TBF"


@dataclass(frozen=True)
class FedInput:
    """An input that takes values, or some of the numbers of each."""

    name: str
    axes: Axes
    width: int  # how many numbers of a value
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class Carried:
    """An input that takes a state, and the output that gives the next; without one it is the same at every step."""

    name: str
    output: str | None
    batch_axis: int | None  # None where the graph takes one series
    shape: tuple[int, ...]  # without the batch axis
    dtype: np.dtype[Any]
    initial: float | tuple[float, ...] = 0.0  # one number for all of it, or one each in C order

    @property
    def size(self) -> int:
        """How many numbers it is for a series."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Given:
    """An output that gives answers, or some of the numbers of each; each axis is T, B or O."""

    name: str
    axes: Axes
    width: int
    lengths: tuple[int, ...] = ()  # of the axes O


@dataclass(frozen=True)
class Reading:
    """What a graph is taken for."""

    fed: tuple[FedInput, ...]
    carried: tuple[Carried, ...]
    given: tuple[Given, ...]
    window: int | None = None  # W, where it reads the last W values at every step
    newest_first: bool = False  # whether it reads them in that order
    batches: bool = True  # whether it takes several series at once
    over_time: bool = False  # whether it takes several steps at once, carrying its state from one to the next

    @property
    def width(self) -> int:
        """F."""
        return sum(one.width for one in self.fed)

    @property
    def outputs(self) -> int:
        """O."""
        return sum(one.width for one in self.given)

    @property
    def states(self) -> tuple[Carried, ...]:
        """What is really carried."""
        return tuple(one for one in self.carried if one.output is not None and self.window is None)

    @property
    def layout(self) -> str:
        """The axes of the first input, for people."""
        return shown(self.fed[0].axes)


def shown(axes: Axes) -> str:
    """Axes in one word, those that share one in brackets."""
    return "".join(axis if len(axis) == 1 else f"({axis})" for axis in axes)


def letters_of(axes: Axes) -> str:
    """The letters of axes in order."""
    return "".join(axes).replace("1", "")


def feed(reading: Reading, x: Array, states: list[Array]) -> dict[str, Array]:
    """The inputs of a graph for x [T, B, F] and the states, each [B, size]; StepError if there is no axis for them."""
    found: dict[str, Array] = {}
    at = 0
    for one in reading.fed:
        found[one.name] = _laid_out(x[:, :, at : at + one.width], one.axes).astype(one.dtype)
        at += one.width
    given = iter(states)
    for carried in reading.carried:
        is_state = carried in reading.states
        rows = next(given) if is_state else np.full((x.shape[1], carried.size), carried.initial)
        found[carried.name] = _state(rows, carried).astype(carried.dtype)
    return found


def _laid_out(x: Array, axes: Axes) -> Array:
    letters = letters_of(axes)
    absent = "".join(letter for letter in LETTERS if letter not in letters)
    sizes = dict(zip(LETTERS, x.shape, strict=True))
    if any(sizes[letter] != 1 for letter in absent):
        raise StepError(f"there is no axis for {sizes} in {shown(axes)}")
    moved = x.transpose([LETTERS.index(letter) for letter in absent + letters])
    return np.ascontiguousarray(moved.reshape([math.prod(sizes.get(one, 1) for one in axis) for axis in axes]))


def _state(rows: Array, carried: Carried) -> Array:
    if carried.batch_axis is None:
        if len(rows) != 1:
            raise StepError(f"the state {carried.name!r} is that of one series")
        return rows.reshape(carried.shape)
    return np.ascontiguousarray(np.moveaxis(rows.reshape(len(rows), *carried.shape), 0, carried.batch_axis))


def answers(reading: Reading, found: dict[str, Array]) -> tuple[Array, list[Array]]:
    """The answers [T, B, O] and next states, each [B, size], among the outputs of a graph."""
    y = [_answer(found[one.name], one.axes) for one in reading.given]
    if reading.window is not None:
        y = [one[-1:] for one in y]
    after = []
    for one in reading.states:
        assert one.output is not None
        state = found[one.output]
        moved = state if one.batch_axis is None else np.moveaxis(state, one.batch_axis, 0)
        after.append(moved.reshape(-1, one.size))
    return np.concatenate(y, axis=2), after


def _answer(y: Array, axes: Axes) -> Array:
    order = [axes.index(letter) for letter in "TB" if letter in axes]
    order += [place for place, letter in enumerate(axes) if letter == "O"]
    steps, batch = (y.shape[axes.index(letter)] if letter in axes else 1 for letter in "TB")
    return y.transpose(order).reshape(steps, batch, -1)


def initial(reading: Reading, batch: int) -> list[Array]:
    """The states before the first value, each [B, size]."""
    return [np.full((batch, one.size), one.initial, np.float32) for one in reading.states]
