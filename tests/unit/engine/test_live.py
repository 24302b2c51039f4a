"""The live way: a few values are answered with the bits of every other way, and only plain ones take it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from streamlstm.common.settings import EngineSettings
from streamlstm.engine.engine import Engine, Result
from streamlstm.engine.live import MOST, LiveRead
from streamlstm.models.model import Model
from streamlstm.store.memory import MemoryServer, MemoryStore
from streamlstm.store.record.columns import NO_EXTRAS, Extras
from streamlstm.store.resp.codec import COMPILED, encode_read
from support import models
from support.compare import assert_predictions_equal, assert_states_equal
from support.oracle import Oracle
from support.pump import pump
from support.traffic import entries

MODELS = {
    "lstm": models.load_lstm(8),
    "two features": models.load_lstm(4, features=2),
    "time": Model(models.hours()),
    "breaks": Model(models.reciprocal()),
}
# The twins in Python take several times as long, and are held against the compiled ones in `test_carry` already.
COUNT = 150 if COMPILED else 60


class Watching(Engine):
    """Counts which way batches went."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.ways: Counter[str] = Counter()
        self.sizes: Counter[int] = Counter()  # values of reads that went the live way

    def step_live(self, live: LiveRead) -> Result | None:
        """Counts."""
        result = super().step_live(live)
        self.ways["refused" if result is None else "live"] += 1
        self.sizes[live.count] += result is not None
        return result


def one_by_one(seed: int, features: int, series: int = 5, count: int = COUNT) -> list[tuple[str, list[str]]]:
    """Traffic whose entries have one item each, a zero now and then."""
    made = entries(seed, count, series=series, features=features, odd=0.2)
    items = [item for _, fields in made for item in _pairs(fields)]
    made = [(f"{1000 * number}-{number}", list(item)) for number, item in enumerate(items, 1)]
    return [(i, [name, "0" if number % 17 == 0 else text]) for number, (i, (name, text)) in enumerate(made)]


def _pairs(fields: list[str]) -> list[tuple[str, str]]:
    return list(zip(fields[0::2], fields[1::2], strict=True))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("missing", ["impute", "skip"])
@pytest.mark.parametrize("extras", [NO_EXTRAS, Extras(0.8, score=True)], ids=str)
@pytest.mark.parametrize("idle_ms", [None, 6000])
def test_values_that_come_alone_get_the_oracles_bits(
    name: str, missing: str, extras: Extras, idle_ms: int | None
) -> None:
    """Predictions, records and dead letters, with gaps, resets, rubbish and answers that are not finite between."""
    model, settings = MODELS[name], EngineSettings(missing=missing, idle_after_ms=idle_ms, **asdict(extras))
    traffic = one_by_one(7, len(model.spec.features))
    server = MemoryServer()
    for entry_id, fields in traffic:
        server.add("values", entry_id, *fields)
    engine = Watching(model, settings)
    pump(engine, MemoryStore(server), ["values"], most=1)
    oracle = Oracle(model, missing, extras, **({} if idle_ms is None else {"idle_ms": idle_ms})).feed(traffic)
    held = server.stream("values")
    assert_predictions_equal(list(zip(held.prediction_ids, held.predictions, strict=True)), oracle)
    assert_states_equal(held.state, oracle, engine.format)
    assert [(d.id.decode(), d.series.decode(), d.value.decode()) for d in held.dead] == oracle.dead
    assert engine.ways["live"] > COUNT * 2 / 3, "most of them take it"
    assert bool(engine.ways["refused"]) == (name == "breaks"), "and nothing else is refused"


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("options", "series"),
    [
        ({"missing": "skip"}, 40),
        ({"interval": 0.8, "score": True, "anomaly_above": 0.9}, 1),
        ({"interval": 0.8, "score": True, "anomaly_above": 0.9}, 40),
        ({"idle_after_ms": 30_000}, 40),
    ],
    ids=["skip", "score, one series", "score", "idle"],
)
def test_values_that_come_a_few_at_a_time_get_the_bits_they_have_alone(
    name: str, options: dict[str, Any], series: int
) -> None:
    """Predictions, records, events, dead letters and what was scored; of many series, and of one."""
    model, settings = MODELS[name], EngineSettings(**options)
    traffic = one_by_one(7, len(model.spec.features), series, count=80)
    if series == 1:
        traffic = [(i, ["hot" if field.startswith("s") else field for field in fields]) for i, fields in traffic]
    held, tallies, sizes = [], [], list[Counter[int]]()
    for most in (1, 4):
        server = MemoryServer()
        for entry_id, fields in traffic:
            server.add("values", entry_id, *fields)
        engine = Watching(model, settings)
        tallies.append(pump(engine, MemoryStore(server), ["values"], most=most))
        held.append(server.stream("values"))
        sizes.append(engine.sizes)
    alone, together = held
    for letters in (alone.dead, together.dead):  # of a read they come by kind
        letters.sort(key=lambda one: (int(one.id.partition(b"-")[2]), one.error))
    assert alone == together
    np.testing.assert_allclose(*tallies)
    assert sizes[0].keys() == {1}
    assert sum(sizes[1][count] for count in (2, 3, 4)) > 1


@pytest.mark.parametrize(
    ("fields", "alone"),
    [
        (["a", "1.5"], True),
        (["a", "-1e3"], True),
        (["a", ""], False),
        (["a", "nan"], False),
        (["a", "1e999"], False),
        (["a", "1,2"], False),
        (["new", "1"], False),
        (["!reset", "a"], False),
        (["a", "1", "a", "2"], False),
        ([], False),
    ],
    ids=str,
)
def test_only_a_plain_value_of_a_series_in_memory_goes_alone(fields: list[str], alone: bool) -> None:
    """Everything else is laid out as a batch."""
    engine = Engine(MODELS["lstm"])
    server = MemoryServer()
    server.add("values", "1-0", "a", "1")
    pump(engine, MemoryStore(server), ["values"])
    reply = encode_read({"values": [(b"2-0", [field.encode() for field in fields])]})
    live = engine.parse_live(reply)
    assert (live is not None) == alone
    [parsed] = engine.parse(reply)
    assert (parsed.stream, parsed.position, parsed.entries, parsed.items) == ("values", b"2-0", 1, len(fields) // 2)
    assert live is None or (live.stream, live.position) == (parsed.stream, parsed.position)


@pytest.mark.parametrize(
    ("names", "goes"),
    [
        (["a", "b"], True),
        (["c", "a", "b"], True),
        (["a", "a"], True),
        (["a", "a", "a"], True),
        (["a", "b", "a"], False),
        (["a", "b", "b"], False),
        (["a", "new"], False),
        (["a", "!reset"], False),
        ([f"s{n}" for n in range(MOST)], True),
        ([f"s{n}" for n in range(MOST + 1)], False),
        (["a"] * MOST, True),
        (["a"] * (MOST + 1), False),
    ],
    ids=lambda value: f"{len(value)} of {value[-1]}" if isinstance(value, list) else str(value),
)
@pytest.mark.parametrize("runs_over_time", [True, False])
def test_entries_of_different_series_or_of_one_go_together(names: list[str], goes: bool, runs_over_time: bool) -> None:
    """As many as there is room for; of one series only where the model takes several steps in a call."""
    engine = Engine(MODELS["lstm"] if runs_over_time else models.load_lstm(8, chunking=False))
    server = MemoryServer()
    known = dict.fromkeys(("a", "b", "c", *(name for name in names if name.startswith("s"))))
    server.add("values", "1-0", *[part for name in known for part in (name, "1")])
    pump(engine, MemoryStore(server), ["values"])
    reply = encode_read({"values": [(b"2-%d" % n, [name.encode(), b"1.5"]) for n, name in enumerate(names)]})
    live = engine.parse_live(reply)
    goes = goes and (runs_over_time or len(set(names)) == len(names))
    assert (live is not None) == goes
    if live is not None:
        assert (live.stream, live.position, live.count) == ("values", b"2-%d" % (len(names) - 1), len(names))
        result = engine.step_live(live)
        assert result is not None
        assert (result.entries, result.predictions, len(result.commit.names)) == (
            len(names),
            len(names),
            len(set(names)),
        )


def test_a_longer_silence_of_one_series_has_all_of_a_read_go_the_other_way() -> None:
    """Also between two values of the read; nothing is touched."""
    for times, names, goes in (
        ((2000, 2100), ("a", "b"), True),
        ((2000, 2101), ("a", "b"), False),
        ((2100, 2200), ("a", "a"), True),
        ((2100, 2201), ("a", "a"), False),
        ((2101, 2102), ("a", "a"), False),
    ):
        engine, server = Engine(MODELS["lstm"], EngineSettings(idle_after_ms=100)), MemoryServer()
        server.add("values", "2000-0", "a", "1", "b", "1")
        pump(engine, MemoryStore(server), ["values"])
        before = [engine.record("values", name) for name in (b"a", b"b")]
        made = [
            (b"%d-%d" % (time, n + 1), [name.encode(), b"1.5"])
            for n, (time, name) in enumerate(zip(times, names, strict=True))
        ]
        live = engine.parse_live(encode_read({"values": made}))
        assert live is not None
        assert (engine.step_live(live) is not None) == goes
        assert goes or before == [engine.record("values", name) for name in (b"a", b"b")]


def test_an_answer_that_is_not_finite_leaves_all_of_a_read_untouched() -> None:
    """The others are answered the other way."""
    engine, server = Engine(MODELS["breaks"]), MemoryServer()
    server.add("values", "1-0", "a", "1", "b", "1")
    pump(engine, MemoryStore(server), ["values"])
    before = [engine.record("values", name) for name in (b"a", b"b")]
    live = engine.parse_live(encode_read({"values": [(b"2-0", [b"a", b"1"]), (b"2-1", [b"b", b"0"])]}))
    assert live is not None
    assert engine.step_live(live) is None
    assert before == [engine.record("values", name) for name in (b"a", b"b")]
    assert engine.position("values") == b"1-0"


def test_what_was_parsed_before_the_last_is_not_stepped() -> None:
    """Its values are no longer there."""
    engine, server = Engine(MODELS["lstm"]), MemoryServer()
    server.add("values", "1-0", "a", "1")
    pump(engine, MemoryStore(server), ["values"])
    live = engine.parse_live(encode_read({"values": [(b"2-0", [b"a", b"1"])]}))
    assert live is not None
    assert engine.parse_live(encode_read({"values": [(b"3-0", [b"new", b"1"])]})) is None
    assert engine.step_live(live) is None


def test_two_streams_do_not_go_together() -> None:
    """Nor does an entry of several values."""
    engine = Engine(MODELS["lstm"])
    server = MemoryServer()
    for stream in ("values", "others"):
        server.add(stream, "1-0", "a", "1", "b", "1")
    pump(engine, MemoryStore(server), ["values", "others"])
    entry = (b"2-0", [b"a", b"1"])
    for reply in ({"values": [entry], "others": [entry]}, {"values": [(b"2-0", [b"a", b"1", b"b", b"1"])]}):
        assert engine.parse_live(encode_read(reply)) is None
