"""A commit as the bytes of one flight: MULTI … EXEC, then WATCH and HGET for the next one.

Every argument needs its length in front, and writing that for each of ten thousand names, ids, texts and records was a
third of the daemon's time. So nothing is formatted here: lengths come from a table, names are kept with theirs, records
are framed as one array, and the flight is one join over a list whose columns are assigned as slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from streamlstm.entry_id import EntryId
from streamlstm.keys import Keys
from streamlstm.store import FORMAT, Commit
from streamlstm.wire import bulk, pack

# Names remembered with their length; beyond this the table starts anew (some 200 bytes a name).
MAX_NAMES = 1_000_000
_LENGTHS = tuple(b"$%d\r\n" % length for length in range(512))


class _Names(dict[bytes, bytes]):
    """Series name -> CRLF and the name as an argument."""

    def __missing__(self, name: bytes) -> bytes:
        if len(self) >= MAX_NAMES:
            self.clear()
        packed = self[name] = b"\r\n$%d\r\n%b\r\n" % (len(name), name)
        return packed


class FlightPacker:
    """Packs the commits of one stream."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._names = _Names()
        self._begin = pack("MULTI")
        self._end = pack("EXEC") + pack("WATCH", keys.meta) + pack("HGET", keys.meta, "position")
        self._add = b"$4\r\nXADD\r\n" + bulk(keys.predictions.encode())
        self._set = b"$4\r\nHSET\r\n" + bulk(keys.state.encode())

    def pack(self, commit: Commit) -> tuple[bytes, int]:
        """A flight, and how many commands stand between its MULTI and its EXEC."""
        parts = [self._begin]
        commands = self._pack_records(commit, parts) + self._pack_predictions(commit, parts)
        commands += self._pack_rest(commit, parts)
        parts.append(self._end)
        return b"".join(parts), commands

    def _pack_records(self, commit: Commit, parts: list[bytes]) -> int:
        commands = 0
        if commit.reset_all:
            parts.append(pack("DEL", self._keys.state))
            commands += 1
        elif commit.removed:
            parts.append(pack("HDEL", self._keys.state, *commit.removed))
            commands += 1
        count = len(commit.names)
        if count:
            # A name is kept with the line break before it; the one before the first ends the command's head.
            parts.append((b"*%d\r\n%b" % (2 + 2 * count, self._set))[:-2])
            pairs: list[bytes] = [b""] * (2 * count)
            pairs[0::2] = map(self._names.__getitem__, commit.names)
            pairs[1::2] = _frame(commit.records)
            parts += pairs
            parts.append(b"\r\n")
            commands += 1
        return commands

    def _pack_predictions(self, commit: Commit, parts: list[bytes]) -> int:
        """One XADD an entry: every column of the flight is assigned as one slice."""
        ids, texts, count = commit.ids, commit.texts, len(commit.ids)
        if not count:
            return 0
        names = map(self._names.__getitem__, commit.fields)
        if len(texts) == count:
            columns: list[bytes] = [b""] * (6 * count)
            opening = b"*5\r\n" + self._add
            columns[0::6] = [b"\r\n" + opening] * count
            columns[0] = opening
            columns[1::6], columns[2::6] = _lengths(ids), ids
            columns[3::6] = names
            columns[4::6], columns[5::6] = _lengths(texts), texts
            parts += columns
            parts.append(b"\r\n")
            return count
        fields: list[bytes] = [b""] * (3 * len(texts))
        fields[0::3] = names
        fields[1::3], fields[2::3] = _lengths(texts), texts
        first = 0
        for entry_id, length, fields_of_entry in zip(ids, _lengths(ids), commit.counts, strict=True):
            last = first + 3 * fields_of_entry
            parts += (b"*%d\r\n%b" % (3 + 2 * fields_of_entry, self._add), length, entry_id)
            parts += fields[first:last]
            parts.append(b"\r\n")
            first = last
        return count

    def _pack_rest(self, commit: Commit, parts: list[bytes]) -> int:
        keys = self._keys
        for letter in commit.dead:
            fields = ("id", letter.id, "series", letter.series, "value", letter.value, "error", letter.error)
            parts.append(pack("XADD", keys.dead, "*", *fields))
        parts.append(
            pack(
                *("HSET", keys.meta, "position", commit.position, "model", commit.model),
                *("columns", commit.columns, "format", FORMAT, "entries", commit.answered),
            )
        )
        commands = len(commit.dead) + 1
        if commit.trim_before_ms is not None:
            # Predictions go with the input they answer; MINID is below the position, so nothing unread is trimmed.
            edge = bytes(min(EntryId(commit.trim_before_ms, 0), EntryId.parse(commit.position)))
            parts += [pack("XTRIM", key, "MINID", "~", edge) for key in (keys.input, keys.predictions)]
            commands += 2
        return commands


def _lengths(texts: Sequence[bytes]) -> list[bytes]:
    """The length of each text as the protocol writes it."""
    try:
        return list(map(_LENGTHS.__getitem__, map(len, texts)))
    except IndexError:
        return [b"$%d\r\n" % len(text) for text in texts]


def _frame(records: NDArray[np.uint8]) -> list[bytes]:
    """Records (n, size) as arguments, but for their last line break, which the name after each begins with."""
    count, size = records.shape
    head = b"$%d\r\n" % size
    framed = np.empty((count, len(head) + size), np.uint8)
    framed[:, : len(head)] = np.frombuffer(head, np.uint8)
    framed[:, len(head) :] = records
    packed: Any = framed.view(np.dtype((np.void, framed.shape[1]))).ravel().tolist()
    return cast(list[bytes], packed)
