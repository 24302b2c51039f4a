"""The codec in plain Python and numpy: the same functions as the compiled `store.resp._codec`, for where there is none.

It says what the compiled one must do; the tests hold the two against each other. See `store.resp.codec` for the words.
"""

from __future__ import annotations

import re
from operator import index
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from streamlstm.models import OVERFLOW, split
from streamlstm.store.resp.array_checks import hold, hold_bytes, hold_numbers, hold_tuple
from streamlstm.store.resp.decimals import DECIMAL
from streamlstm.store.resp.reply_python import Cursor
from streamlstm.store.resp.reply_python import skip_replies as skip_replies  # noqa: PLC0414  (one of the twin's functions)

Pieces = tuple[bytes, NDArray[np.int64], NDArray[np.int64]]

NO_SLOT = -1
PLAIN, ODD = 0, 1

_INT32_MAX, _UINT64_MAX = 2**31 - 1, 2**64 - 1
# The one float32 of all whose shortest text, read as a double and rounded, is the next one: see `_shortest.h`.
_ROUNDED_TWICE = re.compile(rb"\b7\.038531e-26\b")


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
        hold_bytes("name", name)
        hold_numbers(slot)
        _hold_stream(stream)
        if not 0 <= slot <= _INT32_MAX:
            raise ValueError("a stream, slot or name is out of range")
        if (stream, name) in self._slots or slot in self._owners:
            raise ValueError("the series has a slot, or the slot a series")
        self._slots[stream, name] = slot
        self._owners[slot] = (stream, name)

    def get(self, stream: int, name: bytes) -> int:
        """The series' slot, or NO_SLOT."""
        hold_bytes("name", name)
        _hold_stream(stream)
        return self.find(stream, name)

    def find(self, stream: int, name: bytes) -> int:
        """As `get`, of what has been held against its demands."""
        return self._slots.get((stream, name), NO_SLOT)

    def remove(self, slot: int) -> None:
        """Take a slot from its series; nothing happens if it has none."""
        owner = self._owners.pop(slot, None)
        if owner is not None:
            del self._slots[owner]


def _hold_stream(number: int) -> None:
    hold_numbers(number)
    if not 0 <= number <= _INT32_MAX:
        raise ValueError("a stream, slot or name is out of range")


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
    value: bytearray  # float32 (items, features), of pairs (items, 2 * features), to be written to; NaN where `odd`
    odd: bytes  # uint8 (items,): PLAIN, or ODD for texts that are not `features` finite decimal numbers


def scan_read(reply: bytes, table: Table, streams: dict[bytes, int], features: int, exact: int) -> list[ScannedStream]:
    """Take apart the whole reply of an XREAD (RESP2), nil or not; `streams` gives the number of each key.

    Raises ValueError if it is not such a reply.
    """
    _hold_reply(reply, table, streams)
    hold_numbers(features)
    if not 1 <= features <= _INT32_MAX:
        raise ValueError("a value has a number of features")
    cursor = Cursor(reply)
    found = []
    for _ in range(cursor.array()):
        cursor.pair()
        found.append(_scan_stream(cursor, table, streams, features, exact))
    cursor.end()
    return found


def _hold_reply(reply: bytes, table: Table, streams: dict[bytes, int]) -> None:
    hold_bytes("reply", reply)
    if not isinstance(table, Table) or not isinstance(streams, dict):
        raise TypeError("a table and a dictionary of streams are needed")


def find_slots(table: Table, stream: int, names: Pieces) -> bytearray:
    """Which slots a table has for series of a stream: int64 (n,), to be written to; NO_SLOT for those it has not."""
    if not isinstance(table, Table):
        raise TypeError("a table is needed")
    _hold_stream(stream)
    hold_tuple("texts", names, 3)
    return bytearray(_ints([table.find(stream, name) for name in _cut_out(*names)]))


def scan_live(
    reply: bytes,
    table: Table,
    streams: dict[bytes, int],
    found: NDArray[np.int64],
    values: NDArray[np.float32],
    exact: int,
) -> tuple[bytes, int, int] | None:
    """The key, n and T, if a reply brings n entries of one stream, each one plain value of a series that the table has.

    T is how many steps a call of the model has for them: 1 if all series are different, n if all are the same. None for
    any other reply, for more entries than there is room for, and where some are of the same series. `found` (6 * most,)
    then begins with an array (6, n): places and lengths of the ids, times, places and lengths of the names, slots; and
    `values` (most * F,), or of pairs with `exact` (most * 2F,), with one (n, F).
    """
    _hold_reply(reply, table, streams)
    hold("found", found, np.int64, 1, writable=True)
    hold("values", values, np.float32, writable=True)
    most = found.size // 6
    if not most or found.size % 6 or not values.size or values.size % (most * (1 + exact)):
        raise ValueError("no room for what is found")
    cursor = Cursor(reply)
    try:
        key = cursor.text() if cursor.array() == 1 and cursor.array() == 2 else None
    except ValueError:
        return None
    stream = streams.get(key) if key is not None else None
    if stream is None or key is None:
        return None
    _hold_stream(stream)
    try:
        items = _scan_items(cursor, most)
    except ValueError:
        return None
    width = values.size // most
    numbers = [read_plain(reply[one.text[0] : sum(one.text)], width // (1 + exact)) for one in items]
    slots = [table.find(stream, reply[one.name[0] : sum(one.name)]) for one in items]
    steps = 1 if len(set(slots)) == len(slots) else len(slots) if len(set(slots)) == 1 else 0
    if not items or NO_SLOT in slots or None in numbers or not steps:
        return None
    columns = [(*one.entry_id, one.time_ms, *one.name, slot) for one, slot in zip(items, slots, strict=True)]
    found[: 6 * len(items)] = np.array(columns, np.int64).T.ravel()
    given = np.array(numbers, np.float64)
    values.ravel()[: width * len(items)] = (split(given) if exact else given.astype(np.float32)).ravel()
    return key, len(items), steps


class _Item(NamedTuple):
    """An entry that is one item; places are pairs of where and how long."""

    entry_id: tuple[int, int]
    time_ms: int
    name: tuple[int, int]
    text: tuple[int, int]


def _scan_items(cursor: Cursor, most: int) -> list[_Item]:
    """The rest of a reply, entries of one item each; none if they are something else, or more than `most`."""
    found: list[_Item] = []
    count = cursor.array()
    for _ in range(count if count <= most else 0):
        cursor.pair()
        entry_id, time_ms = cursor.entry_id()
        if cursor.array() != 2:
            return []
        found.append(_Item(entry_id, time_ms, cursor.bulk(), cursor.bulk()))
    cursor.end()
    return found


def _scan_stream(cursor: Cursor, table: Table, streams: dict[bytes, int], features: int, exact: int) -> ScannedStream:
    reply = cursor.reply
    key = cursor.text()
    stream = streams[key]
    _hold_stream(stream)
    ids, times, counts, names, texts, slots, odd = [], [], [], [], [], [], []
    values: list[list[float]] = []
    for _ in range(cursor.array()):
        cursor.pair()
        place, time_ms = cursor.entry_id()
        ids.append(place)
        times.append(time_ms)
        count, rest = divmod(cursor.array(), 2)
        if rest:
            raise ValueError(f"not a read's reply at byte {cursor.at}: a field without a value")
        counts.append(count)
        for _ in range(count):
            names.append(cursor.bulk())
            texts.append(cursor.bulk())
            at, length = names[-1]
            slots.append(table.find(stream, reply[at : at + length]))
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
        value=bytearray(_floats(values, features, exact)),
        odd=bytes(odd),
    )


def _floats(values: list[list[float]], features: int, exact: int) -> bytes:
    numbers = np.array(values, np.float64).reshape(-1, features)
    return (split(numbers) if exact else numbers.astype(np.float32)).tobytes()


def _ints(numbers: list[int]) -> bytes:
    return np.array(numbers, np.int64).tobytes()


def read_plain(text: bytes, features: int) -> list[float] | None:
    """The numbers of a value that is nothing but `features` decimal numbers in the range of float32, else None."""
    parts = text.split(b",")
    if len(parts) != features or not all(map(DECIMAL.fullmatch, parts)):
        return None
    numbers = [float(part) for part in parts]
    return numbers if all(abs(number) < OVERFLOW for number in numbers) else None


def pack_entries(head: bytes, ids: Pieces, counts: NDArray[np.int64], fields: Pieces, texts: Pieces) -> bytes:
    """XADD commands, one an entry: `*n`, then `head` (command and key as arguments), the id, field and text in turn.

    Each of `ids`, `fields`, `texts` is (bytes, places, lengths); entry i takes the next `counts[i]` fields and texts.
    """
    hold_bytes("head", head)
    hold("counts", counts, np.int64, 1)
    packed_ids, packed_fields, packed_texts = _bulks(*ids), _bulks(*fields), _bulks(*texts)
    numbers = counts.tolist()
    fit = len(numbers) == len(packed_ids) and len(packed_fields) == len(packed_texts) == sum(numbers)
    if not fit or min(numbers, default=0) < 0:
        raise ValueError("counts do not add up to the fields")
    parts: list[bytes] = []
    pairs: list[bytes] = [b""] * (2 * len(packed_fields))
    pairs[0::2], pairs[1::2] = packed_fields, packed_texts
    first = 0
    for entry_id, count in zip(packed_ids, numbers, strict=True):
        parts += (b"*%d\r\n" % (3 + 2 * count), head, entry_id)
        parts += pairs[2 * first : 2 * (first + count)]
        first += count
    return b"".join(parts)


def pack_records(names: Pieces, rows: NDArray[np.float32], slots: NDArray[np.int64]) -> bytes:
    """Names and, of each, the row that its slot has, in turn, each as an argument of a command."""
    hold("rows", rows, np.float32, 2)
    hold_tuple("texts", names, 3)
    hold("slots", slots, np.int64, 1)
    if len(names[1]) != len(slots) or (len(slots) and not 0 <= slots.min() <= slots.max() < len(rows)):
        raise ValueError("every name needs the slot of a row")
    pairs: list[bytes] = [b""] * (2 * len(slots))
    pairs[0::2] = _bulks(*names)
    head = b"$%d\r\n" % (rows.itemsize * rows.shape[1])
    pairs[1::2] = [b"%b%b\r\n" % (head, row.tobytes()) for row in rows[slots]]
    return b"".join(pairs)


def pack_live(
    reply: bytes,
    found: NDArray[np.int64],
    rows: NDArray[np.float32],
    numbers: NDArray[np.floating[Any]],
    told: int,
    records: int,
    answered: int | None,
    pieces: tuple[bytes, bytes, bytes, bytes, bytes],
) -> bytes:
    """The whole flight of live values: its pieces, and between them what `scan_live` found in the reply (6, n).

    A head for so many records, the first piece, and of each name and row; the second piece of each value, id, name and
    the text of the first `told` numbers of its row (n, columns); the third and the last id; the fourth and how many
    entries are answered, and the fifth. None: up to the third piece alone, as they are for a challenger.
    """
    hold_bytes("reply", reply)
    hold_numbers(told, records)
    hold("found", found, np.int64, 2)
    _hold_written(numbers, 2)
    hold("rows", rows, np.float32, 2)
    if answered is not None and not 0 <= index(answered) <= _UINT64_MAX:
        raise ValueError("so many entries cannot be answered")
    hold_tuple("pieces", pieces, 5)
    for piece in pieces:
        hold_bytes("pieces", piece)
    count = found.shape[1]
    fits = len(found) == 6 and 1 <= records <= count == len(numbers) and 1 <= told <= numbers.shape[1]
    if not fits or not _lie_within(reply, found[[0, 3]], found[[1, 4]]):
        raise ValueError("what was found does not lie within the reply and the rows")
    slots = found[5, :records]
    if not 0 <= slots.min() <= slots.max() < len(rows):
        raise ValueError("what was found does not lie within the reply and the rows")
    ids, names = (_bulks(reply, found[at], found[at + 1]) for at in (0, 3))
    text, places, lengths = write_numbers(np.ascontiguousarray(numbers[:, :told]), told)
    texts = _bulks(text, np.frombuffer(places, np.int64), np.frombuffer(lengths, np.int64))
    begin, add, meta, counted, end = pieces
    parts = [b"*%d\r\n" % (2 + 2 * records), begin]
    for name, row in zip(names, rows[slots], strict=False):
        parts += (name, b"$%d\r\n%b\r\n" % (row.nbytes, row.tobytes()))
    for entry_id, name, text in zip(ids, names, texts, strict=True):
        parts += (add, entry_id, name, text)
    if answered is not None:
        parts += (meta, ids[-1], counted, b"$%d\r\n%d\r\n" % (len(b"%d" % answered), answered), end)
    return b"".join(parts)


def write_numbers(numbers: NDArray[np.floating[Any]], columns: int) -> tuple[bytes, bytes, bytes]:
    """Rows of numbers, finite or NaN, as texts with commas between them: (bytes, places, lengths), the last two int64.

    Each number is the shortest that parses back to the same float32, also by way of a double, or to the same float64;
    exponents as JSON writers have them, no plus. Raises ValueError for an infinite one.
    """
    single = _hold_written(numbers)
    hold_numbers(columns)
    if columns < 1 or numbers.size % columns:
        raise ValueError("the numbers do not fill their rows")
    if not numbers.size:
        return b"", b"", b""
    if np.isinf(numbers).any():
        raise ValueError("an infinite number has no text")
    text = orjson.dumps(numbers.reshape(-1, columns), option=orjson.OPT_SERIALIZE_NUMPY)
    text = text.replace(b"e+", b"e").replace(b"null", b"nan").replace(b".0,", b",").replace(b".0]", b"]")
    rows = (_ROUNDED_TWICE.sub(b"7.0385307e-26", text) if single else text)[2:-2].split(b"],[")
    lengths = [len(row) for row in rows]
    places = np.cumsum([0, *lengths[:-1]])
    return b"".join(rows), _ints(places.tolist()), _ints(lengths)


def _hold_written(numbers: NDArray[np.floating[Any]], dimensions: int | None = None) -> bool:
    """Raise TypeError unless numbers are float32 or float64; whether they are float32."""
    is_double = isinstance(numbers, np.ndarray) and numbers.dtype == np.float64
    hold("numbers", numbers, np.float64 if is_double else np.float32, dimensions)
    return not is_double


def _bulks(data: bytes, places: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[bytes]:
    return [b"$%d\r\n%b\r\n" % (len(text), text) for text in _cut_out(data, places, lengths)]


def _cut_out(data: bytes, places: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[bytes]:
    hold_bytes("texts", data)
    hold("places", places, np.int64, 1)
    hold("lengths", lengths, np.int64, 1)
    if len(places) != len(lengths) or not _lie_within(data, places, lengths):
        raise ValueError("places and lengths do not lie within the bytes")
    return [data[at : at + length] for at, length in zip(places.tolist(), lengths.tolist(), strict=True)]


def _lie_within(data: bytes, places: NDArray[np.int64], lengths: NDArray[np.int64]) -> bool:
    size = len(data)  # compared without a sum, which might go beyond 64 bits
    return bool(((places >= 0) & (lengths >= 0) & (places <= size) & (lengths <= size - places)).all())
