"""Records kept aside: from which window they are, across restarts, corrections and resets."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from streamlstm.daemon.replay.corrections import Source
from streamlstm.daemon.replay.kept_aside import KeptAside
from streamlstm.engine import WINDOW, Engine
from streamlstm.engine.checkpoints import Window
from streamlstm.store import BEFORE_ANYTHING, KeptRecord
from streamlstm.store.resp import EntryId
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


def life(seed: int, sizes: tuple[int, ...], most: int) -> tuple[Entries, dict[bytes, int]]:
    """Entries of some series, with values of no more than a window ago corrected or late, and restarts between."""
    rng, every = random.Random(seed), min(sizes)
    made, restarts, own, last = list[tuple[str, list[str]]](), dict[bytes, int](), (1, 0), dict[str, list[str]]()
    late = dict[tuple[str, str], None]()
    for number in range(300):
        own = (own[0], own[1] + 1) if rng.random() < 0.5 else (own[0] + rng.choice([2, 2, 50]), 0)
        fields, entry = list[str](), "{}-{}".format(*own)
        name = rng.choice("aaab" if number // 30 % 3 else "b")  # some have no value in a window
        near = [one for one in last.get(name, []) if one in {entry for entry, _ in made[-(every - 2 * most) :]}]
        if near and rng.random() < 0.1:
            fields = ["!correct", f"{name} {rng.choice(near)} {rng.choice(['nan', rng.randrange(100)])}"]
        place = f"{rng.choice(near).partition('-')[0]}-77" if near and rng.random() < 0.05 else "1-77"
        if not fields and (name, place) not in late and (1, 77) < EntryId.parse(place) < own:
            late[name, place] = None
            fields = ["!late", f"{name} {place} {rng.randrange(100)}"]
        if not fields or rng.random() < 0.3:
            fields += [name, str(rng.randrange(9))]
            last.setdefault(name, []).append(entry)
        made.append((entry, fields))
        if rng.random() < 0.06:
            restarts[entry.encode()] = rng.choice(sizes)
    return made, restarts


@pytest.mark.parametrize(("most", "sizes"), [(1, (30,)), (4, (30,)), (1, (30, 12)), (3, (12, 30))])
@pytest.mark.parametrize("seed", range(3))
def test_neither_corrections_nor_restarts_shorten_what_can_be_corrected(
    seed: int, most: int, sizes: tuple[int, ...]
) -> None:
    """Whatever was corrected before, and whoever serves: a value of no more than a window ago can be."""
    traffic, restarts = life(seed, sizes, most)
    held = answer(MODEL, traffic, seed=seed, most=most, every=30, restarts=restarts)
    assert not [letter.error for letter in held.dead]
    assert_states_equal(held.state, Oracle(MODEL).feed(traffic), Engine(MODEL).format)


@pytest.mark.parametrize(("before", "restart", "asked"), [(5, 64, 66), (58, 61, 82)])
def test_a_window_goes_on_whose_beginning_is_of_the_time_of_values(before: int, restart: int, asked: int) -> None:
    """Whether a series that is loaded again has had a value in it, its record does not say where times are the same."""
    names = ["a" if n in {1, before, 63, 65} else "b" for n in range(1, 84)]
    traffic = [(f"1-{n}", [name, str(n % 7)]) for n, name in enumerate(names, 1)]
    traffic[asked - 1] = (f"1-{asked}", ["!correct", "a 1-63 9"])
    held = answer(MODEL, traffic, most=1, every=20, restarts=(f"1-{restart}".encode(),))
    assert not held.dead
    assert_states_equal(held.state, Oracle(MODEL).feed(traffic), Engine(MODEL).format)


def test_what_is_kept_of_a_time_before_a_silence_is_put_right_too() -> None:
    """Where any past leads to the record of now, a late value joins the past as it was corrected."""
    values = [(f"{n}-0", ["b" if n < 500 else "a", str(n % 7)]) for n in range(100, 2501, 100)]
    values += [(f"{2500 + n}-0", ["b", "1"]) for n in range(1, 17)]
    corrected = [("4900-0", ["a", "4"]), ("5000-0", ["!correct", "a 1500-0 9"])]
    joined = [("5100-0", ["!late", "a 3700-0 3"]), ("5200-0", ["a", "2"])]
    traffic = [*values, *corrected, *joined]
    held = answer(MODEL, traffic, most=1, every=20, restarts=(b"5000-0",), reset_after_ms=1500)
    assert not held.dead
    assert (held.kept[1][b"a"].split()[0], held.kept[0][b"a"].split()[0]) == (b"2000-0", b"2516-0")
    truth = [(entry, [name, "9" if entry == "1500-0" else value]) for entry, (name, value) in [*values, corrected[0]]]
    truth = [*truth[:-1], ("3700-0", ["a", "3"]), truth[-1], joined[-1]]
    assert held.state == answer(MODEL, truth, reset_after_ms=1500).state


def test_what_is_kept_bears_the_name_of_its_series() -> None:
    """A series that is reset or corrected before it has a value in a window is kept by its own name."""
    made = [*values({150: "a 130-0 9"}), ("400-0", ["b", "1"]), ("401-0", ["!reset", "a", "a", "4"])]
    for first in ("!reset", "a"), ("!correct", "a 318-0 8"):
        held = answer(MODEL, [*made[:320], ("320-1", list(first)), *made[320:]], most=40, every=100)
        assert {name for window in held.kept.values() for name in window} <= {b"a", b"b", WINDOW}


def test_only_what_was_kept_of_the_same_states_is_gone_on_with() -> None:
    """A window of states that were replaced since, or that nobody of us wrote, is none; one of another size is one."""
    head = replace(BEFORE_ANYTHING, answered=740, epoch=2)
    told = [KeptRecord(1, b"700-0", b"100 700 2"), KeptRecord(0, b"600-3", b"100 600 2")]
    for every, end in (100, 800), (50, 750), (30, 740):
        known = Window.taken_up(told, every, head)
        assert (known.number, known.hash, str(known.began)) == (0, 1, "700-0")
        assert (known.is_over(end - 1), known.is_over(end)) == (False, True)
    texts = b"100 7", b"100 -7 2", b"100 x 2", b"", b"1 " * 99
    assert Window.taken_up([KeptRecord(0, b"1-0", text) for text in texts], 100, head) == Window(100, 2)
    assert Window.taken_up(told[:1], 100, replace(head, epoch=3)) == Window(100, 3, hash=1), (
        "whose next one begins in the older one's place"
    )
    assert Window.taken_up(told[1:], 100, replace(head, epoch=3)) == Window(100, 3, hash=0)
    assert Window.taken_up(told, 0, head) == Window(0, 2)


def test_what_is_kept_from_behind_now_is_not_looked_at() -> None:
    """A process that was overtaken, and does not know yet, reads what the other keeps; its commit is refused then."""
    engine = Engine(MODEL)
    engine.open("values", replace(BEFORE_ANYTHING, position=b"20-0", answered=20))
    found = {b"a": [KeptRecord(1, b"30-0", b"later"), KeptRecord(0, b"20-0", b"now")], WINDOW: []}
    source = Source(
        read=lambda *_: b"", load=lambda _: (), letters=dict, kept=lambda names: [found[name] for name in names]
    )
    aside = KeptAside(engine, "values", source)
    aside.read([b"a"])
    assert aside.before(b"a", EntryId(40, 0), are_sure=False) == [(EntryId(20, 0), b"now")]
