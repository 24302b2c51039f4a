"""What is laid out for one engine, and stepped by another beside it: as if it had been parsed there."""

from __future__ import annotations

import random

import numpy as np
import pytest

from streamlstm.common.settings import EngineSettings
from streamlstm.engine.engine import Engine
from streamlstm.store.base import BEFORE_ANYTHING
from streamlstm.store.resp.codec import encode_read
from support import models

SERIES = [b"a", b"b", b"c", b"d"]


def engines(**other: int) -> tuple[Engine, Engine]:
    """Two, whose records of the same series are in different places."""
    made = Engine(models.load_lstm(4), EngineSettings()), Engine(models.load_lstm(8, **other), EngineSettings())
    rows = [[None] * len(SERIES)] * 2
    for engine, names, records in zip(made, (SERIES, SERIES[::-1]), rows, strict=True):
        engine.open("values", BEFORE_ANYTHING)
        reply = encode_read({"values": [(b"1-0", [part for name in names for part in (name, b"1")])]})
        batch = engine.parse(reply)
        engine.begin(batch)
        engine.admit("values", names, records)
        engine.step(batch)
    return made


def test_places_are_found_again_and_nothing_else_changes() -> None:
    """Plain values of series that both know, one knows, and none knows."""
    one, other = engines()
    rng = random.Random(1)
    names = [*SERIES, b"new", b"e"]
    entries = [
        (b"%d-0" % ms, [rng.choice(names), b"%.2f" % rng.gauss(0, 1)] * rng.randrange(1, 4)) for ms in range(2, 40)
    ]
    reply = encode_read({"values": entries})
    (parsed,), (wanted,) = one.parse(reply), other.parse(reply)
    found = other.adopt(parsed)
    assert found is not None
    assert found.slots.tolist() == wanted.slots.tolist() != parsed.slots.tolist()
    assert list(found.ids) == list(wanted.ids)
    assert list(found.names) == list(wanted.names)
    assert np.array_equal(found.values, wanted.values)
    assert found.counts.tolist() == wanted.counts.tolist()
    assert found.is_bare
    assert found.position == wanted.position


@pytest.mark.parametrize(
    "fields",
    [
        [b"a", b"nan"],
        [b"a", b"x"],
        [b"!reset", b"a", b"a", b"2"],
        [b"!warm", b"*", b"a", b"2"],
        [b"!warm", b"1", b"a", b"2"],
    ],
    ids=repr,
)
def test_what_is_not_plain_is_parsed_again(fields: list[bytes]) -> None:
    """What a model makes of it depends on the model."""
    one, other = engines()
    batch = one.parse(encode_read({"values": [(b"2-0", fields)]}))
    one.begin(batch)
    assert other.adopt(batch[0]) is None


def test_a_model_of_other_numbers_parses_for_itself() -> None:
    """Two features where the other has one; one that takes pairs where the other has two."""
    one, other = engines()
    two = Engine(models.load_lstm(8, features=2), EngineSettings())
    assert two.adopt(one.parse(encode_read({"values": [(b"2-0", [b"a", b"1"])]}))[0]) is None
    two.open("values", BEFORE_ANYTHING)
    parsed = two.parse(encode_read({"values": [(b"2-0", [b"a", b"1,2"])]}))[0]
    assert other.adopt(parsed) is None
    assert two.adopt(parsed) is not None
    parsed.exact = True
    assert two.adopt(parsed) is None
