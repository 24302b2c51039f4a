"""Records kept aside: from which window they are, across restarts, corrections and resets."""

from __future__ import annotations

import pytest

from streamlstm.engine import WINDOW, Engine
from streamlstm.engine.checkpoints import Window
from streamlstm.models import NEVER
from support import models
from support.answered import Entries, answer
from support.compare import assert_states_equal
from support.oracle import Oracle

MODEL = models.load_lstm(8)


def holds(traffic: Entries, *, most: int = 1, restarts: tuple[bytes, ...] = ()) -> None:
    """Every correction among some entries is made, to the bit, where twice a hundred entries are retained."""
    held = answer(MODEL, traffic, most=most, every=100, restarts=restarts)
    assert not held.dead
    assert_states_equal(held.state, Oracle(MODEL).feed(traffic), Engine(MODEL).format)


def values(corrections: dict[int, str]) -> Entries:
    """Entries of one series, some of which correct it instead."""
    made = [(f"{n}-0", ["a", str(n % 7)]) for n in range(1, 381)]
    for number, text in corrections.items():
        made[number - 1] = (f"{number}-0", ["!correct", text])
    return made


@pytest.mark.parametrize("restarts", [(), (b"250-0",), (b"200-0", b"210-0", b"299-0", b"300-0", b"301-0")])
def test_a_window_goes_on_where_the_last_process_left(restarts: tuple[bytes, ...]) -> None:
    """A value of a window in which the process was another one can be corrected from the next one too."""
    holds(values({320: "a 230-0 9"}), restarts=restarts)


@pytest.mark.parametrize("most", [1, 40])
def test_a_corrected_series_has_its_record_kept_before_a_restart(most: int) -> None:
    """What is kept leads to where a correction has put the series, whether or not values of it follow."""
    holds(values({270: "a 150-0 9", 375: "a 290-0 9"}), most=most, restarts=(b"270-0", b"280-0"))


def test_what_is_kept_bears_the_name_of_its_series() -> None:
    """A series that is reset or corrected before it has a value in a window is kept by its own name."""
    made = [*values({150: "a 130-0 9"}), ("400-0", ["b", "1"]), ("401-0", ["!reset", "a", "a", "4"])]
    for first in ("!reset", "a"), ("!correct", "a 318-0 8"):
        held = answer(MODEL, [*made[:320], ("320-1", list(first)), *made[320:]], most=40, every=100)
        assert {name for window in held.kept.values() for name in window} <= {b"a", b"b", WINDOW}


def test_only_what_was_kept_by_the_same_rule_is_gone_on_with() -> None:
    """A window of another size, of states that were replaced since, or that nobody of us wrote, is none."""
    known = Window.taken_up([(b"700-0", b"100 7 2"), (b"600-3", b"100 6 2")], 100, 2)
    assert (known.number, known.began_ms) == (7, 700)
    others = [(b"1-0", text) for text in (b"100 7 1", b"50 7 2", b"100 7", b"100 -7 2", b"100 x 2", b"", b"1 " * 99)]
    assert Window.taken_up(others, 100, 2) == Window(100, 2, -1, NEVER)
    assert Window.taken_up([(b"700-0", b"0 7 0")], 0, 0) == Window()
