"""The file that a stream's states are exported to: a head, records, a checksum at the end.

    the line "streamlstm-state"
    one line of JSON: format, stream, position, model, columns, entries
    per record: length of the name (uint32), length of the record (uint32), name, record
    at the end: 0xFFFFFFFF (uint32), CRC-32 of everything before (uint32), number of records (uint64)

Numbers are little-endian. Binary, because records are: as base64 in JSON the file is a third larger, and a record's
layout (docs/reference/streams.md) has to be known anyway to read one. A name may be any bytes. Whoever reads a file to
its end knows that it is whole; until then nothing of it may be put to use.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, Any

from streamlstm.errors import SnapshotError, StoreError
from streamlstm.models import MAX_STATE_SIZE
from streamlstm.store import format_of
from streamlstm.store.resp import EntryId

MAGIC = b"streamlstm-state\n"
FORMATS = (1, 2)  # as `store.format_of` has it
MAX_HEAD_BYTES = 1 << 16
MAX_NAME_BYTES = 256  # of a series, as everywhere
MAX_RECORD_BYTES = 4 * MAX_STATE_SIZE + (1 << 16)  # the largest state, and what a record holds besides it

MOST_SHOWN = 60  # characters of a field that an error quotes
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_LENGTHS = struct.Struct("<II")
_END = struct.Struct("<IIQ")
_END_MARK = 0xFFFFFFFF

Record = tuple[bytes, bytes]  # a series' name and its record


@dataclass(frozen=True, kw_only=True)
class SnapshotHead:
    """What a file says of its records."""

    stream: str  # they were exported from
    position: bytes  # they belong to: id of the last entry stepped
    model: str  # fingerprint
    columns: str  # of predictions, joined by commas
    answered: int  # entries up to the position


def write(file: IO[bytes], head: SnapshotHead, records: Iterable[Record]) -> int:
    """Write a snapshot; returns the number of records."""
    named = {
        "format": int(format_of(head.columns)),
        "stream": head.stream,
        "position": head.position.decode(),
        "model": head.model,
        "columns": head.columns,
        "entries": head.answered,
    }
    begin = MAGIC + json.dumps(named).encode() + b"\n"
    file.write(begin)
    checksum, count = zlib.crc32(begin), 0
    for name, record in records:
        part = b"".join((_LENGTHS.pack(len(name), len(record)), name, record))
        checksum = zlib.crc32(part, checksum)
        file.write(part)
        count += 1
    file.write(_END.pack(_END_MARK, checksum, count))
    return count


def _shown(value: Any) -> str:
    """A field of the head as an error shows it."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + "…"


def _is_entry_id(text: Any) -> bool:
    try:
        EntryId.parse(text)
    except StoreError:
        return False
    return isinstance(text, str)


def _is_count(number: Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**63


def _are_names(columns: Any) -> bool:
    return isinstance(columns, str) and all(name and name.isprintable() for name in columns.split(","))


class SnapshotReader:
    """Reads a snapshot: the head at once, the records as they are asked for."""

    def __init__(self, file: IO[bytes], source: str) -> None:
        """Read the head; raises SnapshotError, which names `source`, for what is no snapshot."""
        self._file, self._source = file, source
        begin = file.read(len(MAGIC))
        if begin != MAGIC:
            raise SnapshotError(f"{source} is not a file of exported states; make one with `streamlstm state export`")
        line = file.readline(MAX_HEAD_BYTES)
        self._checksum = zlib.crc32(begin + line)
        self.head = self._head(line)

    def _head(self, line: bytes) -> SnapshotHead:
        try:
            raw = json.loads(line)
        except (ValueError, RecursionError):
            raise self._damaged("its head is no JSON") from None
        if not isinstance(raw, dict):
            raise self._damaged("its head is no object")
        if raw.get("format") not in FORMATS:
            raise SnapshotError(
                f"{self._source} has format {_shown(raw.get('format'))}, this version reads 1 and 2; "
                "install the version that wrote it"
            )
        return SnapshotHead(
            stream=self._field(raw, "stream", "a name", lambda name: isinstance(name, str)),
            position=self._field(raw, "position", "an entry's id", _is_entry_id).encode(),
            model=self._field(raw, "model", "a fingerprint", lambda text: bool(_FINGERPRINT.fullmatch(text))),
            columns=self._field(raw, "columns", "names joined by commas", _are_names),
            answered=self._field(raw, "entries", "a number of entries", _is_count),
        )

    def _field(self, raw: dict[str, Any], name: str, kind: str, is_right: Callable[[Any], bool]) -> Any:
        """A field of the head; raises SnapshotError for one that is not of its kind."""
        found = raw.get(name)
        try:
            if is_right(found):
                return found
        except (TypeError, AttributeError):
            pass  # of another type altogether
        raise self._damaged(f"{name} in its head is {_shown(found)}, not {kind}")

    def records(self) -> Iterator[Record]:
        """The records in order; raises SnapshotError at the end, or before, if the file is not whole."""
        count = 0
        while True:
            lengths = self._take(_LENGTHS.size)
            name_bytes, record_bytes = _LENGTHS.unpack(lengths)
            if name_bytes == _END_MARK:
                self._check_end(lengths, count)
                return
            if not 0 < name_bytes <= MAX_NAME_BYTES or record_bytes > MAX_RECORD_BYTES:
                raise self._damaged(
                    f"record {count + 1} claims a name of {name_bytes:,} bytes and {record_bytes:,} bytes of its own"
                )
            body = self._take(name_bytes + record_bytes)
            self._checksum = zlib.crc32(body, zlib.crc32(lengths, self._checksum))
            count += 1
            yield body[:name_bytes], body[name_bytes:]

    def _check_end(self, begun: bytes, count: int) -> None:
        _, checksum, written = _END.unpack(begun + self._take(_END.size - len(begun)))
        if checksum != self._checksum or written != count:
            raise self._damaged("its checksum does not agree")
        if self._file.read(1):
            raise self._damaged("something follows its end")

    def _take(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise self._damaged("it is cut short")
        return data

    def _damaged(self, what: str) -> SnapshotError:
        return SnapshotError(f"{self._source} is damaged: {what}; export the states again")
