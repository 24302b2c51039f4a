"""Ids of stream entries, `<ms>-<sequence>`: parse, order, write."""

from __future__ import annotations

from typing import NamedTuple

from streamlstm.errors import StoreError

MOST = 2**64 - 1  # of either part
MOST_BYTES = 41


class EntryId(NamedTuple):
    """An entry's id; compares as Redis compares."""

    time_ms: int
    sequence: int

    @classmethod
    def parse(cls, text: bytes | str) -> EntryId:
        """Read `ms-seq` or `ms`, each below 2^64; raises StoreError for anything else, as Redis does."""
        raw = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
        time_ms, dash, sequence = raw.partition(b"-")
        # What is a digit elsewhere is none in bytes, and Redis takes neither signs nor underscores as `int` does.
        if time_ms.isdigit() and (sequence.isdigit() or not dash) and len(raw) <= MOST_BYTES:
            found = cls(int(time_ms), int(sequence or b"0"))
            if max(found) <= MOST:
                return found
        shown = raw[:MOST_BYTES].decode("utf-8", "replace") + "…" * (len(raw) > MOST_BYTES)
        raise StoreError(f"{shown!r} is not an entry id of the form ms-sequence")

    def before(self) -> EntryId:
        """The id just before it; 0-0 has none, and is its own."""
        if self.sequence:
            return EntryId(self.time_ms, self.sequence - 1)
        return EntryId(self.time_ms - 1, MOST) if self.time_ms else self

    def __str__(self) -> str:
        return f"{self.time_ms}-{self.sequence}"

    def __bytes__(self) -> bytes:
        return str(self).encode()


def is_before(one: bytes, other: bytes) -> bool:
    """Whether an id lies before another."""
    return EntryId.parse(one) < EntryId.parse(other)


def beyond(entry_id: bytes, end: bytes = b"+") -> tuple[bytes, bytes]:
    """Start and end, for XRANGE, of what comes after an id; nothing does after the highest, which Redis refuses."""
    return (b"+", b"-") if entry_id == HIGHEST else (b"(" + entry_id, end)


HIGHEST = b"%d-%d" % (MOST, MOST)  # a stream that has it takes no more entries
BEGINNING = b"0-0"  # before every entry: Redis accepts no id this small
