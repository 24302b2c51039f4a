"""Where dead letters lie in their stream, found by what they are about: 32 bytes each, however many are kept.

As Python's objects a million of them take 170 MB.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlstm.store.resp import EntryId

Words = NDArray[np.uint64]

MOST_YOUNG = 65_536  # as objects, the last ones

_WORDS = 4  # of a letter: the hash of what it is about, and its id


class LetterPlaces:
    """Ids of letters by 16 bytes each is about; of several about the same the last one's."""

    def __init__(self) -> None:
        self._young: dict[bytes, bytes] = {}
        self._old: Words = np.empty((0, _WORDS), np.uint64)  # (n, 4) in the order of their hashes, then as they came

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def put(self, about: bytes, own: bytes) -> None:
        """Take in one, by its id as the server gives it."""
        self._young[about] = own
        if len(self._young) > MOST_YOUNG:
            self._settle()

    def get(self, about: bytes) -> EntryId | None:
        found = self._young.get(about)
        if found is not None:
            return EntryId.parse(found)
        first, second = np.frombuffer(about, np.uint64)
        begin, end = np.searchsorted(self._old[:, 0], first), np.searchsorted(self._old[:, 0], first, "right")
        for row in self._old[begin:end][::-1]:
            if row[1] == second:
                return EntryId(int(row[2]), int(row[3]))
        return None

    def _settle(self) -> None:
        """Put the last ones among the others."""
        made = np.empty((len(self), _WORDS), np.uint64)
        made[: len(self._old)] = self._old
        new = made[len(self._old) :]
        new[:, :2] = np.frombuffer(b"".join(self._young), np.uint64).reshape(-1, 2)
        numbers = b" ".join(self._young.values()).replace(b"-", b" ")
        new[:, 2:] = np.fromstring(numbers.decode(), np.uint64, sep=" ").reshape(-1, 2)
        self._young, self._old = {}, made[:0]
        self._old = made[np.argsort(made[:, 0], kind="stable")]

    def drop_before(self, first: EntryId) -> None:
        """Forget letters from before an id."""
        self._young = {about: own for about, own in self._young.items() if EntryId.parse(own) >= first}
        time_ms, sequence = (np.uint64(part) for part in first)
        is_later = (self._old[:, 2] > time_ms) | ((self._old[:, 2] == time_ms) & (self._old[:, 3] >= sequence))
        self._old = self._old[is_later]
