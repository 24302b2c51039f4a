"""Records kept in memory: rows of one float32 array, found by stream and series name, the least used leave first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streamlstm.record import RecordFormat, Rows

Slots = NDArray[np.int64]

NO_SLOT = -1  # of a series that is not cached
_FIRST_CAPACITY = 1024  # rows; doubled when full, up to the limit


class Arena:
    """Rows of records with a limit in bytes. A slot is a row's index; it stays a series' own until it is evicted."""

    def __init__(self, record_format: RecordFormat, *, max_bytes: int) -> None:
        self._format = record_format
        self._limit = max(1, max_bytes // record_format.size)
        self._rows = np.empty((min(_FIRST_CAPACITY, self._limit), record_format.words), np.float32)
        self._last_used = np.zeros(len(self._rows), np.int64)  # number of the batch that used a row last
        self._owners: list[tuple[str, bytes] | None] = [None] * len(self._rows)
        self._free = list(range(len(self._rows) - 1, -1, -1))
        self._streams: dict[str, dict[bytes, int]] = {}
        self._batch = 0
        self.evictions = 0

    def slots(self, stream: str) -> dict[bytes, int]:
        """Series name -> slot of a stream's cached records; read it, do not write it."""
        return self._streams.setdefault(stream, {})

    @property
    def cached(self) -> int:
        """How many records are in memory."""
        return sum(map(len, self._streams.values()))

    @property
    def nbytes(self) -> int:
        """What the rows take, used or not."""
        return self._rows.nbytes

    def begin_batch(self) -> None:
        """Start a batch: rows used or put from now on cannot be evicted until the next one."""
        self._batch += 1

    def find(self, stream: str, names: Sequence[bytes]) -> Slots:
        """The slots of series by name, NO_SLOT for those not cached; protects the others in this batch."""
        found = list(map(self.slots(stream).get, names))
        slots = np.array([NO_SLOT if slot is None else slot for slot in found] if None in found else found, np.int64)
        self._last_used[slots[slots != NO_SLOT]] = self._batch
        return slots

    def put(self, stream: str, names: Sequence[bytes], rows: Rows) -> None:
        """Cache the records of series that are not cached yet; evicts others if the limit is reached."""
        self._make_room(len(names))
        taken = [self._free.pop() for _ in names]
        self._rows[taken] = rows
        self._last_used[taken] = self._batch
        self.slots(stream).update(zip(names, taken, strict=True))
        for slot, name in zip(taken, names, strict=True):
            self._owners[slot] = (stream, name)

    def names(self, slots: Slots) -> list[bytes]:
        """The names of the series that own the slots."""
        owners = self._owners
        return [owner[1] for slot in slots.tolist() if (owner := owners[slot]) is not None]

    def gather(self, slots: Slots) -> Rows:
        """A copy of the rows, (n, words)."""
        self._last_used[slots] = self._batch
        return self._rows.take(slots, axis=0)

    def scatter(self, slots: Slots, rows: Rows) -> None:
        """Write rows back."""
        self._rows[slots] = rows

    def drop(self, stream: str, names: Sequence[bytes]) -> None:
        """Forget the named series, cached or not."""
        slots = self.slots(stream)
        for name in names:
            slot = slots.pop(name, None)
            if slot is not None:
                self._owners[slot] = None
                self._free.append(slot)

    def drop_stream(self, stream: str) -> None:
        """Forget a stream's records."""
        self.drop(stream, list(self.slots(stream)))
        self._streams.pop(stream, None)

    def _make_room(self, count: int) -> None:
        if len(self._free) >= count:
            return
        wanted = len(self._rows) - len(self._free) + count
        if len(self._rows) < self._limit:
            self._grow(min(self._limit, max(wanted, 2 * len(self._rows))))
        if len(self._free) < count:
            self._evict(count - len(self._free))
        if len(self._free) < count:
            # One batch needs more than the limit: correctness first, the next batches shrink back by evicting.
            self._grow(len(self._rows) + count - len(self._free))

    def _evict(self, count: int) -> None:
        owned = np.fromiter((owner is not None for owner in self._owners), bool, len(self._owners))
        idle = np.flatnonzero(owned & (self._last_used < self._batch))
        count = min(count, len(idle))
        if count == 0:
            return
        # A tenth more than needed, so that a working set above the limit does not sort its rows at every batch.
        count = min(len(idle), count + len(self._owners) // 10)
        oldest = idle[np.argpartition(self._last_used[idle], count - 1)[:count]]
        for slot in oldest.tolist():
            owner = self._owners[slot]
            assert owner is not None, "only owned slots are idle"
            del self._streams[owner[0]][owner[1]]
            self._owners[slot] = None
            self._free.append(slot)
        self.evictions += count

    def _grow(self, capacity: int) -> None:
        old = len(self._rows)
        rows = np.empty((capacity, self._format.words), np.float32)
        rows[:old] = self._rows
        self._rows = rows
        self._last_used = np.concatenate([self._last_used, np.zeros(capacity - old, np.int64)])
        self._owners.extend([None] * (capacity - old))
        self._free.extend(range(capacity - 1, old - 1, -1))
