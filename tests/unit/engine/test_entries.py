"""Every rule of the input contract, and whatever bytes producers and strangers put into a stream or a hash."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlstm.common.settings import EngineSettings
from streamlstm.engine.engine import Engine
from streamlstm.engine.parsing import COMMANDS, RESET
from streamlstm.store.memory import MemoryServer, MemoryStore, MemoryStream
from streamlstm.store.record.layout import RecordFormat
from support import models
from support.pump import pump
from support.rounds import examples

MODEL = models.load_lstm(3)
TWO = models.load_lstm(3, features=2)
Fields = list[bytes]


def answered(
    made: list[Fields],
    *,
    model: object = MODEL,
    batching: int = 0,
    state: dict[bytes, bytes] | None = None,
    **options: object,
) -> MemoryStream:
    """What a stream holds after entries with these fields have been answered."""
    server = MemoryServer()
    held = server.stream("values")
    held.state.update(state or {})
    for number, fields in enumerate(made, 1):
        server.add("values", f"{number}-0", *fields)
    engine = Engine(model, EngineSettings(**options))  # type: ignore[arg-type]
    pump(engine, MemoryStore(server), ["values"], seed=batching)
    return held


@pytest.mark.parametrize(
    ("name", "text", "kind", "words"),
    [
        (b"s", b"abc", "not_a_number", "not a decimal number"),
        (b"s", b"inf", "not_a_number", "not a decimal number"),
        (b"s", b"-Infinity", "not_a_number", "not a decimal number"),
        (b"s", b"\xff\xfe", "not_a_number", "not a decimal number"),
        (b"s", b"1e999", "out_of_range", "float32"),
        (b"s", b"3.5e38", "out_of_range", "float32"),
        (b"s", b"1,2", "wrong_count", "1 number a value, this one has 2"),
        (b"s", b"9" * 100_000, "out_of_range", "the first 1024 of 100000 bytes are kept"),
        (b"s", b"x" * 5_000_000, "not_a_number", "the first 1024 of 5000000 bytes are kept"),
        (b"", b"1", "bad_name", "empty"),
        (b"n" * 257, b"1", "bad_name", "257 bytes, 256 are allowed"),
        (b"n" * 3_000_000, b"1", "bad_name", "3000000 bytes"),
        (b"\xff", b"1", "bad_name", "not UTF-8"),
        (b"\xed\xa0\x80", b"1", "bad_name", "not UTF-8"),
        (b"!", b"1", "unknown_command", "there are !reset, !warm, !correct and !late"),
        (b"!stop", b"1", "unknown_command", "unknown command !stop"),
        (b"!RESET", b"s", "unknown_command", "unknown command !RESET"),
        (b"!reset", b"", "bad_name", "!reset names no series"),
        (b"!reset", b"!reset", "unknown_command", "!reset names no series"),
        (b"new", b"", "no_past", "no prediction yet"),
    ],
)
def test_what_breaks_a_rule_costs_nobody_else_anything(name: bytes, text: bytes, kind: str, words: str) -> None:
    """A dead letter with the reason; the values before and after it in the same entry are answered as without it."""
    held = answered([[b"s", b"1"], [b"a", b"2", name, text, b"b", b"3"], [b"s", b"2"]])
    without = answered([[b"s", b"1"], [b"a", b"2", b"b", b"3"], [b"s", b"2"]])
    assert held.predictions == without.predictions
    assert held.state == without.state
    [letter] = held.dead
    assert letter.kind == kind
    assert words in letter.error
    assert letter.id == b"2-0"
    assert len(letter.series) <= 1024
    assert len(letter.value) <= 1024


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"yes", "neither * nor a time in ms since 1970"),
        (b"", "neither * nor a time"),
        (b"99999", "a time after that of its own entry"),
        (b"18446744073709551615-0", "a time after that of its own entry"),
    ],
)
def test_nothing_behind_a_warm_that_is_not_understood_is_stepped(text: bytes, words: str) -> None:
    """A time taken for another would stay in the states: what follows in the entry is kept in dead letters."""
    held = answered([[b"s", b"1"], [b"a", b"2", b"!warm", text, b"b", b"3", b"!warm", b"*", b"s", b"4"], [b"s", b"2"]])
    without = answered([[b"s", b"1"], [b"a", b"2"], [b"s", b"2"]])
    assert held.predictions == without.predictions
    assert held.state == without.state
    assert [letter.series for letter in held.dead] == [b"!warm", b"b", b"!warm", b"s"]
    assert all(words in letter.error and letter.kind == "unknown_command" for letter in held.dead)


@pytest.mark.parametrize("text", [b"1", b"1,2,3", b"1;2", b"1,x", b"1,inf"])
def test_a_value_of_several_features_has_all_of_them(text: bytes) -> None:
    """The wrong count, or one number that is none, is a dead letter; the series goes on."""
    held = answered([[b"s", b"1,2"], [b"s", text], [b"s", b"3,4"]], model=TWO)
    assert held.prediction_ids == [b"1-0", b"3-0"]
    assert len(held.dead) == 1


LONG = [part for n in range(4) for name in (b"a", b"b") for part in (name, b"%d" % n)]


@pytest.mark.parametrize("beyond", [[b"c", b"1"], [b"!reset", b"a"], [b"!reset", b"*"], [b"", b""], [b"x", b"y"] * 9])
def test_what_an_entry_holds_beyond_the_limit_is_one_letter(beyond: list[bytes]) -> None:
    """What is within it is answered as without the rest; nothing of the rest is carried out."""
    made = [[b"a", b"7"], [*LONG, *beyond], [b"b", b"5"], [*LONG, *beyond], [b"a", b"2"]]
    without = [[b"a", b"7"], LONG, [b"b", b"5"], LONG, [b"a", b"2"]]
    for batching in (1, 2, 3):
        held = answered(made, max_entry_values=8, batching=batching)
        plain = answered(without, batching=batching)
        assert held.predictions == plain.predictions
        assert held.state == plain.state
        count = len(beyond) // 2
        assert [(letter.id, letter.kind, letter.values) for letter in held.dead] == [
            (b"2-0", "too_many_values", count),
            (b"4-0", "too_many_values", count),
        ]
        assert held.dead[0].error.startswith(f"the entry has {8 + count} values, 8 are taken (--max-entry-values)")


def test_thousands_of_bad_records_in_one_batch_are_set_aside() -> None:
    """Each has its letter, in the order in which the series came; the work grows as their number does."""
    names = [b"s%d" % number for number in range(20_000)]
    held = answered([[part for name in names for part in (name, b"1")]], state=dict.fromkeys(names, b"junk"))
    assert [letter.series for letter in held.dead] == names
    assert held.predictions[0][0::2] == names


def test_names_at_the_limit_are_names() -> None:
    """256 bytes, line breaks, quotes, zeros and other scripts name series like any others."""
    names = [b"n" * 256, b"a\r\nb", b'"', b"\0", "é".encode(), "系列".encode(), b"*", b" ", b"$3\r\nabc\r\n"]
    held = answered([[part for name in names for part in (name, b"1")]])
    assert held.predictions[0][0::2] == names
    assert set(held.state) == set(names)


def test_an_entry_without_an_answer_moves_the_position() -> None:
    """An entry of resets or rubbish alone has no prediction, and what comes after it is answered."""
    held = answered([[b"!reset", b"nobody"], [b"s", b"x"], [b"", b""], [b"s", b"1"]])
    assert held.prediction_ids == [b"4-0"]
    assert held.position == b"4-0"


def test_a_flood_of_new_series_is_bounded() -> None:
    """Of fifty thousand new series a thousand are admitted; memory stays theirs, and they are served on."""
    made = [[part for n in range(k, k + 1000) for part in (b"s%d" % n, b"1")] for k in range(0, 50_000, 1000)]
    server = MemoryServer()
    for number, fields in enumerate([*made, [b"s5", b"2"]], 1):
        server.add("values", f"{number}-0", *fields)
    engine = Engine(MODEL, EngineSettings(max_series=1000))
    pump(engine, MemoryStore(server), ["values"], most=20)
    held = server.stream("values")
    assert len(held.state) == engine.arena.cached == 1000
    assert Counter(letter.kind for letter in held.dead) == {"too_many_series": 49_000}
    assert held.prediction_ids[-1] == b"51-0"
    assert engine.arena.nbytes < 2_000_000


ODD_BYTES = st.binary(max_size=8) | st.sampled_from(
    [b"s", b"t", b"!reset", b"*", b"1", b"nan", b"", b"-2.5e3", b"1e39"]
)
# Those of commands that say how values are taken, and are none, are tried in tests of their own.
ODD_NAMES = ODD_BYTES.filter(lambda name: name not in COMMANDS - {RESET})


@settings(max_examples=examples(200))
@given(made=st.lists(st.lists(st.tuples(ODD_NAMES, ODD_BYTES), min_size=1, max_size=6), max_size=12))
def test_any_bytes_are_answered_or_explained(made: list[list[tuple[bytes, bytes]]]) -> None:
    """Each field of each entry is a prediction, a dead letter or a reset, once, and the same in any batches."""
    flat = [[part for pair in fields for part in pair] for fields in made]
    one, other = (answered(flat, batching=n) for n in (1, 2))
    assert one == other
    resets = sum(name == b"!reset" for fields in made for name, _ in fields)
    dead_resets = sum(letter.series == b"!reset" for letter in one.dead)
    fields = sum(map(len, flat)) // 2
    assert sum(map(len, one.predictions)) // 2 + len(one.dead) + resets - dead_resets == fields
    assert not made or one.position == b"%d-0" % len(made)


def a_record() -> bytes:
    """A good record of the series s."""
    return answered([[b"s", b"1"], [b"s", b"2"]]).state[b"s"]


GOOD = a_record()


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """Bytes that are, were, or never have been a record."""
    record = bytearray(GOOD)
    for _ in range(draw(st.integers(0, 3))):
        bit = draw(st.integers(0, 8 * len(record) - 1))
        record[bit // 8] ^= 1 << bit % 8
    cut = draw(st.none() | st.integers(0, len(record)))
    return draw(st.just(bytes(record[:cut])) | st.binary(max_size=200))


@settings(max_examples=examples(300))
@given(record=spoiled())
def test_any_stored_bytes_are_a_record_or_set_aside(record: bytes) -> None:
    """A bad record is one dead letter and a fresh beginning; a good one is carried on; its neighbours do not notice."""
    held = answered([[b"s", b"3", b"t", b"1"]], state={b"s": record, b"t": GOOD})
    assert len(held.predictions) == 1
    layout: RecordFormat = Engine(MODEL).format
    steps = int(layout.header(layout.decode_one(held.state[b"s"])[None])["steps"][0])
    if layout.decode([record])[1]:
        [letter] = held.dead
        assert (letter.kind, letter.series, steps) == ("bad_record", b"s", 1)
        assert held.predictions[0][1] == answered([[b"s", b"3"]]).predictions[0][1]
    else:
        assert not [letter for letter in held.dead if letter.kind != "not_finite"]
    assert held.predictions[0][-1] == answered([[b"t", b"1"]], state={b"t": GOOD}).predictions[0][1]
