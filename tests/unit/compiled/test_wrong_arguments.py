"""Every function answers a wrong argument with an error, whatever it is, and touches no memory that is not its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fuzz import calls, spoil
from fuzz.twins import call, twins
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlstm.store.record.conformal import CALIBRATION
from support.compiled import CARRIES, CODECS, carry, codec, needs_compiled
from support.rounds import examples

# What is written to, of the arguments by position, and by position in those that are tuples.
WRITTEN: dict[str, set[tuple[int, int]]] = {"lay_out": {(2, 0)}, "gather_columns": {(3, 0)}, "gather_steps": {(4, 0)}}
WRITTEN |= {"apply_outputs": {(0, 0), (3, 4), (3, 5)}, "apply_live": {(0, 0), (6, 0), (7, 0)}, "gather_live": {(4, 0)}}
WRITTEN |= {"step_tiles": {(0, 0), (3, 4), (3, 5), (7, 0)}}
WRITTEN |= {"calibrate": {(0, 0), (4, 0), (5, 0)}}
MAKERS = {maker.__name__: maker for maker in (*calls.CODEC, *calls.CARRY)}


def arrays_of(value: Any) -> list[tuple[int, Any]]:
    """The arrays in an argument, which may be some parts, and which parts they are."""
    parts = value if isinstance(value, tuple) else (value,)
    return [(at, part) for at, part in enumerate(parts) if isinstance(part, np.ndarray) and part.ndim]


def right_call(name: str) -> list[Any]:
    """Arguments that are right, none of whose arrays is empty or left out."""
    for seed in range(10_000):
        arguments: list[Any] = MAKERS[name](np.random.default_rng(seed))[1]
        infinite = name == "write_numbers" and np.isinf(arguments[0]).any()
        empty = any(not array.size for value in arguments for _, array in arrays_of(value))
        left_out = any(
            part is None for value in arguments for part in (value if isinstance(value, tuple) else (value,))
        )
        if not infinite and not empty and not left_out:
            return arguments
    raise AssertionError("no such call")


def wrong_ones(array: Any, *, written: bool) -> list[tuple[str, Any]]:
    """What has another type, order or place, or cannot be written to where it has to be."""
    made = {kind: spoil.KINDS[kind](array) for kind in ("other_type", "list", "swapped", "misaligned", "apart")}
    if array.dtype == np.uint8:  # bytes have no order and lie anywhere
        del made["swapped"], made["misaligned"]
    if made["apart"].flags.c_contiguous:  # there is nothing between one
        del made["apart"]
    if written:
        made["read_only"] = spoil.read_only(array)
    return list(made.items())


def spoilt(name: str) -> list[tuple[str, list[Any]]]:
    """Calls of which one array is wrong: which and how, and the arguments."""
    made = []
    for at, value in enumerate(right_call(name)):
        for part, array in arrays_of(value):
            for kind, other in wrong_ones(array, written=(at, part) in WRITTEN.get(name, set())):
                arguments = right_call(name)
                arguments[at] = (*value[:part], other, *value[part + 1 :]) if isinstance(value, tuple) else other
                made.append((f"argument {at}, part {part}, {kind}", arguments))
    return made


@needs_compiled
@pytest.mark.parametrize("name", MAKERS)
def test_every_array_is_held_against_its_type_order_and_alignment(name: str) -> None:
    """Another type of the same size, gaps, an odd address, the other byte order, read-only where it is written to."""
    for function in twins(name):
        function(*right_call(name))
        refused = {where: refusal(function, arguments) for where, arguments in spoilt(name)}
        assert len(refused) >= 4
        assert [where for where, said in refused.items() if not said] == []


def refusal(function: Callable[..., Any], arguments: list[Any]) -> str:
    """What a function says of wrong arguments; nothing if it takes them."""
    try:
        function(*arguments)
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


@needs_compiled
@settings(max_examples=examples(400))
@given(st.integers(0, 2**40))
def test_both_twins_answer_alike(seed: int) -> None:
    """Right calls with the same bits, wrong ones with an error; `make fuzz` goes on for hours."""
    one, other = call(seed)
    assert one == other


@pytest.mark.parametrize("module", CARRIES)
@pytest.mark.parametrize("scratch", [0, 1, 7, 2**31 - 1, -(2**31)])
def test_whatever_stands_in_the_scratch_nothing_is_written_outside(module: Any, scratch: int) -> None:
    """The answer is as of a clean one, and it is clean afterwards."""
    slots, room = np.array([5, 2, 2, -1, 7, 5]), np.full(9, scratch, np.int32)
    found = [np.frombuffer(column, np.int64).tolist() for column in module.lay_out(slots, None, room, np.array([0, 6]))]
    assert found == [[0, 5, 1, 2, 4], [0, 2, 4], [2, 2, 1], [5, 2, 7], [0, 0, 0]]
    assert room[[2, 5, 7]].tolist() == [-1, -1, -1]


@pytest.mark.parametrize("module", CARRIES)
@pytest.mark.parametrize("offsets", [[1, 6], [0, 7], [0, 9, 6], [0, -1, 6], [0], [], [0, 2**62, 6]])
def test_offsets_cut_the_items(module: Any, offsets: list[int]) -> None:
    """They begin at none, go up and end at all; anything else is refused."""
    with pytest.raises(ValueError, match="do not fit"):
        module.lay_out(np.arange(6), None, np.full(9, -1, np.int32), np.array(offsets, np.int64))


LARGE = [2**63 - 1, 2**63 - 4, 2**62, 2**61, -4, -(2**63)]


@pytest.mark.parametrize("module", CARRIES)
@pytest.mark.parametrize("large", LARGE)
@pytest.mark.parametrize("field", range(11))
def test_a_layout_near_the_largest_number_is_refused(module: Any, field: int, large: int) -> None:
    """No sum or product of its fields wraps round into the row."""
    name, arguments = calls.apply_outputs(np.random.default_rng(1))
    layout = tuple(arguments[1])
    arguments[1] = (*layout[:field], large, *layout[field + 1 :])
    with pytest.raises(ValueError, match=r"fit|calibrations"):
        getattr(module, name)(*arguments)


@pytest.mark.parametrize("module", CARRIES)
@pytest.mark.parametrize("large", LARGE)
def test_no_sum_of_places_and_sizes_wraps_round(module: Any, large: int) -> None:
    """Parts of rows, steps of items, the state of a value."""
    rows, out, one = np.zeros((2, 20), np.float32), np.zeros((1, 3), np.float32), np.zeros(1, np.int64)
    with pytest.raises(ValueError, match="do not fit"):
        module.gather_columns(rows, large, one, out)
    for first, place in ((large, 0), (0, large), (large, large)):
        with pytest.raises(ValueError, match="do not fit"):
            module.gather_steps(out[0], one, np.array([place]), first, np.zeros((1, 1), np.float32))
    with pytest.raises(ValueError, match="hold their states"):
        module.gather_live(rows, large, np.zeros((6, 1), np.int64), 5, np.zeros((1, 2), np.float32))


@pytest.mark.parametrize("module", CODECS)
@pytest.mark.parametrize("large", LARGE)
def test_no_sum_of_pieces_wraps_round(module: Any, large: int) -> None:
    """Places, lengths and counts."""
    good, one = (b"abc", np.zeros(1, np.int64), np.ones(1, np.int64)), np.ones(1, np.int64)
    for bad in ((b"abc", np.array([large]), one), (b"abc", one, np.array([large])), (b"abc", one, one[:0])):
        for pieces in ((bad, good, good), (good, bad, good), (good, good, bad)):
            with pytest.raises(ValueError, match=r"within the bytes|add up"):
                module.pack_entries(b"", pieces[0], one, pieces[1], pieces[2])
        with pytest.raises(ValueError, match="within the bytes"):
            module.find_slots(module.Table(), 0, bad)
        with pytest.raises(ValueError, match=r"within the bytes|slot of a row"):
            module.pack_records(bad, np.zeros((2, 3), np.float32), one)
    with pytest.raises(ValueError, match="add up"):
        module.pack_entries(b"", good, np.array([large]), good, good)
    rows = np.zeros((2, 3), np.float32)
    for at in (0, 1, 3, 4, 5):
        for value in (0, 1):
            found = np.repeat([[0], [1], [0], [1], [1], [0]], 2, axis=1)
            found[at, value] = large
            with pytest.raises(ValueError, match="does not lie"):
                module.pack_live(b"abc", found, rows, np.zeros((2, 1), np.float32), 1, 2, 1, (b"",) * 5)
    for answered in (-1, 2**64):
        found = np.array([[0], [1], [0], [1], [1], [0]])
        with pytest.raises(ValueError, match="answered"):
            module.pack_live(b"abc", found, rows, rows[:1], 1, 1, answered, (b"",) * 5)
    for told, records in ((large, 1), (1, large), (0, 1), (1, 0), (4, 1), (1, 2)):
        with pytest.raises(ValueError, match="does not lie"):
            module.pack_live(b"abc", found, rows, rows[:1], told, records, 1, (b"",) * 5)


@needs_compiled
def test_pieces_that_overlap_may_be_more_than_there_is_memory() -> None:
    """A sum that fits nowhere is no room, not a small one."""
    data, many = bytes(1 << 22), 1 << 22
    pieces = (data, np.zeros(many, np.int64), np.full(many, 1 << 22))  # 16 TiB
    none = (b"", np.zeros(many, np.int64), np.zeros(many, np.int64))
    with pytest.raises(MemoryError):
        codec.pack_entries(b"", pieces, np.ones(many, np.int64), none, none)


@needs_compiled
def test_calibrations_may_stand_anywhere_in_a_row_where_they_are_only_read() -> None:
    """A fresh one is taken from a record, whose parts lie on fours of bytes."""
    _, arguments = calls.calibrate(np.random.default_rng(3))
    room = np.zeros(CALIBRATION.itemsize + 4, np.uint8)
    fresh = np.ndarray((1,), CALIBRATION, buffer=room.data, offset=4)
    fresh[0] = arguments[1]
    arguments[1] = fresh[0]
    carry.calibrate(*arguments)


@needs_compiled
@pytest.mark.parametrize("count", [2**64 - 1, 2**64 - 2, 2**64 - 3])
def test_counts_stop_at_the_largest(count: int) -> None:
    """However a series' values are batched, its record says the same: a count does not begin anew."""
    found = set()
    for cuts in ([4], [1, 3], [2, 2], [1, 1, 1, 1]):
        for function in twins("apply_outputs"):
            found.add(_absorbed(function, count, cuts))
    assert len(found) == 1


def _absorbed(function: Callable[..., None], count: int, cuts: list[int]) -> bytes:
    made, rows = calls.records(np.random.default_rng(5), extras=False)
    header = made.header(rows)
    header["steps"] = header["scored"] = count
    layout = calls.layout_of(np.random.default_rng(5), made, extras=False)._replace(target=0, feature=0)
    tally, one, zero = calls.new_tally(1), np.arange(4), np.zeros(1, np.int64)
    values = np.arange(4 * made.features, dtype=np.float32).reshape(4, made.features)
    outputs = np.arange(4 * made.outputs, dtype=np.float32).reshape(4, 1, made.outputs)
    y = np.zeros((4, layout.columns), np.float64 if layout.exact else np.float32)
    state, first = np.zeros((1, made.state_size), np.float32), 0
    for steps in cuts:
        part = np.ascontiguousarray(outputs[first : first + steps])
        batch = (one, values, one, None, y, tally)
        answer = (zero, zero, zero, part, state, first, steps, 0)
        function(rows, layout, (np.empty(0), calls.SCALED_ERROR_EDGES), batch, answer)
        first += steps
    return rows[0].tobytes() + tally[:, 0].tobytes()
