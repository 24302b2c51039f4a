"""Key names and entry ids."""

from __future__ import annotations

import pytest

from streamlstm.entry_id import EntryId
from streamlstm.errors import StoreError, UsageError
from streamlstm.keys import Keys


@pytest.mark.parametrize(
    ("stream", "base"),
    [("values", "{values}"), ("values:{7}", "values:{7}"), ("{a}", "{a}"), ("a:b", "{a:b}"), ("x{y}z{w}", "x{y}z{w}")],
)
def test_derived_keys_share_the_slot_of_the_input(stream: str, base: str) -> None:
    """The base is the stream's name if it has a hash tag, else the name as a tag."""
    from redis.crc import key_slot

    keys = Keys(stream)
    assert keys.predictions == f"{base}:predictions"
    assert {key_slot(key.encode()) for key in keys.derived} == {key_slot(stream.encode())}


@pytest.mark.parametrize("stream", ["", "a{b", "a}b", "{}", "a{}b"])
def test_names_that_could_not_share_a_slot_are_refused(stream: str) -> None:
    """A stray brace would put derived keys elsewhere."""
    with pytest.raises(UsageError):
        Keys(stream)


def test_ids_order_as_redis_orders_them() -> None:
    """By time, then by sequence, as numbers."""
    texts = ["1-0", "1-2", "1-10", "2-0", "10-0"]
    assert sorted(texts, key=EntryId.parse, reverse=True)[::-1] == texts
    assert str(EntryId.parse(b"5")) == "5-0"
    with pytest.raises(StoreError, match="not an entry id"):
        EntryId.parse("yesterday")
