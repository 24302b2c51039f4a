"""Entries so large that a read of many would fill the memory: the read is given up and asked again for fewer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streamlstm.daemon.read_cursors import FIRST_ENTRIES, ReadCursors
from streamlstm.daemon.streams import Streams
from streamlstm.store import stream_reader
from streamlstm.store.base import TOO_MUCH
from streamlstm.store.memory import MemoryStore
from streamlstm.store.redis import RedisStore
from support.server import Server

SIZE = 300_000  # bytes of a field


def received(store: RedisStore, cursors: dict[str, bytes], count: int) -> bytes:
    """The outcome of one read."""
    store.send_read(cursors, count)
    while not store.wait(5.0)[0]:
        pass
    return store.receive_read()


def test_a_read_of_too_many_bytes_is_given_up(
    start_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before all of it is here; the next read gets its entries, and one entry is read however large it is."""
    monkeypatch.setattr(stream_reader, "MOST_BYTES", 2 * SIZE)
    server = start_server()
    client, store = server.client(), RedisStore(server.url)
    for number in range(1, 41):
        client.xadd("values", {"a": "x" * (SIZE if number < 40 else 4 * SIZE)}, id=f"{number}-0")
    store.open("values")
    assert received(store, {"values": b"0-0"}, 40) == TOO_MUCH
    assert received(store, {"values": b"0-0"}, 1).count(b"x" * SIZE) == 1
    assert received(store, {"values": b"39-0"}, 1).count(b"x" * SIZE) == 4
    assert received(store, {"values": b"40-0"}, 40) == stream_reader.NOTHING
    store.close()
    client.close()


def test_reads_are_fitted_to_bytes() -> None:
    """Few entries where they are large, one after a read that was given up, and more again by doubling."""
    asked: list[int] = []

    class Asked(MemoryStore):
        def __init__(self) -> None:
            pass

        def send_read(self, cursors: object, count: int) -> None:
            asked.append(count)

    reading = ReadCursors(Asked(), Streams(), batch_values=16_384, most_entries=16_384)
    reading.ask()
    reading.take(TOO_MUCH, [])
    reading.ask()
    reading.fit(1, 1)
    reading.ask()
    for _ in range(20):
        reading.fit(1, 1)
    reading.ask()
    assert asked == [FIRST_ENTRIES, 1, 2, 16_384]
