"""How far each stream's end is, looked up now and then: lag, lost entries, streams begun again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container
from dataclasses import replace

from streamlstm.engine import Engine
from streamlstm.entry_id import is_before
from streamlstm.give_back import finder
from streamlstm.metrics import Metrics
from streamlstm.notices import say_begun_again
from streamlstm.store import Head, Store
from streamlstm.sweep import Sweep

log = logging.getLogger(__name__)

SAMPLED_SERIES = 300  # looked at to say how old states are


class Tails:
    """Compares what the store says with the heads of the streams at work."""

    def __init__(
        self, *, engine: Engine, store: Store, metrics: Metrics, sweep: Sweep, reopen: Callable[[str], None]
    ) -> None:
        """`reopen` is called with a stream whose position has gone back."""
        self._engine, self._sweep, self._reopen = engine, sweep, reopen
        self._store = store
        self._metrics = metrics
        self._give_back, self._state_bytes = finder(), 0
        self._begun_again: set[str] = set()  # streams whose position lies beyond their end, said once

    def look(self, heads: dict[str, Head], busy: Container[str]) -> bool:
        """Look at every stream and set its gauges; the head of one that has lost entries counts them as answered.

        Returns whether anything waits to be answered.

        `busy` are streams with a commit under way, whose head is about to move. Raises StoreUnavailableError.
        """
        lost, waiting = {}, False
        for stream, head in list(heads.items()):
            tail = self._store.tail(stream, head)
            if stream not in busy and tail.position is not None and is_before(tail.position, head.position):
                self._reopen(stream)  # flushed, or states were imported; an idle stream would not find out by a commit
                continue
            self._sweep.look(stream, head.position)
            waiting = waiting or tail.lag_entries > 0
            self._metrics.of[stream].lag_entries.set(tail.lag_entries)
            self._metrics.of[stream].lag_seconds.set(tail.lag_ms / 1000)
            if tail.ends_before_position and stream not in busy:
                self._note_begun_again(stream, head)
            else:
                self._begun_again.discard(stream)
            if tail.answered is not None and tail.answered > head.answered and stream not in busy:
                lost[stream] = tail.answered - head.answered
        for stream, entries in lost.items():
            self._note_lost(stream, heads[stream], entries)
            heads[stream] = replace(heads[stream], answered=heads[stream].answered + entries)
        arena = self._engine.arena
        self._metrics.cached_series.set(arena.cached)
        self._metrics.state_bytes.set(arena.nbytes)
        if arena.nbytes != self._state_bytes:  # what taking in new series needed besides is not needed any more
            self._state_bytes = arena.nbytes
            self._give_back()
        self._metrics.note_steps(self._engine.format.header(arena.sample(SAMPLED_SERIES))["steps"])
        self._metrics.evictions.inc(arena.evictions)
        arena.evictions = 0
        return waiting

    def forget(self, stream: str) -> None:
        """The stream is another process's now."""
        self._begun_again.discard(stream)

    def _note_begun_again(self, stream: str, head: Head) -> None:
        """The stream was deleted and has smaller ids now: say once that nobody reads them, and what mends it."""
        if stream in self._begun_again:
            return
        self._begun_again.add(stream)
        say_begun_again(stream, head)

    def _note_lost(self, stream: str, head: Head, entries: int) -> None:
        """Entries vanished between the position and the oldest one left: somebody trims faster than we read."""
        self._engine.skip(stream, entries)
        if head.model is not None:  # before the first commit, what is gone was never ours
            self._metrics.of[stream].lost_entries.inc(entries)
            log.error(
                "%d entries of %r were trimmed before they were read; let producers keep more (MAXLEN), or trim by "
                "`--retain` alone",
                entries,
                stream,
                extra={"stream": stream, "entries": entries},
            )
