"""Which new series begin where `--max-series` is reached does not depend on how entries fall into batches."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from streamlstm.common.settings import EngineSettings
from streamlstm.engine.engine import Engine
from streamlstm.models.model import Model
from streamlstm.store.memory import MemoryServer, MemoryStore
from streamlstm.store.resp.codec import COMPILED
from support import models
from support.compare import assert_predictions_equal, assert_states_equal
from support.oracle import Oracle
from support.pump import pump
from support.traffic import entries

LSTM, BREAKS, HOURS = models.load_lstm(8), Model(models.reciprocal()), Model(models.hours())
ALL = 10_000
STREAMS = ("values", "loads")
SEEDS, COUNT = (range(4), 150) if COMPILED else (range(1), 90)  # the twins in Python take three times as long
Entries = list[tuple[str, list[str]]]


def _traffic(seed: int, count: int = COUNT) -> Entries:
    """Entries of more series than may be, with many resets, and with zeros, which one of the models cannot answer."""
    rng = random.Random(seed)
    made = []
    for entry_id, fields in entries(seed, count, series=9, odd=0.3):
        items = list(zip(fields[0::2], fields[1::2], strict=True))
        items = [(n, "0" if n != "!reset" and rng.random() < 0.25 else text) for n, text in items]
        made.append((entry_id, [part for item in items for part in item]))
    return made


def _serve(
    model: Model, traffic: dict[str, Entries], *, size: int | None, cuts: tuple[int, ...], **options: Any
) -> MemoryServer:
    """Answer the entries of streams, begun again with another engine at each cut."""
    server = MemoryServer()
    for first, last in zip((0, *cuts), (*cuts, ALL), strict=True):
        for stream, made in traffic.items():
            for entry_id, fields in made[first:last]:
                server.add(stream, entry_id, *fields)
        engine = Engine(model, EngineSettings(**options))
        pump(engine, MemoryStore(server), list(traffic), size=size)
        for stream in traffic:
            assert engine.series(stream) == len(server.stream(stream).state) <= options["max_series"]
    return server


@pytest.mark.parametrize("model", [LSTM, BREAKS, HOURS], ids=["lstm", "breaks", "hours"])
@pytest.mark.parametrize("missing", ["impute", "skip"])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_series_begin_whatever_the_batch(model: Model, missing: str, seed: int) -> None:
    """Values, resets, rejected values and restarts near the limit, two streams in one engine: the oracle's bits."""
    traffic = {stream: _traffic(2 * seed + number) for number, stream in enumerate(STREAMS)}
    most = 3 + seed % 3
    oracles = {s: Oracle(model, missing, max_series=most).feed(made) for s, made in traffic.items()}
    letters = set()
    for size in (1, 3, 7, ALL):
        cuts, memory = ((), 1 << 20) if size == ALL else ((71, 72), 1 if size == 3 else 1 << 20)
        options = {"missing": missing, "max_series": most, "max_series_memory_bytes": memory}
        server = _serve(model, traffic, size=size, cuts=cuts, **options)
        for stream, oracle in oracles.items():
            held = server.stream(stream)
            assert_predictions_equal(list(zip(held.prediction_ids, held.predictions, strict=True)), oracle)
            assert_states_equal(held.state, oracle, Engine(model).format)
            assert [(d.id.decode(), d.series.decode(), d.value.decode()) for d in held.dead] == oracle.dead
        letters.add(tuple((d.id, d.series, d.error) for s in STREAMS for d in server.stream(s).dead))
    assert len(letters) == 1, "the reasons differ"
    assert any("too many series" in error for _, _, error in letters.pop())


@pytest.mark.parametrize("size", [1, 2, ALL])
def test_a_limit_made_smaller_takes_no_series_back_that_was_reset(size: int) -> None:
    """With more series than may be, those there are go on, and one that is reset finds its place gone."""
    server = MemoryServer()
    server.add("values", "1-0", "a", "1", "b", "1", "c", "1")
    pump(Engine(LSTM), MemoryStore(server), ["values"])
    for entry_id, fields in (("2-0", ["!reset", "a"]), ("3-0", ["a", "2", "b", "2"]), ("4-0", ["c", "2"])):
        server.add("values", entry_id, *fields)
    pump(Engine(LSTM, EngineSettings(max_series=2)), MemoryStore(server), ["values"], size=size)
    held = server.stream("values")
    assert [(d.id, d.series, d.kind) for d in held.dead] == [(b"3-0", b"a", "too_many_series")]
    assert set(held.state) == {b"b", b"c"}


def test_far_from_the_limit_and_without_a_place_the_model_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit costs no step of the model where there is room for all, nor where there is room for none."""
    calls = []
    model = models.load_lstm(8)
    advance = model.advance

    def counted(x: np.ndarray, state: np.ndarray, time: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        calls.append(x.shape)
        return advance(x, state, time)

    monkeypatch.setattr(model, "advance", counted)
    for most in (50, 0):
        traffic = {"values": [("1-0", [part for n in range(50) for part in (f"s{n}", "1")])]}
        server = _serve(model, traffic, size=ALL, cuts=(), max_series=most)
        assert len(server.stream("values").dead) == 50 - most
    assert calls == [(1, 50, 1)]
