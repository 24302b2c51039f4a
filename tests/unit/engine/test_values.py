"""Values as text: what is read, what is refused, and that writing and reading agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlstm.engine.parsing import parse
from streamlstm.engine.rejection import Flaw
from streamlstm.store.resp.codec import Table, encode_read, write_numbers


def read_values(texts: Sequence[bytes], features: int) -> tuple[np.ndarray, dict[int, Flaw]]:
    """The values of one entry with these texts, as the daemon reads them from a reply."""
    reply = encode_read({"k": [(b"1-0", [part for text in texts for part in (b"s", text)])]})
    parsed = parse(reply, Table(), {b"k": 0}, features)[0]
    return parsed.values, parsed.wrong


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(FLOATS, FLOATS), max_size=50))
def test_written_values_parse_back_to_the_same_bits(rows: list[tuple[float, float]]) -> None:
    """What is written is read as the same float32, several columns too."""
    values = np.array(rows, np.float32).reshape(-1, 2)
    texts = write_numbers(values)
    found, wrong = read_values(texts, 2)
    assert not wrong
    assert found.tobytes() == values.tobytes()


@given(FLOATS)
def test_written_values_are_the_shortest(number: float) -> None:
    """No text with fewer digits parses to the same float32."""
    text = write_numbers(np.array([[number]], np.float32))[0].decode()
    digits = text.lstrip("-").partition("e")[0].replace(".", "").strip("0") or "0"
    wanted = np.format_float_scientific(np.float32(number), unique=True, trim="-").lstrip("-")
    assert len(digits) <= len(wanted.partition("e")[0].replace(".", "").strip("0") or "0")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"21.5", 21.5),
        (b"-0", -0.0),
        (b"+1", 1.0),
        (b".5", 0.5),
        (b"5.", 5.0),
        (b"007", 7.0),
        (b"1e3", 1000.0),
        (b"1E-3", 0.001),
        (b" 4\r\n", 4.0),
        (b"123456789012345678901234567890", 1.2345679e29),
        (b"1e-400", 0.0),
        (b"3.4028235e38", 3.4028235e38),
    ],
)
def test_decimal_numbers_are_read(text: bytes, number: float) -> None:
    """Every usual way to write a decimal number, alone and among plain ones."""
    for texts in ([text], [b"1", text, b"2.5"]):
        found, wrong = read_values(texts, 1)
        assert not wrong
        assert found[texts.index(text), 0] == np.float32(number)


@pytest.mark.parametrize("text", [b"", b"nan", b"NaN", b"NAN", b"  "])
def test_missing_values_are_nan(text: bytes) -> None:
    """Empty or nan is missing, not wrong."""
    found, wrong = read_values([b"1", text], 1)
    assert not wrong
    assert np.isnan(found[1, 0])


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"abc", "not_a_number"),
        (b"1_000", "not_a_number"),
        (b"inf", "not_a_number"),
        (b"-Infinity", "not_a_number"),
        (b"true", "not_a_number"),
        (b"null", "not_a_number"),
        (b"[1]", "not_a_number"),
        (b"0x10", "not_a_number"),
        (b"1e", "not_a_number"),
        (b"--1", "not_a_number"),
        (b"1 2", "not_a_number"),
        (b"\xd9\xa1", "not_a_number"),
        (b"\x00", "not_a_number"),
        (b"1,2", "wrong_count"),
        (b",", "wrong_count"),
        (b"1e39", "out_of_range"),
        (b"-9e999", "out_of_range"),
    ],
)
def test_the_rest_is_wrong_and_named(text: bytes, kind: str) -> None:
    """What is no value is flagged at its index; its neighbours are read."""
    found, wrong = read_values([b"1", text, b"2"], 1)
    assert list(wrong) == [1]
    assert wrong[1].kind == kind
    assert found[[0, 2], 0].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("text", [b"1,2],[3,4", b"1,[2", b"3],4", b"1", b"1,2,3", b"1,,2", b"true,1"])
def test_values_of_several_features_cannot_leak_into_each_other(text: bytes) -> None:
    """Brackets, commas and wrong counts in one value change nothing for the next."""
    found, wrong = read_values([b"5,6", text, b"7,8"], 2)
    assert list(wrong) == [1]
    assert found[[0, 2]].tolist() == [[5.0, 6.0], [7.0, 8.0]]


def test_one_feature_of_several_may_be_missing() -> None:
    """An empty part is NaN, the others are read."""
    found, wrong = read_values([b"1,,3"], 3)
    assert not wrong
    assert found[0, [0, 2]].tolist() == [1.0, 3.0]
    assert np.isnan(found[0, 1])


@given(st.lists(st.binary(max_size=12), max_size=20), st.integers(1, 3))
def test_no_bytes_raise(texts: list[bytes], features: int) -> None:
    """Whatever producers send, each text is a value or a flaw."""
    found, wrong = read_values(texts, features)
    assert found.shape == (len(texts), features)
    assert set(wrong) <= set(range(len(texts)))
