"""The daemon: startup, main loop, shutdown; moves entries, records and commits between store and engine.

One thread. The next read is asked for before a batch is stepped, and while a commit is under way the next batch is
stepped; a stream's next commit is sent once the one before is known to hold. Whatever goes wrong with the store ends
in the same place: forget what is cached, connect again, go on from the position.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from streamlstm.common import DaemonSettings
from streamlstm.daemon.clock import Clock
from streamlstm.daemon.health import Health
from streamlstm.daemon.idle_sweeper import Sweep
from streamlstm.daemon.lag_monitor import Tails
from streamlstm.daemon.left_alone import LeftAlone
from streamlstm.daemon.model_change import ModelChange, refuse
from streamlstm.daemon.notices import last_try, say_rewound
from streamlstm.daemon.read_cursors import Reading
from streamlstm.daemon.recorder import Counting
from streamlstm.daemon.retention import Retention
from streamlstm.daemon.sharing import Sharing, all_of
from streamlstm.daemon.standby import Standby
from streamlstm.daemon.store_health import Standing
from streamlstm.daemon.streams import Pending, Status, Stream, Streams
from streamlstm.daemon.telemetry import STAGES, Digest, Laps, Metrics
from streamlstm.daemon.unreachable import AWAY_PAUSE_S, Away
from streamlstm.engine import Engine, Parsed, Result
from streamlstm.errors import ModelChangedError, StoreError, StoreForbidsError, StoreNotNowError, StoreUnavailableError
from streamlstm.store import Head, Store
from streamlstm.store.resp import is_before

log = logging.getLogger(__name__)

WAIT_S = 1.0
TAIL_EVERY_S = 2.0  # how often lag is looked up
BACKLOG_VALUES = 256  # a batch of so many is not waited for by anybody one by one


class Daemon:
    """Answers the entries of some streams until told to stop."""

    def __init__(
        self,
        *,
        engine: Engine,
        store: Store,
        metrics: Metrics,
        settings: DaemonSettings,
        clock: Clock,
        on_model_change: ModelChange = refuse,
        sharing: Sharing | None = None,
        standby: Standby | None = None,
    ) -> None:
        self._engine = engine
        self._on_model_change = on_model_change
        self._sweep = Sweep(store, engine)
        self._store = store
        self._metrics = metrics
        limits = engine.settings
        metrics.set_limits(series=limits.max_series, state_bytes=limits.max_series_memory_bytes, level=limits.interval)
        self._settings = settings
        self._clock = clock
        self._sharing = sharing or all_of(settings.streams, clock.monotonic)
        self._begun = False  # it has been ready once
        self._standing = Standing(metrics)
        self._streams = streams = Streams()
        self._alone = LeftAlone(streams, self._sharing, metrics, standby)
        self._away = Away(streams, clock.monotonic)
        self.health = Health(self._standing, self._away, self._alone, clock.monotonic)
        self._reading = Reading(
            store, streams, batch_values=settings.batch_values, most_entries=settings.max_read_entries
        )
        self._retention = Retention(settings.retain_ms, monotonic=clock.monotonic, wall=clock.wall)
        self._next_tail = 0.0
        self._lap = Laps(metrics.stage_seconds, STAGES, clock.monotonic).lap
        self._digest = Digest(log, clock.monotonic)
        self._counting = Counting(metrics, self._digest, clock.wall)
        self._tails = Tails(
            streams=streams,
            engine=engine,
            store=store,
            metrics=metrics,
            sweep=self._sweep,
            reopen=self._begin,
            commit=self._commit_nothing,
            monotonic=clock.monotonic,
        )
        engine.model.beat = self.health.beat

    # The loop.

    def run(self, on_ready: Callable[[], None]) -> None:
        """Serve until told to stop; calls `on_ready` once, when the streams are open.

        Raises StoreError for what no retry mends, or if the first connection fails; once it was ready only another
        model on all its streams ends it. A store that answers "not now" is waited for from the first.
        """
        try:
            try:
                self.start()
            except StoreNotNowError as error:
                self._lose_store(error)
            while not self.health.stopping:
                if self._standing.connected and not self._begun:
                    self._begun = True
                    on_ready()
                self.turn(WAIT_S)
        except StoreError as error:
            self._give_up(error)
            raise
        self._drain()

    def start(self) -> None:
        """Take this process's share of the streams, open them and ask for their first entries."""
        self._alone.begin()
        self._sharing.let_go(self._sharing.look().surplus)
        for name in list(self._sharing.held):
            self._begin(self._streams[name])
        self._alone.begun()
        self._standing.gain(len(self._streams.open), again=self._begun and not self._streams.away)
        self._next_tail = 0.0
        self._metrics.owned_streams.set(len(self._streams.open))
        self._reading.ask()

    def turn(self, timeout_s: float) -> None:
        """Wait for something to be ready and do it; a store that is away is connected to again."""
        self.health.beat()
        try:
            if not self._standing.connected:
                self.start()
            if self._sharing.due() or self._streams.away:
                self._change_hands()
            self._take_turn(self._sharing.wait_s(min(timeout_s, AWAY_PAUSE_S) if self._streams.away else timeout_s))
        except ModelChangedError:
            raise
        except StoreError as error:
            # What lasts may yet be mended by somebody, and meanwhile there are other streams.
            self._lose_store(error)
            self._clock.sleep(self._standing.pause_s())

    def _take_turn(self, timeout_s: float) -> None:
        readable, committed = self._store.wait(timeout_s)
        self._lap("wait")
        if committed:
            for name in committed:
                self._settle(self._streams[name])
            self._lap("settle")
        if readable:
            reply = self._store.receive_read()
            self._lap("read")
            if not self._answer_single(reply):
                self._answer(reply)
        if self._clock.monotonic() >= self._next_tail:
            self._look_at_tails()
            self._lap("tails")

    def _answer_single(self, reply: bytes) -> bool:
        """Answer a lone value, with as little as can be between it and its commit; False if it cannot go alone."""
        single = self._engine.parse_single(reply)
        if single is None:
            return False
        stream = self._streams[single.stream]
        if not self._reading.is_fresh(stream):
            return False
        began = self._lap("parse")
        result = self._engine.step_single(single)
        if result is None:
            return False
        stream.cursor = single.position
        step_s = self._lap("step") - began
        self._send(stream, result)
        self._reading.fit(1, 1)
        self._lap("send")
        self._reading.ask()
        self._counting.batch(1, step_s)
        return True

    def _answer(self, reply: bytes) -> None:
        """Answer whatever a read brought."""
        batch = self._engine.parse(reply)
        self._lap("parse")
        fresh = self._reading.take(reply, batch)
        # In a backlog the next read is asked for first, so that the store answers while it has nothing else to do:
        # once the commit is sent, the reply would have to wait for all of it. Live values do not wait for that.
        backlog = sum([parsed.items for parsed in fresh]) >= BACKLOG_VALUES
        if backlog:
            self._reading.ask()
        if fresh:
            self._work(fresh)
        if not backlog:
            self._reading.ask()

    def _work(self, batch: list[Parsed]) -> None:
        """Step a batch and send its commits."""
        began = self._clock.monotonic()
        unknown = self._engine.begin(batch)
        if unknown:
            self._load(unknown)
        results = self._engine.step(batch)
        step_s = self._lap("step") - began
        streams = [self._streams[result.commit.stream] for result in results]
        for stream, result in zip(streams, results, strict=True):
            stream.cursor = result.commit.position  # what was left is read again
        for stream, result in zip(streams, results, strict=True):
            self._send(stream, result)
        values = sum([result.items for result in results])
        self._counting.batch(values, step_s)
        self._reading.fit(values, max([result.entries for result in results]))
        self._lap("send")

    def _send(self, stream: Stream, result: Result) -> None:
        """Send a commit, unless it was computed from a position that turns out to have been overtaken."""
        if stream.pending is not None and not self._settle(stream):
            return
        commit = result.commit
        commit.most_dead = self._settings.max_dead_letters or None
        self._retention.add_to(commit, stream)
        self._sweep.add_to(commit, stream)
        self._store.send_commit(commit)
        stream.pending = Pending(self._clock.monotonic(), result)

    def _load(self, unknown: dict[str, list[bytes]]) -> None:
        """Have the engine admit series that are not in memory."""
        for stream, series in unknown.items():
            records = [None] * len(series) if self._engine.holds_all(stream) else self._store.load(stream, series)
            self._engine.admit(stream, series, records)
        self._lap("load")

    def _settle(self, stream: Stream) -> bool:
        """Receive a commit's answer; if it does not hold, open the stream again where the store says it is."""
        name, pending = stream.name, stream.pending
        assert pending is not None, "no commit is under way"
        holds = self._store.receive_commit(name)
        stream.pending = None  # not before: what became of it may have to be found out later
        metrics = self._metrics.of[name]
        metrics.idle_series_removed.inc(self._sweep.settled(stream, holds=holds))
        commit_s = self._clock.monotonic() - pending.sent
        metrics.commit_seconds.observe(commit_s)
        if not holds:
            metrics.fenced_commits.inc()
            moved = f"another process moved the position of {name!r}; going on from there"
            self._digest.note(("fenced", name), moved, stream=name)
            self._begin(stream)
            self._sharing.hurry()
            return False
        self._standing.take()
        commit, series = pending.result.commit, self._engine.series(name)
        stream.head = Head(position=commit.position, model=commit.model, series=series, answered=commit.answered)
        self._counting.commit(name, pending.result, series, commit_s)
        return True

    # Streams.

    def _change_hands(self) -> None:
        """Take streams that are free, and hand over those that are another's share once they are settled."""
        change = self._sharing.look()
        for name in (*change.lost, *change.surplus):
            self._part(self._streams[name])
        self._sharing.let_go(change.surplus)
        retried = self._away.due()
        for stream in dict.fromkeys((*map(self._streams.__getitem__, change.gained), *retried)):
            self._begin(stream)
        self._alone.look()
        self._metrics.lease_repairs.value = self._sharing.repairs
        if change or retried:
            self._metrics.owned_streams.set(len(self._streams.open))
            self._reading.ask()

    def _begin(self, stream: Stream) -> None:
        """Open a stream; one that cannot be served is left alone, and tried again in a while."""
        if stream.name not in self._metrics.of:
            self._metrics.begin(stream.name)
        former = stream.status
        try:
            self._open(stream)
        except StoreUnavailableError as error:
            if not self._store.spread:
                raise
            self._forget(stream)
            self._away.note(stream, error)
        except StoreForbidsError:
            raise  # to one stream as to all
        except StoreError as error:
            self._refuse(stream, error)
        self._note_left(stream, former)

    def _refuse(self, stream: Stream, error: StoreError) -> None:
        """Leave a stream alone; raises what is wrong with it where this process should not have begun, or is to end."""
        other_model = isinstance(error, ModelChangedError) and self._sharing.is_named(stream.name)
        if other_model and not self._begun:
            raise error
        overtaken = other_model and stream.head is not None
        self._forget(stream)
        self._alone.note(stream, error)
        self._metrics.owned_streams.set(len(self._streams.open))
        if overtaken:
            self._on_model_change = refuse  # this process has the older model
            if not self._sharing.has_any():
                raise error

    def _note_left(self, stream: Stream, former: Status) -> None:
        self._away.left(former)
        self._alone.left(stream, former)

    def _forget(self, stream: Stream) -> None:
        """Let go of what is known of a stream."""
        stream.forget()
        self._engine.forget(stream.name)
        self._store.release(stream.name)

    def _part(self, stream: Stream) -> None:
        """Receive what is under way for a stream, then forget it."""
        if stream.pending is not None:
            self._settle(stream)
        former = stream.status
        self._forget(stream)
        self._streams.close(stream)
        self._note_left(stream, former)
        self._metrics.end(stream.name)

    def _open(self, stream: Stream) -> None:
        name, before = stream.name, stream.head
        head = self._store.open(name)
        while head.model not in {None, self._engine.model.fingerprint}:  # another may have been faster in between
            change = refuse if before is not None else self._on_model_change
            change(name, head, self._engine, self.health.beat)
            head = self._store.open(name)
        if before is not None and is_before(head.position, before.position):
            say_rewound(name, before, head)
        self._engine.open(name, head)
        stream.head, stream.cursor, stream.seen.position = head, head.position, head.position
        self._streams.set(stream, Status.OPEN)
        self._retention.open(stream, head.position)
        removed = self._sweep.settled(stream, holds=self._counting.recall(stream, head))
        self._metrics.of[name].idle_series_removed.inc(removed)
        self._metrics.of[name].series.set(head.series)

    def _lose_store(self, error: StoreError) -> None:
        """Forget everything that the store may know better."""
        self._standing.lose(error)
        is_torn = not isinstance(error, StoreUnavailableError) and self._store.hear_out()
        if isinstance(error, StoreForbidsError) and not is_torn:
            self._alone.forbidden()
        self._store.close()
        self._sharing.lose()
        for stream in list(self._streams.open.values()):
            if stream.pending is not None:
                stream.unanswered, stream.pending = stream.pending.result, None
            stream.cursor = b""
            self._engine.forget(stream.name)
            self._streams.close(stream)
        for stream in list(self._streams.away.values()):
            self._streams.close(stream)
        self._reading.begin_small()

    def _drain(self) -> None:
        """Receive what is under way, so that nothing is left to be done again."""
        pending = [stream for stream in self._streams.open.values() if stream.pending is not None]
        log.info("draining", extra={"commits": len(pending)})
        try:
            for stream in pending:
                self._settle(stream)
        except StoreError as error:
            log.warning("%s; what was not committed is stepped again at the next start", error)
        if self._standing.connected:
            self._sharing.leave()
        else:
            last_try(self._store, self._streams.remembered)
        self._store.close()
        log.info("stopped", extra={"streams": len(self._streams.open)})

    def _give_up(self, error: StoreError) -> None:
        """Leave nothing behind: others may have the streams at once."""
        (self._sharing.lose if isinstance(error, StoreUnavailableError) else self._sharing.leave)()
        self._store.close()

    # Figures.

    def _look_at_tails(self) -> None:
        self._next_tail = self._clock.monotonic() + TAIL_EVERY_S
        if not self._tails.look():
            self._standing.take()  # where nothing waits, no commit will tell that the store is well again
        for stream in [stream for stream in self._streams.open.values() if self._retention.is_due(stream)]:
            self._commit_nothing(stream)
        self._digest.flush()

    def _commit_nothing(self, stream: Stream) -> None:
        """Send a commit that answers nothing, where none comes by: it trims, and keeps what was counted."""
        if stream.pending is None and stream.head is not None and stream.head.model is not None:
            self._send(stream, self._engine.nothing(stream.name))
