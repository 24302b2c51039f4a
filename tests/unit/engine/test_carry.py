"""The compiled parts of stepping and those in Python: the same bits in the same places, and nothing read outside."""

from __future__ import annotations

import importlib
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlstm.engine import kernels_python
from streamlstm.engine.kernel_demands import NO_ANSWER
from streamlstm.engine.kernels_python import Layout
from streamlstm.engine.schedule_python import FRESH, GAP, LAST, MISSING, RESET, SKIPPED
from streamlstm.engine.scoring import (
    ABSOLUTE,
    BUCKETS,
    FIRST_ABSOLUTE,
    FIRST_NAIVE,
    NAIVE,
    SCALED,
    SCALED_ERROR_EDGES,
    new_tally,
)
from streamlstm.store.record.conformal import TAILS, Constants
from streamlstm.store.record.layout import RecordFormat
from support.rounds import examples

try:
    compiled: Any = importlib.import_module("streamlstm.engine._kernels")
except ImportError:
    compiled = None

needs_compiled = pytest.mark.skipif(compiled is None, reason="it was not compiled here (no C compiler?)")
SLOTS = 12


def test_ci_has_the_compiled_parts() -> None:
    """Where CI runs there is a compiler, so that nothing below is left out unseen."""
    assert compiled is not None or not os.environ.get("CI")


def both_lay_out(slots: list[int], marks: list[int] | None, offsets: list[int]) -> list[list[list[int]]]:
    """What each twin makes of the items."""
    found = []
    for module in (compiled, kernels_python):
        scratch = np.full(SLOTS, -1, np.int32)
        mark = None if marks is None else np.array(marks, np.uint8)
        columns = module.lay_out(np.array(slots, np.int64), mark, scratch, np.array(offsets, np.int64))
        found.append([np.frombuffer(column, np.int64).tolist() for column in columns])
        assert (scratch == -1).all()
    return found


@needs_compiled
@settings(max_examples=examples(300))
@given(st.data())
def test_both_lay_out_alike(data: st.DataObject) -> None:
    """Items of several streams, some out of the ordinary, some of no series."""
    per_stream = data.draw(st.lists(st.lists(st.integers(-1, 3), max_size=12), min_size=1, max_size=3))
    slots = [slot if slot < 0 else slot + 4 * n for n, chosen in enumerate(per_stream) for slot in chosen]
    offsets = np.cumsum([0, *map(len, per_stream)]).tolist()
    mark = st.sampled_from([0, 0, 0, RESET, MISSING, GAP, SKIPPED, MISSING | GAP])
    marks = st.lists(mark, min_size=len(slots), max_size=len(slots))
    one, other = both_lay_out(slots, data.draw(st.none() | marks), offsets)
    assert one == other


def test_series_stand_by_length_then_arrival() -> None:
    """The longest first; items of no series are left out."""
    slots = np.array([5, 2, 2, -1, 7, 5, 2])
    found = kernels_python.lay_out(slots, None, np.full(SLOTS, -1, np.int32), np.array([0, 7]))
    items, place, count, slot, stream = (column.tolist() for column in found)
    assert (slot, count, place, stream) == ([2, 5, 7], [3, 2, 1], [0, 3, 5], [0, 0, 0])
    assert items == [1, 2, 6, 0, 5, 4]


def test_what_is_not_plain_is_cut_into_chains_and_segments() -> None:
    """At resets, and before values that wait for the step before them; a reset of all is one of each series."""
    slots = np.array([1, 2, 2, 2, 1, 2, 3, -1, 2, 4, 4])
    marks = np.array([0, 0, MISSING, RESET, 0, 0, 0, RESET, GAP, SKIPPED, 0], np.uint8)
    offsets = np.array([0, 9, 11])
    found = kernels_python.lay_out(slots, marks, np.full(SLOTS, -1, np.int32), offsets)
    items, place, count, slot, stream, *others = (column.tolist() for column in found)
    assert (slot, place, count, stream) == ([4], [0], [1], [1])
    assert items == [10, 0, 4, 1, 2, 5, 8, 6]
    segments = list(zip(*others[:4], strict=True))
    assert segments == [(1, 2, 0, 0), (3, 1, 1, 0), (5, 1, 2, 0), (7, 1, 3, 0), (6, 1, 4, 0), (4, 1, 1, 1)]
    assert list(zip(*others[4:7], strict=True)) == [
        (1, 0, 0),
        (2, 0, 0),
        (2, 0, FRESH),
        (3, 0, 0),
        (2, 0, FRESH | LAST),
    ]
    assert list(zip(*others[7:], strict=True)) == [(1, 0), (3, 0)]


@needs_compiled
@settings(max_examples=examples(150))
@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(1, 5), batch=st.integers(1, 6), features=st.integers(1, 2))
def test_both_absorb_alike(seed: int, steps: int, batch: int, features: int) -> None:
    """Rows, predictions and tallies after a rectangle are the same bits; so is what is gathered for it."""
    rng = np.random.default_rng(seed)
    level, target = Constants(0.8), int(rng.integers(-1, 2))
    calibrated = target >= 0 and bool(rng.integers(0, 2))
    made = RecordFormat(
        outputs=2,
        features=features,
        initial_state=np.zeros(3, np.float32),
        fingerprint="ab" * 8,
        calibration=level.fresh() if calibrated else None,
    )
    extras = (made.calibration_at, *(rng.integers(0, 2, 2).tolist() if calibrated else (0, 0)))
    layout = Layout(2, features, 3, *made.places(), target, int(rng.integers(0, features)), *extras)
    layout = layout._replace(against=layout.score * (seed % 2))
    rows = rng.standard_normal((SLOTS, made.words)).astype(np.float32)
    header = made.header(rows)
    header["steps"], header["scored"] = rng.integers(0, 2, SLOTS), rng.choice([0, 1, 2, 47, 49, 50], SLOTS)
    for name in ("absolute_error", "squared_error", "naive_absolute_error", "naive_squared_error"):
        header[name] = rng.random(SLOTS) * rng.integers(0, 2, SLOTS)
    if calibrated:
        held = made.calibration(rows)
        held[:] = level.fresh()
        held["seen"], held["scale"] = rng.integers(8, 12, SLOTS), rng.choice([0.0, 1e-300, 0.5, 1e30], SLOTS)
        held["tails"] *= rng.random((SLOTS, len(TAILS))) + 0.5
        held["expected"], held["odd"] = rng.standard_normal((2, SLOTS))
        held["aftermath"] = rng.integers(0, 3, SLOTS)
    first, total = int(rng.integers(0, 3)), 40
    items = rng.permutation(total)
    places = np.arange(batch) * (total // batch)
    first = min(first, total // batch - steps) if total // batch >= steps else 0
    slots, streams = rng.permutation(SLOTS)[:batch], rng.integers(0, 2, batch)
    values = rng.choice([0.0, 1.0, 1.5, 1e30], (total, features)).astype(np.float32)
    outputs = rng.standard_normal((steps, batch, 2)).astype(np.float32)
    state = rng.standard_normal((batch, 3)).astype(np.float32)
    marks = rng.choice(np.array([0, MISSING], np.uint8), total) if rng.integers(0, 2) else None
    slots[rng.random(batch) < 0.1] = NO_ANSWER
    found = []
    for module in (compiled, kernels_python):
        mine, y, tally = rows.copy(), np.zeros((total, layout.columns), np.float32), new_tally(2)
        x, parts = np.empty((steps, batch, features), np.float32), np.empty((batch, 3), np.float32)
        module.gather_steps(values, items, places, first, x)
        module.gather_columns(mine, made.places()[2], np.maximum(slots, 0), parts)
        answer = (places, slots, streams, outputs, state, first, steps, batch // 2)
        arrays = (items, values, np.arange(total), marks, y, tally)
        module.apply_outputs(mine, layout, (level.numbers, SCALED_ERROR_EDGES), arrays, answer)
        counts = np.delete(tally, [ABSOLUTE, NAIVE, SCALED, FIRST_ABSOLUTE, FIRST_NAIVE], axis=1)
        found.append([array.tobytes() for array in (mine, y, x, parts, counts)])
        sums = tally[:, :BUCKETS]
    np.testing.assert_allclose(tally[:, :BUCKETS], sums)
    assert found[0] == found[1]


@needs_compiled
@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan, 3.4e38])
def test_both_see_what_is_not_finite(number: float) -> None:
    """One number among many; the largest finite one is finite."""
    numbers = np.ones((7, 9), np.float32)
    numbers[3, 5] = number
    assert compiled.all_finite(numbers) == kernels_python.all_finite(numbers) == bool(np.isfinite(np.float32(number)))


@needs_compiled
def test_nothing_is_read_or_written_outside() -> None:
    """Slots, items and places beyond the arrays are refused."""
    rows, one = np.zeros((4, 40), np.float32), np.array([0])
    with pytest.raises(ValueError, match="beyond"):
        compiled.lay_out(np.array([4]), None, np.full(4, -1, np.int32), np.array([0, 1]))
    with pytest.raises(ValueError, match="do not fit"):
        compiled.lay_out(np.array([1]), None, np.full(4, -1, np.int32), np.array([0, 2]))
    for slot in (4, -1):
        with pytest.raises(ValueError, match="do not fit"):
            compiled.gather_columns(rows, 80, np.array([slot]), np.zeros((1, 3), np.float32))
    values, out = np.zeros(4, np.float32), np.zeros((1, 1), np.float32)
    for items, place in (([4], 0), ([0], 1), ([0], -1)):
        with pytest.raises(ValueError, match="do not fit"):
            compiled.gather_steps(values, np.array(items), np.array([place]), 0, out)
    layout = Layout(1, 1, 3, 72, 76, 80, 0, 0)
    y, tally = np.zeros((1, 1), np.float32), new_tally(1)

    def apply_outputs(layout: Layout = layout, slot: int = 0, item: int = 0, stream: int = 0, size: int = 3) -> None:
        answer = (one, np.array([slot]), np.array([stream]), y, np.zeros((1, size), np.float32), 0, 1, 0)
        arrays = (np.array([item]), y, one, None, y, tally)
        compiled.apply_outputs(rows, layout, (np.empty(0), SCALED_ERROR_EDGES), arrays, answer)

    apply_outputs()
    bad: list[dict[str, Any]] = [{"slot": 4}, {"slot": -2}, {"item": 1}, {"stream": 1}, {"size": 4}]
    bad += [{"layout": layout._replace(state_at=152)}, {"layout": layout._replace(target=1)}]
    bad += [{"layout": layout._replace(interval=1)}, {"layout": layout._replace(calibration_at=80)}]
    for wrong in bad:
        with pytest.raises(ValueError, match=r"beyond|tally|fit|calibrations"):
            apply_outputs(**wrong)


@needs_compiled
@settings(max_examples=examples(200))
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0, 1, 5]),
    st.sampled_from([1.0, np.inf, np.nan]),
    st.integers(1, 4),
    st.booleans(),
)
def test_both_take_and_absorb_live_values_alike(
    seed: int, steps: int, answer: float, count: int, is_one_series: bool
) -> None:
    """With silences around the limit, states out and answers in; nothing if one answer is not finite."""
    rng = np.random.default_rng(seed)
    level, calibrated = Constants(0.8), bool(seed % 2)
    made = RecordFormat(
        outputs=2,
        features=2,
        initial_state=np.zeros(3, np.float32),
        fingerprint="ab" * 8,
        calibration=level.fresh() if calibrated else None,
    )
    layout = Layout(2, 2, 3, *made.places(), 1, 0, made.calibration_at, int(calibrated), int(calibrated))
    layout = layout._replace(against=layout.score * (seed // 2 % 2))
    rows = np.repeat(made.fresh[None], SLOTS, axis=0)
    made.header(rows)["steps"], made.header(rows)["time_ms"] = steps, 1000
    made.last_output(rows)[:] = rng.standard_normal((SLOTS, 2))
    batch = 1 if is_one_series else count
    slots = rng.permutation(SLOTS)[:batch].repeat(count // batch)
    times = 1000 + rng.integers(98, 102, count) + (np.arange(count) * 101 if is_one_series else 0)
    found = np.zeros((6, count), np.int64)
    found[2], found[5] = times, slots
    x, outputs = rng.standard_normal((count, 2)).astype(np.float32), rng.standard_normal((count, 2)).astype(np.float32)
    outputs[rng.integers(count), rng.integers(2)] = answer
    outputs, state = outputs.reshape(-1, batch, 2), rng.standard_normal((batch, 3)).astype(np.float32)
    gaps = np.diff(times) if is_one_series else times[1:] - 1000 if steps else times[:0]
    seen = []
    for module in (compiled, kernels_python):
        mine, y, tally = rows.copy(), np.zeros((count, layout.columns), np.float32), new_tally(1)
        taken = np.zeros((batch, 3), np.float32)
        heard = module.gather_live(mine, made.places()[2], found, 100, taken)
        numbers = (level.numbers, SCALED_ERROR_EDGES)
        good = module.apply_live(mine, layout, numbers, found, x, (outputs, state), y, tally)
        seen.append((heard, good, [array.tobytes() for array in (mine, y, taken, tally)]))
        assert heard == bool((steps == 0 or times[0] <= 1100) and (gaps <= 100).all())
        assert good == np.isfinite(answer)
        assert good or (mine.tobytes(), y.any(), tally.any()) == (rows.tobytes(), False, False)
    assert seen[0] == seen[1]


@needs_compiled
def test_nothing_is_read_or_written_outside_for_live_values() -> None:
    """Slots beyond the rows, states beyond a row, arrays of other sizes are refused."""
    rows, found = np.zeros((4, 40), np.float32), np.zeros((6, 2), np.int64)
    for slot, at, size, batch in (
        (4, 80, 3, 2),
        (-1, 80, 3, 2),
        (1, 80, 21, 2),
        (1, 152, 3, 2),
        (1, 80, 3, 3),
        (1, 80, 3, 0),
    ):
        found[5] = 0, slot
        for module in (compiled, kernels_python):
            with pytest.raises(ValueError, match="do not hold their states"):
                module.gather_live(rows, at, found, 10, np.zeros((batch, size), np.float32))
    layout = Layout(1, 1, 3, 72, 76, 80, 0, 0)
    y, tally = np.zeros((2, 1), np.float32), new_tally(1)
    for slot, size, outputs, batch in (
        (4, 3, 1, 2),
        (-1, 3, 1, 2),
        (1, 4, 1, 2),
        (1, 3, 2, 2),
        (1, 3, 1, 3),
        (1, 3, 1, 0),
    ):
        found[5] = 0, slot
        answer = (np.zeros((2, outputs), np.float32), np.zeros((batch, size), np.float32))
        for module in (compiled, kernels_python):
            with pytest.raises(ValueError, match=r"beyond|fit"):
                module.apply_live(rows, layout, (np.empty(0), SCALED_ERROR_EDGES), found, y, answer, y, tally)
