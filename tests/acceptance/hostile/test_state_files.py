"""Files of exported states that are damaged, or made to harm: whole as they may be, nothing of them is put to use."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from streamlstm.engine.parsing import MAX_NAME_BYTES
from streamlstm.errors import SnapshotError
from streamlstm.models.model import Model
from streamlstm.store.record.layout import RecordFormat
from streamlstm.store.snapshots.export_import import checked_pages
from streamlstm.store.snapshots.file_format import MAGIC, MAX_RECORD_BYTES, Record, SnapshotReader
from streamlstm.store.snapshots.file_format import MAX_NAME_BYTES as LONGEST_NAME
from support import models

MODEL = Model(models.lstm(3))
RECORDS = RecordFormat(outputs=1, features=1, initial_state=np.zeros(6, np.float32), fingerprint=MODEL.fingerprint)
HEAD: dict[str, Any] = {
    "format": 1,
    "stream": "values",
    "position": "1-1",
    "model": MODEL.fingerprint,
    "columns": "yhat",
    "entries": 3,
}
GOOD = RECORDS.fresh.tobytes()


def snapshot(head: bytes | dict[str, Any], records: Sequence[Record]) -> bytes:
    """A whole file: the checksum is that of what it holds."""
    line = head if isinstance(head, bytes) else json.dumps(head).encode()
    body = MAGIC + line + b"\n" + b"".join(struct.pack("<II", len(n), len(r)) + n + r for n, r in records)
    return body + struct.pack("<IIQ", 0xFFFFFFFF, zlib.crc32(body), len(records))


def read(data: bytes) -> list[Record]:
    """All records of a file, checked as an import does."""
    return [record for page in checked_pages(SnapshotReader(io.BytesIO(data), "'a.state'")) for record in page]


def test_the_good_file_is_good() -> None:
    """What the others are made of is read."""
    assert read(snapshot(HEAD, [(b"a", GOOD), (b"b", GOOD)])) == [(b"a", GOOD), (b"b", GOOD)]
    assert LONGEST_NAME == MAX_NAME_BYTES


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"entries": float("inf")}, "entries in its head is inf, not a number of entries"),
        ({"entries": float("nan")}, "entries in its head is nan"),
        ({"entries": -1}, "entries in its head is -1"),
        ({"entries": 2**63}, "entries in its head is 9223372036854775808"),
        ({"entries": True}, "entries in its head is True"),
        ({"entries": "5"}, "entries in its head is '5'"),
        ({"model": " ".join(["ab"] * 32)}, "model in its head is 'ab ab"),
        ({"model": "AB" * 32}, "not a fingerprint"),
        ({"model": "ab"}, "not a fingerprint"),
        ({"model": None}, "model in its head is None"),
        ({"model": ["a"] * 99}, "model in its head is .'a'.*…, not a fingerprint"),
        ({"position": "99999999999999999999999-0"}, "position in its head is '99999999999999999999999-0'"),
        ({"position": "1_000-0"}, "not an entry's id"),
        ({"position": "+5-0"}, "not an entry's id"),
        ({"position": 5}, "position in its head is 5"),
        ({"columns": ""}, "columns in its head is ''"),
        ({"columns": "yhat,"}, "not names joined by commas"),
        ({"columns": "y\nhat"}, "not names joined by commas"),
        ({"columns": 5}, "columns in its head is 5"),
        ({"stream": {"a": 1}}, "stream in its head is"),
        ({"format": None}, "has format None, this version reads 1 and 2"),
        ({"format": "1" * 99}, "has format '1111.*…, this version"),
    ],
)
def test_a_head_that_says_what_cannot_be(change: dict[str, Any], words: str) -> None:
    """Each field is held to what it is, and named if it is not."""
    with pytest.raises(SnapshotError, match=words) as caught:
        read(snapshot(HEAD | change, [(b"a", GOOD)]))
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    "line", [b"", b"5", b"[]", b"[" * 60_000, b'{"a":' * 9_000, b"1" * 5000, b'"\xff"', b"x" * 70_000, b"\0" * 99]
)
def test_a_head_that_is_no_object(line: bytes) -> None:
    """No JSON, nested without end, numbers without end, not text."""
    with pytest.raises(SnapshotError, match="its head is no"):
        read(snapshot(line, []))


def with_number(position: int, value: float) -> bytes:
    """A record with another float32 in its state."""
    record = np.frombuffer(GOOD, np.float32).copy()
    record[position] = value
    return record.tobytes()


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([(b"", GOOD)], "record 1 claims a name of 0 bytes"),
        ([(b"x" * 257, GOOD)], "record 1 claims a name of 257 bytes"),
        ([(b"a", b"")], "a record of 0 bytes"),
        ([(b"a", GOOD[:-1])], "bytes, which cannot hold a state of 6 numbers"),
        ([(b"a", GOOD[:-4])], "bytes, which cannot hold a state of 6 numbers"),
        ([(b"a", GOOD), (b"b", GOOD + bytes(4))], "a record of 108 bytes where this model's have 104"),
        ([(b"a", GOOD), (b"b", GOOD[:4])], "a record of 4 bytes where this model's have 104"),
        ([(b"a", bytes(len(GOOD)))], "a record"),
        ([(b"a", b"SLR1" + b"\xff" * 4 + GOOD[8:])], "cannot hold a state of 16777215 numbers"),
        ([(b"a", GOOD[:8] + bytes(8) + GOOD[16:])], "made by another model"),
        ([(b"a", with_number(-1, np.inf))], "a number that is not finite"),
        ([(b"a", GOOD), (b"b", with_number(-1, np.nan))], "a number that is not finite for the series b'b'"),
    ],
)
def test_records_that_are_none(records: list[Record], words: str) -> None:
    """The checksum is right, and what it is of is nonsense."""
    with pytest.raises(SnapshotError, match=words):
        read(snapshot(HEAD, records))


def test_what_is_claimed_is_not_allocated() -> None:
    """Lengths beyond any record are refused before they are read; large records are checked a few at a time."""
    claimed = MAGIC + json.dumps(HEAD).encode() + b"\n" + struct.pack("<II", 1, MAX_RECORD_BYTES + 1)
    with pytest.raises(SnapshotError, match=r"and 4,259,841 bytes of its own"):
        read(claimed + b"a")
    large = b"SLR1" + struct.pack("<I", 1 << 20) + GOOD[8:80] + bytes(4 << 20)
    data = io.BytesIO(snapshot(HEAD, [(b"%d" % number, large) for number in range(40)]))
    tracemalloc.start()
    try:
        assert sum(len(page) for page in checked_pages(SnapshotReader(data, "'a.state'"))) == 40
        assert tracemalloc.get_traced_memory()[1] < 64 << 20  # of 160 MB
    finally:
        tracemalloc.stop()
