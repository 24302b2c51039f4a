"""What asks for many steps one after the other is cut into portions, and bounded where it cannot be cut."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlstm.common.settings import EngineSettings
from streamlstm.engine import effort, parsing
from streamlstm.engine.effort import MOST_STEPS, Effort
from streamlstm.engine.engine import Engine
from streamlstm.models.model import Model
from streamlstm.store.memory import MemoryServer, MemoryStore
from streamlstm.store.resp.codec import bulk
from support import models
from support.compare import assert_predictions_equal, assert_states_equal
from support.oracle import Oracle
from support.pump import answer, pump
from support.rounds import examples
from support.traffic import entries

MODEL = Model(models.lstm(4))


def stepped(made: list[tuple[str, list[str]]], **options: object) -> MemoryServer:
    """A stream answered to its end."""
    server = MemoryServer()
    for entry_id, fields in made:
        server.add("values", entry_id, *fields)
    pump(Engine(MODEL, EngineSettings(**options)), MemoryStore(server), ["values"], size=1_000)  # type: ignore[arg-type]
    return server


@settings(max_examples=examples(10))
@given(seed=st.integers(0, 2**32 - 1), missing=st.sampled_from(["impute", "hold", "skip"]), most=st.integers(2, 9))
def test_portions_give_the_oracles_bits(seed: int, missing: str, most: int) -> None:
    """However little is done in one go, with gaps, resets, rubbish and new series, every value has its one answer."""
    rng = random.Random(seed)
    times, made = 0, []
    for _, fields in entries(seed, 80, odd=0.4):
        times += rng.choice((1, 500, 1_000, 3_000, 9_000))
        made.append((f"{times}-0", fields))
    limits = {} if missing == "skip" else {"gap_after_ms": 2_000, "spacing_ms": 1_000}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(effort, "MOST_STEPS", most)
        held = stepped(made, missing=missing, **limits).stream("values")
    oracle = Oracle(MODEL, missing, gap_ms=2_000 if limits else None).feed(made)
    assert_predictions_equal(list(zip(held.prediction_ids, held.predictions, strict=True)), oracle)
    assert_states_equal(held.state, oracle, Engine(MODEL).format)
    assert held.answered == len(made)


def test_a_cut_batch_loses_no_bad_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad record of a series whose values are left for later is a dead letter then, once, and counted once."""
    monkeypatch.setattr(effort, "MOST_STEPS", 2)
    server = MemoryServer()
    server.stream("values").state = {b"a": b"odd", b"9": b"odd", b"b": b"odd"}
    fields = ["c", "5", *["c", ""] * 9, "b", "9"]
    for number, some in enumerate((fields, ["c", ""], ["c", ""], ["9", "1", "a", "2"], ["!reset", "a"]), 1):
        server.add("values", f"{number}-0", *some)
    engine, store = Engine(MODEL), MemoryStore(server)
    pump(engine, store, ["values"], size=100)
    held = server.stream("values")
    assert [(letter.id, letter.series) for letter in held.dead] == [(b"1-0", b"b"), (b"4-0", b"9"), (b"4-0", b"a")]
    assert sorted(held.state) == [b"9", b"b", b"c"]
    assert engine.series("values") == 3


def test_values_and_resets_by_turns_are_stepped_beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies between two resets needs no state of the other: thousands of them are one call, or a few."""

    class Counting(Model):
        def advance(self, x, state, time):  # type: ignore[no-untyped-def]
            calls.append(x.shape[1])
            return super().advance(x, state, time)

    calls: list[int] = []
    model = Counting(models.lstm(4))
    server = MemoryServer()
    server.add("values", "1-0", *["a", "5", "!reset", "a"] * 1_000, "a", "7", "b", "1")
    engine, store = Engine(model), MemoryStore(server)
    engine.open("values", store.open("values"))
    store.send_read({"values": b"0-0"}, 10)
    calls.clear()
    [result] = answer(engine, store, store.receive_read())
    assert sum(calls) - 1 <= 1_001
    assert len(calls) <= 3
    assert result.predictions == 1_002
    monkeypatch.setattr("streamlstm.engine.stepping.CHAINS_BYTES", 64 * engine.format.size)
    again = stepped([("1-0", ["a", "5", "!reset", "a"] * 1_000 + ["a", "7", "b", "1"])]).stream("values")
    store.send_commit(result.commit)
    held = server.stream("values")
    assert (held.predictions, held.state) == (again.predictions, again.state)


def test_missing_values_beyond_the_limit_are_dead_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one series in one entry; other series of it, and what else the series has, are answered."""
    monkeypatch.setattr(parsing, "MOST_ENTRY_MISSING", 5)
    fields = ["a", "1", *["a", ""] * 7, "b", "2", *["b", "nan"] * 5, "a", "3", "!reset", ""]
    held = stepped([("1-0", fields), ("2-0", ["a", "", "b", ""])]).stream("values")
    oracle = Oracle(MODEL).feed([("1-0", [*fields[:12], *fields[16:-2]]), ("2-0", ["a", "", "b", ""])])
    assert_predictions_equal(list(zip(held.prediction_ids, held.predictions, strict=True)), oracle)
    assert [(letter.series, letter.kind) for letter in held.dead][:2] == [(b"a", "too_many_values")] * 2
    assert "more than 5 missing values" in held.dead[0].error


@pytest.mark.parametrize(("series", "most"), [(1, 1), (400, 90)])
def test_a_portion_is_bounded_by_what_has_to_wait_for_each_other(series: int, most: int) -> None:
    """Series beside each other cost little; the same steps one after the other cost all of them."""
    slots = np.arange(800) % series
    effort = Effort(slots, np.arange(800), np.full(800, 5_000))
    assert 0 < effort.entries() <= most
    assert Effort(slots, np.arange(800), np.full(800, MOST_STEPS // 1_000)).entries() == 800


def test_one_entry_is_always_taken() -> None:
    """However long it takes: it cannot be cut."""
    assert Effort(np.zeros(3, np.int64), np.array([0, 0, 1]), np.full(3, MOST_STEPS)).entries() == 1


def test_the_reply_to_a_read_is_cut_before_what_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """The result says how far it goes."""
    monkeypatch.setattr(effort, "MOST_STEPS", 4)
    engine, store = Engine(MODEL), MemoryStore(MemoryServer())
    engine.open("values", store.open("values"))
    ids = [b"%d-0" % number for number in range(1, 13)]
    items = [b"*2\r\n" + bulk(i) + b"*2\r\n" + bulk(b"a") + bulk(b"1" if i == b"1-0" else b"") for i in ids]
    reply = b"*1\r\n*2\r\n" + bulk(b"values") + b"*%d\r\n" % len(items) + b"".join(items)
    [result] = answer(engine, store, reply)
    assert (result.commit.position, result.entries, result.items, result.predictions) == (b"5-0", 5, 5, 5)
