"""Late values that are missing: put in place where a value before them can stand in, else a dead letter."""

from __future__ import annotations

import pytest

from streamlstm.engine import NOT_CORRECTED, Engine
from support import models
from support.answered import Entries, answer
from support.compare import assert_states_equal
from support.oracle import Oracle

MODEL = models.load_lstm(8)
WHY = "nothing is corrected: the value is missing, and the series has none before it that could stand in for it"

REFUSED = [
    [("9000-0", ["!late", "new 5000-0 nan"])],
    [("9000-0", ["!late", "new 5000-0 "]), ("9001-0", ["new", "3"])],
    [("6000-0", ["new", "3"]), ("9000-0", ["!late", "new 5000-0 nan"])],
    [("9000-0", ["!late", "new 5000-0 nan", "!late", "new 4000-0 3"])],
    [("9000-0", ["!late", "new 5000-0 nan"]), ("9000-1", ["!late", "new 4000-0 3"])],
    [("6000-0", ["!reset", "a"]), ("9000-0", ["!late", "a 7000-0 nan"]), ("9001-0", ["a", "2"])],
    [("6000-0", ["!reset", "a"]), ("9000-0", ["!late", "a 6000-0 nan"]), ("9001-0", ["a", "2"])],
]
TAKEN = [
    [("9000-0", ["!late", "new 4000-0 3", "!late", "new 5000-0 nan"])],
    [("9000-0", ["!late", "new 4000-0 3"]), ("9000-1", ["!late", "new 5000-0 nan"])],
    [("9000-0", ["!late", "new 5000-0 3"]), ("9001-0", ["!late", "new 5000-0 nan"]), ("9002-0", ["b", "1"])],
    [("9000-0", ["!late", "a 2500-0 nan", "a", "3"])],
]


@pytest.mark.parametrize("most", [1, 100])
@pytest.mark.parametrize("missing", ["impute", "hold", "skip"])
@pytest.mark.parametrize(("asked", "refused"), [*((one, 1) for one in REFUSED), *((one, 0) for one in TAKEN)])
def test_a_missing_late_value_needs_one_before_it(asked: Entries, refused: int, missing: str, most: int) -> None:
    """What would have been a dead letter at its time is one when it comes late, however entries are read."""
    traffic = [*((f"{n}000-0", ["a", str(n), "b", "1"]) for n in range(1, 6)), *asked]
    held = answer(MODEL, traffic, most=most, missing=missing)
    oracle = Oracle(MODEL, missing=missing).feed(traffic)
    assert [letter.error for letter in held.dead if letter.kind == NOT_CORRECTED] == [WHY] * refused
    assert [(letter.id.decode(), letter.series.decode(), letter.value.decode()) for letter in held.dead] == oracle.dead
    assert_states_equal(held.state, oracle, Engine(MODEL).format)


def test_a_missing_late_value_in_a_silence_that_parts_is_refused() -> None:
    """What was before a silence after which a series begins anew stands in for nothing in it."""
    values = [(f"{n}00-0", ["a", str(n % 5)]) for n in range(1, 21)]
    traffic = [*values, ("9000-0", ["a", "1"]), ("9100-0", ["!late", "a 6000-0 nan"]), ("9200-0", ["a", "2"])]
    held = answer(MODEL, traffic, reset_after_ms=1500)
    assert [letter.error for letter in held.dead] == [WHY]
    assert held.state == answer(MODEL, [*traffic[:-2], traffic[-1]], reset_after_ms=1500).state
