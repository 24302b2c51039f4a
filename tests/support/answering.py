"""Traffic answered by the engine over the store in memory, held against the oracle."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from streamlstm.common.settings import EngineSettings
from streamlstm.engine.engine import Engine
from streamlstm.models.importers import compacted
from streamlstm.models.model import Model
from streamlstm.store.memory import MemoryServer, MemoryStore
from streamlstm.store.record.columns import Extras
from support import models, odd_models
from support.compare import assert_predictions_equal, assert_states_equal
from support.oracle import Oracle
from support.pump import pump

MODELS = {
    "lstm": models.load_lstm(8),
    "two features": models.load_lstm(4, features=2),
    "one forecast of two features": models.load_lstm(4, features=2, outputs=1),
    "steps one by one": models.load_lstm(4, chunking=False),
    "time": Model(models.hours()),
    "breaks": Model(models.reciprocal()),
    "float16": Model(models.half_lstm(5)),
    "float16 of one part": Model(compacted(models.lstm(5), ["c"]).data),
    "float16, one by one": Model(models.half_lstm(4, features=2, chunking=False)),
    "float16 and pairs": Model(compacted(models.exact_lstm(3)).data),
    "pairs": Model(models.exact_lstm(4)),
    "pairs of two features": Model(models.exact_lstm(4, features=2, common=True)),
}
Entries = list[tuple[str, list[str]]]
LOOKUP = Model(odd_models.lookup())  # fails on 7


def failed_on(seed: int, share: float) -> Entries:
    """Entries with values of up to a dozen series, of which about this share are what LOOKUP fails on."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(1, 60):
        series = [f"s{one}" for one in rng.permutation(12)[: rng.integers(1, 12)]]
        texts = ["7" if rng.random() < share else str(rng.integers(1, 6)) for _ in series]
        made.append((f"{number}-0", [part for pair in zip(series, texts, strict=True) for part in pair]))
    return made


def serve(
    model: Model, traffic: dict[str, Entries], *, seed: int = 0, size: int | None = None, **options: object
) -> MemoryServer:
    """Put traffic on a server and answer it; the engine counts as series what has a record, and nothing else."""
    server = MemoryServer()
    for stream, made in traffic.items():
        for entry_id, fields in made:
            server.add(stream, entry_id, *fields)
    engine = Engine(model, EngineSettings(**options))  # type: ignore[arg-type]
    pump(engine, MemoryStore(server), list(traffic), seed=seed, size=size)
    assert {stream: engine.series(stream) for stream in traffic} == {s: len(server.stream(s).state) for s in traffic}
    return server


def check(server: MemoryServer, stream: str, oracle: Oracle, settings: EngineSettings | None = None) -> None:
    """Hold one stream against the oracle."""
    held = server.stream(stream)
    assert_predictions_equal(list(zip(held.prediction_ids, held.predictions, strict=True)), oracle)
    assert_states_equal(held.state, oracle, Engine(oracle.model, settings).format)
    assert [(d.id.decode(), d.series.decode(), d.value.decode()) for d in held.dead] == oracle.dead


def check_batchings(model: Model, made: Entries, oracle: Oracle, extras: Extras, **options: object) -> None:
    """Answer a stream in three ways to batch its values: each as the oracle has it, to the same records."""
    records = []
    for batching in range(3):
        server = serve(model, {"values": made}, seed=batching, **asdict(extras), **options)
        check(server, "values", oracle, EngineSettings(**asdict(extras)))
        records.append(server.stream("values").state)
    assert records[0] == records[1] == records[2], "the scores in the records agree too"
