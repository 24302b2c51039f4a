"""What is read next of the streams that are open: from where, and how many entries."""

from __future__ import annotations

from collections.abc import Sequence

from streamlstm.daemon.streams import Stream, Streams
from streamlstm.engine import Parsed
from streamlstm.store import TOO_MUCH, Store

FIRST_ENTRIES = 64
AIMED_BYTES = 16 << 20  # of a read: a quarter of what a store takes at most, as entries differ


class ReadCursors:
    """One read for all streams at a time."""

    def __init__(self, store: Store, streams: Streams, *, batch_values: int, most_entries: int) -> None:
        """A read is to bring about `batch_values` values, and at most so many entries of a stream."""
        self._store, self._streams = store, streams
        self._batch_values, self._most_entries = batch_values, most_entries
        self._entries = FIRST_ENTRIES
        self._entry_bytes = 1.0  # of the last read, on average
        self._asked: dict[str, bytes] = {}  # cursors of the read under way

    def ask(self) -> None:
        """Ask for what comes after the cursors of the streams that are open."""
        self._asked = {name: stream.cursor for name, stream in self._streams.open.items()}
        self._store.send_read(self._asked, self._entries)

    def is_fresh(self, stream: Stream) -> bool:
        """Whether the read that came is of use; that of a stream that was opened anew meanwhile is stale."""
        return self._asked[stream.name] == stream.cursor

    def take(self, reply: bytes, batch: Sequence[Parsed]) -> list[Parsed]:
        """What is of use of that read, of which this was the reply; it is read from now on."""
        self._weigh(reply, batch)
        fresh = [parsed for parsed in batch if self.is_fresh(self._streams[parsed.stream])]
        for parsed in fresh:
            self._streams[parsed.stream].cursor = parsed.position
        return fresh

    def _weigh(self, reply: bytes, batch: Sequence[Parsed]) -> None:
        """Note how large entries are: so many came in this reply, or none because they are too large together."""
        if reply == TOO_MUCH:
            self._entries = 1
        else:
            self._entry_bytes = len(reply) / max(1, sum([parsed.entries for parsed in batch]))

    def fit(self, values: int, entries: int) -> None:
        """Fit the size of the next read to the values and bytes an entry carries."""
        wanted = max(1, int(min(self._batch_values / max(values / entries, 1.0), AIMED_BYTES / self._entry_bytes)))
        # Grown by doubling only: entries may be small now and a thousand values each in the next read.
        self._entries = min(self._most_entries, wanted, 2 * self._entries)

    def begin_small(self) -> None:
        """Small reads come first again, so that a store too slow for large ones is given them."""
        self._entries = FIRST_ENTRIES
