"""The wire format of the hot path, without an object per value: replies to arrays, arrays to commands.

A read's reply stays one piece of bytes; entry ids, series names and values are places in it, and a commit's commands
are put together from the same places. What has to be found by name (a series' slot) is looked up while the reply is
scanned. The work is done by the compiled `store.resp._codec` where it was built, else by `store.resp.codec_python`.

Weighed against hiredis and bulk Python: those make two objects and a list per value, 6.9 of 8.1 us a value in a drain,
where Redis itself needs 2.5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from streamlstm.store.resp import codec_python as _codec

    COMPILED = False
else:
    try:
        from streamlstm.store.resp import _codec

        COMPILED = True
    except ImportError:
        from streamlstm.store.resp import codec_python as _codec

        COMPILED = False

Index = NDArray[np.int64]

Table = _codec.Table
skip_replies = _codec.skip_replies
# What `scan_live` finds, by row: where ids and names are in the reply, the entries' times, the series' slots.
ID_AT, ID_LENGTH, TIME, NAME_AT, NAME_LENGTH, SLOT = range(6)
scan_live = _codec.scan_live
pack_live = _codec.pack_live


class Texts(Sequence[bytes]):
    """Many pieces of one stretch of bytes: a sequence that makes an object only of what is asked for."""

    __slots__ = ("at", "data", "length")

    def __init__(self, data: bytes, at: Index, length: Index) -> None:
        """Pieces of `data` by their places and lengths (n,)."""
        self.data, self.at, self.length = data, at, length

    @classmethod
    def of(cls, pieces: Sequence[bytes]) -> Texts:
        """A sequence of pieces that are there already."""
        length = np.fromiter(map(len, pieces), np.int64, len(pieces))
        return cls(b"".join(pieces), np.cumsum(length) - length, length)

    @property
    def parts(self) -> tuple[bytes, Index, Index]:
        """As the packers take them: the bytes, where each piece begins (n,), and how long it is (n,)."""
        return self.data, self.at, self.length

    def take(self, chosen: Index | NDArray[np.bool_]) -> Texts:
        """The chosen pieces, by index (m,) or by mask (n,)."""
        return Texts(self.data, self.at[chosen], self.length[chosen])

    def __len__(self) -> int:
        return len(self.at)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Texts: ...
    def __getitem__(self, index: int | slice) -> bytes | Texts:
        if isinstance(index, slice):
            return Texts(self.data, self.at[index], self.length[index])
        at = int(self.at[index])
        return self.data[at : at + int(self.length[index])]

    def __iter__(self) -> Iterator[bytes]:
        data = self.data
        for at, length in zip(self.at.tolist(), self.length.tolist(), strict=True):
            yield data[at : at + length]


class Scan(NamedTuple):
    """One stream's part of a read's reply, as places and arrays."""

    key: bytes
    ids: Texts  # (entries,)
    times_ms: Index  # (entries,)
    counts: Index  # (entries,) items of each
    names: Texts  # (items,)
    texts: Texts  # (items,)
    slots: Index  # (items,); NO_SLOT for series the table does not have
    values: NDArray[np.float32]  # (items, F), or (items, 2F) where numbers are pairs; NaN where odd
    odd: NDArray[np.bool_]  # (items,) whether the text is anything else than F finite decimal numbers
    plain: bool  # whether none is


def scan_read(
    reply: bytes, table: Table, streams: dict[bytes, int], features: int, *, exact: bool = False
) -> list[Scan]:
    """Take apart the reply of an XREAD; raises ValueError if it is not one. With `exact` values are pairs."""
    width = 2 * features if exact else features
    return [
        Scan(
            key=found[0],
            ids=Texts(reply, _ints(found[1]), _ints(found[2])),
            times_ms=_ints(found[3]),
            counts=_ints(found[4]),
            names=Texts(reply, _ints(found[5]), _ints(found[6])),
            texts=Texts(reply, _ints(found[7]), _ints(found[8])),
            slots=_ints(found[9]),
            values=np.frombuffer(found[10], np.float32).reshape(-1, width),
            odd=np.frombuffer(found[11], np.bool_),
            plain=b"\x01" not in found[11],  # a reduction of numpy's takes ten times as long for a few
        )
        for found in _codec.scan_read(reply, table, streams, features, int(exact))
    ]


def find_slots(table: Table, stream: int, names: Texts) -> Index:
    """Which slots a table has for series (n,) of a stream, as `scan_read` gives them."""
    return _ints(_codec.find_slots(table, stream, names.parts))


def _ints(data: bytes | bytearray) -> Index:
    return np.frombuffer(data, np.int64)


def pack_entries(head: bytes, ids: Texts, counts: Index, fields: Texts, texts: Texts) -> bytes:
    """One command an entry: `head` (its name and key as arguments), id, then field and text in turn."""
    return _codec.pack_entries(head, ids.parts, np.ascontiguousarray(counts), fields.parts, texts.parts)


def pack_records(names: Texts, rows: NDArray[np.float32], slots: Index) -> bytes:
    """Names and, of each, the row (words,) that its slot (n,) has, in turn, as arguments of a command."""
    return _codec.pack_records(names.parts, rows, np.ascontiguousarray(slots))


def write_numbers(numbers: NDArray[np.floating[Any]]) -> Texts:
    """Texts of numbers (n, C), finite or NaN, commas between C.

    Each is the shortest that parses back to the same float32 or, of float64 numbers, to the same float64.
    """
    data, at, length = _codec.write_numbers(np.ascontiguousarray(numbers), numbers.shape[1])
    return Texts(data, _ints(at), _ints(length))


def encode_read(streams: Mapping[str, Sequence[tuple[bytes, Sequence[bytes]]]]) -> bytes:
    """The reply of an XREAD that found these entries (id, fields); nil for none. For stores that are no server."""
    if not streams:
        return b"*-1\r\n"
    parts = [b"*%d\r\n" % len(streams)]
    for stream, entries in streams.items():
        parts += (b"*2\r\n", bulk(stream.encode()), b"*%d\r\n" % len(entries))
        for entry_id, fields in entries:
            parts += (b"*2\r\n", bulk(entry_id), b"*%d\r\n" % len(fields), *map(bulk, fields))
    return b"".join(parts)


def bulk(text: bytes) -> bytes:
    """One argument of a command, or one text of a reply, in the Redis protocol."""
    return b"$%d\r\n%b\r\n" % (len(text), text)
