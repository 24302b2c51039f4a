"""How far each stream's end is, looked up now and then: lag, lost entries, streams begun again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from streamlstm.daemon.idle_sweeper import IdleSweeper
from streamlstm.daemon.malloc_trim import finder
from streamlstm.daemon.models import Models
from streamlstm.daemon.notices import say_ahead, say_begun_again, say_deleted, say_lost, say_rounded, say_skipped
from streamlstm.daemon.streams import Stream, Streams
from streamlstm.daemon.telemetry import Metrics
from streamlstm.engine import rounding_share
from streamlstm.store import Head, Store, Tail
from streamlstm.store.resp import EntryId, is_before

AHEAD_MS = 60_000  # clocks differ by less
SAMPLED_SERIES = 300  # looked at to say how old states are, and whether float32 holds their values
# Rounding to float32 that is told of, as a share of the mean change: a hundredth adds 0.01 % to an error, a half 4 %.
MUCH_ROUNDING = 0.01


class LagMonitor:
    """Compares what the store says with the heads of the streams that are open."""

    def __init__(
        self,
        *,
        streams: Streams,
        models: Models,
        store: Store,
        metrics: Metrics,
        sweep: IdleSweeper,
        reopen: Callable[[Stream], None],
        commit: Callable[[Stream], None],
        monotonic: Callable[[], float],
    ) -> None:
        """`reopen` is for a stream whose position has gone back, `commit` for one whose count is to be kept."""
        self._monotonic = monotonic
        self._champions, self._challengers = models.champions, models.challengers
        self._sweep, self._reopen, self._commit = sweep, reopen, commit
        self._streams, self._store = streams, store
        self._metrics = metrics
        self._give_back, self._state_bytes = finder(), 0
        self._has_told_rounding = False

    def look(self) -> bool:
        """Look at every stream and set its gauges; the head of one that has lost entries counts them as answered.

        Returns whether anything waits to be answered. Raises StoreUnavailableError.
        """
        moved: list[tuple[Stream, int]] = []
        waiting = False
        for stream in list(self._streams.open.values()):
            head = stream.head
            if head is None:
                continue
            tail = self._store.tail(stream.name, head)
            at_rest = stream.pending is None  # or the head is about to move
            went_back = tail.position is not None and is_before(tail.position, head.position)
            if at_rest and (went_back or (tail.epoch is not None and tail.epoch != head.epoch)):
                # Flushed, or states were imported, or models changed; an idle stream would not find out by a commit.
                self._reopen(stream)
                continue
            self._sweep.look(stream, head.position)
            waiting = waiting or (tail.lag_entries > 0 and not tail.ends_before_position)
            self._set_gauges(stream, head, tail)
            self._note_challenger(stream, head)
            self._note_ahead(stream, tail)
            self._note_begun_again(stream, head, is_so=tail.ends_before_position and at_rest)
            if not at_rest:
                continue
            if tail.answered is not None and tail.answered != head.answered:
                moved.append((stream, tail.answered - head.answered))
                self._note_moved(stream, head, tail, tail.answered - head.answered)
            stream.seen.position = head.position
        for stream, entries in moved:
            self._move(stream, entries)
        self._look_at_memory()
        return waiting

    def _set_gauges(self, stream: Stream, head: Head, tail: Tail) -> None:
        metrics = self._metrics.of[stream.name]
        metrics.lag_entries.set(tail.lag_entries)
        metrics.lag_seconds.set(max(tail.lag_ms / 1000, self._waited_s(stream, head, tail)))
        metrics.unreachable_entries.set(tail.lag_entries if tail.ends_before_position else 0)

    def _note_challenger(self, stream: Stream, head: Head) -> None:
        challenger = head.challenger
        if challenger is not None:
            behind_ms = EntryId.parse(head.position).time_ms - EntryId.parse(challenger.position).time_ms
            stopped = challenger.off is not None
            self._metrics.note_challenger(stream.name, behind_s=max(0, behind_ms) / 1000, stopped=stopped)

    def _move(self, stream: Stream, entries: int) -> None:
        """Count entries that nobody will answer as answered."""
        if stream.head is None:
            return
        self._champions.of(stream.name).skip(stream.name, entries)
        stream.head = replace(stream.head, answered=stream.head.answered + entries)
        if entries < 0:  # or the next process would find it once more
            self._commit(stream)

    def _look_at_memory(self) -> None:
        """Set the gauges of the records in memory, and give back what is not needed any more."""
        engines = [*self._champions.at_work, *self._challengers.engines]
        arenas = [engine.arena for engine in engines]
        nbytes = sum(arena.nbytes for arena in arenas)
        self._metrics.cached_series.set(sum(arena.cached for arena in arenas))
        self._metrics.state_bytes.set(nbytes)
        if nbytes != self._state_bytes:  # what taking in new series needed besides is not needed any more
            self._state_bytes = nbytes
            self._give_back()
        engine = engines[0]
        sample = engine.arena.sample(SAMPLED_SERIES)
        self._metrics.note_steps(engine.format.header(sample)["steps"])
        self._note_rounding(rounding_share(engine.model.spec, engine.format, sample))
        for arena in arenas:
            self._metrics.evictions.inc(arena.evictions)
            arena.evictions = 0

    def _note_rounding(self, share: float) -> None:
        """Values may be too large for float32 to hold what they move by: say so once."""
        self._metrics.rounding_share.set(share)
        if share > MUCH_ROUNDING and not self._has_told_rounding:
            self._has_told_rounding = True
            say_rounded(share)

    def _waited_s(self, stream: Stream, head: Head, tail: Tail) -> float:
        """For how long something has been seen to wait at the position: what ids in the future do not tell."""
        now, seen = self._monotonic(), stream.seen
        if not tail.lag_entries:
            seen.waiting = None
            return 0.0
        if seen.waiting is None or seen.waiting[0] != head.position:
            seen.waiting = head.position, now
        return now - seen.waiting[1]

    def _note_ahead(self, stream: Stream, tail: Tail) -> None:
        """Ids lie in the future: say once what that means."""
        was_ahead, stream.seen.is_ahead = stream.seen.is_ahead, tail.ahead_ms > AHEAD_MS
        if stream.seen.is_ahead and not was_ahead:
            say_ahead(stream.name, tail)

    def _note_begun_again(self, stream: Stream, head: Head, *, is_so: bool) -> None:
        """The stream was deleted and has smaller ids now: say once that nobody reads them, and what mends it."""
        was_so, stream.seen.is_begun_again = stream.seen.is_begun_again, is_so
        if is_so and not was_so:
            say_begun_again(stream.name, head)

    def _note_moved(self, stream: Stream, head: Head, tail: Tail, entries: int) -> None:
        if entries > 0:
            self._note_lost(stream, head, tail, entries)
        else:  # the stream was begun again, and counts anew
            self._note_skipped(stream, tail)

    def _note_skipped(self, stream: Stream, tail: Tail) -> None:
        """Begun again, with larger ids after all: what came before them with smaller ones has been passed over."""
        looked = stream.seen.position
        if tail.first is None or is_before(looked, tail.first):
            return
        entries = self._store.count_to(stream.name, looked)
        self._metrics.of[stream.name].lost_entries.inc(entries)
        say_skipped(stream.name, entries)

    def _note_lost(self, stream: Stream, head: Head, tail: Tail, entries: int) -> None:
        """Entries vanished unread: somebody trims faster than we read, or has deleted them one by one."""
        if head.model is None:  # before the first commit, what is gone was never ours
            return
        looked = stream.seen.position
        deleted = tail.last_deleted is not None and is_before(looked, tail.last_deleted)
        if deleted and tail.first is not None and not is_before(looked, tail.first):
            # What was there at the last look is there still, so nothing after it can have been trimmed.
            self._metrics.of[stream.name].deleted_entries.inc(entries)
            say_deleted(stream.name, entries)
            return
        self._metrics.of[stream.name].lost_entries.inc(entries)
        say_lost(stream.name, entries, perhaps_deleted=deleted)
