"""A connection to the server in memory that understands the commands by which all states of a stream are replaced.

So `States`, `Replay` and the policies of `--on-model-change` run in the simulation as they are.
"""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import hiredis

from streamlstm.errors import StoreUnavailableError
from streamlstm.store.base import DeadLetter, Head
from streamlstm.store.memory import MemoryServer, MemoryStream
from streamlstm.store.resp.address import Address
from streamlstm.store.resp.codec import encode_read
from streamlstm.store.resp.connection import pack
from streamlstm.store.resp.entry_id import BEGINNING, EntryId
from streamlstm.store.stream_meta import FORMAT

Trouble = Callable[[str, bool], None]


# What is filled under a draft's name: records by series, or the entries of a stream by id.
Draft = dict[bytes, Any]


class MemoryConnection:
    """Carries commands out at once; `trouble` is asked before and after every flight."""

    address = Address.parse("redis://127.0.0.1:1")

    def __init__(self, server: MemoryServer, drafts: dict[str, Draft], stream: str, trouble: Trouble):
        self._server, self._drafts, self._stream, self._trouble = server, drafts, stream, trouble
        self._generation = server.generation
        self.raw = self
        self._replies: deque[Any] = deque()
        self._watched: tuple[object, ...] | None = None
        self._queued: list[Sequence[bytes]] | None = None

    def call(self, *command: bytes | str | int) -> Any:
        """One command and its reply."""
        self.send(pack(*command))
        return self.receive()

    def send(self, data: bytes) -> None:
        """Carry out packed commands."""
        reader = hiredis.Reader()
        reader.feed(data)
        ends = b"EXEC" in data
        # Nothing takes effect between MULTI and EXEC: what goes wrong there goes wrong just before EXEC.
        is_quiet = b"MULTI" in data or (self._queued is not None and not ends)
        boundary = "replace" if ends else "rebuild"
        if not is_quiet:
            self._trouble(boundary, False)
        if self._generation != self._server.generation:
            raise StoreUnavailableError("the connection to the server in memory was cut")
        while (command := reader.gets()) is not False:
            self._replies.append(self._take(command))
        if not is_quiet:
            self._trouble(boundary, True)

    def receive(self) -> Any:
        """The next reply."""
        return self._replies.popleft()

    def expect(self, replies: int) -> None:
        """One reply is to be taken as it came."""
        assert replies == 1

    def take(self) -> bytes:
        """The bytes of the reply to an XRANGE."""
        raw: bytes = self._replies.popleft()
        return raw

    def close(self) -> None:
        """Nothing is held."""

    @property
    def _held(self) -> MemoryStream:
        return self._server.stream(self._stream)

    def _seen(self) -> tuple[object, ...]:
        held = self._held
        return held.position, held.epoch, held.model

    def _take(self, command: Sequence[bytes]) -> Any:
        name = command[0].decode()
        if name == "MULTI":
            self._queued = []
            return b"OK"
        if self._queued is not None and name != "EXEC":
            self._queued.append(command)
            return b"QUEUED"
        return getattr(self, f"_{name.lower()}")(*command[1:])

    def _watch(self, key: bytes) -> bytes:
        self._watched = self._seen()
        return b"OK"

    def _unwatch(self) -> bytes:
        self._watched = None
        return b"OK"

    def _exec(self) -> list[Any] | None:
        queued, self._queued = self._queued or [], None
        watched, self._watched = self._watched, None
        if watched is not None and watched != self._seen():
            return None
        return [self._take(command) for command in queued]

    def _hmget(self, key: bytes, *fields: bytes) -> list[bytes | None]:
        held = self._held
        if held.model is None:
            return [None] * len(fields)
        meta = {
            b"position": held.position,
            b"model": held.model.encode(),
            b"columns": held.columns.encode(),
            b"entries": b"%d" % held.answered,
            b"epoch": b"%d" % held.epoch if held.epoch else None,
            b"format": FORMAT,
        }
        return [meta[field] for field in fields]

    def _xrange(self, key: bytes, after: bytes, end: bytes, *count: bytes) -> Any:
        kept = self._kept(key)
        if kept is not None:
            begin = EntryId.parse(after[1:])
            return [entry for entry in kept if EntryId.parse(entry[0]) > begin][: int(count[-1])]
        ids, first = self._held.ids, 0
        if after.startswith(b"("):
            first = bisect.bisect_right(ids, EntryId.parse(after[1:]))
        last = min(first + int(count[-1]), bisect.bisect_right(ids, EntryId.parse(end)))
        if first >= last:
            return b"*0\r\n"
        found = list(zip(map(bytes, ids[first:last]), self._held.fields[first:last], strict=True))
        name = key.decode()
        return encode_read({name: found}).removeprefix(b"*1\r\n*2\r\n$%d\r\n%b\r\n" % (len(key), key))

    def _kept(self, key: bytes) -> list[tuple[bytes, list[bytes]]] | None:
        """The entries of a stream of answers; the ids of dead letters are their numbers. None for the input."""
        held = self._held
        if key.endswith(b":predictions"):
            return list(zip(held.prediction_ids, held.predictions, strict=True))
        if key.endswith(b":dead"):
            letters = [(one.id, one.series, one.value, one.error.encode(), one.kind.encode()) for one in held.dead]
            return [(b"%d-0" % number, _fields(letter)) for number, letter in enumerate(letters, 1)]
        return None

    def _xrevrange(self, key: bytes, *_: bytes) -> list[tuple[bytes, list[bytes]]]:
        return (self._kept(key) or [])[-1:]

    def _xadd(self, key: bytes, entry_id: bytes, *fields: bytes) -> bytes:
        self._drafts.setdefault(key.decode(), {})[entry_id] = list(fields)
        return entry_id

    def _xinfo(self, what: bytes, key: bytes) -> list[Any]:
        assert what == b"GROUPS", "nothing else is asked for"
        return []

    def _hlen(self, key: bytes) -> int:
        return len(self._drafts.get(key.decode(), {}))

    def _hscan(self, key: bytes, cursor: bytes, *_: bytes) -> list[Any]:
        records = self._drafts.get(key.decode(), {}) if b":draft:" in key else self._held.state
        return [b"0", [part for pair in records.items() for part in pair]]

    def _copy(self, key: bytes, draft: bytes, _: bytes) -> int:
        if self._held.state:
            self._drafts[draft.decode()] = dict(self._held.state)
        return int(bool(self._held.state))

    def _hset(self, key: bytes, *pairs: bytes) -> int:
        given = dict(zip(pairs[0::2], pairs[1::2], strict=True))
        if not key.endswith(b":meta"):
            self._drafts.setdefault(key.decode(), {}).update(given)
            return 1
        head = Head(
            position=given.get(b"position", BEGINNING),
            model=given[b"model"].decode(),
            series=0,
            answered=int(given[b"entries"]),
        )
        self._server.replace(self._stream, self._held.state, head, given[b"columns"].decode())
        return 0

    def _hdel(self, key: bytes, *names: bytes) -> int:
        for name in names:
            self._drafts.get(key.decode(), {}).pop(name, None)
        return 1

    def _expire(self, key: bytes, seconds: bytes) -> int:
        return int(key.decode() in self._drafts)

    def _persist(self, key: bytes) -> int:
        return 1

    def _rename(self, draft: bytes, key: bytes) -> bytes:
        made, held = self._drafts.pop(draft.decode()), self._held
        if key.endswith(b":predictions"):
            held.prediction_ids, held.predictions = list(made), list(made.values())
        elif key.endswith(b":dead"):
            letters = [fields[1::2] for fields in made.values()]
            held.dead = [DeadLetter(*parts, error.decode(), kind.decode()) for *parts, error, kind in letters]
        else:
            held.state = made
        return b"OK"

    def _unlink(self, *keys: bytes) -> int:
        for key in keys:
            if b":draft:" not in key:
                self._empty(key)
            self._drafts.pop(key.decode(), None)
        return len(keys)

    def _empty(self, key: bytes) -> None:
        held = self._held
        if key.endswith(b":state"):
            held.state = {}
        elif key.endswith(b":predictions"):
            held.prediction_ids, held.predictions = [], []
        elif key.endswith(b":dead"):
            held.dead = []


def _fields(letter: Sequence[bytes]) -> list[bytes]:
    names = (b"id", b"series", b"value", b"error", b"kind")
    return [part for pair in zip(names, letter, strict=True) for part in pair]
