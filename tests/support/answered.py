"""Entries with corrections among them, read, stepped and committed by an engine over a store in memory."""

from __future__ import annotations

import itertools
import random
from bisect import bisect_right
from collections.abc import Container, Mapping, Sequence
from functools import partial

from streamlstm.common import EngineSettings
from streamlstm.daemon.replay import Source, prepare
from streamlstm.daemon.replay.corrections import MOST_ENTRIES
from streamlstm.engine import CORRECTIONS, WINDOW, Engine
from streamlstm.models import Model
from streamlstm.store.memory import MemoryServer, MemoryStore, MemoryStream
from streamlstm.store.resp import EntryId

Entries = list[tuple[str, list[str]]]


def answer(
    model: Model,
    traffic: Entries,
    *,
    seed: int = 0,
    most: int | Sequence[int] | None = None,
    every: int = 0,
    lost: Sequence[int] = (),
    limit: int = MOST_ENTRIES,
    restarts: Container[bytes] | Mapping[bytes, int] = (),
    swept: Container[bytes] = (),
    **options: object,
) -> MemoryStream:
    """What comes of entries, read in batches of random size or so many; some records are evicted between them.

    With records kept aside `every` so many entries, the input retains twice as many, and nothing else is remembered.
    Behind each batch in turn so many of the first entries are `lost`, and up to `limit` are read again. Behind some
    entries another process goes on, which keeps records aside as often as these say, or as before. Behind those of
    `swept` the series a is idle, and its record is removed.
    """
    rng, server = random.Random(seed), MemoryServer()
    sizes = itertools.chain(most, itertools.repeat(most[-1])) if isinstance(most, Sequence) else itertools.repeat(most)
    for entry, fields in traffic:
        server.add("values", entry, *fields)
    memory = rng.choice([1, 1 << 20])
    store, settings = MemoryStore(server), EngineSettings(max_series_memory_bytes=memory, **options)  # type: ignore[arg-type]
    engine = _opened(model, settings, store, every)
    source = _source(store, every, limit)
    cursor, losing = b"0-0", iter(lost)
    while True:
        store.send_read({"values": cursor}, next(sizes) or rng.randint(1, 30))
        batch = [prepare(engine, parsed, source) for parsed in engine.parse(store.receive_read())]
        if not batch:
            break
        for stream, names in engine.begin(batch).items():
            engine.admit(stream, names, store.load(stream, names))
            if doubtful := (window := engine.window(stream)).doubtful:
                window.settle(engine.arena, store.kept(stream, [*doubtful]))
        for result in engine.step(batch):
            store.send_commit(result.commit)
            assert store.receive_commit("values"), "nobody else commits here"
            cursor = result.commit.position
        held = server.stream("values")
        if every and (gone := bisect_right(held.ids, EntryId.parse(cursor)) - 2 * every) > 0:
            del held.ids[:gone], held.fields[:gone]
            engine.known("values").forget(b"a")
        if cursor in swept:
            del held.state[b"a"]
            engine.remove("values", [b"a"])
        if cursor in restarts:
            again = restarts[cursor] if isinstance(restarts, Mapping) else every
            engine = _opened(model, settings, store, again)
        gone = next(losing, 0)
        del held.ids[:gone], held.fields[:gone]
    assert engine.series("values") == len(server.stream("values").state)
    return server.stream("values")


def _source(store: MemoryStore, every: int, limit: int) -> Source:
    return Source(
        read=partial(store.read, "values"),
        load=partial(store.load, "values"),
        letters=partial(store.letters, "values", CORRECTIONS),
        kept=partial(store.kept, "values") if every else None,
        most_entries=limit,
    )


def _opened(model: Model, settings: EngineSettings, store: MemoryStore, every: int) -> Engine:
    engine = Engine(model, settings)
    engine.checkpoint_every = every
    engine.open("values", store.open("values"), store.kept("values", [WINDOW])[0])
    return engine
