"""What corrections begin with: what is kept aside, and what is known of the time before a series began anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamlstm.common import EngineSettings
from streamlstm.daemon.replay import making
from streamlstm.engine import effort, moments
from streamlstm.engine.effort import waits
from streamlstm.engine.engine import Engine
from streamlstm.engine.past import Again
from streamlstm.store.resp import EntryId
from support import models
from support.answered import answer
from support.compare import assert_states_equal
from support.oracle import Oracle

MODEL = models.load_lstm(8)


@pytest.mark.parametrize(("lost", "joined", "refused"), [(0, 5000, False), (20, 5000, True), (20, 7000, False)])
def test_a_late_value_that_joins_what_a_silence_parted_takes_all_of_the_past(
    lost: int, joined: int, *, refused: bool
) -> None:
    """Where values are gone from before a silence that the series began anew after, what was before is not known."""
    values = [(f"{n}-0", ["a", str(n % 7)]) for n in (*range(100, 4001, 100), *range(6000, 7901, 100))]
    if joined == 7000:
        values.remove(("7000-0", ["a", "0"]))
    traffic = [*values, ("8000-0", ["!late", f"a {joined}-0 3"]), ("8100-0", ["a", "2"])]
    held = answer(MODEL, traffic, most=[len(values), 1], lost=[lost], reset_after_ms=1500)
    assert [letter.value for letter in held.dead] == [b"a 5000-0 3"] * refused
    parts = [one for one in traffic if not one[1][0].startswith("!")]
    parts += [] if refused else [(f"{joined}-0", ["a", "3"])]
    parts.sort(key=lambda one: int(one[0].partition("-")[0]))
    whole = answer(MODEL, parts, reset_after_ms=1500)
    assert held.state == whole.state


@pytest.mark.parametrize("after", [[], [("a", "7"), ("a", "8")]])
@pytest.mark.parametrize(("lost", "refused"), [(0, 0), (15, 1)])
def test_a_late_value_from_before_what_is_retained_may_have_been_reset(
    lost: int, refused: int, after: list[tuple[str, str]]
) -> None:
    """Where the reset behind its place is gone nobody knows of it, so nothing is put in that place."""
    made = [(f"{n}00-0", ["b", "1"]) for n in range(1, 31)]
    made[5], made[9] = ("600-0", ["a", "3"]), ("1000-0", ["!reset", "a"])
    made[20:22] = [(made[20 + n][0], list(one)) for n, one in enumerate(after)] or made[20:22]
    traffic = [*made, ("9000-0", ["!late", "a 700-0 3"]), ("9100-0", ["b", "2"])]
    held = answer(MODEL, traffic, most=1, lost=[0] * 28 + [lost])
    assert len(held.dead) == refused
    oracle = Oracle(MODEL, refused={("9000-0", "!late", "a 700-0 3")} if refused else set()).feed(traffic)
    assert_states_equal(held.state, oracle, Engine(MODEL).format)


@pytest.mark.parametrize(("lost", "refused"), [(25, False), (35, True)])
def test_a_late_value_that_joins_what_a_silence_parted_takes_all_that_came_since_a_record(
    lost: int, *, refused: bool
) -> None:
    """A record that is kept aside from before the silence is not enough where values behind it are gone."""
    values = [(f"{n}-0", ["a", str(n % 7)]) for n in (*range(100, 4001, 100), *range(6000, 7901, 100))]
    traffic = [*values, ("8000-0", ["!late", "a 5000-0 3"]), ("8100-0", ["a", "2"])]
    held = answer(MODEL, traffic, most=1, every=30, lost=[0] * 58 + [lost], reset_after_ms=1500)
    assert [letter.value for letter in held.dead] == [b"a 5000-0 3"] * refused
    parts = [*values, traffic[-1]] if refused else [*values, ("5000-0", ["a", "3"]), traffic[-1]]
    assert held.state == answer(MODEL, sorted(parts, key=lambda one: int(one[0][:-2])), reset_after_ms=1500).state


@pytest.mark.parametrize(("lost", "refused"), [(0, []), (3, [b"a 900-0 9"])])
def test_a_correction_makes_nothing_kept_aside_of_a_past_that_is_not_known(lost: int, refused: list[bytes]) -> None:
    """Any past leads through a silence to the record of now, but not to one kept aside from before that silence."""
    rising = [*range(100, 1001, 100)], [*range(1100, 2601, 100)], [*range(2700, 3501, 100)]
    values = [(f"{n}-0", ["a" if n <= 1000 or n >= 2700 else "b", str(n % 7)]) for each in rising for n in each]
    asked = [("3600-0", ["!correct", "a 900-0 9"]), ("3700-0", ["!late", "a 2350-0 3"])]
    sizes = [1] * 22 + [13, 1]
    traffic = [*values, *asked, ("3800-0", ["a", "2"])]
    held = answer(
        MODEL, traffic, most=sizes, every=20, lost=[0] * 22 + [lost], restarts={b"3600-0"}, reset_after_ms=1500
    )
    assert [letter.value for letter in held.dead] == refused
    truth = [(entry, ["a", "9"] if entry == "900-0" and not refused else fields) for entry, fields in values]
    truth = sorted([*truth, ("2350-0", ["a", "3"]), traffic[-1]], key=lambda one: int(one[0][:-2]))
    assert held.state == answer(MODEL, truth, reset_after_ms=1500).state


@pytest.mark.parametrize("restarts", [(), (b"5600-1",)])
def test_what_is_kept_aside_of_a_series_whose_idle_record_is_gone_is_put_right(restarts: tuple[bytes, ...]) -> None:
    """A late value may join it to now once more, and that begins with what is kept."""
    values = [(f"{n}-0", ["b", "1", "a", str(n % 7)] if n <= 4000 else ["b", "1"]) for n in range(100, 5601, 100)]
    asked = [("5600-1", ["!correct", "a 2500-0 9"]), ("5700-0", ["!late", "a 5050-0 3"])]
    traffic = [*values, *asked, ("5800-0", ["a", "2"])]
    held = answer(MODEL, traffic, most=1, every=30, swept={b"5600-0"}, restarts=restarts, idle_after_ms=1500)
    assert not held.dead
    right = [(entry, [*fields[:3], "9"] if entry == "2500-0" else fields) for entry, fields in values]
    truth = sorted([*right, ("5050-0", ["a", "3"]), traffic[-1]], key=lambda one: int(one[0][:-2]))
    assert held.state == answer(MODEL, truth, idle_after_ms=1500).state


@pytest.mark.parametrize("last", ["b", "a"])
def test_a_late_value_of_longer_ago_than_idleness_is_makes_no_record(last: str) -> None:
    """At its time it made one, that was removed since, or is to be; the next value begins anew with it and without."""
    values = [(f"{n}00-0", ["b", str(n % 7)]) for n in range(20, 61)]
    ending = [(f"{n}00-0", [last, "2"]) for n in (72, 73)]
    late = answer(MODEL, [*values, ("7100-0", ["!late", "a 100-0 5"]), *ending], idle_after_ms=1500)
    assert not late.dead
    at_once = answer(MODEL, [("100-0", ["a", "5"]), *values, *ending], idle_after_ms=1500)
    own = Oracle(MODEL, idle_ms=1500).feed([("100-0", ["a", "5"]), *values, *ending])
    assert_states_equal(at_once.state, own, Engine(MODEL).format)
    assert sorted(late.state) == ([b"a", b"b"] if last == "a" else [b"b"])
    assert late.state.items() <= at_once.state.items()


@pytest.mark.parametrize("late", ["a 5000-0 3", "zz 5000-0 3"])
def test_a_refusal_for_what_was_before_a_silence_is_none_of_what_came_behind(late: str) -> None:
    """A late value that would join what is not known does not make the values behind it ones out of reach."""
    values = [(f"{n}-0", ["a", str(n % 7)]) for n in (*range(100, 4001, 100), *range(6000, 7901, 100))]
    traffic = [*values, ("8000-0", ["!late", late]), ("8100-0", ["!correct", "a 7000-0 9"]), ("8200-0", ["a", "2"])]
    held = answer(MODEL, traffic, most=[len(values), 1], lost=[20], reset_after_ms=1500)
    assert [letter.value for letter in held.dead] == [late.encode()]
    truth = [(entry, ["a", "9"] if entry == "7000-0" else fields) for entry, fields in values]
    assert held.state == answer(MODEL, [*truth, traffic[-1]], reset_after_ms=1500).state


@pytest.mark.parametrize("seed", [0, 1])
def test_a_series_that_is_loaded_again_is_kept_aside_once_a_window(seed: int) -> None:
    """Of each there is a record from before any value of the last window, though it left memory in the midst of it."""
    values = [(f"{n}-0", ["ab"[n % 2], str(n % 7)]) for n in range(1, 341)]
    traffic = [*values, ("341-0", ["!correct", "a 250-0 9"]), ("342-0", ["a", "5"])]
    held = answer(MODEL, traffic, seed=seed, most=1, every=100)
    assert not held.dead
    assert {record.split()[0] for record in held.kept[0].values()} == {b"200-0", b"201-0"}
    assert_states_equal(held.state, Oracle(MODEL).feed(traffic), Engine(MODEL).format)


def test_a_correction_that_is_refused_takes_nothing_kept_aside_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not where it is found that what was copied of the series once leads nowhere, as values behind it are gone."""
    monkeypatch.setattr(moments, "APART", (100,))
    values = [(f"{n}-0", ["a", str(n % 7), "b", "1"]) for n in range(1, 471)]
    values[150] = ("151-0", ["!correct", "b 120-0 9"])
    values[380] = ("381-0", ["!correct", "a 190-0 9"])
    traffic = [*values, ("471-0", ["!correct", "a 375-0 9"]), ("472-0", ["a", "5"])]
    held = answer(MODEL, traffic, most=1, every=100)
    assert [(letter.id, letter.value) for letter in held.dead] == [(b"381-0", b"a 190-0 9")]
    assert held.kept[1][b"a"].split()[0] == b"300-0"
    oracle = Oracle(MODEL).feed([one for one in traffic if one[0] != "381-0"])
    assert_states_equal(held.state, oracle, Engine(MODEL).format)


def test_corrections_of_a_series_with_gaps_are_not_made_for_what_is_not_stepped_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A read is stepped in portions, as gaps take long; what later ones correct is not stepped again for each."""
    stepped = list[int]()
    after = Again.after

    def noted(again: Again, courses: Any, told: Any = None) -> Any:
        found = [np.array([int(entry.partition(b"-")[0]) for entry, _ in course], np.int64) for _, course in courses]
        stepped.append(max((int(waits(again._engine.gaps, one).sum()) for one in found), default=0))
        return after(again, courses, told)

    monkeypatch.setattr(Again, "after", noted)
    monkeypatch.setattr(effort, "MOST_STEPS", 200)
    monkeypatch.setattr(making, "MOST_WAITS", 200)
    traffic, truth, now = list[Any](), list[Any](), 0
    for number in range(1, 301):
        now += 41_000 if number % 6 == 0 else 1000
        traffic.append((f"{now}-0", ["a", str(number % 7)]))
        truth.append((f"{now}-0", ["a", str(number % 7)]))
        if number % 30 == 3 and number > 60:
            traffic[-1][1][:0] = ["!correct", f"a {truth[-2][0]} {number}.5"]
            truth[-2][1][1] = f"{number}.5"
    held = answer(MODEL, traffic, most=500, gap_after_ms=5000, spacing_ms=1000)
    assert not held.dead
    assert sum(stepped) < 800, "480; made for a whole read each time it is 1,200"
    assert held.state == answer(MODEL, truth, gap_after_ms=5000, spacing_ms=1000).state


def test_where_gaps_are_long_records_are_told_at_shorter_distances() -> None:
    """By steps, not entries: so the next correction of a few values back begins a gap or two before it."""
    course = [(b"%d-0" % (41_000 * number), [b"a", b"%d" % number]) for number in range(1, 25)]
    [plain] = Again(Engine(MODEL)).after([(None, course)])
    assert [entry.time_ms // 41_000 for entry, _ in plain] == [24]
    engine = Engine(MODEL, EngineSettings(gap_after_ms=5000, spacing_ms=1000))
    [told] = Again(engine).after([(None, course)])
    assert [entry.time_ms // 41_000 for entry, _ in told] == [17, 22, 23, 24]
    [whole] = Again(engine).after([(None, course[:22])])
    assert told[1] == whole[-1]
    beside = Again(engine).after([(None, course), (None, course[:22]), (None, []), (told[0][1], course[17:])])
    assert [way[-1] for way in beside] == [told[-1], whole[-1], (EntryId(0, 0), None), told[-1]]
