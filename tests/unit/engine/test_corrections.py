"""Corrections, batch by batch: whatever the model, the policy and the batching, the records are the oracle's."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlstm.common.settings import EngineSettings
from streamlstm.daemon.replay import corrections as replay_corrections
from streamlstm.daemon.replay import making, reach
from streamlstm.daemon.replay.making import Making
from streamlstm.engine import correcting_entries, known_records, moments
from streamlstm.engine.engine import Engine
from streamlstm.engine.parsing import Parsed
from streamlstm.engine.past import Past
from streamlstm.engine.results import Result
from streamlstm.models.model import Model
from streamlstm.store.record.columns import NO_EXTRAS, Extras
from streamlstm.store.resp import EntryId
from support import models
from support.answered import Entries, answer
from support.compare import assert_predictions_equal, assert_states_equal
from support.held import uncorrected
from support.oracle import Oracle
from support.rounds import examples
from support.traffic import entries

MODELS = {
    "lstm": models.load_lstm(8),
    "steps one by one": models.load_lstm(4, chunking=False),
    "time": Model(models.hours()),
    "breaks": Model(models.reciprocal()),
    "pairs": Model(models.exact_lstm(4)),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("missing", ["impute", "hold", "skip"])
@settings(max_examples=examples(2))
@given(seed=st.integers(0, 2**32 - 1), extras=st.sampled_from([NO_EXTRAS, Extras(0.8, score=True)]))
def test_corrected_series_are_the_oracles(name: str, missing: str, seed: int, extras: Extras) -> None:
    """Values, missing ones, late ones, resets, rubbish and what is no correction, cut into batches at random."""
    model = MODELS[name]
    level = 2_500_000_000 * model.spec.exact
    traffic = entries(seed, 60, series=5, odd=0.2, corrected=0.3, level=level)
    options = {"missing": missing, "interval": extras.interval, "score": extras.score}
    held = answer(model, traffic, seed=seed, **options)
    oracle = Oracle(model, missing, extras).feed(traffic)
    assert [(one.id.decode(), one.series.decode(), one.value.decode()) for one in held.dead] == oracle.dead
    assert_predictions_equal(list(zip(held.prediction_ids, held.predictions, strict=True)), oracle)
    assert_states_equal(held.state, oracle, Engine(model, EngineSettings(**options)).format)  # type: ignore[arg-type]


@settings(max_examples=examples(6))
@given(
    seed=st.integers(0, 2**32 - 1),
    most=st.sampled_from([7, 1000]),
    at_once=st.sampled_from([1, 2, 8]),
    again=st.sampled_from([3, 50, 10_000]),
    kept=st.sampled_from([0, 3_000, 1 << 20]),
    apart=st.sampled_from([(1,), (4, 30), (4_096,)]),
)
def test_corrections_among_values_are_made_with_their_batch(
    seed: int, most: int, at_once: int, again: int, kept: int, apart: tuple[int, ...]
) -> None:
    """However many are stepped beside each other or again, and whatever is remembered: the oracle's answers."""
    rng, model = random.Random(seed), MODELS["lstm"]
    odd, corrected = rng.choice((0.0, 0.05)), rng.choice((0.1, 0.5))
    traffic = entries(seed, 150, series=rng.choice((2, 9)), odd=odd, warm=0.1, corrected=corrected)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "AT_ONCE", at_once)
        patch.setattr(making, "MOST_AGAIN", again)
        patch.setattr(known_records, "MOST_BYTES", kept)
        patch.setattr(moments, "MOST_BYTES", kept)
        patch.setattr(moments, "APART", apart)
        held = answer(model, traffic, seed=seed, most=most, score=True)
    oracle = Oracle(model, extras=Extras(None, score=True)).feed(traffic)
    assert [(one.id.decode(), one.series.decode(), one.value.decode()) for one in held.dead] == oracle.dead
    assert_predictions_equal(list(zip(held.prediction_ids, held.predictions, strict=True)), oracle)
    assert_states_equal(held.state, oracle, Engine(model, EngineSettings(score=True)).format)


def test_a_correction_begins_about_as_far_back_as_it_reaches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a series was corrected, the next one is not stepped again from its first value on."""
    begun, try_ = [], Making._try

    def noted(
        self: Making, stored: object, chosen: dict[bytes, tuple[EntryId, bytes]], *ends: object, **sure: bool
    ) -> bool:
        begun.extend(entry.time_ms for entry, _ in chosen.values())
        return try_(self, stored, chosen, *ends, **sure)

    monkeypatch.setattr(Making, "_try", noted)
    values = [(f"{n}-0", ["a", str(n % 7), "b", "1"]) for n in range(1, 3001)]
    fixes = [("3001-0", ["!correct", "a 2999-0 9"]), ("3002-0", ["!correct", "a 2700-0 8"])]
    more = [("3003-0", ["!correct", "a 2990-0 7"]), ("3004-0", ["a", "6"]), ("3005-0", ["!correct", "a 3004-0 5"])]
    traffic = [*values, *fixes, *more]
    held = answer(MODELS["lstm"], traffic, most=[3000, 1])
    first, *others = begun
    assert first == 0
    assert [0 < entry <= place for entry, place in zip(others, (2700, 2990, 3004), strict=True)] == [True] * 3
    assert others[0] > 1700
    assert others[1] > 2900
    assert_states_equal(held.state, Oracle(MODELS["lstm"]).feed(traffic), Engine(MODELS["lstm"]).format)


@pytest.fixture
def read_again(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many entries each correction had read again; begun anew by each that is made or refused."""
    counts, take, run = list[int](), Past.take, Making.run

    def counted(self: Past, reply: bytes, stream: str) -> tuple[int, bytes]:
        found = take(self, reply, stream)
        counts[-1] += found[0]
        return found

    def begun(self: Making) -> Parsed:
        counts.append(0)
        return run(self)

    monkeypatch.setattr(Past, "take", counted)
    monkeypatch.setattr(Making, "run", begun)
    return counts


def test_what_was_refused_once_is_refused_at_once(read_again: list[int]) -> None:
    """A series whose beginning went is read once to see that; behind a reset it can be corrected again."""
    values = [(f"{n}-0", ["a", str(n % 7), "b", "1"]) for n in range(1, 3001)]
    fixes = [(f"{3001 + n}-0", ["!correct", f"a {2000 + n}-0 9", "a", "2"]) for n in range(5)]
    anew = [("3006-0", ["!reset", "a", "a", "3"]), ("3007-0", ["a", "4"]), ("3008-0", ["!correct", "a 3006-0 5"])]
    traffic = [*values, *fixes, *anew]
    held = answer(MODELS["lstm"], traffic, most=[3000, 1], lost=[100])
    assert [letter.id.decode() for letter in held.dead] == [entry for entry, _ in fixes]
    first, *others, last = read_again
    assert 2900 <= first < 6100
    assert max(others) < 20
    assert last < 20  # it begins with what the series was at the first that was refused
    oracle = Oracle(MODELS["lstm"], refused=uncorrected(held)).feed(traffic)
    assert_predictions_equal(list(zip(held.prediction_ids, held.predictions, strict=True)), oracle)
    assert_states_equal(held.state, oracle, Engine(MODELS["lstm"]).format)


def test_records_that_lead_nowhere_any_more_are_tried_once(read_again: list[int]) -> None:
    """What was remembered of a series and what follows was trimmed; what lies behind that can be corrected still."""
    values = [(f"{n}-0", ["a", str(n % 7)]) for n in range(1, 3001)]
    fixes = [(f"{3001 + n}-0", ["!correct", f"a {entry}-0 9"]) for n, entry in enumerate([2000, 2955, 2955, 2990])]
    held = answer(MODELS["lstm"], [*values, *fixes], most=[3000, 1], lost=[0, 2950])
    assert [letter.id for letter in held.dead] == [b"3002-0", b"3003-0"]
    assert [read > 200 for read in read_again] == [True, True, False, False]


def test_a_stream_that_is_too_long_is_read_once(read_again: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is refused for that reads little more, until the input is short enough."""
    for module in (replay_corrections, reach):
        monkeypatch.setattr(module, "PAGE", 16)
    values = [(f"{n}-0", [f"s{n % 4}", str(n % 7)]) for n in range(1, 1001)]
    fixes = [(f"{1001 + n}-0", ["!correct", f"s{n % 4} {900 + n}-0 9"]) for n in range(9)]
    gone = [0, 20, 20, 20, 0, 400, 0, 0]
    held = answer(MODELS["lstm"], [*values, *fixes], most=[1000, 1], lost=gone, limit=800)
    assert ["more than 800 entries" in letter.error for letter in held.dead] == [True] * 5 + [False] * 4
    first, *others = read_again[:5]
    assert 800 < first < 1700
    assert max(others) < 90


def test_how_many_corrections_of_a_series_are_read_again_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as values; one of a series that few were asked of is made."""
    monkeypatch.setattr(replay_corrections, "MOST_ITEMS", 100)
    flood = [(f"{3 + n}-0", ["!correct", f"a {1 + n % 2}-7 5"] * 10) for n in range(12)]
    fixes = [("20-0", ["!correct", "a 1-0 5"]), ("21-0", ["!correct", "b 1-0 5"])]
    held = answer(MODELS["lstm"], [("1-0", ["a", "1", "b", "1"]), *flood, *fixes], most=1)
    assert [letter.id.decode() for letter in held.dead] == [*(entry for entry, _ in flood for _ in range(10)), "20-0"]
    assert "would take reading more" in held.dead[-1].error


def test_what_is_too_much_by_its_corrections_is_read_once(
    read_again: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A series of which many corrections were asked is not read again to find that it still is too much."""
    for module in (replay_corrections, reach):
        monkeypatch.setattr(module, "MOST_ITEMS", 100)
    flood = [(f"{3 + n}-0", ["!correct", "a 1-7 5"] * 10) for n in range(100)]
    fixes = [(f"{200 + n}-0", ["!correct", "a 1-0 5"]) for n in range(5)]
    held = answer(MODELS["lstm"], [("1-0", ["a", "1", "b", "1"]), *flood, *fixes], most=1)
    assert ["would take reading more" in letter.error for letter in held.dead[-5:]] == [True] * 5
    first, *others = read_again[-5:]
    assert first > 10
    assert max(others) < 5


def test_the_first_correction_of_a_series_begins_where_another_was_made(read_again: list[int]) -> None:
    """What all were when one was corrected is remembered: of others what came since is read, not all there is."""
    values = [(f"{n}-0", [f"s{n % 50}", str(n % 7)]) for n in range(1, 2001)]
    more = [(f"{n}-0", [f"s{n % 50}", str(n % 5)]) for n in range(2002, 2102)]
    fixes = [(f"{2102 + n}-0", ["!correct", f"s{n % 50} {2050 + n}-0 9"]) for n in range(20)]
    traffic = [*values, ("2001-0", ["!correct", "s7 1907-0 9"]), *more, *fixes]
    held = answer(MODELS["lstm"], traffic, most=1)
    assert not held.dead
    first, *others = read_again
    assert first > 1900
    assert max(others) < 150
    assert_states_equal(held.state, Oracle(MODELS["lstm"]).feed(traffic), Engine(MODELS["lstm"]).format)


@pytest.mark.parametrize("gaps", [{}, {"gap_after_ms": 500, "spacing_ms": 10}])
@pytest.mark.parametrize("texts", [0, 3])
def test_a_flood_over_many_series_is_one_reading(read_again: list[int], gaps: dict[str, int], texts: int) -> None:
    """Each series is refused by what was counted for all; where gaps or texts make that uncertain, it is read once."""
    series = [f"s{n}" for n in range(40)]
    values = [(f"{n}-0", [series[n % 40], "text" if n // 40 % 4 < texts else "1"]) for n in range(1, 2001)]
    fixes = [(f"{2001 + n}-0", ["!correct", f"{series[n % 40]} {1960 + n % 40}-0 9"]) for n in range(120)]
    held = answer(MODELS["lstm"], [*values, *fixes], most=[2000, 1], lost=[1200 if not texts else 200], **gaps)
    assert [letter.id.decode() for letter in held.dead if letter.series == b"!correct"] == [own for own, _ in fixes]
    each = read_again[-120:]
    assert each[0] >= 800
    assert max(each[40:]) < 8
    assert (max(each[1:]) < 8) == (not gaps and not texts)


@pytest.mark.parametrize("every", [1, 5, 50])
def test_a_read_full_of_corrections_that_are_refused_is_looked_at_a_few_times(
    every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many of its corrections are refused: not once for each of them. Answers are those of one at a time."""
    runs, run = [], Making.run
    monkeypatch.setattr(Making, "run", lambda self: runs.append(len(correcting_entries(self._entries))) or run(self))
    names = [f"s{n}" for n in range(8)]
    values = [(f"{n}-0", [names[n % 8], str(n % 7)]) for n in range(1, 801)]
    fresh = [(f"{801 + n}-0", ["new", str(n % 5)]) for n in range(200)]
    asked = [f"{names[n % 8]} {760 + n % 8}-0 9" if n % every == 0 else f"new {801 + n % 200}-0 9" for n in range(200)]
    fixes = [(f"{1001 + n}-0", ["!correct", text]) for n, text in enumerate(asked)]
    traffic = [*values, *fresh, *fixes]
    together = answer(MODELS["lstm"], traffic, most=[1000, 200], lost=[400])
    looked_at = sum(runs)
    alone = answer(MODELS["lstm"], traffic, most=[1000, 1], lost=[400])
    assert len(together.dead) == 200 // every
    assert [one.id for one in together.dead] == [one.id for one in alone.dead]
    assert together.state == alone.state
    assert looked_at < 200 * 6, "not 200 * 100, which looking at all that are left each time takes"


def test_late_values_of_new_series_are_put_in_without_reading(read_again: list[int]) -> None:
    """Once the entries were counted; not if a reset of all series comes behind them, which they do not outlive."""
    values = [(f"{n}-0", ["a", str(n % 7)]) for n in range(1, 1001)]
    late = [(f"{1001 + n}-0", ["!late", f"new{n} {500 + n}-0 3"]) for n in range(20)]
    more = [(f"{1021 + n}-0", ["!late", f"new{n} {600 + n}-0 4", f"new{n}", "5"]) for n in range(20)]
    last = [
        ("1100-0", ["!reset", "*"]),
        ("1101-0", ["!late", "before 7-0 1"]),
        ("1102-0", ["!late", "behind 1100-5 1"]),
    ]
    traffic = [*values, *late, *more, *last, ("1103-0", ["before", "2", "behind", "2"])]
    held = answer(MODELS["lstm"], traffic, most=[1000, 1])
    assert not held.dead
    first, *others = read_again
    assert first == 1002, "and the first entry once more"
    assert max(others[:19]) < 5
    assert max(others[19:39]) < 560, "from where the series began on"
    assert others[39] > 1000
    assert others[40] < 5
    oracle = Oracle(MODELS["lstm"]).feed(traffic)
    assert_predictions_equal(list(zip(held.prediction_ids, held.predictions, strict=True)), oracle)
    assert_states_equal(held.state, oracle, Engine(MODELS["lstm"]).format)


def test_what_is_kept_aside_is_put_right_with_a_correction() -> None:
    """It leads to where the series is, also from between the value and its correction."""
    values, fix = [(f"{n}-0", ["a", str(n % 7)]) for n in range(1, 330)], ("251-0", ["!correct", "a 180-0 9"])
    values[250] = fix
    traffic = [*values, ("330-0", ["!correct", "a 290-0 9"]), ("331-0", ["a", "5"])]
    held = answer(MODELS["lstm"], traffic, most=1, every=100)
    assert not held.dead
    assert_states_equal(held.state, Oracle(MODELS["lstm"]).feed(traffic), Engine(MODELS["lstm"]).format)


def test_values_between_corrections_are_answered_in_one_batch() -> None:
    """A batch is not parted by what it corrects, but where a reset is among it."""
    made = [("1-0", ["a", "1", "b", "2"]), ("2-0", ["a", "3"])]
    among = [
        ("3-0", ["!correct", "a 1-0 5", "b", "1"]),
        ("4-0", ["a", "2"]),
        ("5-0", ["!correct", "b 3-0 7", "a", "1"]),
    ]
    assert [len(one) for one in runs([*made, *among, ("6-0", ["b", "1"])], most=2)] == [2, 4]
    assert [len(one) for one in runs([*made, *among, ("6-0", ["!reset", "b"])], most=2)] == [2, 3, 1]


def runs(traffic: Entries, *, most: int) -> list[list[str]]:
    """The entries of each batch, of which the first has so many."""
    batches: list[list[str]] = []
    step = Engine.step

    def noted(engine: Engine, batch: Sequence[Parsed]) -> list[Result]:
        if engine.settings.max_series < 1 << 60:  # not of one that steps again
            batches.extend([text.decode() for text in parsed.ids] for parsed in batch)
        return step(engine, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "step", noted)
        answer(MODELS["lstm"], traffic, most=[most, 1000])
    return batches


@settings(max_examples=examples(6))
@given(seed=st.integers(0, 2**32 - 1))
def test_silences_are_stepped_again(seed: int) -> None:
    """Gaps are filled, and idle series begin anew, where a late value or a correction leaves them so."""
    traffic = entries(seed, 60, series=5, odd=0.1, corrected=0.3)
    model = MODELS["lstm"]
    held = answer(model, traffic, seed=seed, gap_after_ms=2500, spacing_ms=1000, reset_after_ms=9000)
    oracle = Oracle(model, idle_ms=9000, gap_ms=2500).feed(traffic)
    assert_predictions_equal(list(zip(held.prediction_ids, held.predictions, strict=True)), oracle)
    assert_states_equal(held.state, oracle, Engine(model).format)


def test_a_correction_begins_no_series_beyond_the_limit() -> None:
    """One whose only value was rubbish begins if there is room, and is refused by name if there is not."""
    traffic = [("1-0", ["a", "1", "b", "text"]), ("2-0", ["!correct", "b 1-0 5"]), ("3-0", ["b", "2"])]
    assert sorted(answer(MODELS["lstm"], traffic, max_series=2).state) == [b"a", b"b"]
    held = answer(MODELS["lstm"], traffic, max_series=1)
    assert sorted(held.state) == [b"a"]
    assert ["has reached its limit of 1" in one.error for one in held.dead] == [False, True, True]


def test_one_of_several_values_of_an_entry_is_named_by_its_number() -> None:
    """`#2` is the second of its series, the last that is said of it counts; without a number there has to be one."""
    made = [("1-0", ["a", "1", "b", "2", "a", "3", "a", "4"]), ("2-0", ["a", "5", "b", "6"])]
    asked = ["a 1-0#2 7", "a 1-0#3 text", "a 1-0#2 8", "a 1-0#4 9", "a 1-0 9", "b 1-0#1 9", "a 1-0#0 9", "a 1-0#1#1 9"]
    traffic = [*made, ("3-0", [part for text in asked for part in ("!correct", text)]), ("4-0", ["!late", "b 1-5#1 1"])]
    held = answer(MODELS["lstm"], [*traffic, ("5-0", ["a", "1", "b", "1"])])
    right = [("1-0", ["a", "1", "b", "9", "a", "8", "a", "4"]), made[1], ("5-0", ["a", "1", "b", "1"])]
    assert held.state == answer(MODELS["lstm"], right).state
    reasons = [one.error.partition(": ")[2] for one in held.dead]
    assert reasons[1:3] == [
        "the entry 1-0 has 3 values of this series, and none that is number 4",
        "the entry 1-0 has 3 values of this series: say which, 1-0#1 for the first",
    ]
    assert reasons[0].startswith("the value given is wrong")
    wrong = "behind the # of an id stands which value it is, from 1 on, and nothing of a late one"
    assert reasons[3:] == [wrong, wrong, wrong]


def test_entries_that_only_correct_are_made_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they need is read once for those in a row; one that is refused parts them, and costs the others nothing."""
    reads, read_past = [], making.read_past
    monkeypatch.setattr(making, "read_past", lambda *given: reads.append(given) or read_past(*given))
    model, values = MODELS["lstm"], [(f"{n}-0", ["a", str(n % 7), "b", str(n % 5)]) for n in range(1, 101)]
    fixes = [(f"{n}-0", ["!correct", f"{'ab'[n % 2]} {1 + n * 37 % 100}-0 {n % 9}"]) for n in range(101, 201)]
    after = [("300-0", ["a", "1", "b", "2"])]
    held = answer(model, [*values, *fixes, *after], most=1000)
    assert len(reads) == 1
    assert not held.dead
    assert_states_equal(held.state, Oracle(model).feed([*values, *fixes, *after]), Engine(model).format)

    reads.clear()
    fixes[50] = ("151-0", ["!late", "c 5-5 1"])  # would begin a series too many
    fixes[70] = ("171-0", ["!correct", "a 5-0 x"])  # is none, which is known without reading
    held = answer(model, [*values, *fixes, *after], most=1000, max_series=2)
    assert [one.id for one in held.dead] == [b"151-0", b"171-0"]
    assert len(reads) <= 6, "for all and from it on in vain; for those before, for it, and for those after"
    wanted = Oracle(model, max_series=2, refused={("151-0", "!late", "c 5-5 1")}).feed([*values, *fixes, *after])
    assert_states_equal(held.state, wanted, Engine(model).format)


def test_names_may_be_numbers_or_begin_late() -> None:
    """A reset whose text is a plain number is one, and so is a series; commands stand anywhere in an entry."""
    traffic = [
        ("1-0", ["5", "1", "6", "2"]),
        ("2-0", ["!reset", "5"]),
        ("3-0", ["5", "3"]),
        ("4-0", ["5", "4", "!correct", "5 3-0 7", "!late", "6 2-0 9"]),
    ]
    held = answer(MODELS["lstm"], traffic)
    assert not held.dead
    assert_states_equal(held.state, Oracle(MODELS["lstm"]).feed(traffic), Engine(MODELS["lstm"]).format)


def test_a_warm_entry_that_is_not_understood_is_stepped_again_as_it_was() -> None:
    """What follows it in its entry is not stepped, though another `!warm` comes between; that corrects all the same."""
    made = [("5-0", ["a", "1"]), ("6-0", ["!warm", "yes", "b", "1", "!warm", "*", "a", "3"]), ("7-0", ["a", "2"])]
    held = answer(MODELS["lstm"], [*made, ("8-0", ["!correct", "a 5-0 4"]), ("9-0", ["a", "1"])])
    right = [("5-0", ["a", "4"]), *made[1:], ("9-0", ["a", "1"])]
    assert held.state == answer(MODELS["lstm"], right).state
    assert {one.id for one in held.dead} == {b"6-0"}


def test_a_series_without_a_value_left_is_none() -> None:
    """Its only value was missing after all: its record goes, and its place is free."""
    traffic = [("1-0", ["a", "1"]), ("2-0", ["!correct", "a 1-0 nan"]), ("3-0", ["b", "2"])]
    held = answer(MODELS["lstm"], traffic, max_series=1)
    assert list(held.state) == [b"b"]
    assert [one.series for one in held.dead] == []
