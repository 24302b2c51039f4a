"""What a stream's beginning is known not to lead to, so that the next correction that is refused costs next to nothing.

To find that a value cannot be corrected, what a stream retains is read from its beginning, and whoever is told so may
well ask for the next one. So of a series that its beginning did not lead to, the record of then is kept: as long as it
leads to where the series is, and the values since do not do so by themselves (as they do behind a reset), the beginning
does not either. And of a stream that has more entries than may be read, where the pages end that were. Nothing rests on
either but what a refusal costs.
"""

from __future__ import annotations

from bisect import bisect_left

from streamlstm.store.resp import EntryId

MOST_BYTES = 8 << 20  # of records, of a stream


class OutOfReach:
    """Of one stream."""

    def __init__(self) -> None:
        self.ends: list[EntryId] = []  # of full pages of entries, in order from the stream's beginning on
        self._records = dict[bytes, tuple[EntryId, bytes]]()
        self._bytes = 0

    def record(self, name: bytes) -> tuple[EntryId, bytes] | None:
        """What a series had up to an entry, which its beginning did not lead to; None if nothing is known."""
        return self._records.get(name)

    def put(self, name: bytes, entry: EntryId, record: bytes) -> None:
        """Remember that in the place of what is known."""
        self.forget(name)
        self._records[name] = entry, record
        self._bytes += len(record)
        while self._bytes > MOST_BYTES:
            self.forget(next(iter(self._records)))

    def forget(self, name: bytes) -> None:
        """Know nothing of a series any more."""
        _, record = self._records.pop(name, (None, b""))
        self._bytes -= len(record)

    def ends_from(self, first: EntryId) -> list[EntryId]:
        """The ends of pages that are left where a stream begins with this entry by now."""
        del self.ends[: bisect_left(self.ends, first)]
        return self.ends
