"""Remove the records of series that were idle for too long: a page at a time, inside the commits there are anyway.

Removal changes no answer, because a series that was idle begins anew with or without its old record (see
`engine.silences`); it gives memory back. It rides in a commit, so it is fenced by the position as everything is.
What a new series is told where `--max-series` is reached does depend on it: the limit counts records that are there.
"""

from __future__ import annotations

from streamlstm.daemon.champions import Champions
from streamlstm.daemon.streams import Stream
from streamlstm.store import Commit, Store
from streamlstm.store.record import idle_edge, time_of

PAGE = 5_000  # records looked at in one go; with one page every two seconds ten million take an hour


class IdleSweeper:
    """Finds idle series and adds their removal to commits; does nothing where no limit is set."""

    def __init__(self, store: Store, champions: Champions) -> None:
        self._store, self._champions = store, champions
        self._idle_ms = champions.settings.idle_after_ms

    def look(self, stream: Stream, position: bytes) -> None:
        """Look at the next page of a stream's records, unless those found before wait for a commit."""
        removal = stream.removal
        if self._idle_ms is None or removal.idle:
            return
        edge = idle_edge(position, self._idle_ms)
        removal.cursor, page = self._store.scan(stream.name, removal.cursor, PAGE)
        removal.idle = [name for name, record in page if time_of(record, edge) < edge]

    def add_to(self, commit: Commit, stream: Stream) -> None:
        """Add to a stream's commit the removal of the series found idle; each is looked at again first."""
        removal = stream.removal
        if not removal.idle or commit.reset_all or self._idle_ms is None:
            return
        found, removal.idle = removal.idle, []
        busy = {*commit.names, *commit.removed}
        names = [name for name in dict.fromkeys(found) if name not in busy]
        edge = idle_edge(commit.position, self._idle_ms)
        # Loaded after every commit before this one. What is in memory may be ahead of that only in this very commit.
        records = self._store.load(commit.stream, names) if names else []
        gone = [
            name
            for name, record in zip(names, records, strict=True)
            if record is not None and time_of(record, edge) < edge
        ]
        self._champions.of(commit.stream).remove(commit.stream, gone)
        removal.under_way = len(gone)
        if gone:
            commit.removed = [*commit.removed, *gone]

    def settled(self, stream: Stream, *, holds: bool) -> int:
        """How many removals the stream's commit made, once it is known whether it holds."""
        removal = stream.removal
        count, removal.under_way = removal.under_way, 0
        return count if holds else 0
