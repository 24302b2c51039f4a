"""Floors of a latency: a loop that answers every entry with its own fields, without a model or a state.

It has the daemon's shape: a connection for a blocking read of all that is there, another for what is written, the next
read sent before the answers to the writes are waited for. What it takes is what Redis, Python and the way there and
back take.

With a model it is the least that a daemon in Python can do: the same loop, with one call of the model for what a read
brought, whose answer it throws away, and with the commands of a commit, put together without any bookkeeping.

python -m streamlstm.cli.benchmark.echo JSON: until it is ended.
"""

from __future__ import annotations

import json
import select
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np

from streamlstm.errors import StoreError
from streamlstm.models import load
from streamlstm.store import Keys
from streamlstm.store.record import RecordFormat
from streamlstm.store.resp import BEGINNING, Address, Connection, checked, pack

COUNT = 16_384  # entries a read at most, as the daemon

Entries = Sequence[tuple[bytes, Sequence[bytes]]]  # id, and names and values in turn
Answer = Callable[[Entries], tuple[bytes, int]]  # packed commands, and how many replies they have


def echo(url: str, stream: str, model: str | None = None) -> NoReturn:
    """Answer a stream from its beginning, for ever; `model` is the path of one to be called."""
    address, keys = Address.parse(url), Keys(stream)
    answer = repeat(keys) if model is None else step(keys, Path(model))
    reader, writer = Connection(address, name="streamlstm-bench"), Connection(address, name="streamlstm-bench")
    position, unanswered = BEGINNING, False
    poller = select.poll()
    poller.register(reader.fileno(), select.POLLIN)
    poller.register(writer.fileno(), select.POLLIN)
    reader.send(pack("XREAD", "COUNT", COUNT, "BLOCK", 1000, "STREAMS", stream, position))
    while True:
        ready = {descriptor for descriptor, _ in poller.poll()}
        if writer.fileno() in ready and writer.raw.pull():
            _check(writer.raw.take())
            unanswered = False
        if reader.fileno() in ready:
            reply = checked(reader.receive(), address)
            entries = reply[0][1] if reply else []
            if entries:
                if unanswered:
                    _check(writer.raw.take())
                commands, replies = answer(entries)
                writer.raw.expect(replies)
                writer.send(commands)
                position, unanswered = entries[-1][0], True
            reader.send(pack("XREAD", "COUNT", COUNT, "BLOCK", 1000, "STREAMS", stream, position))


def _check(replies: bytes) -> None:
    if replies.startswith(b"-") or b"\r\n-" in replies:
        raise StoreError(f"the server refused the echo: {replies[:200]!r}")


def repeat(keys: Keys) -> Answer:
    """Each entry's own fields as its prediction."""

    def answer(entries: Entries) -> tuple[bytes, int]:
        added = [pack("XADD", keys.predictions, entry_id, *fields) for entry_id, fields in entries]
        return b"".join(added), len(added)

    return answer


def step(keys: Keys, path: Path) -> Answer:
    """The same, after a call of the model, and as a commit with a record for every value."""
    model = load(path)
    state = model.initial_state(COUNT)
    x = np.zeros((1, COUNT, model.spec.x_width), np.float32)
    record = RecordFormat.of(model.spec, initial_state=state[0], fingerprint=model.fingerprint).fresh.tobytes()
    guarded = ("position", "epoch", "challenger_position")
    begin, end = pack("MULTI"), pack("EXEC") + pack("WATCH", keys.meta) + pack("HMGET", keys.meta, *guarded)
    meta = ("HSET", keys.meta, "model", model.fingerprint, "columns", "yhat", "format", "1", "entries", "1", "position")

    def answer(entries: Entries) -> tuple[bytes, int]:
        names = [name for _, fields in entries for name in fields[0::2]]
        model.advance(x[:, : len(names)], state[: len(names)], None)
        records = [part for name in names for part in (name, record)]
        added = [pack("XADD", keys.predictions, entry_id, *fields) for entry_id, fields in entries]
        moved = pack(*meta, entries[-1][0])
        flight = (begin, pack("HSET", keys.state, *records), *added, moved, end)
        return b"".join(flight), len(added) + 2 + 4  # QUEUED each; to MULTI, EXEC, WATCH and HMGET

    return answer


if __name__ == "__main__":
    echo(**json.loads(sys.argv[1]))
