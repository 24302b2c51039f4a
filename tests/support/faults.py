"""A store and leases whose every call may fail, before or after it took effect, as the simulation decides."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from streamlstm.daemon.sharing.leases import Member, Roll
from streamlstm.store.base import Commit, Head, KeptRecord, Tail
from streamlstm.store.dead_letters import Refused, nothing
from streamlstm.store.memory import MemoryStore
from support.memory_leases import LeaseServer, MemoryLeases

Trouble = Callable[[str, bool], None]

# Calls around which a fault can do the most harm fail so many times as often as the others.
BOOST = {"load": 5, "send_commit": 4, "receive_commit": 4, "take": 4, "give_back": 12, "scan": 4, "replace": 12}


class CrashError(BaseException):
    """The process is gone."""


@dataclass(frozen=True, kw_only=True)
class Faults:
    """How often what goes wrong, per call of the store or per turn of the scheduler."""

    crash: float = 0.01  # per call, half of them after the call took effect
    cut: float = 0.01  # per call, likewise
    stall: float = 0.02  # per call: the twin takes some turns in between
    rewind: float = 0.008  # per turn
    lose_input: float = 0.0  # per turn
    snapshot: float = 0.04  # per turn
    operate: float = 0.0  # per turn: states are exported or imported
    promote: float = 0.0  # per turn: models are added, promoted or removed
    refuse: float = 0.0  # per turn: commands are refused from then on, or given back

    def at(self, boundary: str, rng: random.Random) -> str | None:
        """What happens at a boundary: "crash", "cut", "stall" or nothing."""
        chance = rng.random() / BOOST.get(boundary, 1)
        if chance < self.crash:
            return "crash"
        if chance < self.crash + self.cut:
            return "cut"
        return "stall" if chance < self.crash + self.cut + self.stall else None


class FaultyStore:
    """A store whose every call may fail."""

    spread = False

    def __init__(
        self, store: MemoryStore, trouble: Trouble, happened: Counter[str], times_out: Callable[[], bool]
    ) -> None:
        """`times_out` says whether a read that has found nothing comes back just now, as those of a server do."""
        self._store, self._trouble, self._happened, self._times_out = store, trouble, happened, times_out

    def _call(self, boundary: str, call: Callable[..., Any], *arguments: Any) -> Any:
        self._trouble(boundary, False)
        answer = call(*arguments)
        self._trouble(boundary, True)
        return answer

    def open(self, stream: str) -> Head:
        """May fail."""
        return self._call("open", self._store.open, stream)

    def send_read(self, cursors: Mapping[str, bytes], count: int) -> None:
        """May fail."""
        self._call("send_read", self._store.send_read, cursors, count)

    def receive_read(self) -> bytes:
        """May fail."""
        return self._call("receive_read", self._store.receive_read)

    def load(self, stream: str, names: Sequence[bytes], *, challenger: bool = False) -> list[bytes | None]:
        """May fail."""
        return self._call("load", partial(self._store.load, challenger=challenger), stream, names)

    def read(self, stream: str, after: bytes, end: bytes, count: int) -> bytes:
        """May fail."""
        return self._call("read", self._store.read, stream, after, end, count)

    def letters(self, stream: str, names: Container[bytes], beat: Callable[[], object] = nothing) -> Refused:
        """May fail."""
        return self._call("letters", self._store.letters, stream, names, beat)

    def kept(self, stream: str, names: Sequence[bytes]) -> list[list[KeptRecord]]:
        """May fail."""
        return self._call("kept", self._store.kept, stream, names)

    def scan(self, stream: str, cursor: bytes, count: int) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """May fail."""
        return self._call("scan", self._store.scan, stream, cursor, count)

    def send_commit(self, commit: Commit) -> None:
        """May fail; after it took effect this is a lost reply."""
        self._call("send_commit", self._store.send_commit, commit)

    def go_on_sending(self) -> None:
        """Cannot fail."""
        self._store.go_on_sending()

    def receive_commit(self, stream: str) -> bool:
        """May fail."""
        holds = self._call("receive_commit", self._store.receive_commit, stream)
        self._happened["held commit" if holds else "fenced commit"] += 1
        return holds

    def hear_out(self) -> bool:
        """Cannot fail."""
        return self._store.hear_out()

    def release(self, stream: str) -> None:
        """Cannot fail."""
        self._store.release(stream)

    def wait(self, timeout_s: float) -> tuple[bool, list[str]]:
        """May fail."""
        readable, committed = self._store.wait(timeout_s)
        self._trouble("wait", False)
        return readable or self._times_out(), committed

    def tail(self, stream: str, head: Head) -> Tail:
        """May fail."""
        return self._call("tail", self._store.tail, stream, head)

    def count_to(self, stream: str, last: bytes) -> int:
        """May fail."""
        return self._call("count_to", self._store.count_to, stream, last)

    def close(self) -> None:
        """Cannot fail."""
        self._store.close()


class FaultyLeases(MemoryLeases):
    """Leases whose every call may fail."""

    def __init__(self, server: LeaseServer, owner: str, trouble: Trouble, happened: Counter[str]) -> None:
        super().__init__(server, owner)
        self._trouble, self._happened = trouble, happened

    def beat(self, me: Member | None, owner: str, held: Sequence[str], ttl_ms: int) -> Roll:
        """May fail."""
        self._trouble("beat", False)
        roll = super().beat(me, owner, held, ttl_ms)
        self._happened["lease lost"] += bool(roll.lost)
        self._trouble("beat", True)
        return roll

    def take(self, owner: str, streams: Sequence[str], ttl_ms: int) -> set[str]:
        """May fail."""
        self._trouble("take", False)
        taken = super().take(owner, streams, ttl_ms)
        self._trouble("take", True)
        return taken

    def take_over(self, owner: str, stream: str, former: str, ttl_ms: int) -> bool:
        """May fail."""
        self._trouble("take", False)
        taken = super().take_over(owner, stream, former, ttl_ms)
        self._happened["taken over from the dead"] += taken
        self._trouble("take", True)
        return taken

    def give_back(self, owner: str, streams: Sequence[str]) -> None:
        """May fail."""
        self._trouble("give_back", False)
        super().give_back(owner, streams)
        self._trouble("give_back", True)
