"""The plainest loop around an engine and a store: read, load, step, commit, nothing overlapped."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.engine import Engine, Result
from streamlstm.engine.scoring import new_tally
from streamlstm.store.base import Store


def pump(
    engine: Engine, store: Store, streams: Sequence[str], *, seed: int = 0, most: int = 50, size: int | None = None
) -> NDArray[np.float64]:
    """Answer all entries there are, in batches of random size or of the size given; the tally of what was scored."""
    tally = new_tally(1)[0]
    rng = random.Random(seed)
    cursors = {}
    for stream in streams:
        head = store.open(stream)
        engine.open(stream, head)
        cursors[stream] = head.position
    while True:
        store.send_read(cursors, size or rng.randint(1, most))
        results = answer(engine, store, store.receive_read())
        if not results:
            return tally
        for result in results:
            tally += result.tally
            store.send_commit(result.commit)
            assert store.receive_commit(result.commit.stream), "nobody else commits here"
            cursors[result.commit.stream] = result.commit.position


def answer(engine: Engine, store: Store, reply: bytes) -> list[Result]:
    """Step what a read brought, as the daemon does."""
    live = engine.parse_live(reply)
    result = None if live is None else engine.step_live(live)
    if result is not None:
        return [result]
    batch = engine.parse(reply)
    for stream, names in engine.begin(batch).items():
        engine.admit(stream, names, store.load(stream, names))
    return engine.step(batch) if batch else []
