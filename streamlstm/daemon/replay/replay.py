"""Step again what an input stream retains, through the engine that serves, without writing anything.

Two need it: `verify`, which holds predictions and records against what comes out, and `serve --on-model-change replay`,
which makes the states of a new model from the values there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from streamlstm.daemon.replay.corrections import Source
from streamlstm.daemon.replay.preparing import prepare
from streamlstm.daemon.replay.temp_records import TempRecords
from streamlstm.engine import CORRECTIONS, Engine, Result
from streamlstm.store import NO_ENTRIES, Commit, Head, Keys, Letters, read_range
from streamlstm.store.resp import Connection, beyond
from streamlstm.store.snapshots import Record

PAGE = 1_000  # entries of one batch


class Replay:
    """One stream stepped again; `records` are its states up to the position, until it is closed."""

    def __init__(self, engine: Engine, stream: str, *, start: Head, records: Iterable[Record] | None = None) -> None:
        """Begin at a position, with the records that belong to it; without any if the states were begun there."""
        self._engine, self._stream, self._begun = engine, stream, start.position
        self._letters = Letters(Keys(stream), CORRECTIONS)
        self.records = TempRecords(records or ())
        self._has_first = records is not None
        if self._has_first:
            self.records.keep_first()
        self.position = start.position
        self.entries = 0  # stepped again
        engine.open(stream, Head(position=start.position, model=None, series=len(self.records), answered=0))

    def run(self, connection: Connection, end: bytes) -> Iterator[Result]:
        """Step the entries after the position up to the id `end`; each batch's result once its records are taken in."""
        while (reply := read_range(connection, Keys(self._stream), self.position, end, PAGE)) != NO_ENTRIES:
            yield self._step(reply, connection)

    def close(self) -> None:
        self.records.close()

    def _step(self, reply: bytes, connection: Connection) -> Result:
        batch = self._engine.parse(reply)
        if not batch[0].plain:
            batch = [prepare(self._engine, batch[0], self._source(connection))]
        for stream, names in self._engine.begin(batch).items():
            self._engine.admit(stream, names, self.records.get(names))
        [result] = self._engine.step(batch)
        self._take_in(result.commit)
        self.position = result.commit.position
        self.entries += result.entries
        return result

    def _source(self, connection: Connection) -> Source:
        """Where corrections find what is to be stepped again."""
        keys = Keys(self._stream)
        return Source(
            read=partial(read_range, connection, keys),
            load=self.records.get,
            letters=partial(self._letters.read, connection),
            begun=self._begun,
            records=self.records.get_first if self._has_first else None,
            follows=True,
            most_entries=None,
        )

    def _take_in(self, commit: Commit) -> None:
        if commit.reset_all:
            self.records.clear()
        self.records.remove(commit.removed)
        self.records.put(commit.names, commit.records)


def count_entries(connection: Connection, stream: str, after: bytes, end: bytes) -> int:
    """How many entries a stream holds after one id up to another."""
    count = 0
    while True:
        page = connection.call("XRANGE", Keys(stream).input, *beyond(after, end), "COUNT", PAGE)
        if not page:
            return count
        count += len(page)
        after = page[-1][0]
