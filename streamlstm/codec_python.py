"""The codec in plain Python and numpy: the same functions as the compiled `streamlstm._codec`, for where there is none.

It says what the compiled one must do; the tests hold the two against each other. See `streamlstm.codec` for the words.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

NO_SLOT = -1
PLAIN, ODD = 0, 1

_DECIMAL = re.compile(rb"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_LENGTH = re.compile(rb"-?[0-9]{1,18}")
_FLOAT32_LIMIT = 2.0**128 - 2.0**103  # what is smaller rounds to a finite float32
_INT64_MAX = 2**63 - 1


class Table:
    """Which slot a series of a stream has. Streams are numbers; a slot belongs to one series at most."""

    def __init__(self) -> None:
        self._slots: dict[tuple[int, bytes], int] = {}
        self._owners: dict[int, tuple[int, bytes]] = {}

    def __len__(self) -> int:
        """How many series are in the table."""
        return len(self._slots)

    @property
    def nbytes(self) -> int:
        """An estimate of the memory taken: two dictionary entries, a tuple, a name and two numbers a series."""
        return 350 * len(self._slots)

    def put(self, stream: int, name: bytes, slot: int) -> None:
        """Give a free slot to a series that has none; raises ValueError for one that has, or a slot that is taken."""
        if (stream, name) in self._slots or slot in self._owners:
            raise ValueError("the series has a slot, or the slot a series")
        self._slots[stream, name] = slot
        self._owners[slot] = (stream, name)

    def get(self, stream: int, name: bytes) -> int:
        """The series' slot, or NO_SLOT."""
        return self._slots.get((stream, name), NO_SLOT)

    def remove(self, slot: int) -> None:
        """Take a slot from its series; nothing happens if it has none."""
        owner = self._owners.pop(slot, None)
        if owner is not None:
            del self._slots[owner]


class ScannedStream(NamedTuple):
    """One stream of a read's reply. Places are offsets into the reply; all arrays are native-endian bytes."""

    key: bytes
    id_at: bytes  # int64 (entries,)
    id_length: bytes  # int64 (entries,)
    time_ms: bytes  # int64 (entries,); times beyond int64 are its maximum
    items: bytes  # int64 (entries,) of each entry
    name_at: bytes  # int64 (items,)
    name_length: bytes  # int64 (items,)
    text_at: bytes  # int64 (items,)
    text_length: bytes  # int64 (items,)
    slot: bytearray  # int64 (items,), to be written to; NO_SLOT for series the table does not have
    value: bytearray  # float32 (items, features), to be written to; NaN where `odd`
    odd: bytes  # uint8 (items,): PLAIN, or ODD for texts that are not `features` finite decimal numbers


def skip_replies(data: bytes | bytearray | memoryview, at: int, left: int) -> tuple[int, int]:
    """Go over RESP2 replies from `at` on: (where the last element that is whole ends, how many are still to come).

    An array is an element, and each of its own is one more; both numbers go in again when more bytes have come. Raises
    ValueError for what is not a reply.
    """
    view = bytes(data)
    while left:
        line_end = view.find(b"\r\n", at)
        if line_end < 0:
            break
        kind, head, following = view[at : at + 1], view[at + 1 : line_end], line_end + 2
        if kind in b"$*" and not _LENGTH.fullmatch(head):
            raise ValueError(f"not a reply at byte {at}")
        if kind == b"$" and int(head) >= 0:
            following += int(head) + 2
            if following > len(view):
                break
        left += max(0, int(head)) - 1 if kind == b"*" else -1
        at = following
    return at, left


def scan_read(reply: bytes, table: Table, streams: dict[bytes, int], features: int) -> list[ScannedStream]:
    """Take apart the whole reply of an XREAD (RESP2), nil or not; `streams` gives the number of each key.

    Raises ValueError if it is not such a reply.
    """
    cursor = _Cursor(reply)
    found = []
    for _ in range(cursor.array()):
        if cursor.array() != 2:
            raise ValueError("a stream of a read is a pair")
        found.append(_scan_stream(cursor, table, streams, features))
    return found


def scan_single(
    reply: bytes, table: Table, streams: dict[bytes, int], found: NDArray[np.int64], value: NDArray[np.float32]
) -> bytes | None:
    """The key, if a read's reply brings one entry with one plain value (F,) of a series that the table has; else None.

    `found` (6,) then has the place and length of the id, its time, the place and length of the name, and the slot.
    """
    if not reply.startswith(b"*1\r\n"):
        return None
    cursor = _Cursor(reply)
    try:
        cursor.head(b"*"), cursor.head(b"*")
        at, length = cursor.bulk()
        if cursor.head(b"*") != 1 or reply[at : at + length] not in streams:
            return None
        [scanned] = scan_read(reply, table, streams, value.size)
    except ValueError:
        return None
    slot = np.frombuffer(scanned.slot, np.int64)
    if len(slot) != 1 or slot[0] == NO_SLOT or scanned.odd[0] == ODD:
        return None
    value[:] = np.frombuffer(scanned.value, np.float32)
    columns = (scanned.id_at, scanned.id_length, scanned.time_ms, scanned.name_at, scanned.name_length)
    found[:] = [*(int(np.frombuffer(column, np.int64)[0]) for column in columns), int(slot[0])]
    return scanned.key


class _Cursor:
    """Reads arrays and bulk strings one after the other."""

    def __init__(self, reply: bytes) -> None:
        self.reply, self.at = reply, 0

    def head(self, kind: bytes) -> int:
        """The number after the given type byte."""
        end = self.reply.find(b"\r\n", self.at)
        if end < 0 or self.reply[self.at : self.at + 1] != kind:
            raise ValueError(f"no {kind!r} at byte {self.at} of a reply")
        number = int(self.reply[self.at + 1 : end])
        self.at = end + 2
        return number

    def array(self) -> int:
        """The length of an array, 0 for nil."""
        return max(0, self.head(b"*"))

    def bulk(self) -> tuple[int, int]:
        """Where a bulk string begins and its length."""
        length = self.head(b"$")
        at = self.at
        self.at += length + 2
        if length < 0 or self.at > len(self.reply):
            raise ValueError(f"a broken string at byte {at} of a reply")
        return at, length


def _scan_stream(cursor: _Cursor, table: Table, streams: dict[bytes, int], features: int) -> ScannedStream:
    reply = cursor.reply
    at, length = cursor.bulk()
    key = reply[at : at + length]
    stream = streams[key]
    ids, times, counts, names, texts, slots, odd = [], [], [], [], [], [], []
    values: list[list[float]] = []
    for _ in range(cursor.array()):
        if cursor.array() != 2:
            raise ValueError("an entry of a read is a pair")
        ids.append(cursor.bulk())
        at, length = ids[-1]
        times.append(min(int(reply[at : at + length].partition(b"-")[0]), _INT64_MAX))
        counts.append(cursor.array() // 2)
        for _ in range(counts[-1]):
            names.append(cursor.bulk())
            texts.append(cursor.bulk())
            at, length = names[-1]
            slots.append(table.get(stream, reply[at : at + length]))
            at, length = texts[-1]
            value = read_plain(reply[at : at + length], features)
            odd.append(PLAIN if value else ODD)
            values.append(value or [np.nan] * features)
    return ScannedStream(
        key=key,
        id_at=_ints([place[0] for place in ids]),
        id_length=_ints([place[1] for place in ids]),
        time_ms=_ints(times),
        items=_ints(counts),
        name_at=_ints([place[0] for place in names]),
        name_length=_ints([place[1] for place in names]),
        text_at=_ints([place[0] for place in texts]),
        text_length=_ints([place[1] for place in texts]),
        slot=bytearray(_ints(slots)),
        value=bytearray(np.array(values, np.float64).astype(np.float32).tobytes()),
        odd=bytes(odd),
    )


def _ints(numbers: list[int]) -> bytes:
    return np.array(numbers, np.int64).tobytes()


def read_plain(text: bytes, features: int) -> list[float] | None:
    """The numbers of a value that is nothing but `features` decimal numbers in the range of float32, else None."""
    parts = text.split(b",")
    if len(parts) != features or not all(map(_DECIMAL.fullmatch, parts)):
        return None
    numbers = [float(part) for part in parts]
    return numbers if all(abs(number) < _FLOAT32_LIMIT for number in numbers) else None


def pack_entries(
    head: bytes,
    ids: tuple[bytes, NDArray[np.int64], NDArray[np.int64]],
    counts: NDArray[np.int64],
    fields: tuple[bytes, NDArray[np.int64], NDArray[np.int64]],
    texts: tuple[bytes, NDArray[np.int64], NDArray[np.int64]],
) -> bytes:
    """XADD commands, one an entry: `*n`, then `head` (command and key as arguments), the id, field and text in turn.

    Each of `ids`, `fields`, `texts` is (bytes, places, lengths); entry i takes the next `counts[i]` fields and texts.
    """
    packed_ids, packed_fields, packed_texts = _bulks(*ids), _bulks(*fields), _bulks(*texts)
    parts: list[bytes] = []
    pairs: list[bytes] = [b""] * (2 * len(packed_fields))
    pairs[0::2], pairs[1::2] = packed_fields, packed_texts
    first = 0
    for entry_id, count in zip(packed_ids, counts.tolist(), strict=True):
        parts += (b"*%d\r\n" % (3 + 2 * count), head, entry_id)
        parts += pairs[2 * first : 2 * (first + count)]
        first += count
    return b"".join(parts)


def pack_records(
    names: tuple[bytes, NDArray[np.int64], NDArray[np.int64]],
    rows: NDArray[np.float32],
    size: int,
    slots: NDArray[np.int64],
) -> bytes:
    """Names and, of each, the row of `size` bytes that its slot has, in turn, each as an argument of a command."""
    if len(names[1]) != len(slots) or (len(slots) and not 0 <= slots.min() <= slots.max() < len(rows)):
        raise ValueError("every name needs the slot of a row")
    pairs: list[bytes] = [b""] * (2 * len(slots))
    pairs[0::2] = _bulks(*names)
    head, flat = b"$%d\r\n" % size, rows[slots].tobytes()
    pairs[1::2] = [b"%b%b\r\n" % (head, flat[at : at + size]) for at in range(0, len(flat), size)]
    return b"".join(pairs)


def pack_single(
    reply: bytes,
    found: NDArray[np.int64],
    rows: NDArray[np.float32],
    size: int,
    numbers: NDArray[np.float32],
    answered: int,
    pieces: tuple[bytes, bytes, bytes, bytes, bytes],
) -> bytes:
    """A single value's whole flight: its pieces, and between them what `scan_single` found in the reply.

    After the first piece come name and row (of `size` bytes), after the second id, name and the numbers' text, after
    the third the id, after the fourth how many entries are answered.
    """
    assert rows.itemsize * rows.shape[1] == size
    id_at, id_length, _, name_at, name_length, slot = found.tolist()
    if not 0 <= slot < len(rows) or max(id_at + id_length, name_at + name_length) > len(reply):
        raise ValueError("what was found does not lie within the reply and the rows")
    entry_id, name = reply[id_at : id_at + id_length], reply[name_at : name_at + name_length]
    text = write_numbers(numbers, numbers.size)[0]
    begin, add, meta, count, end = pieces
    filled = ((begin, name, rows[slot].tobytes()), (add, entry_id, name, text), (meta, entry_id))
    parts = [part for piece, *texts in filled for part in (piece, *(b"$%d\r\n%b\r\n" % (len(t), t) for t in texts))]
    return b"".join((*parts, count, b"$%d\r\n%d\r\n" % (len(b"%d" % answered), answered), end))


def write_numbers(numbers: NDArray[np.float32], columns: int) -> tuple[bytes, bytes, bytes]:
    """Rows of numbers, finite or NaN, as texts with commas between them: (bytes, places, lengths), the last two int64.

    Each number is the shortest that parses back to the same float32; exponents as JSON writers have them, no plus.
    """
    if not numbers.size:
        return b"", b"", b""
    text = orjson.dumps(numbers.reshape(-1, columns), option=orjson.OPT_SERIALIZE_NUMPY)
    text = text.replace(b"e+", b"e").replace(b"null", b"nan").replace(b".0,", b",").replace(b".0]", b"]")
    rows = text[2:-2].split(b"],[")
    lengths = [len(row) for row in rows]
    places = np.cumsum([0, *lengths[:-1]])
    return b"".join(rows), _ints(places.tolist()), _ints(lengths)


def _bulks(data: bytes, places: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[bytes]:
    return [
        b"$%d\r\n%b\r\n" % (length, data[at : at + length])
        for at, length in zip(places.tolist(), lengths.tolist(), strict=True)
    ]
