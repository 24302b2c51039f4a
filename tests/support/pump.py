"""The plainest loop around an engine and a store: read, load, step, commit, nothing overlapped."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine import Engine
from streamlstm.scoring import new_tally
from streamlstm.store import Store


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
        batch = engine.parse(store.receive_read())
        if not batch:
            return tally
        for stream, names in engine.begin(batch).items():
            engine.admit(stream, names, store.load(stream, names))
        for result in engine.step(batch):
            tally += result.tally
            store.send_commit(result.commit)
            assert store.receive_commit(result.commit.stream), "nobody else commits here"
            cursors[result.commit.stream] = result.commit.position
