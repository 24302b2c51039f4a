"""Finds out how a graph is to be read by running it: every way that its declared sizes allow is tried.

A way is right if the graph runs so, gives next states of the states' own shapes, gives a series the same numbers
alone as beside others, and several steps in a call the same as one by one. What none of that decides (24 values of 3
numbers or 3 of 24) follows from the nodes that read the input, else from what most models do, and is said.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import StepError
from streamlstm.models.importers.onnx.reading import (
    Axes,
    Carried,
    FedInput,
    Given,
    Reading,
    answers,
    feed,
    initial,
    shown,
)

Array = NDArray[Any]
Run = Callable[[Mapping[str, Array]], dict[str, Array]]  # raises StepError

CLOSE = 1e-4  # of the largest number: two ways to compute the same in float32
ROWS, STEPS = 3, 4  # of a try: unlike each other, and unlike most sizes
MOST_WAYS = 400


@dataclass(frozen=True)
class Way:
    """How the inputs may be read; what the outputs are then is seen when it is tried."""

    fed: tuple[FedInput, ...]
    carried: tuple[Carried, ...]
    window: int | None
    newest_first: bool = False
    y_axes: Axes | None = None  # of the answers to a window, where they are said


@dataclass
class Tries:
    """What came of trying ways."""

    found: list[Reading]
    failed: list[str]  # why, for those that did not run


def try_ways(run: Run, ways: Sequence[Way], outputs: Sequence[str], seed: int = 0) -> Tries:
    """The readings that hold, best first: those of most series and steps at once, then in the order of the ways."""
    tries = Tries([], [])
    for way in itertools.islice(ways, MOST_WAYS):
        try:
            tries.found.append(_tried(run, way, outputs, np.random.default_rng(seed)))
        except StepError as error:
            tries.failed.append(str(error))
    tries.found.sort(key=lambda reading: -(2 * reading.batches + reading.over_time))
    return tries


def _tried(run: Run, way: Way, outputs: Sequence[str], rng: np.random.Generator) -> Reading:
    """The reading that a way makes; StepError if it does not run for one series and one step, or window."""
    steps = way.window or 1
    base = Reading(way.fed, way.carried, (), window=way.window, newest_first=way.newest_first)
    x = _values(rng, steps + STEPS, ROWS, base)
    alone = _run(run, base, x[:steps, :1])
    for one in base.states:
        taken, following = _sizes(one, 1), alone[one.output or ""].shape
        if taken != following:
            raise StepError(f"the state {one.name!r} has the shape {taken} and the next, {one.output!r}, {following}")
    grown = _or_none(run, base, x[:steps, :ROWS])
    given, batches = _outputs_over(alone, grown, outputs, "B", ROWS)
    reading = replace(base, given=given, batches=batches)
    if batches:
        batches = grown is not None and _rows_agree(run, reading, x[:steps], grown)
    if not batches:
        reading = _for_one_series(replace(base, given=_outputs_over(alone, None, outputs, "B", ROWS)[0]))
        alone = _run(run, reading, x[:steps, :1])
    return _over_window(run, reading, x, alone, way.y_axes) if way.window else _over_time(run, reading, x, alone)


def _for_one_series(reading: Reading) -> Reading:
    """States as a graph takes them that knows one series: the batch axis, of one, is an axis as any other."""
    carried = tuple(
        replace(one, batch_axis=None, shape=_sizes(one, 1)) if one.batch_axis is not None else one
        for one in reading.carried
    )
    return replace(reading, carried=carried, batches=False)


def _over_time(run: Run, reading: Reading, x: Array, alone: Mapping[str, Array]) -> Reading:
    """Which axis of the outputs is that of the steps, and whether a call of several is as good as one each."""
    grown = _or_none(run, reading, x[:STEPS, :1])
    if grown is None:
        return reading
    axes = [_growing(alone[one.name].shape, grown[one.name].shape, 1, STEPS) for one in reading.given]
    timed = replace(reading, given=tuple(map(_with_steps, reading.given, axes)))
    if any(axis is None for axis in axes) or not reading.states:
        return timed if any(axis is None for axis in axes) else replace(timed, over_time=True)
    y, state, one_by_one = answers(timed, grown)[0], initial(timed, 1), []
    for step in range(STEPS):
        found, state = answers(timed, run(feed(timed, x[step : step + 1, :1], state)))
        one_by_one.append(found)
    if not close(y, np.concatenate(one_by_one)):
        return timed
    both = not reading.batches or _or_none(run, timed, x[:STEPS, :ROWS]) is not None
    return replace(timed, over_time=both)


def _over_window(run: Run, reading: Reading, x: Array, alone: Mapping[str, Array], y_axes: Axes | None) -> Reading:
    """Which axis of the outputs has an answer for each value of the window, if one has: as said, or found.

    Such an axis grows with the window. Where the graph takes no other window (an exporter unrolled its loop), it is one
    as long as the window, along which only the last answer depends on the last value.
    """
    W = reading.window or 1
    grown = None if y_axes else _or_none(run, reading, x[: W + STEPS - 1, :1])
    other = None if y_axes or W == 1 else _or_none(run, reading, np.concatenate([x[: W - 1], 1 - x[W - 1 : W]])[:, :1])
    given = []
    for one in reading.given:
        before = alone[one.name]
        if y_axes:
            axis = _said_axis(one, before, y_axes, W)
        else:
            axis = None if grown is None else _growing(before.shape, grown[one.name].shape, W, W + STEPS - 1)
            if axis is None and other is not None:
                axis = _moved_last(before, other[one.name], one.axes, W)
        given.append(_with_steps(one, axis, W))
    return replace(reading, given=tuple(given))


def _said_axis(one: Given, found: Array, axes: Axes, W: int) -> int | None:
    """The axis of the window's values as it is said."""
    fits = len(axes) == found.ndim and all(
        (letter != "T" or size == W) and (letter == "B") == (own == "B" or (letter == "B" and size == 1))
        for letter, size, own in zip(axes, found.shape, one.axes, strict=True)
    )
    if not fits:
        raise StepError(f"the output {one.name!r} has the shape {found.shape}, which is not {shown(axes)}")
    return axes.index("T") if "T" in axes else None


def _moved_last(before: Array, after: Array, axes: Axes, W: int) -> int | None:
    """The axis of W numbers of which only the last differ, if there is one."""
    if before.shape != after.shape:
        return None
    differs = ~np.isclose(before, after, rtol=CLOSE, atol=CLOSE * np.abs(before).max(initial=0))
    for axis, (letter, size) in enumerate(zip(axes, before.shape, strict=True)):
        if letter == "O" and size == W:
            moved = np.flatnonzero(differs.any(axis=tuple(n for n in range(before.ndim) if n != axis)))
            if moved.tolist() == [W - 1]:
                return axis
    return None


def _with_steps(one: Given, axis: int | None, steps: int = 1) -> Given:
    if axis is None:
        return one
    place = one.axes[:axis].count("O")
    lengths = (*one.lengths[:place], *one.lengths[place + 1 :])
    return replace(one, axes=_with_letter(one.axes, axis, "T"), width=one.width // steps, lengths=lengths)


def _lengths(found: Array, axes: Axes) -> tuple[int, ...]:
    return tuple(size for letter, size in zip(axes, found.shape, strict=True) if letter == "O")


def _outputs_over(
    one: Mapping[str, Array], several: Mapping[str, Array] | None, outputs: Sequence[str], letter: str, count: int
) -> tuple[tuple[Given, ...], bool]:
    """The outputs' axes by how they grow with the number of series; whether each has an axis that does."""
    given, growing = [], several is not None
    for name in outputs:
        if name not in one:
            raise StepError(f"the output {name!r} is no tensor")
        axes: Axes = ("O",) * one[name].ndim
        axis = None if several is None else _growing(one[name].shape, several[name].shape, 1, count)
        if axis is not None:
            axes = _with_letter(axes, axis, letter)
        growing = growing and axis is not None
        given.append(Given(name, axes, one[name].size, _lengths(one[name], axes)))
    return tuple(given), growing


def _growing(before: Sequence[int], after: Sequence[int], one: int, several: int) -> int | None:
    """The only axis that has changed, from one number to another."""
    if len(before) != len(after):
        return None
    changed = [place for place, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    if len(changed) == 1 and (before[changed[0]], after[changed[0]]) == (one, several):
        return changed[0]
    return None


def _with_letter(axes: Axes, place: int, letter: str) -> Axes:
    return (*axes[:place], letter, *axes[place + 1 :])


def _rows_agree(run: Run, reading: Reading, x: Array, grown: Mapping[str, Array]) -> bool:
    """Whether series beside others get what each gets alone."""
    together, states = answers(reading, dict(grown))
    for row in range(ROWS):
        alone, own = answers(reading, _run(run, reading, x[:, row : row + 1]))
        if not close(together[:, row], alone[:, 0]):
            return False
        if not all(close(state[row], mine[0]) for state, mine in zip(states, own, strict=True)):
            return False
    return True


def close(found: Array, wanted: Array) -> bool:
    """Whether numbers are the same but for how they were rounded."""
    if found.shape != wanted.shape or not np.isfinite(wanted).all():
        return False
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    return bool(np.abs(found - wanted).max(initial=0) <= CLOSE * max(1.0, np.abs(wanted).max(initial=0)))


def _run(run: Run, reading: Reading, x: Array) -> dict[str, Array]:
    return run(feed(reading, x, initial(reading, x.shape[1])))


def _or_none(run: Run, reading: Reading, x: Array) -> dict[str, Array] | None:
    try:
        found = _run(run, reading, x)
        for one in reading.states:
            if found[one.output or ""].shape != _sizes(one, x.shape[1]):
                return None
    except StepError:
        return None
    return found


def _sizes(one: Carried, batch: int) -> tuple[int, ...]:
    if one.batch_axis is None:
        return one.shape
    return (*one.shape[: one.batch_axis], batch, *one.shape[one.batch_axis :])


def _values(rng: np.random.Generator, steps: int, batch: int, reading: Reading) -> Array:
    """Numbers between 0 and 1, which most models have an answer to, (T, B, F)."""
    return rng.uniform(0, 1, (steps, batch, reading.width)).astype(np.float32)


def state_axes(sizes: Sequence[int | str | None], batch_names: set[str]) -> Iterator[int | None]:
    """Which axis of a state may be that of the series, likeliest first; None: the graph takes one series."""
    named = [place for place, size in enumerate(sizes) if isinstance(size, str) and size in batch_names]
    open_ = [place for place, size in enumerate(sizes) if not isinstance(size, int)]
    usual = [1, 0] if len(sizes) >= 3 else [0]
    ones = [place for place in usual if place < len(sizes) and sizes[place] == 1]
    found = list(dict.fromkeys([*named, *[place for place in usual if place in open_], *open_, *ones]))
    yield from found
    if all(isinstance(size, int) for size in sizes):
        yield None
        # An exporter writes the sizes of its example, which the graph need not be bound to.
        yield from (place for place in usual if place < len(sizes) and place not in found)
