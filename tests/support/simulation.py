"""A seeded simulation: the real engine and daemon over the store in memory, with everything going wrong that can.

A scheduler gives turns to two daemons and a producer. Every call a daemon makes of its store may instead crash the
daemon before or after it took effect (the reply is lost with it), cut its connection before or after, or stall it
while its twin goes on. The server may rewind to an earlier snapshot, cut all connections, or lose input to a
producer's MAXLEN. The daemons may share the streams by leases, which then end while an owner is stalled or dead.
Afterwards everything is let run to its end, and the sequential oracle says what must be there.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamlstm.daemon import Clock, Daemon, DaemonSettings
from streamlstm.engine import Engine, EngineSettings
from streamlstm.errors import StoreUnavailableError
from streamlstm.leases import Member, Roll
from streamlstm.memory_store import MemoryServer, MemoryStore, MemoryStream
from streamlstm.metrics import Metrics
from streamlstm.model import Model
from streamlstm.selection import Selection
from streamlstm.sharing import Sharing
from streamlstm.store import Commit, Head, Tail
from support.compare import assert_predictions_equal, assert_states_equal
from support.memory_leases import LeaseServer, MemoryLeases
from support.oracle import Oracle
from support.traffic import entries

MAX_TURNS = 20_000
TICK_S = 0.05  # passes with every look at the clock
LEASE_MS = 1500


class CrashError(Exception):
    """The process is gone."""


@dataclass(frozen=True, kw_only=True)
class Faults:
    """How often what goes wrong, per call of the store or per turn of the scheduler."""

    crash: float = 0.01  # per call, half of them after the call took effect
    cut: float = 0.01  # per call, likewise
    stall: float = 0.02  # per call: the twin takes some turns in between
    rewind: float = 0.003  # per turn
    lose_input: float = 0.0  # per turn
    snapshot: float = 0.02  # per turn


class FaultyStore:
    """A store whose every call may fail, before or after it took effect."""

    spread = False

    def __init__(self, store: MemoryStore, trouble: Callable[[str, bool], None]) -> None:
        self._store, self._trouble = store, trouble

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

    def load(self, stream: str, names: Sequence[bytes]) -> list[bytes | None]:
        """May fail."""
        return self._call("load", self._store.load, stream, names)

    def scan(self, stream: str, cursor: bytes, count: int) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """May fail."""
        return self._call("scan", self._store.scan, stream, cursor, count)

    def send_commit(self, commit: Commit) -> None:
        """May fail; after it took effect this is a lost reply."""
        self._call("send_commit", self._store.send_commit, commit)

    def receive_commit(self, stream: str) -> bool:
        """May fail."""
        return self._call("receive_commit", self._store.receive_commit, stream)

    def release(self, stream: str) -> None:
        """Cannot fail."""
        self._store.release(stream)

    def wait(self, timeout_s: float) -> tuple[bool, list[str]]:
        """Commits are sometimes answered late: overlapped reads and commits come in any order."""
        readable, committed = self._store.wait(timeout_s)
        self._trouble("wait", False)
        return readable, committed

    def tail(self, stream: str, head: Head) -> Tail:
        """May fail."""
        return self._call("tail", self._store.tail, stream, head)

    def close(self) -> None:
        """Cannot fail."""
        self._store.close()


class FaultyLeases(MemoryLeases):
    """Leases whose every call may fail, before or after it took effect."""

    def __init__(
        self, server: LeaseServer, owner: str, trouble: Callable[[str, bool], None], happened: Counter[str]
    ) -> None:
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

    def give_back(self, owner: str, streams: Sequence[str]) -> None:
        """May fail."""
        self._trouble("give_back", False)
        super().give_back(owner, streams)
        self._trouble("give_back", True)


@dataclass
class Simulation:
    """One run from one seed."""

    seed: int
    model: Model
    faults: Faults = field(default_factory=Faults)
    streams: tuple[str, ...] = ("values", "loads")
    entries_per_stream: int = 45
    odd: float = 0.15
    idle_ms: int | None = None
    leases: bool = False  # whether the daemons share the streams, or are twins on all of them

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.server = MemoryServer()
        self.happened: Counter[str] = Counter()
        self.snapshots: list[dict[str, MemoryStream]] = []
        self.traffic = {
            stream: entries(self.seed * 31 + number, self.entries_per_stream, series=6, odd=self.odd)
            for number, stream in enumerate(self.streams)
        }
        self.next_entry = dict.fromkeys(self.streams, 0)
        self.calm = False
        self.stalled = False
        self.time_s = 0.0
        self.lease_server = LeaseServer(lambda: int(self.time_s * 1000))
        self.incarnations = itertools.count()
        self.metrics = [Metrics(self.model.fingerprint, "yhat", self.streams) for _ in range(2)]
        self.dead: set[str] = set()  # owners that have crashed, where the other can see it
        self.daemons: list[Daemon | None] = [None, None]

    def run(self) -> None:
        """Let everything happen, then let it end, then check."""
        for _ in range(MAX_TURNS):
            self._one_turn()
            if all(self.next_entry[s] >= len(self.traffic[s]) for s in self.streams) and self.rng.random() < 0.05:
                break
        self.calm = True
        for _ in range(MAX_TURNS):
            if all(self._answered(stream) for stream in self.streams):
                break
            self._turn_of(self.rng.randrange(2))
        self.check()

    def check(self) -> None:
        """Each surviving entry answered once, in order, with the oracle's bits; the states too."""
        layout = Engine(self.model).format
        for stream in self.streams:
            held = self.server.stream(stream)
            assert self._answered(stream), f"{stream} was not answered to its end"
            oracle = Oracle(self.model, idle_ms=self.idle_ms).feed(self._seen(stream))
            self._forget_idle(oracle, held)
            assert_predictions_equal(list(zip(held.prediction_ids, held.predictions, strict=True)), oracle)
            assert_states_equal(held.state, oracle, layout)
            assert [(d.id.decode(), d.series.decode(), d.value.decode()) for d in held.dead] == oracle.dead

    def _forget_idle(self, oracle: Oracle, held: MemoryStream) -> None:
        """Take out of the oracle the series that were idle for too long and whose records are gone."""
        if self.idle_ms is None:
            return
        edge = int(held.position.partition(b"-")[0]) - self.idle_ms
        for name in [n for n, one in oracle.series.items() if one.time_ms < edge and n.encode() not in held.state]:
            self.happened["removed idle"] += 1
            del oracle.series[name]

    def _seen(self, stream: str) -> list[tuple[str, list[str]]]:
        """What must have been stepped: entries still there, and those answered before they were trimmed."""
        held = self.server.stream(stream)
        present = {str(entry_id) for entry_id in held.ids} | {i.decode() for i in held.prediction_ids}
        return [entry for entry in self.traffic[stream] if entry[0] in present]

    def _answered(self, stream: str) -> bool:
        held = self.server.stream(stream)
        return not held.ids or bytes(held.ids[-1]) <= held.position or held.position == bytes(held.ids[-1])

    def _one_turn(self) -> None:
        chance = self.rng.random()
        if chance < 0.25:
            self._produce()
        else:
            self._turn_of(self.rng.randrange(2))
        if self.rng.random() < self.faults.snapshot:
            self.snapshots.append(self.server.snapshot())
        if self.snapshots and self.rng.random() < self.faults.rewind:
            self._rewind()
        if self.rng.random() < self.faults.lose_input:
            self._lose_input()

    def _produce(self) -> None:
        stream = self.rng.choice(self.streams)
        for _ in range(self.rng.randint(1, 8)):
            number = self.next_entry[stream]
            if number < len(self.traffic[stream]):
                entry_id, fields = self.traffic[stream][number]
                self.server.add(stream, entry_id, *fields)
                self.next_entry[stream] = number + 1

    def _rewind(self) -> None:
        """A failover to a replica that lagged: input, states and position go back together; producers send again."""
        self.happened["rewind"] += 1
        self.lease_server.leases.clear()  # leases are lost by a failover, too
        self.server.rewind(self.rng.choice(self.snapshots[-3:]))
        for stream in self.streams:
            ids = {str(entry_id) for entry_id in self.server.stream(stream).ids}
            position = self.server.stream(stream).position.decode()
            known = [n for n, (i, _) in enumerate(self.traffic[stream]) if i in ids or i == position]
            self.next_entry[stream] = max(known) + 1 if known else 0

    def _lose_input(self) -> None:
        """A producer's MAXLEN drops the oldest entries, read or not."""
        held = self.server.stream(self.rng.choice(self.streams))
        count = min(len(held.ids), self.rng.randint(1, 5))
        if count < len(held.ids):
            self.happened["lost input"] += 1
            del held.ids[:count], held.fields[:count]

    def _turn_of(self, number: int) -> None:
        try:
            daemon = self.daemons[number]
            if daemon is None:
                daemon = self._make(number)
                daemon.start()
                self.daemons[number] = daemon
            daemon.turn(0.0)
        except CrashError:
            self.daemons[number] = None
        except StoreUnavailableError:  # at the first connection: the process ends and is started again
            self.daemons[number] = None

    def _make(self, number: int) -> Daemon:
        settings = EngineSettings(max_series_memory_bytes=self.rng.choice([1, 1 << 20]), idle_ms=self.idle_ms)
        store = FaultyStore(MemoryStore(self.server), lambda where, after: self._trouble(number, where, after))
        return Daemon(
            engine=Engine(self.model, settings),
            store=store,
            metrics=self.metrics[number],
            settings=DaemonSettings(streams=self.streams, batch_values=self.rng.choice([1, 5, 50])),
            clock=Clock(monotonic=self._monotonic, wall=lambda: 0.0, sleep=lambda _: None),
            sharing=self._sharing(number) if self.leases else None,
        )

    def _monotonic(self) -> float:
        self.time_s += TICK_S
        return self.time_s

    def _sharing(self, number: int) -> Sharing:
        owner = f"{number}.{next(self.incarnations)}"
        if self.rng.random() < 0.5:  # the one before was on another host, or it can be seen to be dead
            self.dead.update(member.owner for member in self.lease_server.members if member.owner[0] == str(number))

        def trouble(where: str, after: bool) -> None:
            self._trouble(number, where, after)

        return Sharing(
            selection=Selection.of(self.streams),
            leases=FaultyLeases(self.lease_server, owner, trouble, self.happened),
            discovery=None,
            owner=owner,
            ttl_ms=LEASE_MS,
            monotonic=self._monotonic,
            is_dead=self.dead.__contains__,
        )

    def _trouble(self, number: int, boundary: str, after: bool) -> None:
        """Decide what happens at a boundary."""
        if self.calm:
            return
        when = "after" if after else "before"
        chance = self.rng.random()
        if chance < self.faults.crash:
            self.happened[f"crash {when} {boundary}"] += 1
            raise CrashError
        if chance < self.faults.crash + self.faults.cut:
            self.happened[f"cut {when} {boundary}"] += 1
            raise StoreUnavailableError("cut by the simulation")
        if chance < self.faults.crash + self.faults.cut + self.faults.stall and not self.stalled:
            self.happened[f"stall {when} {boundary}"] += 1
            self.stalled = True  # the twin is not stalled in turn
            for _ in range(self.rng.randint(1, 12)):
                self._turn_of(1 - number)
            self.stalled = False
