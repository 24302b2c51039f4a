"""How far each stream's end is, looked up now and then: lag, lost entries, streams begun again."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import replace

from streamlstm.engine import Engine
from streamlstm.entry_id import is_before
from streamlstm.give_back import finder
from streamlstm.metrics import Metrics
from streamlstm.notices import say_ahead, say_begun_again, say_deleted, say_lost, say_rounded, say_skipped
from streamlstm.rounding import rounding_share
from streamlstm.store import Head, Store, Tail
from streamlstm.sweep import Sweep

AHEAD_MS = 60_000  # clocks differ by less
SAMPLED_SERIES = 300  # looked at to say how old states are, and whether float32 holds their values
# Rounding to float32 that is told of, as a share of the mean change: a hundredth adds 0.01 % to an error, a half 4 %.
MUCH_ROUNDING = 0.01


class Tails:
    """Compares what the store says with the heads of the streams at work."""

    def __init__(
        self,
        *,
        engine: Engine,
        store: Store,
        metrics: Metrics,
        sweep: Sweep,
        reopen: Callable[[str], None],
        commit: Callable[[str], None],
        monotonic: Callable[[], float],
    ) -> None:
        """`reopen` is for a stream whose position has gone back, `commit` for one whose count is to be kept."""
        self._monotonic = monotonic
        self._engine, self._sweep, self._reopen, self._commit = engine, sweep, reopen, commit
        self._store = store
        self._metrics = metrics
        self._give_back, self._state_bytes = finder(), 0
        self._has_told_rounding = False
        self._begun_again: set[str] = set()  # streams whose position lies beyond their end, said once
        self._ahead: set[str] = set()  # streams with ids in the future, said once
        self._looked: dict[str, bytes] = {}  # positions at the last look at rest, or where a stream was opened
        self._waiting: dict[str, tuple[bytes, float]] = {}  # positions that something waits at, and since when

    def look(self, heads: dict[str, Head], busy: Container[str]) -> bool:
        """Look at every stream and set its gauges; the head of one that has lost entries counts them as answered.

        Returns whether anything waits to be answered.

        `busy` are streams with a commit under way, whose head is about to move. Raises StoreUnavailableError.
        """
        moved: dict[str, int] = {}
        waiting = False
        for stream, head in list(heads.items()):
            tail = self._store.tail(stream, head)
            if stream not in busy and tail.position is not None and is_before(tail.position, head.position):
                self._reopen(stream)  # flushed, or states were imported; an idle stream would not find out by a commit
                continue
            self._sweep.look(stream, head.position)
            waiting = waiting or (tail.lag_entries > 0 and not tail.ends_before_position)
            self._metrics.of[stream].lag_entries.set(tail.lag_entries)
            self._metrics.of[stream].lag_seconds.set(max(tail.lag_ms / 1000, self._waited_s(stream, head, tail)))
            self._metrics.of[stream].unreachable_entries.set(tail.lag_entries if tail.ends_before_position else 0)
            self._note_ahead(stream, tail)
            if tail.ends_before_position and stream not in busy:
                self._note_begun_again(stream, head)
            else:
                self._begun_again.discard(stream)
            if tail.answered is not None and tail.answered != head.answered and stream not in busy:
                moved[stream] = tail.answered - head.answered
                if moved[stream] > 0:
                    self._note_lost(stream, head, tail, moved[stream])
                else:  # the stream was begun again, and counts anew
                    self._note_skipped(stream, tail)
            if stream not in busy:
                self._looked[stream] = head.position
        for stream, entries in moved.items():
            self._engine.skip(stream, entries)
            heads[stream] = replace(heads[stream], answered=heads[stream].answered + entries)
            if entries < 0:  # or the next process would find it once more
                self._commit(stream)
        arena = self._engine.arena
        self._metrics.cached_series.set(arena.cached)
        self._metrics.state_bytes.set(arena.nbytes)
        if arena.nbytes != self._state_bytes:  # what taking in new series needed besides is not needed any more
            self._state_bytes = arena.nbytes
            self._give_back()
        sample = arena.sample(SAMPLED_SERIES)
        self._metrics.note_steps(self._engine.format.header(sample)["steps"])
        self._note_rounding(rounding_share(self._engine.model.spec, self._engine.format, sample))
        self._metrics.evictions.inc(arena.evictions)
        arena.evictions = 0
        return waiting

    def _note_rounding(self, share: float) -> None:
        """Values may be too large for float32 to hold what they move by: say so once."""
        self._metrics.rounding_share.set(share)
        if share > MUCH_ROUNDING and not self._has_told_rounding:
            self._has_told_rounding = True
            say_rounded(share)

    def open(self, stream: str, position: bytes) -> None:
        """The stream is this process's from a position on."""
        self._looked[stream] = position

    def forget(self, stream: str) -> None:
        """The stream is another process's now."""
        self._begun_again.discard(stream)
        self._ahead.discard(stream)
        self._looked.pop(stream, None)
        self._waiting.pop(stream, None)

    def _waited_s(self, stream: str, head: Head, tail: Tail) -> float:
        """For how long something has been seen to wait at the position: what ids in the future do not tell."""
        now = self._monotonic()
        if not tail.lag_entries:
            self._waiting.pop(stream, None)
            return 0.0
        position, since = self._waiting.get(stream, (b"", now))
        if position != head.position:
            since = now
        self._waiting[stream] = head.position, since
        return now - since

    def _note_ahead(self, stream: str, tail: Tail) -> None:
        """Ids lie in the future: say once what that means."""
        if tail.ahead_ms <= AHEAD_MS:
            self._ahead.discard(stream)
        elif stream not in self._ahead:
            self._ahead.add(stream)
            say_ahead(stream, tail)

    def _note_begun_again(self, stream: str, head: Head) -> None:
        """The stream was deleted and has smaller ids now: say once that nobody reads them, and what mends it."""
        if stream in self._begun_again:
            return
        self._begun_again.add(stream)
        say_begun_again(stream, head)

    def _note_skipped(self, stream: str, tail: Tail) -> None:
        """Begun again, with larger ids after all: what came before them with smaller ones has been passed over."""
        looked = self._looked[stream]
        if tail.first is None or is_before(looked, tail.first):
            return
        entries = self._store.count_to(stream, looked)
        self._metrics.of[stream].lost_entries.inc(entries)
        say_skipped(stream, entries)

    def _note_lost(self, stream: str, head: Head, tail: Tail, entries: int) -> None:
        """Entries vanished unread: somebody trims faster than we read, or has deleted them one by one."""
        if head.model is None:  # before the first commit, what is gone was never ours
            return
        looked = self._looked.get(stream, head.position)
        deleted = tail.last_deleted is not None and is_before(looked, tail.last_deleted)
        if deleted and tail.first is not None and not is_before(looked, tail.first):
            # What was there at the last look is there still, so nothing after it can have been trimmed.
            self._metrics.of[stream].deleted_entries.inc(entries)
            say_deleted(stream, entries)
            return
        self._metrics.of[stream].lost_entries.inc(entries)
        say_lost(stream, entries, perhaps_deleted=deleted)
