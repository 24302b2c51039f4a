"""Remove the records of series that were idle for too long: a page at a time, inside the commits there are anyway.

Removal changes no answer, because a series that was idle begins anew with or without its old record (see
`streamlstm.silences`); it gives memory back. It rides in a commit, so it is fenced by the position as everything is.
What a new series is told where `--max-series` is reached does depend on it: the limit counts records that are there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from streamlstm.engine import Engine
from streamlstm.record import idle_edge, time_of
from streamlstm.store import Commit, Store

PAGE = 5_000  # records looked at in one go; with one page every two seconds ten million take an hour


@dataclass
class _Progress:
    """How far the sweep of one stream is."""

    cursor: bytes = b"0"
    idle: list[bytes] = field(default_factory=list)  # series that were idle when they were looked at
    under_way: int = 0  # removals in a commit that is not answered yet


class Sweep:
    """Finds idle series and adds their removal to commits; does nothing where no limit is set."""

    def __init__(self, store: Store, engine: Engine) -> None:
        self._store, self._engine = store, engine
        self._idle_ms = engine.settings.idle_ms
        self._of: dict[str, _Progress] = {}

    def look(self, stream: str, position: bytes) -> None:
        """Look at the next page of a stream's records, unless those found before wait for a commit."""
        if self._idle_ms is None:
            return
        progress = self._of.setdefault(stream, _Progress())
        if progress.idle:
            return
        edge = idle_edge(position, self._idle_ms)
        progress.cursor, page = self._store.scan(stream, progress.cursor, PAGE)
        progress.idle = [name for name, record in page if time_of(record, edge) < edge]

    def add_to(self, commit: Commit) -> Commit:
        """The commit, with the removal of the series found idle; each is looked at again first."""
        if self._idle_ms is None:
            return commit
        progress = self._of.get(commit.stream)
        if progress is None or not progress.idle or commit.reset_all:
            return commit
        found, progress.idle = progress.idle, []
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
        self._engine.remove(commit.stream, gone)
        progress.under_way = len(gone)
        if gone:
            commit.removed = [*commit.removed, *gone]
        return commit

    def settled(self, stream: str, *, holds: bool) -> int:
        """How many removals the stream's commit made, once it is known whether it holds."""
        progress = self._of.get(stream)
        if progress is None:
            return 0
        count, progress.under_way = progress.under_way, 0
        return count if holds else 0
