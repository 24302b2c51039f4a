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
from streamlstm.store.memory import MemoryChallenger, MemoryServer, MemoryStream
from streamlstm.store.resp.address import Address
from streamlstm.store.resp.codec import bulk
from streamlstm.store.resp.connection import pack
from streamlstm.store.resp.entry_id import BEGINNING, EntryId
from streamlstm.store.stream_meta import format_of

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
        return encoded(self._replies.popleft())

    def close(self) -> None:
        """What was queued is never carried out."""
        self._queued = self._watched = None

    @property
    def _held(self) -> MemoryStream:
        return self._server.stream(self._stream)

    def _seen(self) -> tuple[object, ...]:
        held = self._held
        beside = held.challenger
        return held.position, held.epoch, held.model, None if beside is None else (beside.off, beside.position)

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

    def _exec(self) -> Any:
        if self._queued is None:
            return hiredis.ReplyError("ERR EXEC without MULTI")
        queued, self._queued = self._queued, None
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
            b"format": format_of(held.columns),
            **held.terms,
        }
        beside = held.challenger
        if beside is not None:
            meta |= {
                b"challenger": beside.model.encode(),
                b"challenger_columns": beside.columns.encode(),
                b"challenger_position": beside.position,
                b"challenger_off": None if beside.off is None else beside.off.encode(),
            }
        return [meta.get(field) for field in fields]

    def _xrange(self, key: bytes, after: bytes, end: bytes, *count: bytes) -> Any:
        kept = self._kept(key)
        if kept is not None:
            begin = EntryId.parse(after[1:])
            return [entry for entry in kept if EntryId.parse(entry[0]) > begin][: int(count[-1])]
        ids, first = self._held.ids, 0
        if after.startswith(b"("):
            first = bisect.bisect_right(ids, EntryId.parse(after[1:]))
        up_to = len(ids) if end == b"+" else bisect.bisect_right(ids, EntryId.parse(end))
        last = min(first + int(count[-1]), up_to)
        return [list(pair) for pair in zip(map(bytes, ids[first:last]), self._held.fields[first:last], strict=True)]

    def _kept(self, key: bytes) -> list[tuple[bytes, list[bytes]]] | None:
        """The entries of a stream of answers; the ids of dead letters are their numbers. None for the input."""
        held = self._held
        if key.endswith(b":predictions"):
            owner = self._owner(key)
            return [] if owner is None else list(zip(owner.prediction_ids, owner.predictions, strict=True))
        if key.endswith(b":anomalies"):
            return list(zip(held.anomaly_ids, held.anomalies, strict=True))
        if key.endswith(b":dead"):
            letters = [(one.id, one.series, one.value, one.error.encode(), one.kind.encode()) for one in held.dead]
            return [(b"%d-0" % number, _fields(letter)) for number, letter in enumerate(letters, 1)]
        return None

    def _xrevrange(self, key: bytes, *_: bytes) -> list[tuple[bytes, list[bytes]]]:
        return (self._kept(key) or [])[-1:]

    def _xadd(self, key: bytes, entry_id: bytes, *fields: bytes) -> bytes:
        if key.endswith(b":promotions"):  # XADD … MAXLEN ~ count * …
            fields = fields[3:]
            self._held.promotions.append(dict(zip(fields[0::2], fields[1::2], strict=True)))
            return b"1-0"
        self._drafts.setdefault(key.decode(), {})[entry_id] = list(fields)
        return entry_id

    def _xinfo(self, what: bytes, key: bytes) -> Any:
        if what == b"GROUPS":
            return []
        return [b"length", len(self._held.ids), b"entries-added", len(self._held.ids)]

    def _owner(self, key: bytes) -> MemoryStream | MemoryChallenger | None:
        """Whose records, or predictions, lie under a key."""
        return self._held.challenger if b":challenger:" in key else self._held

    def _get(self, key: bytes) -> bytes | None:
        return self._held.files.get(_model_of(key))

    def _set(self, key: bytes, data: bytes, *_: bytes) -> bytes:
        self._held.files.setdefault(_model_of(key), data)
        return b"OK"

    def _hget(self, key: bytes, field: bytes) -> bytes | None:
        assert key.endswith(b":challenger:starts"), "nothing else is asked for one by one"
        count = self._held.starts.get(field)
        return None if count is None else b"%d" % count

    def _del(self, *keys: bytes) -> int:
        beside = self._held.challenger
        for key in keys:
            if b":model:" in key:
                self._held.files.pop(_model_of(key), None)
            elif b":challenger:" not in key:
                self._drafts.pop(key.decode(), None)
            elif key.endswith(b":starts"):
                self._held.starts.clear()
            elif beside is not None:
                if key.endswith(b":state"):
                    beside.state = {}
                else:
                    beside.prediction_ids, beside.predictions = [], []
        return 1

    def _hlen(self, key: bytes) -> int:
        if b":draft:" in key:
            return len(self._drafts.get(key.decode(), {}))
        owner = self._owner(key)
        return 0 if owner is None else len(owner.state)

    def _hscan(self, key: bytes, cursor: bytes, *_: bytes) -> list[Any]:
        records = self._drafts.get(key.decode(), {}) if b":draft:" in key else self._held.state
        return [b"0", [part for pair in records.items() for part in pair]]

    def _copy(self, key: bytes, draft: bytes, _: bytes) -> int:
        if self._held.state:
            self._drafts[draft.decode()] = dict(self._held.state)
        return int(bool(self._held.state))

    def _hset(self, key: bytes, *pairs: bytes) -> int:
        given = dict(zip(pairs[0::2], pairs[1::2], strict=True))
        if key.endswith(b":starts"):
            self._held.starts |= {field: int(count) for field, count in given.items()}
            return 1
        if not key.endswith(b":meta"):
            self._drafts.setdefault(key.decode(), {}).update(given)
            return 1
        if b"position" not in given:
            self._give_roles(given)
            return 0
        head = Head(
            position=given.get(b"position", BEGINNING),
            model=given[b"model"].decode(),
            series=0,
            answered=int(given[b"entries"]),
        )
        self._server.replace(self._stream, self._held.state, head, given[b"columns"].decode())
        return 0

    def _give_roles(self, given: dict[bytes, bytes]) -> None:
        """What changes of models write."""
        held = self._held
        held.epoch = int(given[b"epoch"])
        held.terms |= {field: given[field] for field in (b"champions", b"challengers") if field in given}
        if b"challenger" in given:
            beside = held.challenger or MemoryChallenger("", b"0-0")
            beside.model = given[b"challenger"].decode()
            beside.position = given.get(b"challenger_position", beside.position)
            beside.columns = given.get(b"challenger_columns", b"").decode()
            held.challenger = beside
        if b"challenger_off" in given and held.challenger is not None:
            held.challenger.off = given[b"challenger_off"].decode()
        if b"model" in given:
            held.model, held.columns = given[b"model"].decode(), given[b"columns"].decode()

    def _hdel(self, key: bytes, *names: bytes) -> int:
        if key.endswith(b":starts"):
            for name in names:
                self._held.starts.pop(name, None)
            return 1
        if key.endswith(b":meta"):
            if b"challenger" in names:
                self._held.challenger = None
            for name in names:
                self._held.terms.pop(name, None)
            return 1
        for name in names:
            self._drafts.get(key.decode(), {}).pop(name, None)
        return 1

    def _expire(self, key: bytes, seconds: bytes) -> int:
        return int(key.decode() in self._drafts)

    def _persist(self, key: bytes) -> int:
        return 1

    def _rename(self, draft: bytes, key: bytes) -> bytes:
        held = self._held
        if b":draft:" not in draft:
            owner = self._owner(draft)
            assert owner is not None, "what is not there is not renamed"
            made, owner.state = owner.state, {}
            if b":draft:" in key:
                self._drafts[key.decode()] = made
                return b"OK"
        else:
            made = self._drafts.pop(draft.decode())
        if b":challenger:" in key:
            assert held.challenger is not None, "its records have a place"
            held.challenger.state = made
            return b"OK"
        if key.endswith(b":predictions"):
            held.prediction_ids, held.predictions = list(made), list(made.values())
        elif key.endswith(b":anomalies"):
            held.anomaly_ids, held.anomalies = list(made), list(made.values())
        elif key.endswith(b":dead"):
            letters = [fields[1::2] for fields in made.values()]
            held.dead = [DeadLetter(*parts, error.decode(), kind.decode()) for *parts, error, kind in letters]
        else:
            held.state = made
        return b"OK"

    def _unlink(self, *keys: bytes) -> int:
        for key in keys:
            if b":challenger:" in key or b":model:" in key:
                self._del(key)
            elif b":draft:" not in key:
                self._empty(key)
            self._drafts.pop(key.decode(), None)
        return len(keys)

    def _empty(self, key: bytes) -> None:
        held = self._held
        if key.endswith(b":state"):
            held.state = {}
        elif key.endswith(b":predictions"):
            held.prediction_ids, held.predictions = [], []
        elif key.endswith(b":anomalies"):
            held.anomaly_ids, held.anomalies = [], []
        elif key.endswith(b":dead"):
            held.dead = []
        elif key.endswith(b":promotions"):
            held.promotions = []


def _fields(letter: Sequence[bytes]) -> list[bytes]:
    names = (b"id", b"series", b"value", b"error", b"kind")
    return [part for pair in zip(names, letter, strict=True) for part in pair]


def _model_of(key: bytes) -> str:
    return key.rpartition(b":")[2].decode()


def encoded(reply: Any) -> bytes:
    """A reply as RESP2."""
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, hiredis.ReplyError):
        return b"-%b\r\n" % str(reply).encode()
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, list | tuple):
        return b"*%d\r\n%b" % (len(reply), b"".join(map(encoded, reply)))
    return b"+%b\r\n" % reply if reply in {b"OK", b"QUEUED"} else bulk(reply)
