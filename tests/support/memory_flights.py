"""The store in memory, reached by real flights: its server refuses commands, and replies are lost or mixed up.

So `CommitConnection`, `Unfinished` and the preflight run in the simulation as they are.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import hiredis

import streamlstm.store.memory
from streamlstm.errors import StoreError, StoreUnavailableError
from streamlstm.store.base import Commit, DeadLetter, Head, KeptRecord
from streamlstm.store.commit import CommitConnection
from streamlstm.store.dead_letters import Refused, nothing
from streamlstm.store.keys import Keys
from streamlstm.store.memory import MemoryServer, MemoryStore
from streamlstm.store.preflight import hold_commands, needed
from streamlstm.store.resp.address import Address
from streamlstm.store.resp.entry_id import EntryId
from streamlstm.store.unfinished_commit import Unfinished
from support.memory_connection import MemoryConnection, encoded

COMMANDS = ("WATCH", "MULTI", "EXEC", "HMGET", "HSET", "XADD", "HDEL", "DEL", "HLEN", "TYPE")
WRITES = ("HSET", "XADD", "HDEL", "DEL")
SOME = 0.5  # of the commands, that a proxy refuses which passes on the others
NOPERM = "NOPERM no permissions to run the command"


@dataclass
class Refusals:
    """What is refused just now, and how.

    `rights`: by the server, which gives up a transaction so begun; `proxy`: before the server has heard of it; `some`:
    likewise, but every other time only; `midst`: by the server when EXEC comes, the others are carried out; `lost`,
    `mixed`: replies do not come, or not in their order.
    """

    happened: Counter[str]
    how: str = ""
    commands: frozenset[str] = field(default_factory=frozenset)
    _rng: random.Random = field(default_factory=random.Random)

    def begin(self, rng: random.Random, ways: Sequence[str]) -> None:
        """Refuse some commands from now on."""
        self.how, self._rng = rng.choice(ways), rng
        among = WRITES if self.how in {"midst", "some"} else COMMANDS
        self.commands = frozenset(rng.sample(among, rng.randint(1, 2)))

    def end(self) -> None:
        """Give everything back."""
        self.how, self.commands = "", frozenset()

    def hits(self, how: str, command: str) -> bool:
        """Whether a command is refused in a way just now."""
        if how == "proxy" and self.how == "some":
            how = "some" if self._rng.random() < SOME else how
        hit = self.how == how and command in self.commands
        self.happened[f"{how} {command}"] += hit
        return hit


class FlightConnection(MemoryConnection):
    """A connection that takes flights; its commands and replies meet with refusals."""

    def __init__(self, server: MemoryServer, stream: str, refusals: Refusals) -> None:
        super().__init__(server, {}, stream, lambda *_: None)
        self._types, self._refusals = Keys(stream).types, refusals
        self._spoilt = False  # a command was refused since MULTI
        self._wanted = 1

    def send_pieces(self, pieces: Sequence[bytes]) -> None:
        """Carry out a flight."""
        self.send(b"".join(pieces))

    def send(self, data: bytes) -> None:
        """Carry out packed commands, one after the other."""
        self._reach()
        reader = hiredis.Reader()
        reader.feed(data)
        while (command := reader.gets()) is not False:
            name = command[0].decode()
            reply = self._answer(name, command)
            if self._refusals.hits("mixed", name) and self._replies:
                self._replies.insert(len(self._replies) - 1, reply)
            elif not self._refusals.hits("lost", name):
                self._replies.append(reply)

    def expect(self, replies: int, *, least_bytes: int = 1) -> None:
        """So many are taken as bytes."""
        self._wanted = replies

    def receive(self) -> Any:
        """The next reply; none comes any more once one was lost."""
        self._reach()
        if not self._replies:
            raise StoreUnavailableError("no answer: a reply was lost by the simulation")
        return self._replies.popleft()

    def take(self) -> bytes:
        """All replies."""
        return b"".join([encoded(self.receive()) for _ in range(self._wanted)])

    def _reach(self) -> None:
        if self._generation != self._server.generation:
            raise StoreUnavailableError("the connection to the server in memory was cut")

    def _answer(self, name: str, command: Sequence[bytes]) -> Any:
        if self._refusals.hits("proxy", name):
            return hiredis.ReplyError("ERR this proxy passes it on to nobody")
        if self._refusals.hits("rights", name):
            self._spoilt = True
            if name != "EXEC" or self._queued is None:
                return hiredis.ReplyError(NOPERM)
            self._queued = self._watched = None
            return hiredis.ReplyError(f"EXECABORT Transaction discarded because of: {NOPERM}")
        if name == "EXEC":
            return self._end()
        if self._queued is not None and name in {"MULTI", "WATCH"}:
            return hiredis.ReplyError(f"ERR {name} inside MULTI is not allowed")
        self._spoilt = self._spoilt and self._queued is not None
        return self._take(command)

    def _end(self) -> Any:
        queued, self._queued = self._queued, None
        watched, self._watched = self._watched, None
        if queued is None:
            return hiredis.ReplyError("ERR EXEC without MULTI")
        if self._spoilt:
            return hiredis.ReplyError("EXECABORT Transaction discarded because of previous errors.")
        if watched is not None and watched != self._seen():
            return None
        return [
            hiredis.ReplyError(NOPERM) if self._refusals.hits("midst", command[0].decode()) else self._take(command)
            for command in queued
        ]

    def _type(self, key: bytes) -> bytes:
        return self._types[key.decode()].encode()

    def _xinfo(self, what: bytes, key: bytes) -> Any:
        owner = self._owner(key)
        ids = [] if owner is None else owner.prediction_ids
        if key.endswith(b":anomalies"):
            ids = self._held.anomaly_ids
        if key.endswith((b":predictions", b":anomalies")) and ids:
            return [b"length", len(ids), b"last-generated-id", ids[-1], b"groups", 0]
        return hiredis.ReplyError("ERR no such key")

    def _del(self, key: bytes) -> int:  # type: ignore[override]  # flights name one
        if key.endswith(b":state") and b":challenger:" not in key:
            self._held.state = {}
            return 1
        return super()._del(key)

    def _hdel(self, key: bytes, *names: bytes) -> int:
        owner = self._owner(key)
        return 0 if owner is None else sum(owner.state.pop(name, None) is not None for name in names)

    def _hset(self, key: bytes, *pairs: bytes) -> int:
        given = dict(zip(pairs[0::2], pairs[1::2], strict=True))
        if not key.endswith(b":meta"):
            owner = self._owner(key)
            if owner is not None:
                owner.state.update(given)
            return len(given)
        model, columns = given[b"model"].decode(), given[b"columns"].decode()
        streamlstm.store.memory._move(self._held, given[b"position"], model, columns)
        self._held.answered = int(given[b"entries"])
        beside = self._held.challenger
        if beside is not None and b"challenger_position" in given:
            beside.position, beside.columns = given[b"challenger_position"], given[b"challenger_columns"].decode()
        return 0

    def _xadd(self, key: bytes, *parts: bytes) -> Any:
        held = self._held
        if b":draft:" in key:
            return super()._xadd(key, *parts)
        if key.endswith((b":predictions", b":anomalies")):
            entry_id, *fields = parts
            owner = self._owner(key)
            assert owner is not None, "nothing is written for nobody"
            ids, all_fields = owner.prediction_ids, owner.predictions
            if key.endswith(b":anomalies"):
                ids, all_fields = held.anomaly_ids, held.anomalies
            if ids and EntryId.parse(entry_id) <= EntryId.parse(ids[-1]):
                return hiredis.ReplyError("ERR The ID specified in XADD is equal or smaller")
            ids.append(entry_id)
            all_fields.append(fields)
            return entry_id
        letter = dict(zip(parts[-8::2], parts[-7::2], strict=True))
        held.dead.append(DeadLetter(letter[b"id"], letter[b"series"], letter[b"value"], letter[b"error"].decode(), ""))
        return b"%d-0" % len(held.dead)


class _Place:
    """Where streams are, for those that connect to one."""

    spread = False
    url = FlightConnection.address.url

    def __init__(self, server: MemoryServer, stream: str, refusals: Refusals) -> None:
        self._made = server, stream, refusals

    def home(self, key: str) -> Address:
        """The one server."""
        return FlightConnection.address

    def connect(self, address: Address, name: str) -> FlightConnection:
        """Connect."""
        return FlightConnection(*self._made)


class FlightStore(MemoryStore):
    """A `MemoryStore` that opens and commits by flights."""

    def __init__(self, server: MemoryServer, refusals: Refusals) -> None:
        super().__init__(server)
        self._refusals = refusals
        self._flights: dict[str, CommitConnection] = {}
        self._done: list[str] = []
        self.unfinished: dict[str, Unfinished] = {}
        self._willing = False

    def open(self, stream: str) -> Head:
        """As the store on Redis does."""
        self._reach(stream, connect=True)
        self.release(stream)
        place: Any = _Place(self._server, stream, self._refusals)
        if not self._willing:
            hold_commands(place.connect(place.home(""), ""), Keys(stream).meta, needed(Keys(stream)))
            self._willing = True
        made = self._flights[stream] = CommitConnection(place, stream, self._done, self.unfinished)
        return made.open()

    def load(self, stream: str, names: Sequence[bytes], *, challenger: bool = False) -> list[bytes | None]:
        """After what was sent."""
        if self._flights[stream].flight is not None:
            self._flights[stream].receive_early()
        return super().load(stream, names, challenger=challenger)

    def letters(self, stream: str, names: Container[bytes], beat: Callable[[], object] = nothing) -> Refused:
        """After what was sent."""
        if self._flights[stream].flight is not None:
            self._flights[stream].receive_early()
        return super().letters(stream, names, beat)

    def kept(self, stream: str, names: Sequence[bytes]) -> list[list[KeptRecord]]:
        """After what was sent."""
        if self._flights[stream].flight is not None:
            self._flights[stream].receive_early()
        return super().kept(stream, names)

    def send_commit(self, commit: Commit) -> None:
        """The flight."""
        self._reach(commit.stream)
        self._flights[commit.stream].send(commit)
        self._pending[commit.stream] = True

    def receive_commit(self, stream: str) -> bool:
        """Its replies."""
        self._reach(stream)
        self._pending.pop(stream)
        return self._flights[stream].receive()

    def is_busy(self) -> bool:
        """Whether replies to flights, or what one has left out, are still to come."""
        return bool(self.unfinished) or any(held.flight is not None for held in self._flights.values())

    def hear_out(self) -> bool:
        """The replies to all flights."""
        for held in self._flights.values():
            if held.flight is not None:
                with suppress(StoreError):
                    held.receive()
        return bool(self.unfinished)

    def release(self, stream: str) -> None:
        """Let go of its connection."""
        self._flights.pop(stream, None)
        self._pending.pop(stream, None)

    def close(self) -> None:
        """Let go of all."""
        super().close()
        self._flights.clear()
        self._willing = False
