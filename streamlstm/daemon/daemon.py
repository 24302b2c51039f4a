"""The daemon: startup, main loop, shutdown; moves entries, records and commits between store and engine.

One thread; an engine has others beside it while it steps a large batch, which know nothing of all this. The next read
is asked for before a batch is stepped, and while a commit is under way the next batch is stepped; a stream's next
commit is sent once the one before is known to hold. Whatever goes wrong with the store ends in the same place: forget
what is cached, connect again, go on from the position.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from streamlstm.common import DaemonSettings
from streamlstm.daemon.challengers import Read
from streamlstm.daemon.clock import Clock
from streamlstm.daemon.corrections import Corrections
from streamlstm.daemon.health import Health
from streamlstm.daemon.idle_sweeper import IdleSweeper
from streamlstm.daemon.lag_monitor import LagMonitor
from streamlstm.daemon.left_alone import LeftAlone
from streamlstm.daemon.model_change import ModelChange, refuse
from streamlstm.daemon.model_library import ModelLibrary
from streamlstm.daemon.models import Models
from streamlstm.daemon.notices import last_try
from streamlstm.daemon.opening import Opening
from streamlstm.daemon.others import Others
from streamlstm.daemon.read_cursors import ReadCursors
from streamlstm.daemon.recorder import Recorder
from streamlstm.daemon.retention import Retention
from streamlstm.daemon.sharing import all_of
from streamlstm.daemon.store_health import StoreHealth
from streamlstm.daemon.streams import PendingCommit, Stream, Streams, after_commit
from streamlstm.daemon.telemetry import STAGES, Laps, Metrics, ThrottledLog
from streamlstm.daemon.unreachable import AWAY_PAUSE_S, UnreachableStreams
from streamlstm.daemon.unserved import Unserved
from streamlstm.engine import Engine, Parsed, Result
from streamlstm.errors import ModelChangedError, StoreError, StoreForbidsError, StoreNotNowError, StoreUnavailableError
from streamlstm.store import Head, Store

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
        others: Others | None = None,
        library: ModelLibrary | None = None,
    ) -> None:
        self._store = store
        self._metrics = metrics
        metrics.set_limits(engine.settings)
        self._settings = settings
        self._clock = clock
        others = others or Others(all_of(settings.streams, clock.monotonic))
        self._sharing = others.sharing
        self._store_health = StoreHealth(metrics)
        self._streams = streams = Streams()
        unserved = Unserved(LeftAlone(streams, others, metrics), UnreachableStreams(streams, clock.monotonic))
        self._unserved = unserved
        self.health = Health(self._store_health, unserved, clock.monotonic)
        engine.checkpoint_every = settings.checkpoint_every
        library = library or ModelLibrary(engine.model)
        models = Models.of(engine, library, streams, store, self.health.beat, clock)
        self._champions, self._challengers, self._library = models
        self._corrections = Corrections(store, streams, self._champions, settings)
        self._sweep = IdleSweeper(store, self._champions)
        self._reading = ReadCursors(
            store, streams, batch_values=settings.batch_values, most_entries=settings.max_read_entries
        )
        self._retention = Retention(settings.retain_ms, monotonic=clock.monotonic, wall=clock.wall)
        self._next_tail = 0.0
        self._lap = Laps(metrics.stage_seconds, STAGES, clock.monotonic).lap
        self._digest = ThrottledLog(log, clock.monotonic)
        self._recorder = Recorder(metrics, self._digest, clock.wall)
        self._opening = Opening(
            store, streams, self._sharing, metrics, models, unserved, on_change=on_model_change, opened=self._opened
        )
        self._lag_monitor = LagMonitor(
            streams=streams,
            models=models,
            store=store,
            metrics=metrics,
            sweep=self._sweep,
            reopen=self._opening.begin,
            commit=self._commit_nothing,
            monotonic=clock.monotonic,
        )

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
                if self._store_health.connected and not self._opening.has_begun:
                    self._opening.has_begun = True
                    on_ready()
                self.turn(WAIT_S)
        except StoreError as error:
            self._give_up(error)
            raise
        self._drain()

    def start(self) -> None:
        """Take this process's share of the streams, open them and ask for their first entries."""
        self._unserved.alone.begin()
        self._sharing.let_go(self._sharing.look().surplus)
        for name in list(self._sharing.held):
            self._opening.begin(self._streams[name])
        self._unserved.alone.begun()
        self._store_health.gain(len(self._streams.open), again=self._opening.has_begun and not self._streams.away)
        self._next_tail = 0.0
        self._metrics.owned_streams.set(len(self._streams.open))
        self._reading.ask()

    def turn(self, timeout_s: float) -> None:
        """Wait for something to be ready and do it; a store that is away is connected to again."""
        self.health.beat()
        try:
            if not self._store_health.connected:
                self.start()
            if self._sharing.due() or self._streams.away:
                self._change_hands()
            if self._library.has_news:
                self._begin_challengers()
            self._take_turn(self._sharing.wait_s(min(timeout_s, AWAY_PAUSE_S) if self._streams.away else timeout_s))
        except ModelChangedError:
            raise
        except StoreError as error:
            # What lasts may yet be mended by somebody, and meanwhile there are other streams.
            self._lose_store(error)
            self._clock.sleep(self._store_health.pause_s())

    def _take_turn(self, timeout_s: float) -> None:
        if self._challengers.is_busy:
            timeout_s = self._give_challengers_time(timeout_s)
        readable, committed = self._store.wait(timeout_s)
        self._lap("wait")
        if committed:
            for name in committed:
                self._settle(self._streams[name])
            self._lap("settle")
        if readable:
            reply = self._store.receive_read()
            self._lap("read")
            if not self._answer_live(reply):
                self._recorder.catch_up()  # this may take long
                self._answer(reply)
        self._recorder.catch_up()
        if self._clock.monotonic() >= self._next_tail:
            self._look_at_tails()
            self._lap("tails")

    def _give_challengers_time(self, timeout_s: float) -> float:
        """Let challengers catch up, in commits of their own, while the store has nothing for us; how long to wait."""
        began_s = self._clock.monotonic()
        if any(self._store.wait(0.0)):
            return 0.0
        self._lap("wait")
        behind = self._challengers.behind()
        rest_s = self._challengers.rest_s if behind else timeout_s
        if behind and rest_s <= 0:
            for stream in behind:
                self._commit_nothing(stream)
            self._lap("challengers")
        else:
            self._store.wait(min(timeout_s, rest_s))
            self._challengers.earn(self._clock.monotonic() - began_s)
        return 0.0

    def _answer_live(self, reply: bytes) -> bool:
        """Answer live values, with as little as can be between them and their commit; False if they cannot go so."""
        if (live := self._champions.parse_live(reply)) is None:
            return False
        stream = self._streams[live.stream]
        if not self._reading.is_fresh(stream):
            return False
        began = self._lap("parse")
        result = self._champions.of(live.stream).step_live(live)
        if result is None:
            return False
        stream.cursor = live.position
        step_s = self._lap("step") - began
        if stream.challenger is not None:
            self._challengers.step(Read(reply, is_live=True), [result], step_s)
            self._lap("challengers")
        self._send(stream, result)
        self._reading.fit(live.count, live.count)
        self._lap("send")
        self._reading.ask()
        self._recorder.batch(live.count, step_s)
        return True

    def _answer(self, reply: bytes) -> None:
        """Answer whatever a read brought."""
        batch = self._champions.parse(reply)
        self._lap("parse")
        fresh = self._corrections.cut(self._reading.take(reply, batch))
        # In a backlog the next read is asked for first, so that the store answers while it has nothing else to do:
        # once the commit is sent, the reply would have to wait for all of it. Live values do not wait for that.
        backlog = sum([parsed.items for parsed in fresh]) >= BACKLOG_VALUES
        if backlog:
            self._reading.ask()
        if fresh:
            self._work(fresh, reply)
        if not backlog:
            self._reading.ask()

    def _work(self, batch: list[Parsed], reply: bytes) -> None:
        """Step a batch, which was read from a reply, and send its commits."""
        began = self._clock.monotonic()
        batch = self._corrections.prepare(batch)
        if unknown := self._champions.begin(batch):
            self._load(unknown)
        results = self._champions.step(batch)
        step_s = self._lap("step") - began
        if self._challengers.is_busy:
            self._challengers.step(Read(reply, batch), results, step_s)
            self._lap("challengers")
        streams = [self._streams[result.commit.stream] for result in results]
        for stream, result in zip(streams, results, strict=True):
            stream.cursor = result.commit.position  # what was left is read again
        for stream, result in zip(streams, results, strict=True):
            self._send(stream, result)
        values = sum([result.items for result in results])
        self._recorder.batch(values, step_s)
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
        if commit.trim_before_ms is not None:
            self._challengers.keep_input(commit, stream)
        self._store.send_commit(commit)
        stream.pending = PendingCommit(self._clock.monotonic(), result)

    def _load(self, unknown: dict[str, list[bytes]]) -> None:
        """Have the engine admit series that are not in memory."""
        for stream, series in unknown.items():
            engine = self._champions.of(stream)
            records = [None] * len(series) if engine.holds_all(stream) else self._store.load(stream, series)
            engine.admit(stream, series, records)
            if doubtful := (window := engine.window(stream)).doubtful:
                window.settle(engine.arena, self._store.kept(stream, [*doubtful]))
        self._lap("load")

    def _settle(self, stream: Stream) -> bool:
        """Receive a commit's answer; if it does not hold, open the stream again where the store says it is."""
        name, pending = stream.name, stream.pending
        assert pending is not None, "no commit is under way"
        holds = self._store.receive_commit(name)
        stream.pending = None  # not before: what became of it may have to be found out later
        metrics = self._metrics.of[name]
        metrics.idle_series_removed.inc(self._sweep.settled(stream, holds=holds))
        metrics.commit_seconds.observe(commit_s := self._clock.monotonic() - pending.sent)
        if not holds:
            metrics.fenced_commits.inc()
            moved = f"another process moved the position of {name!r} or changed its models; going on from there"
            self._digest.note(("fenced", name), moved, stream=name)
            self._opening.begin(stream)
            self._sharing.hurry()
            return False
        self._store_health.take()
        commit, series = pending.result.commit, self._champions.of(name).series(name)
        stream.head = after_commit(stream.head, commit, series)
        if stream.challenger is not None:
            self._challengers.settled(stream, commit)
        self._recorder.settled(name, pending.result, series, commit_s)
        return True

    # Streams.

    def _change_hands(self) -> None:
        """Take streams that are free, and hand over those that are another's share once they are settled."""
        change = self._sharing.look()
        for name in (*change.lost, *change.surplus):
            self._part(self._streams[name])
        self._sharing.let_go(change.surplus)
        retried = self._unserved.away.due()
        for stream in dict.fromkeys((*map(self._streams.__getitem__, change.gained), *retried)):
            self._opening.begin(stream)
        self._unserved.alone.look()
        self._metrics.lease_repairs.value = self._sharing.repairs
        if change or retried:
            self._metrics.owned_streams.set(len(self._streams.open))
            self._reading.ask()

    def _part(self, stream: Stream) -> None:
        """Receive what is under way for a stream, then forget it."""
        if stream.pending is not None:
            self._settle(stream)
        self._recorder.catch_up()
        former = stream.status
        self._opening.forget(stream)
        self._streams.close(stream)
        self._unserved.left(stream, former)
        self._metrics.end(stream.name)

    def _opened(self, stream: Stream, head: Head) -> None:
        """A stream is served from where the store says it is."""
        self._retention.open(stream, head.position)
        removed = self._sweep.settled(stream, holds=self._recorder.recall(stream, head))
        self._metrics.of[stream.name].idle_series_removed.inc(removed)
        self._metrics.of[stream.name].series.set(head.series)

    def _begin_challengers(self) -> None:
        """Open streams anew whose challenger was loaded meanwhile, or cannot be."""
        self._library.has_news = False
        for stream in list(self._streams.open.values()):
            if stream.waits_for_challenger and (stream.pending is None or self._settle(stream)):
                self._opening.begin(stream)
        self._reading.ask()

    def _lose_store(self, error: StoreError) -> None:
        """Forget everything that the store may know better."""
        self._store_health.lose(error)
        is_torn = not isinstance(error, StoreUnavailableError) and self._store.hear_out()
        if isinstance(error, StoreForbidsError) and not is_torn:
            self._unserved.alone.forbidden()
        self._store.close()
        self._sharing.lose()
        for stream in list(self._streams.open.values()):
            if stream.pending is not None:
                stream.unanswered, stream.pending = stream.pending.result, None
            stream.cursor = b""
            self._opening.let_go(stream)
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
        self._recorder.catch_up()
        if self._store_health.connected:
            self._library.leave()
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
        if not self._lag_monitor.look():
            self._store_health.take()  # where nothing waits, no commit will tell that the store is well again
        for stream in [stream for stream in self._streams.open.values() if self._retention.is_due(stream)]:
            self._commit_nothing(stream)
        self._digest.flush()

    def _commit_nothing(self, stream: Stream) -> None:
        """Send a commit that answers nothing, where none comes by: it trims, and keeps what was counted."""
        if stream.pending is None and stream.head is not None and stream.head.model is not None:
            result = self._champions.of(stream.name).nothing(stream.name)
            self._challengers.step(Read(), [result], 0.0)
            self._send(stream, result)
