"""Key names and entry ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot as slot_of_redis_py

from streamlstm.errors import StoreError, UsageError
from streamlstm.store.keys import Keys, is_derived
from streamlstm.store.resp.entry_id import HIGHEST, EntryId, beyond
from streamlstm.store.resp.topology import key_slot


@pytest.mark.parametrize(
    ("stream", "base"),
    [("values", "{values}"), ("values:{7}", "values:{7}"), ("{a}", "{a}"), ("a:b", "{a:b}"), ("x{y}z{w}", "x{y}z{w}")],
)
def test_derived_keys_share_the_slot_of_the_input(stream: str, base: str) -> None:
    """The base is the stream's name if it has a hash tag, else the name as a tag."""
    keys = Keys(stream)
    assert keys.predictions == f"{base}:predictions"
    assert {slot_of_redis_py(key.encode()) for key in keys.derived} == {slot_of_redis_py(stream.encode())}


@given(parts=st.lists(st.one_of(st.sampled_from([b"{", b"}", b"{}", b"\n"]), st.binary(max_size=4)), max_size=8))
def test_slots_are_those_of_redis_py(parts: list[bytes]) -> None:
    """Of the text between the first brace and the next one that closes, unless there is none in it."""
    key = b"".join(parts)
    assert key_slot(key) == slot_of_redis_py(key)


def test_a_slot_is_what_the_specification_says() -> None:
    """CRC-16/XMODEM of 123456789 is 31C3; what stands beside a hash tag does not count."""
    assert key_slot(b"123456789") == key_slot(b"a{123456789}b{c}") == 0x31C3
    assert key_slot(b"a{}{123456789}") != 0x31C3


@pytest.mark.parametrize("stream", ["", "a{b", "a}b", "{}", "a{}b"])
def test_names_that_could_not_share_a_slot_are_refused(stream: str) -> None:
    """A stray brace would put derived keys elsewhere."""
    with pytest.raises(UsageError):
        Keys(stream)


@pytest.mark.parametrize("stream", ["values", "values:{7}", "{a}", "a:b", "new\nline"])
def test_derived_streams_are_never_input(stream: str) -> None:
    """Outputs, and drafts of them that are there for a while, are told from input by their names."""
    keys = Keys(stream)
    drafts = [keys.draft(token) for token in ("a1", "a1-predictions", "a1-dead", "a1-state")]
    assert all(is_derived(name) for name in (keys.predictions, keys.dead, *drafts))
    assert not any(is_derived(name) for name in (stream, "dead", "a:dead", "my:draft:x", ":dead", "{x}:deadline"))


def test_what_comes_after_an_id() -> None:
    """Exclusive of the id itself; after the highest there is nothing, which Redis would not take as a range."""
    assert beyond(b"5-0") == (b"(5-0", b"+")
    assert beyond(b"5-0", b"7-1") == (b"(5-0", b"7-1")
    assert EntryId.parse(HIGHEST) == EntryId(2**64 - 1, 2**64 - 1)
    assert beyond(HIGHEST) == beyond(HIGHEST, HIGHEST) == (b"+", b"-")


def test_ids_order_as_redis_orders_them() -> None:
    """By time, then by sequence, as numbers."""
    texts = ["1-0", "1-2", "1-10", "2-0", "10-0"]
    assert sorted(texts, key=EntryId.parse, reverse=True)[::-1] == texts
    assert str(EntryId.parse(b"5")) == "5-0"
    with pytest.raises(StoreError, match="not an entry id"):
        EntryId.parse("yesterday")
