"""A seeded simulation: the real engine and daemon over the store in memory, with everything going wrong that can.

A scheduler gives turns to two daemons and a producer. Every call a daemon makes of its store may instead crash the
daemon before or after it took effect (the reply is lost with it), cut its connection before or after, or stall it
while its twin goes on. The server may rewind to an earlier snapshot, cut all connections, or lose input to a
producer's MAXLEN. The server, or a proxy, may refuse commands for a while, or replies be lost or change places. The
daemons may share the streams by leases, which then end while an owner is stalled or dead; they may be started anew with
another model, one after the other; an operator may export the states of a stream and import them again later.
Afterwards everything is let run to its end, and the sequential oracle says what must be there.

It is fast enough for thousands of seeds by a model of integers (`support.chain`) and no turns where there is no work.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from streamlstm.common.settings import DaemonSettings, EngineSettings
from streamlstm.daemon import Clock, Daemon, ModelChange, ModelLibrary, Others, Rebuild, refuse
from streamlstm.daemon.sharing.assignment import Sharing
from streamlstm.daemon.sharing.stream_selector import Selection
from streamlstm.engine.engine import Engine
from streamlstm.engine.rejection import TOO_MANY_SERIES
from streamlstm.errors import ModelChangedError, StoreError, StoreForbidsError, StoreUnavailableError
from streamlstm.models.interface import StepModel
from streamlstm.store.memory import MemoryServer, MemoryStore, MemoryStream
from streamlstm.store.record.columns import NO_EXTRAS, Extras
from streamlstm.store.resp.entry_id import EntryId
from support.chain import Chain
from support.compare import assert_anomalies_equal, assert_predictions_equal, assert_states_equal
from support.faults import CrashError, Faults, FaultyLeases, FaultyStore, Trouble
from support.held import layout_of, leapt, lose, metrics_of, uncorrected
from support.memory_connection import Draft, MemoryConnection
from support.memory_flights import FlightStore, Refusals
from support.memory_leases import LeaseServer
from support.operator import Operator
from support.oracle import Oracle
from support.promoter import Promoter
from support.roles import check_roles, is_behind, library_of
from support.traffic import entries

MAX_TURNS = 20_000
MAX_LAST_TURNS = 600  # until all is answered and leases are shared fairly, once nothing goes wrong any more
TICK_S = 0.02  # passes with every look at the clock
LEASE_MS = 600


@dataclass(kw_only=True)
class Simulation:
    """One run from one seed."""

    seed: int
    models: tuple[StepModel, ...]  # served one after the other
    faults: Faults = field(default_factory=Faults)
    streams: tuple[str, ...] = ("values", "loads")
    entries_per_stream: int = 32
    odd: float = 0.15
    warm: float = 0.0  # share of entries that are stepped and not answered
    corrected: float = 0.0
    parted: bool = False  # whether a series has long silences, and late values in their midst
    late: str = "correct"
    checkpoint_every: int = 0
    idle_ms: int | None = None
    extras: Extras = NO_EXTRAS
    above: float = 0.999  # the score of an anomaly
    missing: str = "impute"
    max_series: int = 1000
    leases: bool = False  # whether the daemons share the streams, or are twins on all of them
    daemons_at_work: int = 2  # a commit that was torn can be finished by none but who sent it
    refused: tuple[str, ...] = ()  # ways in which commands of flights are refused (`support.memory_flights`)
    replay: bool = False  # what becomes of states when the model changes: made again, or begun anew
    threads: int = 1  # that step values in each daemon
    tried: int = 0  # models that are given to streams as challengers, and promoted; the first is served

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.server = MemoryServer()
        self.happened: Counter[str] = Counter()
        self.snapshots: list[dict[str, MemoryStream]] = []
        self.served = {"streams": self.streams, "late": self.late, "checkpoint_every": self.checkpoint_every}
        shares = {"odd": self.odd, "warm": self.warm, "corrected": self.corrected, "parted": self.parted}
        self.traffic = {
            stream: entries(self.seed * 31 + number, self.entries_per_stream, series=6, **shares)
            for number, stream in enumerate(self.streams)
        }
        self.next_entry = dict.fromkeys(self.streams, 0)
        self.refusals = Refusals(self.happened)
        self.calm = False
        self.stalled = False
        self.time_s = 0.0
        self.lease_server = LeaseServer(lambda: int(self.time_s * 1000))
        self.incarnations = itertools.count()
        self.dead: set[str] = set()  # owners that have crashed, where the other can see it
        self.daemons: list[Daemon | None] = [None, None]
        self.stores = [MemoryStore(self.server)] * 2
        self.sharings: list[Sharing | None] = [None, None]
        self.deployed = [0, 0]  # which of the models each daemon is started with
        self.drafts: dict[str, Draft] = {}
        self.lost: dict[str, set[str]] = {stream: set() for stream in self.streams}  # entries, once they were answered
        self.operator = Operator(self.server, self._connected(None), self.rng, self.happened)
        self.chains = [Chain(key) for key in range(self.tried)]
        self.promoter = Promoter(
            self.server, self._connected(None), self.chains, self.rng, self.happened, self._somebodys_turn
        )

    def run(self) -> None:
        """Let everything happen, then let it end, then check."""
        for _ in range(MAX_TURNS):
            self._one_turn()
            if all(self.next_entry[s] >= len(self.traffic[s]) for s in self.streams) and self.rng.random() < 0.2:
                break
        self.calm = True
        self.refusals.end()
        self.deployed = [len(self.models) - 1] * 2
        for _ in range(MAX_LAST_TURNS):
            if not (self._waiting() or self._is_old() or self._is_torn() or self._is_behind()) and self._is_shared():
                break
            self._turn_of(self.rng.randrange(self.daemons_at_work))
        self.check()

    def check(self) -> None:
        """Each surviving entry answered once, in order, with the oracle's bits; the states too; every lease fair."""
        assert self._is_shared(), f"the streams are held {[list(s.held) for s in self.sharings if s]}"
        for stream in self.streams:
            held = self.server.stream(stream)
            assert not self._waits(held), f"{stream} was not answered to its end"
            self.happened["warm values"] += sum(b"!warm" in fields for fields in held.fields)
            self.happened["anomalies"] += len(held.anomaly_ids)
            if self.tried:
                said = self.missing, self.extras, self.above, self._uncorrected(held)
                check_roles(held, self._seen(stream), self.chains, *said)
                continue
            self._forget_idle(oracle := self._oracle(stream), held)
            self.happened["refused series"] += any(letter.kind == TOO_MANY_SERIES for letter in held.dead)
            self.happened["states replaced"] += held.epoch
            self.happened["corrections refused"] += len(uncorrected(held))
            assert_predictions_equal(list(zip(held.prediction_ids, held.predictions, strict=True)), oracle)
            assert_anomalies_equal(list(zip(held.anomaly_ids, held.anomalies, strict=True)), oracle)
            assert_states_equal(held.state, oracle, layout_of(oracle.model, self.extras))
            dead = [(letter.id.decode(), letter.series.decode(), letter.value.decode()) for letter in held.dead]
            assert dead == oracle.dead, f"dead letters {dead} where {oracle.dead} are to be"

    def _oracle(self, stream: str) -> Oracle:
        """What the models must have made of a stream, each from the position on at which it began."""
        held, seen = self.server.stream(stream), self._seen(stream)
        eras = held.eras or [(b"0-0", self.models[0].fingerprint)]
        replaced = held.epoch if len(self.models) > 1 else 0
        assert len(eras) == replaced + 1 or not held.eras, "a model's commit was taken among those of another"
        kept = Oracle(self.models[0]).said
        by_name = {model.fingerprint: model for model in self.models}
        for number, (begin, fingerprint) in enumerate(eras):
            first = EntryId.parse(begin)
            last = EntryId.parse(eras[number + 1][0]) if number + 1 < len(eras) else EntryId(1 << 62, 0)
            before = [entry for entry in seen if EntryId.parse(entry[0]) <= first]
            oracle = Oracle(
                by_name[fingerprint],
                missing=self.missing,
                extras=self.extras,
                above=self.above,
                idle_ms=self.idle_ms,
                max_series=self.max_series,
                refused=self._uncorrected(held),
                lost=self.lost[stream],
            )
            if number and self.replay:
                oracle.feed(before)
                for made in oracle.said:
                    made.clear()
            oracle.feed(entry for entry in seen if first < EntryId.parse(entry[0]) <= last)
            for whole, made in zip(kept, oracle.said, strict=True):
                whole.extend(made)
        oracle.predictions, oracle.anomalies, oracle.dead = (
            [each for each in made if not leapt(held, each[0])] for made in kept
        )
        return oracle

    def _uncorrected(self, held: MemoryStream) -> set[tuple[str, str, str]]:
        """Corrections that may well not be made: what was imported may have seen input that is lost."""
        return uncorrected(held) if self.faults.lose_input or self.faults.operate or self.late == "dead" else set()

    def _forget_idle(self, oracle: Oracle, held: MemoryStream) -> None:
        """Take out of the oracle the series that were idle for too long and whose records are gone."""
        if self.idle_ms is None:
            return
        edge = int(held.position.partition(b"-")[0]) - self.idle_ms
        for name in [n for n, one in oracle.series.items() if one.time_ms < edge and n.encode() not in held.state]:
            self.happened["removed idle"] += 1
            del oracle.series[name]

    def _seen(self, stream: str) -> list[tuple[str, list[str]]]:
        """What must have been stepped: entries still there, and those answered before they went, or elsewhere."""
        held = self.server.stream(stream)
        present = {*map(str, held.ids), *(i.decode() for i in held.prediction_ids), *self.lost[stream]}
        return [entry for entry in self.traffic[stream] if entry[0] in present or leapt(held, entry[0])]

    def _waits(self, held: MemoryStream) -> bool:
        return bool(held.ids) and held.last_id > EntryId.parse(held.position)

    def _waiting(self) -> bool:
        """Whether any entry is there that is not answered."""
        return any(self._waits(self.server.stream(stream)) for stream in self.streams)

    def _is_shared(self) -> bool:
        """Whether each stream is held by one daemon, and each daemon holds its share."""
        if not self.leases or not self.calm:
            return True
        return sorted(name for sharing in self.sharings if sharing for name in sharing.held) == sorted(
            self.streams
        ) and all(sharing is not None and len(sharing.held) == len(self.streams) // 2 for sharing in self.sharings)

    def _is_torn(self) -> bool:
        """Whether a daemon has yet to learn what became of a commit, or to write what one left out."""
        return any(isinstance(store, FlightStore) and store.is_busy() for store in self.stores)

    def _is_behind(self) -> bool:
        """Whether a challenger has something to catch up with."""
        return any(is_behind(self.server.stream(stream)) for stream in self.streams)

    def _is_old(self) -> bool:
        """Whether a stream that has been served is still one of a model that is not served any more."""
        if self.tried:
            return False
        return any(self.server.stream(name).model not in {None, self.models[-1].fingerprint} for name in self.streams)

    # What happens.

    def _one_turn(self) -> None:
        if self.rng.random() < (0.25 if self._waiting() else 0.7):
            self._produce()
        else:
            self._turn_of(self.rng.randrange(self.daemons_at_work))
        if self.refused and self.rng.random() < self.faults.refuse:
            if self.refusals.how:
                self.refusals.end()
            else:
                self.refusals.begin(self.rng, self.refused)
        if self.rng.random() < self.faults.snapshot:
            self.snapshots.append(self.server.snapshot())
        if self.snapshots and self.rng.random() < self.faults.rewind:
            self._rewind()
        if self.rng.random() < self.faults.lose_input:
            self._lose_input()
        if self.rng.random() < self.faults.operate:
            self.operator.work(self.rng.choice(self.streams))
        # What a torn commit left out cannot be written once the models have changed, as after an import.
        if self.tried and self.rng.random() < self.faults.promote and not self._is_torn():
            self.promoter.work(self.rng.choice(self.streams))
        if len(self.models) > 1 and self.rng.random() < 0.1:
            self._deploy(self.rng.randrange(2))

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
        self.drafts.clear()
        self.server.rewind(self.rng.choice(self.snapshots[-3:]))
        for stream in self.streams:
            ids = {str(entry_id) for entry_id in self.server.stream(stream).ids}
            position = self.server.stream(stream).position.decode()
            known = [n for n, (i, _) in enumerate(self.traffic[stream]) if i in ids or i == position]
            self.next_entry[stream] = max(known) + 1 if known else 0
            self.lost[stream] = {one for one in self.lost[stream] if EntryId.parse(one) <= EntryId.parse(position)}

    def _lose_input(self) -> None:
        """A producer's MAXLEN drops the oldest entries, read or not."""
        held = self.server.stream(stream := self.rng.choice(self.streams))
        count = self.rng.randint(1, 8)
        if count < len(held.ids):
            self.happened["lost input"] += 1
            self.happened["lost unread input"] += held.ids[count - 1] > EntryId.parse(held.position)
            self.lost[stream] |= lose(held, count)

    def _deploy(self, number: int) -> None:
        """One daemon is stopped and will be started with the next model."""
        if self.deployed[number] + 1 < len(self.models):
            self.happened["deployed"] += 1
            self.deployed[number] += 1
            self.daemons[number] = None

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
        except (StoreUnavailableError, StoreForbidsError):  # at the start: the process ends and is started again
            self.daemons[number] = None
        except ModelChangedError:
            self.happened["refused"] += 1
            self.daemons[number] = None
            if self.rng.random() < 0.3:  # its operator sees why
                self._deploy(number)
        except StoreError:  # a draft was lost by a failover, or the twin always was faster: ends, is started again
            if len(self.models) == 1:
                raise
            self.happened["gave up a replacement"] += 1
            self.daemons[number] = None

    def _make(self, number: int) -> Daemon:
        settings = EngineSettings(
            max_series_memory_bytes=self.rng.choice([1, 1 << 20]),
            idle_after_ms=self.idle_ms,
            missing=self.missing,
            max_series=self.max_series,
            step_threads=self.threads,
            anomaly_above=self.above if self.extras.score else None,
            **asdict(self.extras),
        )
        inner = FlightStore(self.server, self.refusals) if self.refused else MemoryStore(self.server)
        self.stores[number] = inner
        store = FaultyStore(inner, self._trouble_of(number), self.happened, lambda: self.rng.random() < 0.05)
        sharing = self.sharings[number] = self._sharing(number) if self.leases else None
        return Daemon(
            engine=Engine(self.models[self.deployed[number]], settings),
            store=store,
            metrics=metrics_of(number, self.streams),
            settings=DaemonSettings(batch_values=self.rng.choice([1, 5, 50]), **self.served),
            clock=Clock(monotonic=self._monotonic, wall=lambda: 0.0, processor=lambda: 0.0, sleep=lambda _: None),
            on_model_change=self._policy(number),
            others=sharing and Others(sharing),
            library=self._library(number),
        )

    def _library(self, number: int) -> ModelLibrary | None:
        """The models a daemon can load: those that lie beside a stream."""
        return library_of(self.chains, self._connected(number)) if self.tried else None

    def _somebodys_turn(self) -> None:
        self._turn_of(self.rng.randrange(self.daemons_at_work))

    def _policy(self, number: int) -> ModelChange:
        """The daemons of the first model refuse states of another, those of the next replace them."""
        if not self.deployed[number]:
            return refuse

        token = str(next(self.incarnations))
        return Rebuild(self._connected(number), replay=self.replay, token=token)  # type: ignore[arg-type]

    def _connected(self, number: int | None) -> Callable[[str], MemoryConnection]:
        """How one of the daemons, or the operator, connects to where the states of a stream are."""
        return lambda stream: MemoryConnection(self.server, self.drafts, stream, self._trouble_of(number))

    def _monotonic(self) -> float:
        self.time_s += TICK_S
        return self.time_s

    def _sharing(self, number: int) -> Sharing:
        owner = f"{number}.{next(self.incarnations)}"
        if self.rng.random() < 0.5:  # the one before was on another host, or it can be seen to be dead
            self.dead.update(member.owner for member in self.lease_server.members if member.owner[0] == str(number))
        return Sharing(
            selection=Selection.of(self.streams),
            leases=FaultyLeases(self.lease_server, owner, self._trouble_of(number), self.happened),
            discovery=None,
            owner=owner,
            ttl_ms=LEASE_MS,
            monotonic=self._monotonic,
            is_dead=self.dead.__contains__,
        )

    def _trouble_of(self, number: int | None) -> Trouble:
        """What happens around the calls of one daemon, or of the operator."""

        def trouble(boundary: str, after: bool) -> None:
            if self.calm:
                return
            kind = self.faults.at(boundary, self.rng)
            if kind is None or (kind == "stall" and self.stalled):  # the twin is not stalled in turn
                return
            self.happened[f"{kind} {'after' if after else 'before'} {boundary}"] += 1
            if kind == "crash":
                raise CrashError
            if kind == "cut":
                raise StoreUnavailableError("cut by the simulation")
            self.stalled = True
            for _ in range(self.rng.randint(1, 12)):
                self._turn_of(self.rng.randrange(2) if number is None else 1 - number)
            self.stalled = False

        return trouble
