"""The single way: values that come alone are answered with the bits of every other way, and only plain ones take it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

import pytest

from streamlstm.common.settings import EngineSettings
from streamlstm.engine.engine import Engine
from streamlstm.engine.single import Single
from streamlstm.models.model import Model
from streamlstm.store.memory import MemoryServer, MemoryStore
from streamlstm.store.record.columns import NO_EXTRAS, Extras
from streamlstm.store.resp.codec import encode_read
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


class Watching(Engine):
    """Counts which way batches went."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.ways: Counter[str] = Counter()

    def step_single(self, single: Single) -> Any:
        """Counts."""
        result = super().step_single(single)
        self.ways["refused" if result is None else "single"] += 1
        return result


def one_by_one(seed: int, features: int) -> list[tuple[str, list[str]]]:
    """Traffic whose entries have one item each, a zero now and then."""
    items = [item for _, fields in entries(seed, 150, series=5, features=features, odd=0.2) for item in _pairs(fields)]
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
    assert engine.ways["single"] > 100, "most of them take it"
    assert bool(engine.ways["refused"]) == (name == "breaks"), "and nothing else is refused"


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
    single = engine.parse_single(reply)
    assert (single is not None) == alone
    [parsed] = engine.parse(reply)
    assert (parsed.stream, parsed.position, parsed.entries, parsed.items) == ("values", b"2-0", 1, len(fields) // 2)
    assert single is None or (single.stream, single.position) == (parsed.stream, parsed.position)


def test_two_entries_do_not_go_alone() -> None:
    """Neither of one stream nor of two."""
    engine = Engine(MODELS["lstm"])
    server = MemoryServer()
    for stream in ("values", "others"):
        server.add(stream, "1-0", "a", "1")
    pump(engine, MemoryStore(server), ["values", "others"])
    entry = (b"2-0", [b"a", b"1"])
    for reply in ({"values": [entry, (b"3-0", [b"a", b"2"])]}, {"values": [entry], "others": [entry]}):
        assert engine.parse_single(encode_read(reply)) is None
