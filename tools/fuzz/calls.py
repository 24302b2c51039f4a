"""Random calls of the functions that have a compiled twin: a name, and arguments that are right."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from streamlstm.engine.kernels_python import Layout
from streamlstm.engine.scoring import SCALED_ERROR_EDGES, new_tally
from streamlstm.store.record.conformal import BEGINS, CALIBRATION, LABELLED, TAILS, Constants
from streamlstm.store.record.layout import SUMS, RecordFormat
from streamlstm.store.resp.codec import Texts

Call = tuple[str, list[Any]]
SLOTS = 9
# Counts, sums and scales of every size that a record may hold, forged ones among them.
EXTREMES = np.array([0.0, -0.0, 5e-324, 1e-300, 1e-45, 0.5, 1.0, 1e30, 1e300, 1.7e308, -1.0, -1e300])
COUNTS = np.array([0, 1, 2, 11, 2**32, 2**63, 2**64 - 2, 2**64 - 1], np.uint64)


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray[Any, Any]:
    """Finite float32 numbers, small ones mostly, now and then any bits."""
    made = rng.choice([0.0, -0.0, 1.0, 1.5, -2.25, 1e-45, 1e30, 3.4e38, -3.4e38], shape).astype(np.float32)
    other = rng.integers(0, 2**32, shape, np.uint32).view(np.float32)
    chosen = (rng.random(shape) < rng.choice([0.0, 0.5, 1.0])) & np.isfinite(other)
    return np.where(chosen, other, made)


def texts(rng: np.random.Generator, count: int) -> tuple[bytes, Any, Any]:
    """Pieces of some bytes, as the packers take them; they may overlap."""
    if rng.random() < 0.5:
        return Texts.of([rng.bytes(int(rng.integers(0, 12))) for _ in range(count)]).parts
    data = rng.bytes(40)
    at = rng.integers(0, 41, count)
    return data, at, rng.integers(0, 41 - at) if count else at


def pack_entries(rng: np.random.Generator) -> Call:
    """Entries of no field and more."""
    counts = rng.integers(0, 4, int(rng.integers(0, 5)))
    fields = int(counts.sum())
    return "pack_entries", [b"$4\r\nXADD\r\n", texts(rng, len(counts)), counts, texts(rng, fields), texts(rng, fields)]


def pack_records(rng: np.random.Generator) -> Call:
    """Names and rows, some more than once."""
    rows = floats(rng, SLOTS, int(rng.integers(1, 30)))
    count = int(rng.integers(0, 6))
    return "pack_records", [texts(rng, count), rows, rng.integers(0, SLOTS, count)]


def pack_live(rng: np.random.Generator) -> Call:
    """A flight of whatever places lie in a reply."""
    reply, rows, count = rng.bytes(60), floats(rng, SLOTS, int(rng.integers(1, 30))), int(rng.integers(1, 5))
    found = np.full((6, count), 7)
    for at, most in ((0, 30), (1, 31), (3, 30), (4, 31), (5, SLOTS)):
        found[at] = rng.integers(0, most, count)
    numbers = floats(rng, count, int(rng.integers(1, 5))).astype(rng.choice([np.float32, np.float64]))
    told, records = int(rng.integers(1, numbers.shape[1] + 1)), int(rng.integers(1, count + 1))
    pieces = tuple(rng.bytes(3) for _ in range(5))
    return "pack_live", [reply, found, rows, numbers, told, records, int(rng.integers(0, 2**62)), pieces]


def write_numbers(rng: np.random.Generator) -> Call:
    """Numbers of any bits, infinite ones too."""
    columns = int(rng.integers(1, 4))
    bits = rng.integers(0, 2**32, (int(rng.integers(0, 6)), columns), np.uint32)
    if bits.size:
        bits.flat[0] = rng.choice([0x15AE43FD, 0x95AE43FD, 0xFF800000, 0x7F800000, 0x7FC00001, 1, int(bits.flat[0])])
    if rng.random() < 0.5:
        doubles = rng.integers(0, 2**64, bits.shape, np.uint64).view(np.float64)
        with np.errstate(invalid="ignore"):
            near = bits.view(np.float32) * (1 + rng.random(bits.shape) * 2.0**-30)
        return "write_numbers", [np.where(rng.random(bits.shape) < 0.5, doubles, near), columns]
    return "write_numbers", [bits.view(np.float32), columns]


def lay_out(rng: np.random.Generator) -> Call:
    """Items of some streams; the scratch holds anything."""
    counts = rng.integers(0, 9, int(rng.integers(1, 4)))
    offsets = np.cumsum([0, *counts])
    streams = np.repeat(np.arange(len(counts)), counts)
    slots = rng.integers(-1, 3, len(streams)) + 3 * streams
    slots[rng.random(len(slots)) < 0.1] = -1
    marks = rng.choice(np.array([0, 0, 0, 1, 2, 4, 8, 6], np.uint8), len(slots)) if rng.random() < 0.5 else None
    scratch = rng.integers(-(2**31), 2**31, SLOTS, np.int32) if rng.random() < 0.5 else np.full(SLOTS, -1, np.int32)
    return "lay_out", [slots, marks, scratch, offsets]


def gather_columns(rng: np.random.Generator) -> Call:
    """A part of some rows."""
    rows, slots = floats(rng, SLOTS, 20), rng.integers(0, SLOTS, int(rng.integers(0, 5)))
    place = int(rng.integers(0, 21))
    size = int(rng.integers(0, 21 - place))
    return "gather_columns", [rows, 4 * place, slots, np.zeros((len(slots), size), np.float32)]


def _rectangle(rng: np.random.Generator) -> tuple[int, int, int, Any, Any]:
    steps, batch, first = int(rng.integers(1, 5)), int(rng.integers(0, 6)), int(rng.integers(0, 3))
    length = first + steps + int(rng.integers(0, 2))
    return first, steps, batch, rng.permutation(batch * length), np.arange(batch) * length


def gather_steps(rng: np.random.Generator) -> Call:
    """What a rectangle's items are given: values or times."""
    first, steps, batch, items, places = _rectangle(rng)
    inner = (int(rng.integers(1, 3)),) if rng.random() < 0.5 else ()
    source = floats(rng, len(items), *inner) if rng.random() < 0.5 else rng.integers(0, 2**60, (len(items), *inner))
    return "gather_steps", [source, items, places, first, np.zeros((steps, batch, *inner), source.dtype)]


def all_finite(rng: np.random.Generator) -> Call:
    """Numbers of any bits."""
    return "all_finite", [rng.integers(0, 2**32, (3, 4), np.uint32).view(np.float32)]


def records(rng: np.random.Generator, extras: bool) -> tuple[RecordFormat, Any]:
    """Rows of records that may be forged, but have nothing in them that is not finite."""
    outputs, features, size = (int(rng.integers(1, 4)) for _ in range(3))
    exact = bool(rng.integers(0, 2))
    made = RecordFormat(
        outputs=outputs * (1 + exact),
        features=features * (1 + exact),
        exact=exact,
        initial_state=np.zeros(size, np.float32),
        fingerprint="ab" * 8,
        calibration=Constants(0.8).fresh() if extras else None,
    )
    rows = floats(rng, SLOTS, made.words)
    header = made.header(rows)
    header["steps"], header["scored"] = rng.choice(COUNTS, SLOTS), rng.choice(COUNTS, SLOTS)
    header["time_ms"] = rng.integers(-(2**63), 2**63 - 1, SLOTS) if rng.random() < 0.2 else 1000
    for name in SUMS:
        header[name] = rng.choice(EXTREMES, SLOTS)
    if extras:
        made.calibration(rows)[:] = calibrations(rng, SLOTS)
    return made, rows


def calibrations(rng: np.random.Generator, count: int) -> Any:
    """What series may have been through; half of it what no series can have."""
    made = np.zeros(count, CALIBRATION)
    made[:] = Constants(0.8).fresh()
    made["seen"], made["scale"] = rng.integers(8, 12, count), rng.choice(EXTREMES, count)
    made["tails"] *= rng.random((count, len(TAILS))) + 0.5
    made["expected"], made["odd"] = floats(rng, count), floats(rng, count)
    made["aftermath"] = rng.integers(0, 3, count)
    for name in (
        ("seen", "low", "high", "covered", "tails", "expected", "odd", "aftermath") if rng.random() < 0.5 else ()
    ):
        made[name] = rng.choice(EXTREMES, made[name].shape)
    return made


def layout_of(rng: np.random.Generator, made: RecordFormat, extras: bool) -> Layout:
    """Where things stand in its rows, with some output and feature that are scored or none."""
    target = int(rng.integers(0 if extras else -1, made.outputs // (1 + made.exact)))
    columns = rng.integers(0, 2, 2).tolist() if extras else (0, 0)
    scored = (target, int(rng.integers(0, made.features // (1 + made.exact))))
    sizes = (made.outputs, made.features, made.state_size)
    kinds = (int(made.exact), columns[1] * int(rng.integers(0, 2)))
    return Layout(*sizes, *made.places(), *scored, made.calibration_at, *columns, *kinds)


def apply_outputs(rng: np.random.Generator) -> Call:
    """A rectangle's answers."""
    extras = bool(rng.integers(0, 2))
    made, rows = records(rng, extras)
    layout = layout_of(rng, made, extras)
    first, steps, batch, items, places = _rectangle(rng)
    slots, streams, count = rng.permutation(SLOTS)[:batch], rng.integers(0, 2, batch), len(items)
    cut = (first, steps, int(rng.integers(0, batch + 1)))
    values, times = floats(rng, count, layout.features), rng.integers(0, 2**63 - 1, count)
    outputs, state = floats(rng, steps, batch, layout.outputs), floats(rng, batch, layout.state_size)
    y = np.zeros((count, layout.columns), np.float64 if layout.exact else np.float32)
    numbers = (Constants(0.8).numbers, SCALED_ERROR_EDGES)
    slots[rng.random(batch) < 0.1] = -1
    marks = rng.choice(np.array([0, 0, 2, 8], np.uint8), count) if rng.random() < 0.5 else None
    answer = (places, slots, streams, outputs, state, *cut)
    return "apply_outputs", [rows, layout, numbers, (items, values, times, marks, y, new_tally(2)), answer]


class Advance:
    """A model of any sizes: what it gives depends on every row alone. Of some it gives something that is not finite."""

    def __init__(self, outputs: int, odd: float) -> None:
        self._outputs, self._odd = outputs, np.float32(odd)

    def __call__(self, x: Any, state: Any, time: Any) -> tuple[Any, Any]:
        steps, batch = x.shape[:2]
        seen = x.sum(axis=2) if time is None else x.sum(axis=2) + (time % 7).astype(np.float32)
        y = np.repeat(np.clip(seen, -9, 9)[:, :, None], self._outputs, axis=2)
        after = np.clip(state, -9, 9) + y.sum(axis=(0, 2))[:, None]
        if self._odd and batch > 1:
            after[batch - 1, 0] = self._odd
        return y.astype(np.float32).reshape(steps, batch, self._outputs), after.astype(np.float32)


class Bound:
    """Such a model's call through arrays that stay where they are."""

    def __init__(self, advance: Advance, arrays: tuple[Any, ...], uses_time: int) -> None:
        self._advance, self._arrays, self._uses_time = advance, arrays, uses_time

    def __call__(self) -> None:
        x, state, time, y, next_state = self._arrays
        y[:], next_state[:] = self._advance(x, state, time if self._uses_time else None)


def _model(rng: np.random.Generator, layout: Layout, most: int) -> tuple[Any, ...]:
    """A model, and its calls for tiles of so many groups; it has an answer to all of them, or not."""
    advance = Advance(layout.outputs, rng.choice([0.0, 0.0, np.nan, np.inf]))
    uses_time, calls = int(rng.integers(0, 2)), list[tuple[Any, ...]]()
    for steps in range(1, int(rng.integers(2, 5))):
        x, y = floats(rng, steps, most, layout.features), floats(rng, steps, most, layout.outputs)
        state, next_state = floats(rng, most, layout.state_size), floats(rng, most, layout.state_size)
        arrays = (x, state, np.zeros((steps, most), np.int64), y, next_state)
        calls.append((*arrays, Bound(advance, arrays, uses_time)))
    return advance, uses_time, tuple(calls)


def step_tiles(rng: np.random.Generator) -> Call:
    """Groups of one length or several, in a tile or some."""
    _, (rows, layout, numbers, (_, values, times, marks, y, tally), _) = apply_outputs(rng)
    lengths = np.sort(rng.integers(1, 5, int(rng.integers(0, 6))))[::-1].copy()
    items, features, most = rng.permutation(int(lengths.sum())), layout.features, int(rng.integers(1, 5))
    values, times = floats(rng, len(items), features), rng.integers(0, 2**63 - 1, len(items))
    marks = None if marks is None else rng.choice(np.array([0, 0, 2, 8], np.uint8), len(items))
    y = np.zeros((len(items), layout.columns), y.dtype)
    groups = (np.cumsum(lengths) - lengths, lengths, rng.permutation(SLOTS)[: len(lengths)])
    return "step_tiles", [
        rows,
        layout,
        numbers,
        (items, values, times, marks, y, tally),
        (*groups, rng.integers(0, 2, len(lengths))),
        _model(rng, layout, most),
        most,
        np.zeros(1, np.int64),
    ]


def _found(rng: np.random.Generator) -> tuple[Any, int]:
    """What was found of some live values, and of how many series they are."""
    count = int(rng.integers(1, 5))
    batch = int(rng.choice([1, count]))
    found = np.zeros((6, count), np.int64)
    found[2] = rng.choice([0, 1099, 1100, 1101, 1200, 2**63 - 1, -(2**63)], count)
    found[5] = rng.permutation(SLOTS)[:batch].repeat(count // batch)
    return found, batch


def gather_live(rng: np.random.Generator) -> Call:
    """The states of values' series, around and far from the longest silence."""
    made, rows = records(rng, extras=False)
    found, batch = _found(rng)
    return "gather_live", [rows, made.places()[2], found, 100, np.zeros((batch, made.state_size), np.float32)]


def apply_live(rng: np.random.Generator) -> Call:
    """The answers to values, not always finite."""
    extras = bool(rng.integers(0, 2))
    made, rows = records(rng, extras)
    layout = layout_of(rng, made, extras)
    found, batch = _found(rng)
    count = found.shape[1]
    outputs, state = floats(rng, count // batch, batch, layout.outputs), floats(rng, batch, layout.state_size)
    outputs.flat[0] = rng.choice([np.nan, np.inf, 1.0, outputs.flat[0]])
    numbers = (Constants(0.8).numbers, SCALED_ERROR_EDGES)
    y = np.zeros((count, layout.columns), np.float64 if layout.exact else np.float32)
    values = floats(rng, count, layout.features)
    return "apply_live", [rows, layout, numbers, found, values, (outputs, state), y, new_tally(1)]


def calibrate(rng: np.random.Generator) -> Call:
    """Events of some series in any order."""
    groups, events = int(rng.integers(1, 5)), int(rng.integers(0, 12))
    group = rng.integers(0, groups, events)
    flags = rng.choice(np.array([0, LABELLED, LABELLED, BEGINS, LABELLED | BEGINS], np.uint8), events)
    numbers = [floats(rng, events).astype(np.float64) for _ in range(3)]
    kept, out = calibrations(rng, groups), np.zeros((events, 3))
    level, exact = Constants(0.8), int(rng.integers(0, 2))
    constants = (level.fresh(), level.numbers)
    return "calibrate", [kept, *constants, (group, flags, *numbers), out, np.zeros((groups, 2)), exact]


CODEC = (pack_entries, pack_records, pack_live, write_numbers)
CARRY = (
    lay_out,
    gather_columns,
    gather_steps,
    all_finite,
    apply_outputs,
    step_tiles,
    gather_live,
    apply_live,
    calibrate,
)


def choose(rng: np.random.Generator, choice: random.Random) -> Call:
    """A call of any of them."""
    return choice.choice((*CODEC, *CARRY))(rng)
