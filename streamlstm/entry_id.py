"""Ids of stream entries, `<ms>-<sequence>`: parse, order, write."""

from __future__ import annotations

from typing import NamedTuple

from streamlstm.errors import StoreError


class EntryId(NamedTuple):
    """An entry's id; compares as Redis compares."""

    time_ms: int
    sequence: int

    @classmethod
    def parse(cls, text: bytes | str) -> EntryId:
        """Read `ms-seq` or `ms`; raises StoreError for anything else."""
        raw = text.decode("ascii", "replace") if isinstance(text, bytes) else text
        time_ms, _, sequence = raw.partition("-")
        try:
            return cls(int(time_ms), int(sequence or 0))
        except ValueError:
            raise StoreError(f"{raw!r} is not an entry id of the form ms-sequence") from None

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


HIGHEST = b"18446744073709551615-18446744073709551615"  # a stream that has it takes no more entries
BEGINNING = b"0-0"  # before every entry: Redis accepts no id this small
