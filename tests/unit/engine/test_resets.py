"""Resets in band are counted by what stands in the stream."""

from __future__ import annotations

import pytest

from streamlstm.engine.engine import Engine
from streamlstm.store.memory import MemoryServer, MemoryStore
from support import models

TRAFFIC = [
    ("1-0", ["a", "1", "!reset", "a", "!reset", "a"]),
    ("2-0", ["!reset", "b", "b", "1"]),
    ("3-0", ["!reset", "*", "!reset", "*", "!reset", ""]),  # the last one names no series
    ("4-0", ["a", "2", "!reset", "b", "!reset", "a", "!reset", "never"]),
    ("5-0", ["b", "2", "!reset", "b"]),
]


@pytest.mark.parametrize("most", [1, 2, 3, 5])
def test_resets_are_counted_however_entries_are_batched(most: int) -> None:
    """Each that is carried out, of a series that is in memory, in the store or nowhere; those to all are one each."""
    server = MemoryServer()
    for entry, fields in TRAFFIC:
        server.add("values", entry, *fields)
    engine, store = Engine(models.load_lstm(4)), MemoryStore(server)
    engine.open("values", store.open("values"))
    cursor, resets = b"0-0", 0
    while True:
        store.send_read({"values": cursor}, most)
        if not (batch := engine.parse(store.receive_read())):
            break
        for stream, names in engine.begin(batch).items():
            engine.admit(stream, names, store.load(stream, names))
        for result in engine.step(batch):
            store.send_commit(result.commit)
            assert store.receive_commit("values")
            cursor = result.commit.position
            resets += result.resets
    assert resets == 9
    assert len(server.stream("values").dead) == 1
    assert not server.stream("values").state
