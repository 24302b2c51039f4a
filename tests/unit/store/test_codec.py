"""The compiled codec and the one in Python: the same answers, for good input and for bad."""

from __future__ import annotations

import importlib
import os
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamlstm.store.base import Commit, LiveCommit
from streamlstm.store.commit_commands import FlightPacker
from streamlstm.store.keys import Keys
from streamlstm.store.resp import codec_python
from streamlstm.store.resp.codec import Texts, encode_read, scan_read
from streamlstm.store.resp.replies import parse_replies
from support.rounds import examples

try:
    compiled: Any = importlib.import_module("streamlstm.store.resp._codec")
except ImportError:
    compiled = None

needs_compiled = pytest.mark.skipif(compiled is None, reason="the codec was not compiled here (no C compiler?)")
KEYS = {b"k": 0, b"other": 1}
NAMES = st.binary(max_size=20)
DECIMALS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr),
    st.from_regex(r"\A[+-]?[0-9]{0,25}\.?[0-9]{0,25}([eE][+-]?[0-9]{1,3})?\Z"),
).map(str.encode)
TEXTS = st.one_of(DECIMALS, st.binary(max_size=12), st.lists(DECIMALS, max_size=3).map(b",".join))
ENTRIES = st.lists(st.lists(st.tuples(NAMES, TEXTS), max_size=4), max_size=5)


def test_ci_has_the_compiled_codec() -> None:
    """Where CI runs there is a compiler, so that nothing below is left out unseen."""
    assert compiled is not None or not os.environ.get("CI")


def reply_of(entries: list[list[tuple[bytes, bytes]]]) -> bytes:
    """A read's reply with the entries in two streams."""
    made = [(b"%d-%d" % (n, n), [part for pair in pairs for part in pair]) for n, pairs in enumerate(entries)]
    return encode_read({"k": made, "other": made[:1]})


def scanned(module: Any, reply: bytes, features: int = 1) -> list[tuple[bytes, ...]]:
    """What a codec makes of a reply, with one series known."""
    table = module.Table()
    table.put(0, b"known", 7)
    return [tuple(found) for found in module.scan_read(reply, table, KEYS, features, 0)]


@needs_compiled
@settings(max_examples=examples(300))
@given(ENTRIES, st.integers(1, 3))
@example([[(b"known", b"1"), (b"known", b"-0"), (b"", b"")]], 1)
@example([[(b"a", b"9007199254740993"), (b"a", b"1e23"), (b"a", b"8.5e-46")]], 1)
def test_both_scan_alike(entries: list[list[tuple[bytes, bytes]]], features: int) -> None:
    """Places, times, slots, numbers to the bit, and what is odd."""
    reply = reply_of(entries)
    for one, other in zip(scanned(compiled, reply, features), scanned(codec_python, reply, features), strict=True):
        for position, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            if position == 10:  # NaN has many bit patterns
                mine, theirs = (np.frombuffer(part, np.float32) for part in (mine, theirs))  # noqa: PLW2901
                np.testing.assert_array_equal(np.isnan(mine), np.isnan(theirs))
                assert mine[~np.isnan(mine)].tobytes() == theirs[~np.isnan(theirs)].tobytes()
            else:
                assert mine == theirs, position


def live(module: Any, reply: bytes, features: int, most: int) -> tuple[Any, list[int], bytes]:
    """What a codec finds in a reply of so many live values at most, with some series known."""
    table = module.Table()
    for slot, series in enumerate(((0, b"known"), (0, b"y"), (0, b"z"), (1, b""))):
        table.put(*series, 7 - slot)
    found, values = np.zeros(6 * most, np.int64), np.zeros(features * most, np.float32)
    seen = module.scan_live(reply, table, KEYS, found, values, 0)
    count = 0 if seen is None else seen[1]
    return seen, found[: 6 * count].tolist(), values[: features * count].tobytes()


LIVE = st.lists(st.tuples(st.sampled_from([b"known", b"known", b"", b"y", b"z", b"x"]), TEXTS | DECIMALS), max_size=2)
ONE = st.tuples(st.sampled_from([b"known", b"y", b"z"]), DECIMALS.filter(lambda text: b"e" not in text))


@needs_compiled
@settings(max_examples=examples(300))
@given(
    st.sampled_from([b"k", b"k", b"other", b"unknown"]),
    st.lists(ONE.map(lambda one: [one]), max_size=5) | st.lists(LIVE, max_size=3),
    st.integers(1, 2),
    st.integers(0, 3),
    st.integers(1, 4),
)
@example(b"k", [[(b"known", b"-0")]], 1, 0, 1)
@example(b"k", [[(b"known", b"1")], [(b"y", b"2")], [(b"z", b"3")]], 1, 0, 3)
@example(b"k", [[(b"known", b"1")], [(b"known", b"2")], [(b"known", b"3")]], 1, 0, 4)
@example(b"k", [[(b"known", b"1")], [(b"y", b"2")], [(b"known", b"3")]], 1, 0, 4)
@example(b"k", [[(b"known", b"1")], [(b"y", b"2")]], 1, 0, 1)
@example(b"other", [[(b"", b"1.5,2")]], 2, 0, 2)
@example(b"k", [[(b"known", b"1")]], 1, 1, 2)
def test_both_find_live_values_alike(
    key: bytes, entries: list[list[tuple[bytes, bytes]]], features: int, cut: int, most: int
) -> None:
    """The same places, slots and numbers, and the same replies left to the general way; cut ones are."""
    made = [(b"%d-%d" % (n + 5, n), [part for pair in pairs for part in pair]) for n, pairs in enumerate(entries)]
    reply = encode_read({key.decode(): made})
    reply = reply[: len(reply) - cut]
    seen, places, values = live(compiled, reply, features, most)
    assert (seen, places, values) == live(codec_python, reply, features, most)
    known = {b"k": {b"known", b"y", b"z"}, b"other": {b""}}.get(key, set())
    names = [pairs[0][0] for pairs in entries if len(pairs) == 1 and pairs[0][0] in known]
    steps = {1: len(names), len(names): 1}.get(len(set(names)), 0)
    fits = not cut and 0 < len(entries) == len(names) <= most and steps
    if not fits:
        assert seen is None
    if seen is not None:
        assert seen == (key, len(entries), steps)
        [scan] = compiled.scan_read(reply, _table_of(compiled), KEYS, features, 0)
        assert values == bytes(scan[10]), "the numbers that a batch would have"
        assert places == np.frombuffer(b"".join(scan[at] for at in (1, 2, 3, 5, 6)), np.int64).tolist() + [
            {b"known": 7, b"y": 6, b"z": 5, b"": 4}[name] for name in names
        ]


def _table_of(module: Any) -> Any:
    return module.Table()


@settings(max_examples=examples(200))
@given(DECIMALS)
def test_numbers_are_pythons(text: bytes) -> None:
    """A plain decimal number is `float` of it, rounded to float32 as numpy does."""
    scan = scan_read(reply_of([[(b"s", text)]]), *_table_and_keys(), 1)[0]
    if not scan.odd[0]:
        assert scan.values[0, 0].tobytes() == np.float32(float(text)).tobytes()


def _table_and_keys() -> tuple[Any, dict[bytes, int]]:
    from streamlstm.store.resp.codec import Table

    return Table(), KEYS


@needs_compiled
@settings(max_examples=examples(100))
@given(ENTRIES, st.randoms(use_true_random=False))
def test_broken_replies_raise_and_nothing_else(entries: list[list[tuple[bytes, bytes]]], rng: random.Random) -> None:
    """Cut anywhere or with bytes changed, a reply is read or refused; the process lives."""
    reply = bytearray(reply_of(entries))
    for _ in range(20):
        broken = bytearray(reply[: rng.randint(0, len(reply))])
        for _ in range(rng.randint(0, 3)):
            if broken:
                broken[rng.randrange(len(broken))] = rng.choice(b"*$-+:0123456789\r\nx")
        try:
            scanned(compiled, bytes(broken))
        except (ValueError, KeyError):
            continue


@needs_compiled
@settings(max_examples=examples(100))
@given(ENTRIES)
def test_both_find_the_end_alike(entries: list[list[tuple[bytes, bytes]]]) -> None:
    """At every cut, going on from where the cut before was left, and with more behind."""
    whole = b"+OK\r\n" + reply_of(entries) + b":5\r\n$-1\r\n"
    left = [(0, 4), (0, 4)]
    for cut in range(0, len(whole), 7):
        left = [
            module.skip_replies(whole[:cut], *at) for module, at in zip((compiled, codec_python), left, strict=True)
        ]
        assert left[0] == left[1] == compiled.skip_replies(whole[:cut], 0, 4)
        assert left[0][1] > 0
    assert compiled.skip_replies(whole + b"+more", *left[0]) == (len(whole), 0)


@pytest.mark.parametrize("module", [codec_python, pytest.param(compiled, marks=needs_compiled)], ids=["python", "c"])
@pytest.mark.parametrize("reply", [b"$x\r\n", b"*\r\n", b"$--1\r\n", b"*1 \r\n", b"$ 1\r\nx\r\n"])
def test_lengths_are_whole_numbers(module: Any, reply: bytes) -> None:
    """What Python's `int` would take beside digits is no length."""
    with pytest.raises(ValueError, match="not a reply"):
        module.skip_replies(reply, 0, 1)


@needs_compiled
@settings(max_examples=examples(100))
@given(st.lists(st.tuples(NAMES, st.lists(st.tuples(NAMES, NAMES), max_size=4)), max_size=6))
def test_both_pack_alike(entries: list[tuple[bytes, list[tuple[bytes, bytes]]]]) -> None:
    """Entries with any number of fields, and names with their records."""
    ids = Texts.of([entry_id for entry_id, _ in entries])
    fields = Texts.of([name for _, pairs in entries for name, _ in pairs])
    texts = Texts.of([text for _, pairs in entries for _, text in pairs])
    counts = np.array([len(pairs) for _, pairs in entries], np.int64)
    arguments = (b"$4\r\nXADD\r\n", ids.parts, counts, fields.parts, texts.parts)
    assert compiled.pack_entries(*arguments) == codec_python.pack_entries(*arguments)
    rows = np.arange(20 * 150, dtype=np.float32).reshape(20, 150)
    slots = np.arange(len(fields)) * 7 % 20
    arguments = (fields.parts, rows, slots)
    assert compiled.pack_records(*arguments) == codec_python.pack_records(*arguments)


@needs_compiled
@settings(max_examples=examples(100))
@given(st.lists(NAMES, max_size=50), st.lists(NAMES, max_size=50))
def test_both_find_series_alike(known: list[bytes], asked: list[bytes]) -> None:
    """Those of a stream that a table has, and others; in the order of the names."""
    found = []
    for module in (compiled, codec_python):
        table = module.Table()
        for slot, name in enumerate(sorted(set(known))):
            table.put(slot % 2, name, slot)
        found.append([bytes(module.find_slots(table, stream, Texts.of(asked).parts)) for stream in (0, 1)])
        wanted = [[table.get(stream, name) for name in asked] for stream in (0, 1)]
        assert [np.frombuffer(slots, np.int64).tolist() for slots in found[-1]] == wanted
    assert found[0] == found[1]


BITS = st.one_of(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(0, 511), st.integers(-3, 3)).map(lambda pair: (pair[0] << 23) + pair[1] & 0xFFFFFFFF),
)


@needs_compiled
@settings(max_examples=examples(300))
@given(st.lists(BITS, max_size=60), st.integers(1, 3))
@example([0, 1 << 31, 1, 0x7F7FFFFF, 0xFF7FFFFF, 0x3F800000], 2)
def test_both_write_numbers_alike(bits: list[int], columns: int) -> None:
    """Numbers of every magnitude, and those beside powers of two, where rounding is not even."""
    numbers = np.array(bits, np.uint32).view(np.float32)
    numbers = numbers[~np.isinf(numbers)]
    numbers = np.resize(numbers, (len(numbers) // columns, columns)) if len(numbers) >= columns else numbers[:0]
    one, other = (Texts(*_parts(module.write_numbers(numbers, columns))) for module in (compiled, codec_python))
    assert list(one) == list(other)


@needs_compiled
def test_both_write_every_power_of_ten_and_two_alike() -> None:
    """All exponents, and the numbers around them."""
    powers = np.array([*(float(f"{digits}e{e}") for e in range(-45, 39) for digits in ("1", "1.5", "9.999999", "3"))])
    around = (np.arange(1, 255, dtype=np.uint32)[:, None] << 23) + np.arange(-40, 40, dtype=np.int64).astype(np.uint32)
    numbers = np.concatenate([powers.clip(-3.4e38, 3.4e38).astype(np.float32), around.view(np.float32).ravel()])
    one, other = (Texts(*_parts(module.write_numbers(numbers, 1))) for module in (compiled, codec_python))
    assert list(one) == list(other)


def _parts(found: tuple[bytes, bytes, bytes]) -> tuple[bytes, Any, Any]:
    return found[0], np.frombuffer(found[1], np.int64), np.frombuffer(found[2], np.int64)


@needs_compiled
def test_packing_never_reads_outside() -> None:
    """Places beyond the bytes, and counts that do not add up, are refused."""
    good, beyond = Texts.of([b"ab"]), Texts(b"ab", np.array([1]), np.array([2]))
    with pytest.raises(ValueError, match="within the bytes"):
        compiled.pack_entries(b"", beyond.parts, np.array([1]), good.parts, good.parts)
    with pytest.raises(ValueError, match="add up"):
        compiled.pack_entries(b"", good.parts, np.array([2]), good.parts, good.parts)
    for slots in ([0], [0, 1], [0, -1]):
        for module in (compiled, codec_python):
            with pytest.raises(ValueError, match="slot of a row"):
                module.pack_records(Texts.of([b"a", b"b"]).parts, np.zeros((1, 3), np.float32), np.array(slots))


@pytest.mark.parametrize("module", [codec_python, pytest.param(compiled, marks=needs_compiled)], ids=["python", "c"])
def test_the_table_is_a_dictionary(module: Any) -> None:
    """Random series put, found and removed, against a dictionary; churn takes no more memory."""
    rng, table, known = random.Random(5), module.Table(), dict[tuple[int, bytes], int]()
    free = list(range(3000))
    for turn in range(60_000):
        series = (rng.randrange(3), b"series-%d" % rng.randrange(5000))
        assert table.get(*series) == known.get(series, -1)
        if series in known and (rng.random() < 0.5 or not free):
            free.append(known.pop(series))
            table.remove(free[-1])
        elif series not in known and free:
            known[series] = free.pop(rng.randrange(len(free)))
            table.put(*series, known[series])
        if turn == 30_000:
            size = table.nbytes
    assert len(table) == len(known)
    assert {series: table.get(*series) for series in known} == known
    assert table.nbytes < 2 * size
    with pytest.raises(ValueError, match="slot"):
        table.put(*next(iter(known)), 2_999_999)
    table.remove(10**9)


@needs_compiled
def test_a_series_takes_little_memory() -> None:
    """With ten-byte names a series takes at most 64 bytes besides its record."""
    table = compiled.Table()
    for slot in range(200_000):
        table.put(0, b"sensor%04d" % slot, slot)
    assert table.nbytes / 200_000 < 64


@needs_compiled
@settings(max_examples=examples(100))
@given(
    st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=5, unique=True),
    st.lists(st.floats(width=32, allow_infinity=False), min_size=1, max_size=4),
    st.integers(0, 2**63 - 1),
    st.integers(0, 2),
    st.booleans(),
)
def test_both_pack_live_values_alike(
    names: list[bytes], numbers: list[float], answered: int, beside: int, is_one_series: bool
) -> None:
    """The same flight from the compiled codec, from its twin, and from the general way."""
    count, table = len(names), compiled.Table()
    for slot, name in enumerate(names):
        table.put(0, name, slot)
    named = names[:1] * count if is_one_series else names
    reply = encode_read({"k": [(b"5-%d" % (n + 1), [name, b"1.5"]) for n, name in enumerate(named)]})
    found, told, series = np.zeros(6 * count, np.int64), len(numbers), 1 if is_one_series else count
    values = np.zeros(count, np.float32)
    assert compiled.scan_live(reply, table, KEYS, found, values, 0) == (b"k", count, count // series)
    found, rows = found.reshape(6, count), np.arange(20, dtype=np.float32).reshape(5, 4)
    y = np.array([[*numbers, *[np.inf] * beside]] * count, np.float32)
    pieces = (b"begin", b"add", b"meta", b"count", b"end")
    modules, same_call = (compiled, codec_python), (reply, found, rows, y, told, series)
    packed = [module.pack_live(*same_call, answered, pieces) for module in modules]
    assert packed[0] == packed[1]
    begun = [module.pack_live(*same_call, None, pieces) for module in modules]
    assert begun[0] == begun[1]
    assert packed[0].removeprefix(begun[0]).startswith(b"meta$3\r\n5-%d\r\n" % count)
    same = {"stream": "k", "base": b"0-0", "position": b"5-%d" % count, "model": "ab", "columns": "y"}
    made = LiveCommit(**same, answered=answered, scanned=(reply, found, series), answer=(rows, y, told))  # type: ignore[arg-type]
    shown = {name: getattr(made, name) for name in ("names", "records", "ids", "fields", "texts", "counts")}
    general = Commit(**same, answered=answered, **shown)  # type: ignore[arg-type]
    flights = [FlightPacker(Keys("k")).pack(commit) for commit in (made, general)]
    (alone, commands), (pieces_of_it, as_many) = flights
    assert (alone, commands) == ([b"".join(pieces_of_it)], as_many)
    assert (list(made.names), list(made.fields)) == (named[:series], named)


def written(commit: Commit) -> tuple[dict[bytes, dict[bytes, bytes]], list[list[bytes]], int]:
    """What a flight sets, what else it sends in order, and how many commands it says that stand before its EXEC."""
    pieces, commands = FlightPacker(Keys("k")).pack(commit)
    fields, others = dict[bytes, dict[bytes, bytes]](), []
    for command in parse_replies(b"".join(pieces)):
        if command[0] == b"HSET":
            fields.setdefault(command[1], {}).update(zip(command[2::2], command[3::2], strict=True))
        else:
            others.append(command)
    return fields, others, commands


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("columns", [("y", "y"), ("y,lo,hi", "y,score")])
def test_a_challengers_live_values_are_packed_with_the_champions(columns: tuple[str, str], count: int) -> None:
    """Both flights leave the same in the store, by as many commands, one of which moves both roles."""
    series = (b"s", b"t")[:count]
    reply = encode_read({"k": [(b"5-%d" % n, [name, b"1.5"]) for n, name in enumerate(series)]})
    ids, names = ([reply.index(b"5-%d" % n) for n in range(count)], [reply.index(name + b"\r\n$3") for name in series])
    found = np.array([ids, [3] * count, [5] * count, names, [1] * count, [2, 1][:count]])
    made = []
    for kind in ("live", "general"):
        roles = []
        for number, names in enumerate(columns):
            same = {"stream": "k", "base": b"0-0", "position": b"5-%d" % (count - 1), "columns": names}
            same |= {"model": "ab" * (1 + number), "answered": 9 - number}
            told = names.count(",") + 1
            rows, y = np.full((3, 4), number, np.float32), np.full((count, told), 7 + number, np.float32)
            commit: Commit = LiveCommit(**same, scanned=(reply, found, count), answer=(rows, y, told))  # type: ignore[arg-type]
            if kind == "general":
                shown = {
                    name: getattr(commit, name) for name in ("names", "records", "ids", "fields", "texts", "counts")
                }
                commit = Commit(**same, **shown)  # type: ignore[arg-type]
            roles.append(commit)
        roles[0].challenger = roles[1]
        made.append(written(roles[0]))
    (alone, others, commands), (fields, as_others, general) = made
    assert alone == fields
    assert sorted(map(str, others)) == sorted(map(str, as_others))
    assert commands == general == 3 + 2 * count
    assert alone[Keys("k").meta.encode()][b"entries"] == b"9"


@needs_compiled
def test_what_lies_outside_is_not_packed() -> None:
    """Places beyond the reply and slots beyond the rows are refused."""
    rows = np.zeros((2, 4), np.float32)
    good = [0, 1, 0, 1, 2, 1]
    for at, wrong in ((0, -1), (1, 9), (3, 7), (4, -2), (5, 2), (5, -1)):
        found = np.array(good, np.int64)[:, None]
        found[at] = wrong
        with pytest.raises(ValueError, match="does not lie"):
            compiled.pack_live(b"abc", found, rows, rows[:1, :1].copy(), 1, 1, 1, (b"",) * 5)
    packed = compiled.pack_live(b"abc", np.array(good)[:, None], rows, rows[:1, :1].copy(), 1, 1, 1, (b"",) * 5)
    assert packed.startswith(b"*4\r\n$2\r\nbc")
