"""However values are batched, what comes out is what stepping them one by one gives, bit for bit."""

from __future__ import annotations

import itertools
import random
from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlstm.common.settings import EngineSettings
from streamlstm.engine.engine import Engine
from streamlstm.errors import UsageError
from streamlstm.models.gap_policy import MOST_FILLED
from streamlstm.models.model import Model
from streamlstm.store.memory import MemoryServer, MemoryStore
from streamlstm.store.record.columns import NO_EXTRAS, Extras
from support import models
from support.answering import MODELS, check, check_batchings, serve
from support.compare import assert_predictions_equal, assert_states_equal
from support.oracle import Oracle
from support.pump import pump
from support.rounds import examples
from support.traffic import entries

LEVEL = 2_500_000_000  # around which float32 has steps of 256


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("missing", ["impute", "hold", "skip"])
@settings(max_examples=examples(2))
@given(seed=st.integers(0, 2**32 - 1))
def test_any_batching_gives_the_oracles_bits(name: str, missing: str, seed: int) -> None:
    """Ragged traffic with gaps, resets and rubbish, cut into batches at random."""
    model = MODELS[name]
    traffic = entries(seed, 120, features=len(model.spec.features), odd=0.25, level=LEVEL * model.spec.exact)
    if name == "breaks":  # zeros are what this model cannot answer
        traffic = [(i, ["0" if k % 2 and not seed % 3 and v == "" else v for k, v in enumerate(f)]) for i, f in traffic]
        traffic.append(("999999-0", ["hot", "4", "hot", "0", "hot", "2", "zero", "0", "zero", "0"]))
    server = serve(model, {"values": traffic}, seed=seed, missing=missing)
    check(server, "values", Oracle(model, missing).feed(traffic))


@pytest.mark.parametrize("missing", ["impute", "hold", "skip"])
@pytest.mark.parametrize("extras", [Extras(0.8), Extras(None, score=True), Extras(0.9, score=True)], ids=str)
@settings(max_examples=examples(2))
@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(["lstm", "two features", "breaks", "pairs"]))
def test_intervals_and_scores_are_the_oracles(extras: Extras, missing: str, seed: int, name: str) -> None:
    """To the bit, records too, whatever the batching, with gaps, resets and answers that are not finite."""
    model = MODELS[name]
    traffic = entries(seed, 300, features=len(model.spec.features), odd=0.1, level=LEVEL * model.spec.exact)
    server = serve(model, {"values": traffic}, seed=seed, missing=missing, **asdict(extras))
    oracle = Oracle(model, missing, extras).feed(traffic)
    held = server.stream("values")
    assert_predictions_equal(list(zip(held.prediction_ids, held.predictions, strict=True)), oracle)
    settings = EngineSettings(missing=missing, **asdict(extras))
    assert_states_equal(held.state, oracle, Engine(model, settings).format)


def test_intervals_can_be_turned_on_and_off() -> None:
    """Records of a daemon without intervals get fresh calibrations, and those of one with them go on without."""
    model, traffic = MODELS["lstm"], entries(5, 120, odd=0.0)
    server, oracle = MemoryServer(), Oracle(model)
    for part, extras in ((traffic[:40], NO_EXTRAS), (traffic[40:80], Extras(0.9)), (traffic[80:], NO_EXTRAS)):
        for entry_id, fields in part:
            server.add("values", entry_id, *fields)
        pump(Engine(model, EngineSettings(**asdict(extras))), MemoryStore(server), ["values"])
        oracle.feed(part)
    held = server.stream("values")
    assert_states_equal(held.state, oracle, Engine(model).format)
    assert not held.dead
    assert len(held.predictions[60][1].split(b",")) == 3


@pytest.mark.parametrize("missing", ["impute", "hold"])
def test_a_forecast_that_stands_in_is_fed_as_it_is_told(missing: str) -> None:
    """Pairs may have more bits than the number they stand for, which a loop over `Model.step` would feed."""
    model = Model(models.low_parts())
    texts = ["1.1", "nan", "", "7e-9", "nan", "23", "23.25", "nan"]
    traffic = [(f"{1000 * n}-0", ["a", text]) for n, text in enumerate(texts, 1)]
    traffic.append(("20000-0", ["b", "1.3", "a", "nan"]))
    oracle = Oracle(model, missing, gap_ms=1500, spacing_ms=1000).feed(traffic)
    server = serve(model, {"values": traffic}, seed=1, missing=missing, gap_after_ms=1500, spacing_ms=1000)
    check(server, "values", oracle)


@pytest.mark.parametrize("name", ["lstm", "two features", "breaks"])
@pytest.mark.parametrize("missing", ["impute", "hold", "skip"])
@settings(max_examples=examples(3))
@given(seed=st.integers(0, 2**32 - 1), extras=st.sampled_from([NO_EXTRAS, Extras(0.8, score=True)]))
def test_idle_series_begin_anew_however_values_are_batched(name: str, missing: str, seed: int, extras: Extras) -> None:
    """After a gap longer than the limit a series begins anew, also if answers around the gap were rejected."""
    model, rng = MODELS[name], random.Random(seed)
    times = itertools.accumulate(rng.choice((1, 400, 1000, 2500, 9000)) for _ in range(120))
    traffic = [
        (f"{time}-0", ["0" if name == "breaks" and k % 2 and rng.random() < 0.2 else v for k, v in enumerate(fields)])
        for time, (_, fields) in zip(times, entries(seed, 120, features=len(model.spec.features), odd=0.2), strict=True)
    ]
    oracle = Oracle(model, missing, extras, idle_ms=4000).feed(traffic)
    check_batchings(model, traffic, oracle, extras, missing=missing, idle_after_ms=4000)


@pytest.mark.parametrize("name", ["lstm", "two features", "one forecast of two features", "time", "breaks"])
@pytest.mark.parametrize("missing", ["impute", "hold"])
@settings(max_examples=examples(2))
@given(seed=st.integers(0, 2**32 - 1), extras=st.sampled_from([NO_EXTRAS, Extras(0.8, score=True)]))
def test_gaps_are_stepped_through_however_values_are_batched(
    name: str, missing: str, seed: int, extras: Extras
) -> None:
    """A silence is filled with missing values, a longer one begins the series anew, also around rejected answers."""
    model, rng = MODELS[name], random.Random(seed)
    times = itertools.accumulate(rng.choice((1, 400, 1000, 2500, 9000)) for _ in range(120))
    traffic = [
        (f"{time}-0", ["0" if name == "breaks" and k % 2 and rng.random() < 0.2 else v for k, v in enumerate(fields)])
        for time, (_, fields) in zip(times, entries(seed, 120, features=len(model.spec.features), odd=0.2), strict=True)
    ]
    oracle = Oracle(model, missing, extras, idle_ms=20_000, gap_ms=1500, spacing_ms=700).feed(traffic)
    gaps = {"reset_after_ms": 20_000, "gap_after_ms": 1500, "spacing_ms": 700}
    check_batchings(model, traffic, oracle, extras, missing=missing, **gaps)


@pytest.mark.parametrize("missing", ["impute", "hold"])
def test_a_gap_is_what_blanks_would_have_been(missing: str) -> None:
    """Values left out give the records, scores and later answers of empty ones sent in their place."""
    model, extras = MODELS["lstm"], Extras(0.9, score=True)
    rng = random.Random(3)
    held = []
    for blanks in (True, False):
        rng.seed(3)
        traffic = []
        for minute in range(1, 200):
            value = "" if 50 <= minute < 80 or minute in {120, 121, 160} else f"{rng.gauss(0, 1):.3f}"
            if value or blanks:
                traffic.append((f"{minute * 60_000}-0", ["a", value]))
        gaps = {} if blanks else {"gap_after_ms": 90_000, "spacing_ms": 60_000}
        server = serve(model, {"values": traffic}, seed=1, missing=missing, **asdict(extras), **gaps)
        stream = server.stream("values")
        answers = dict(zip(stream.prediction_ids, stream.predictions, strict=True))
        held.append((stream.state, [answers[entry_id.encode()] for entry_id, fields in traffic if fields[1]]))
    assert held[0] == held[1]


def test_a_silence_too_long_to_fill_begins_the_series_anew() -> None:
    """Beyond the most steps that are filled, and whatever `--reset-after` says."""
    model = MODELS["lstm"]
    limit = (MOST_FILLED + 1) * 1000
    traffic = [("1000-0", ["a", "1"]), (f"{1000 + limit + 1}-0", ["a", "2"])]
    server = serve(model, {"values": traffic}, seed=1, gap_after_ms=1500, spacing_ms=1000)
    assert_states_equal(server.stream("values").state, Oracle(model).feed([traffic[1]]), Engine(model).format)


def test_gaps_need_a_spacing_and_steps() -> None:
    """A model that does not say how far apart its values are, or missing values that are not stepped, are refused."""
    with pytest.raises(UsageError, match="--spacing"):
        Engine(MODELS["lstm"], EngineSettings(gap_after_ms=1000))
    with pytest.raises(UsageError, match="skip"):
        Engine(MODELS["lstm"], EngineSettings(gap_after_ms=1000, spacing_ms=10, missing="skip"))


@settings(max_examples=examples(5))
@given(seed=st.integers(0, 2**32 - 1))
def test_streams_share_batches_and_nothing_else(seed: int) -> None:
    """The same series names in several streams are different series."""
    model = MODELS["lstm"]
    traffic = {f"stream{k}": entries(seed + k, 60 * (k + 1)) for k in range(3)}
    server = serve(model, traffic, seed=seed)
    for stream, made in traffic.items():
        check(server, stream, Oracle(model).feed(made))


@settings(max_examples=examples(5))
@given(seed=st.integers(0, 2**32 - 1))
def test_eviction_changes_no_bit(seed: int) -> None:
    """Memory for three records and twenty series: the others are loaded again and again."""
    model = MODELS["lstm"]
    traffic = entries(seed, 120)
    size = Engine(model).format.size
    server = serve(model, {"values": traffic}, seed=seed, max_series_memory_bytes=3 * size)
    check(server, "values", Oracle(model).feed(traffic))


def test_a_hot_series_is_stepped_in_one_call() -> None:
    """A backlog of one series is one model call, whatever its length."""
    calls = []

    class Counting(Model):
        def advance(self, x, state, time):  # type: ignore[no-untyped-def]
            calls.append(x.shape)
            return super().advance(x, state, time)

    model = Counting(models.lstm(8))
    traffic = [(f"{n}-0", ["hot", str(n % 7)]) for n in range(1, 501)]
    server = MemoryServer()
    for entry_id, fields in traffic:
        server.add("values", entry_id, *fields)
    store, engine = MemoryStore(server), Engine(model)
    engine.open("values", store.open("values"))
    store.send_read({"values": b"0-0"}, 1000)
    batch = engine.parse(store.receive_read())
    engine.admit("values", engine.begin(batch)["values"], [None])
    calls.clear()  # those of the trial
    engine.step(batch)
    assert calls == [(500, 1, 1)]


def test_too_many_series_costs_only_the_new_ones() -> None:
    """At the limit, known series are served on, and each value of a new one is a dead letter with the limit named."""
    traffic = [("1-0", ["a", "1", "b", "1", "c", "1"]), ("2-0", ["c", "2", "a", "2"])]
    server = serve(MODELS["lstm"], {"values": traffic}, seed=0, max_series=2)
    held = server.stream("values")
    assert [fields[0::2] for fields in held.predictions] == [[b"a", b"b"], [b"a"]]
    assert [(d.id, d.series, d.kind) for d in held.dead] == [
        (b"1-0", b"c", "too_many_series"),
        (b"2-0", b"c", "too_many_series"),
    ]
    assert "limit of 2" in held.dead[0].error


@pytest.mark.parametrize("batching", range(4))
def test_a_series_that_could_not_begin_takes_no_place(batching: int) -> None:
    """Words and missing values make no series; at the limit the same others begin whatever the batch."""
    traffic = [("1-0", ["a", "x", "b", ""]), ("2-0", ["d", "1", "b", "nan", "e", "2", "b", "3"]), ("3-0", ["a", "y"])]
    server = serve(MODELS["lstm"], {"values": traffic}, seed=batching, max_series=2, max_series_memory_bytes=1)
    held = server.stream("values")
    assert set(held.state) == {b"d", b"e"}
    assert [(d.id, d.series, d.kind) for d in held.dead] == [
        (b"1-0", b"a", "not_a_number"),
        (b"1-0", b"b", "no_past"),
        (b"2-0", b"b", "no_past"),
        (b"2-0", b"b", "too_many_series"),
        (b"3-0", b"a", "not_a_number"),
    ]


def test_a_value_the_model_breaks_on_makes_no_series() -> None:
    """A series whose only values have no finite answer is not counted, also if it is loaded again and again."""
    traffic = [(f"{n}-0", ["a", "0", "b", "4"]) for n in range(1, 9)]
    server = serve(MODELS["breaks"], {"values": traffic}, seed=1, max_series_memory_bytes=1)
    assert set(server.stream("values").state) == {b"b"}


def test_a_reset_makes_room_for_another_series() -> None:
    """A series that was reset and did not come back does not count."""
    traffic = [("1-0", ["a", "1", "b", "1"]), ("2-0", ["!reset", "b"]), ("3-0", ["c", "1"])]
    server = serve(MODELS["lstm"], {"values": traffic}, seed=1, max_series=2, max_series_memory_bytes=1)
    assert set(server.stream("values").state) >= {b"a"}
    assert b"b" not in server.stream("values").state


def test_a_bad_record_is_quarantined() -> None:
    """A record that cannot be read becomes a dead letter; its series starts anew and the others do not notice."""
    model, server = MODELS["lstm"], MemoryServer()
    server.stream("values").state.update({b"a": b"rubbish"})
    traffic = [("1-0", ["b", "1"]), ("2-0", ["a", "2"])]
    for entry_id, fields in traffic:
        server.add("values", entry_id, *fields)
    pump(Engine(model), MemoryStore(server), ["values"])
    held = server.stream("values")
    oracle = Oracle(model).feed(traffic)
    assert_predictions_equal(list(zip(held.prediction_ids, held.predictions, strict=True)), oracle)
    assert [(d.id, d.series, d.kind) for d in held.dead] == [(b"2-0", b"a", "bad_record")]
    assert "7 bytes" in held.dead[0].error


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_bad_record_is_found_bad_once(size: int) -> None:
    """By what asks for it first, a reset too, whatever the batch; where no value makes it good, it is gone."""
    model, server = MODELS["breaks"], MemoryServer()
    server.stream("values").state.update(dict.fromkeys((b"a", b"b", b"c", b"d", b"e"), b"rubbish"))
    traffic = [
        *(("1-0", ["!reset", "a", "x", "1"]), ("2-0", ["b", "", "c", "text"]), ("3-0", ["c", "1", "d", "0"])),
        *(("4-0", ["b", "", "a", "2"]), ("5-0", ["d", "0", "a", "3"])),
    ]
    for entry_id, fields in traffic:
        server.add("values", entry_id, *fields)
    pump(Engine(model, EngineSettings(max_series_memory_bytes=1)), MemoryStore(server), ["values"], size=size)
    held = server.stream("values")
    oracle = Oracle(model).feed(traffic)
    assert_predictions_equal(list(zip(held.prediction_ids, held.predictions, strict=True)), oracle)
    found_bad = [(d.id, d.series) for d in held.dead if d.kind == "bad_record"]
    assert found_bad == [(b"1-0", b"a"), (b"2-0", b"b"), (b"3-0", b"c"), (b"3-0", b"d")]
    assert [(d.id.decode(), d.series.decode(), d.value.decode()) for d in held.dead if d.kind != "bad_record"] == (
        oracle.dead
    )
    assert held.state.pop(b"e") == b"rubbish"  # nobody has asked for it
    assert_states_equal(held.state, oracle, Engine(model).format)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        (["s", "abc"], "not_a_number"),
        (["s", "inf"], "not_a_number"),
        (["s", "1,2"], "wrong_count"),
        (["s", "1e39"], "out_of_range"),
        (["s", ""], "no_past"),
        (["!boo", "1"], "unknown_command"),
        (["", "1"], "bad_name"),
        (["x" * 257, "1"], "bad_name"),
        ([b"\xff", "1"], "bad_name"),
        (["!reset", ""], "bad_name"),
    ],
)
def test_each_flaw_has_its_kind_and_spares_the_rest(fields: list[str | bytes], kind: str) -> None:
    """What cannot be stepped is a dead letter of its kind; the value beside it in the same entry is answered."""
    server = MemoryServer()
    server.add("values", "5-0", "good", "1", *fields)
    pump(Engine(MODELS["lstm"]), MemoryStore(server), ["values"])
    held = server.stream("values")
    assert [p[0] for p in held.predictions] == [b"good"]
    assert [(d.id, d.kind) for d in held.dead] == [(b"5-0", kind)]
    assert held.position == b"5-0"


def test_a_long_bad_value_is_cut_and_says_so() -> None:
    """A dead letter keeps the beginning of a huge value and its true length."""
    server = MemoryServer()
    server.add("values", "5-0", "s", "x" * 5000)
    pump(Engine(MODELS["lstm"]), MemoryStore(server), ["values"])
    letter = server.stream("values").dead[0]
    assert len(letter.value) == 1024
    assert "1024 of 5000 bytes" in letter.error


def test_running_errors_are_those_of_the_series() -> None:
    """The sums in a record are those of its predictions against the values that followed."""
    model, server = MODELS["lstm"], MemoryServer()
    values = [0.5, 1.5, -1.0, 2.0, 0.25]
    traffic = [(f"{n + 1}-0", ["s", str(x)]) for n, x in enumerate(values)]
    for entry_id, fields in traffic:
        server.add("values", entry_id, *fields)
    engine = Engine(model)
    pump(engine, MemoryStore(server), ["values"], most=3)
    oracle = Oracle(model).feed(traffic)
    predicted = [float(answers[0][1][0]) for _, answers in oracle.predictions]
    header = engine.format.header(engine.format.decode_one(server.stream("values").state[b"s"])[None])[0]
    absolute = squared = naive = 0.0
    for before, forecast, value in zip(values, predicted, values[1:], strict=False):
        absolute += abs(value - forecast)
        squared += (value - forecast) ** 2
        naive += abs(value - before)
    assert int(header["scored"]) == 4
    assert header["absolute_error"] == absolute
    assert header["squared_error"] == squared
    assert header["naive_absolute_error"] == naive


@pytest.mark.parametrize("name", ["lstm", "two features", "time"])
def test_whole_records_are_the_same_bytes_however_batched(name: str) -> None:
    """One entry at a time (the short way, mostly) or many at once: every byte of every record, sums of errors too."""
    model, found = MODELS[name], []
    traffic = entries(3, 200, features=len(model.spec.features), odd=0.05)
    for most in (1, 3, 200):
        server = MemoryServer()
        for entry_id, fields in traffic:
            server.add("values", entry_id, *fields)
        pump(Engine(model), MemoryStore(server), ["values"], most=most)
        found.append(server.stream("values").state)
    assert found[0] == found[1] == found[2]
    assert len(found[0]) > 10
