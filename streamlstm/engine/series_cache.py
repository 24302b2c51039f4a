"""Records kept in memory: rows of one float32 array, found by stream and series name, the least used leave first."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from streamlstm.store.record import RecordFormat, Rows
from streamlstm.store.resp import Table

Slots = NDArray[np.int64]

NO_SLOT = -1  # of a series that is not cached
NOBODY = -1  # number of the stream of a free row
_FIRST_CAPACITY = 1024  # rows
_DOUBLED_UP_TO = 65_536  # rows; beyond, a sixty-fourth is added at a time, so that little memory lies idle
_NO_RESERVE = 0x4000  # Linux' MAP_NORESERVE: addresses only, memory as it is written to
_MOST_RESERVED = 1 << 40  # bytes; no more addresses than any processor has to give


class Arena:
    """Rows of records with a limit in bytes. A slot is a row's index; it stays a series' own until it is evicted.

    What is kept besides a row is kept in arrays and in the codec's table: a Python object a series would be a third of
    the memory.
    """

    def __init__(self, record_format: RecordFormat, *, max_bytes: int) -> None:
        self._format = record_format
        self._limit = max(1, max_bytes // record_format.size)
        self._rows = _reserved(self._limit, record_format.words)  # beyond the capacity they were never written to
        self._capacity = 0
        self._last_used = np.empty(0, np.uint32)  # number of the batch that used a row last
        self._stream_of = np.empty(0, np.int32)  # number of the stream a row belongs to; NOBODY if free
        self.kept_in = np.empty(0, np.int64)  # (slots,) for `engine.checkpoints`: when a row was last kept aside
        self.given_in = np.empty(0, np.uint32)  # (slots,) number of the batch since which a row goes on by values alone
        self._free = np.empty(0, np.int32)  # a stack of free slots
        self._free_count = 0
        self.scratch = np.empty(0, np.int32)  # (slots,) -1 each, for whoever sorts slots and leaves it so
        self._numbers: dict[str, int] = {}
        self._counts: dict[int, int] = {}  # number of a stream -> rows it has
        self._batch = 0
        self.table = Table()
        self.evictions = 0
        self._grow(min(_FIRST_CAPACITY, self._limit))

    def number(self, stream: str) -> int:
        """The stream's number in the table; it is never given to another."""
        return self._numbers.setdefault(stream, len(self._numbers))

    @property
    def rows(self) -> Rows:
        """All rows (slots, words), those in use and others; it may be another array after the next `put`."""
        return self._rows

    @property
    def cached(self) -> int:
        """How many records are in memory."""
        return len(self.table)

    @property
    def nbytes(self) -> int:
        """What the rows and what finds them take, used or not."""
        arrays = (self._last_used, self._stream_of, self.kept_in, self.given_in, self._free, self.scratch)
        rows = self._capacity * self._format.size
        return rows + sum(array.nbytes for array in arrays) + self.table.nbytes

    def begin_batch(self) -> None:
        """Start a batch: rows touched or put from now on cannot be evicted until the next one."""
        self._batch += 1
        if self._batch >> 32:  # after years: who was used last is forgotten, nothing else
            self._batch = 1
            self._last_used[:] = 0
            self.given_in[:] = np.iinfo(np.uint32).max  # what was copied of them before is no more begun with

    @property
    def batch(self) -> int:
        """The number of the last batch."""
        return self._batch

    def begin_anew(self, slots: Slots | int) -> None:
        """Note that what was copied of rows before this batch, or kept aside, may not lead to what they are now."""
        self.kept_in[slots] = -1
        self.give_up_copies(slots)

    def give_up_copies(self, slots: Slots | int) -> None:
        """Note the same of what was copied alone."""
        self.given_in[slots] = self._batch

    def touch(self, slots: Slots | int) -> None:
        """Protect rows in this batch."""
        self._last_used[slots] = self._batch

    def put(self, stream: str, names: Sequence[bytes], rows: Rows) -> Slots:
        """Cache the records of series that are not cached yet and say where; evicts others if the limit is reached."""
        count = len(names)
        self._make_room(count)
        taken = self._free[self._free_count - count : self._free_count].copy()
        self._free_count -= count
        self._rows[taken] = rows
        self._last_used[taken] = self._batch
        self.begin_anew(slots := taken.astype(np.int64))
        number = self.number(stream)
        self._stream_of[taken] = number
        self._counts[number] = self._counts.get(number, 0) + count
        for name, slot in zip(names, taken.tolist(), strict=True):
            self.table.put(number, name, slot)
        return slots

    def find(self, stream: str, name: bytes) -> int:
        """The slot of a series, NO_SLOT if it is not cached."""
        return self.table.get(self.number(stream), name)

    def gather(self, slots: Slots) -> Rows:
        """A copy of the rows, (n, words)."""
        self._last_used[slots] = self._batch
        return self._rows.take(slots, axis=0)

    def scatter(self, slots: Slots, rows: Rows) -> None:
        self._rows[slots] = rows

    def drop(self, slots: Slots) -> None:
        """Forget the series of some slots."""
        remove = self.table.remove
        for slot in slots.tolist():
            remove(slot)
        for number, count in zip(*np.unique(self._stream_of[slots], return_counts=True), strict=True):
            self._counts[int(number)] -= int(count)
        self._stream_of[slots] = NOBODY
        self._free[self._free_count : self._free_count + len(slots)] = slots
        self._free_count += len(slots)

    def count(self, stream: str) -> int:
        """How many series of a stream are cached."""
        return self._counts.get(self.number(stream), 0)

    def sample(self, count: int) -> Rows:
        """A copy of the records in memory, (n, words); of more than `count`, about so many, evenly spread."""
        used = np.flatnonzero(self._stream_of != NOBODY)
        sampled: Rows = self._rows.take(used[:: max(1, len(used) // count)], axis=0)
        return sampled

    def slots(self, stream: str) -> Slots:
        """The slots of a stream's cached series."""
        return np.flatnonzero(self._stream_of == self.number(stream))

    def recent(self, stream: str, count: int) -> Slots:
        """The same of those that were used last, in order, so many at most."""
        slots = self.slots(stream)
        if (others := len(slots) - count) > 0:
            slots = np.sort(slots[np.argpartition(self._last_used[slots], others - 1)[others:]])
        return slots

    def _make_room(self, count: int) -> None:
        if self._free_count >= count:
            return
        capacity = self._capacity
        wanted = capacity - self._free_count + count
        if capacity < self._limit:
            more = capacity if capacity < _DOUBLED_UP_TO else capacity // 64
            self._grow(min(self._limit, max(wanted, capacity + more)))
        if self._free_count < count:
            self._evict(count - self._free_count)
        if self._free_count < count:
            # One batch needs more than the limit: correctness first. The rows stay, for the series of later batches.
            self._grow(self._capacity + count - self._free_count)

    def _evict(self, count: int) -> None:
        idle = np.flatnonzero((self._stream_of != NOBODY) & (self._last_used < self._batch))
        count = min(count, len(idle))
        if count == 0:
            return
        # A tenth more than needed, so that a working set above the limit does not sort its rows at every batch.
        count = min(len(idle), count + self._capacity // 10)
        self.drop(idle[np.argpartition(self._last_used[idle], count - 1)[:count]])
        self.evictions += count

    def _grow(self, capacity: int) -> None:
        old = self._capacity
        if capacity > len(self._rows):
            rows = np.empty((capacity, self._format.words), np.float32)
            rows[:old] = self._rows[:old]
            self._rows = rows
        self._capacity = capacity
        added = capacity - old
        self._last_used = np.concatenate([self._last_used, np.zeros(added, np.uint32)])
        self._stream_of = np.concatenate([self._stream_of, np.full(added, NOBODY, np.int32)])
        self.kept_in = np.concatenate([self.kept_in, np.full(added, -1, np.int64)])
        self.given_in = np.concatenate([self.given_in, np.zeros(added, np.uint32)])
        free = np.empty(capacity, np.int32)
        free[: self._free_count] = self._free[: self._free_count]
        free[self._free_count : self._free_count + added] = np.arange(capacity - 1, old - 1, -1)
        self.scratch = np.full(capacity, NO_SLOT, np.int32)
        self._free, self._free_count = free, self._free_count + added


def _reserved(rows: int, words: int) -> Rows:
    """An array of so many rows that takes addresses but no memory yet; empty where the system gives none.

    Rows are never moved then: growing takes neither time nor twice the memory.
    """
    size = 4 * rows * words
    if not sys.platform.startswith("linux") or size > _MOST_RESERVED:
        return np.empty((0, words), np.float32)
    try:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE
        memory = mmap.mmap(-1, size, flags=flags)
        with suppress(OSError):  # a kernel without them
            # Large pages: rows lie anywhere in the memory, and to find where a small page is takes longer than the row.
            memory.madvise(mmap.MADV_HUGEPAGE)
        return np.frombuffer(memory, np.float32).reshape(rows, words)
    except OSError:
        return np.empty((0, words), np.float32)
