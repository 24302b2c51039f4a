"""Rows into XADD commands: values of one time share an entry, its id is the time, and bytes are packed by hand.

One redis-py call an entry costs more than Redis needs to store it; a command written as bytes costs about a
microsecond, and `client.producer.sending` sends them by the thousand in one go.
"""

from __future__ import annotations

import binascii
from collections.abc import Sequence

from streamlstm.client.producer.row_format import Row
from streamlstm.client.producer.time_shift import Shift, written
from streamlstm.engine import ALL_SERIES, COMMANDS, LATE, OWN_TIME, RESET, WARM
from streamlstm.errors import StoreError, TableError, UsageError
from streamlstm.store import Keys
from streamlstm.store.resp import EntryId, bulk

# Values in one entry at most. Longer entries are no faster, and one entry is the least that can be read or committed.
MAX_ENTRY_VALUES = 1000
OLD_MS = 3_600_000  # a stream whose end is older may be one of history

BEFORE_ALL = EntryId(0, 0)  # where an empty stream ends


def partition_of(series: bytes, partitions: int) -> int:
    """Give the partition of a series: CRC-16/XMODEM of its name, modulo their number.

    The same function as Redis Cluster's key slots (cluster specification, appendix A).
    """
    return binascii.crc_hqx(series, 0) % partitions


def streams_of(stream: str, partitions: int) -> list[str]:
    """Name the streams of a partitioned one: `K:{0}` … `K:{P-1}`; `K` itself for one partition.

    Raises UsageError if the name cannot be one of a stream.
    """
    if partitions == 1:
        return [Keys(stream).input]
    if "{" in stream or "}" in stream:
        raise UsageError(
            f"the stream name {stream!r} has a brace, so --partitions cannot add its hash tag; leave one out"
        )
    return [Keys(f"{stream}:{{{p}}}").input for p in range(partitions)]


class Packer:
    """The entries of one stream, from rows in order of time."""

    may_begin_behind = True  # warm values may be older than the stream's end

    def __init__(self, stream: str, last: EntryId = BEFORE_ALL, *, warm: bool = False) -> None:
        """`last` is the id at which the stream ends already; an explicit id must be beyond it.

        `warm` values are stepped and not answered; where they begin before the stream's end, they come under ids of the
        server's clock and say their times themselves.
        """
        self.stream = stream
        self.commands: list[bytes] = []  # XADD commands in RESP, ready to be sent
        self.counts: list[int] = []  # how many values each of them carries
        self._last = last
        self._head = b"$4\r\nXADD\r\n" + bulk(stream.encode())
        self._warm = warm
        self._late: bool | None = None  # known when the first time is
        begin = bulk(b"*") + (bulk(WARM) + bulk(OWN_TIME) if warm else b"")
        self._automatic = b"*%d\r\n%b%b" % (7 if warm else 5, self._head, begin)
        self._id = BEFORE_ALL
        self._fields: list[bytes] = []
        # Of the series that have a value of the open entry's time, which of its values it was.
        self._names: dict[bytes, int] = {}
        self.duplicates = "keep"  # or "first" or "error": what becomes of a further value of a series at one time
        self.dropped = 0  # further values left out
        self._stays_behind = False
        self.takes_late = False  # whether what the stream's end has passed goes in as late

    def add(self, time_ms: int | None, series: bytes, value: bytes) -> None:
        """Put one value into the open entry of its time; without a time it is an entry of its own, timed by Redis."""
        if time_ms is None:
            self.commands.append(
                b"%b$%d\r\n%b\r\n$%d\r\n%b\r\n" % (self._automatic, len(series), series, len(value), value)
            )
            self.counts.append(1)
            return
        if self.takes_late and time_ms != self._id.time_ms and self._is_late(time_ms, series):
            self._add_late(time_ms, series, value)
            return
        if time_ms != self._id.time_ms:
            self._names = {}
            self._open(time_ms)
        elif series in self._names:
            if self.duplicates != "keep":
                self._refuse(time_ms, series, value)
                return
            self._names = {}
            self._open(time_ms)
        elif len(self._fields) in {0, MAX_ENTRY_VALUES}:
            self._open(time_ms)
        self._fields.append(bulk(series) + bulk(value))
        if series not in COMMANDS:  # an entry may reset many series
            self._names[series] = len(self._fields) - 1

    def _is_late(self, time_ms: int, series: bytes) -> bool:
        return EntryId(time_ms, 0) <= max(self._last, self._id) and series not in COMMANDS

    def _add_late(self, time_ms: int, series: bytes, value: bytes) -> None:
        """Put a value that comes late into the open entry, or one just behind the stream's end."""
        if len(self._fields) in {0, MAX_ENTRY_VALUES}:
            self.close()
            end = max(self._last, self._id)
            self._id, self._names = EntryId(end.time_ms, end.sequence + 1), {}
        self._fields.append(bulk(LATE) + bulk(b"%b %d-0 %b" % (series, time_ms, value or b"nan")))

    def add_together(self, row: Sequence[tuple[bytes, bytes]]) -> None:
        """Make one entry, timed by Redis, of values that belong together; a series twice begins another entry."""
        fields: list[bytes] = []
        names: set[bytes] = set()
        for series, value in row:
            if series in names or len(fields) >= MAX_ENTRY_VALUES:
                self._write(self._next_id(), fields)
                fields, names = [], set()
            fields.append(bulk(series) + bulk(value))
            if series not in COMMANDS:
                names.add(series)
        if fields:
            self._write(self._next_id(), fields)

    def stay_behind(self, now_ms: int) -> None:
        """Give entries without a time ids just behind the stream's end, if that is so old that more may follow it."""
        self._stays_behind = self._last > BEFORE_ALL and self._last.time_ms < now_ms - OLD_MS

    def _next_id(self) -> EntryId | None:
        if not self._stays_behind:
            return None
        end = max(self._last, self._id)
        self._id = EntryId(end.time_ms, end.sequence + 1)
        return self._id

    def close(self) -> None:
        """End the open entry; a later value of the same time begins the next one of that millisecond."""
        if self._fields:
            self._write(self._id, self._fields)
            self._fields = []

    def take(self) -> tuple[list[bytes], list[int]]:
        """Hand the commands over, and how many values each carries."""
        taken = self.commands, self.counts
        self.commands, self.counts = [], []
        return taken

    def _open(self, time_ms: int) -> None:
        self.close()
        following = self._following(time_ms)
        if self._late is None:
            self._late = self._warm and self.may_begin_behind and following <= self._last
        if following <= self._last and not self._late:
            raise StoreError(
                f"the stream {self.stream!r} already ends at {self._last} ({written(self._last.time_ms)}), and ids "
                f"only grow, so {written(time_ms)} cannot follow; push only what is later (--skip-existing leaves out "
                "what is there), or push to another stream"
            )
        self._id = following

    def _following(self, time_ms: int) -> EntryId:
        """The id of the next entry of a time."""
        following = EntryId(time_ms, self._id.sequence + 1 if time_ms == self._id.time_ms else 0)
        return EntryId(0, 1) if following == BEFORE_ALL else following  # 1970-01-01T00:00Z: Redis takes no 0-0

    def _refuse(self, time_ms: int, series: bytes, value: bytes) -> None:
        """Leave a further value of a series at one time out; TableError if there must be none.

        One that is there takes the place of a missing one that has not been sent.
        """
        if self.duplicates == "error":
            raise TableError(
                f"the series {series.decode('utf-8', 'replace')!r} has a second value at {written(time_ms)}; keep one "
                "value a time, or let --duplicates choose"
            )
        self.dropped += 1
        place = self._names.get(series, len(self._fields))
        if time_ms == self._id.time_ms and self._fields[place : place + 1] == [bulk(series) + bulk(b"")]:
            self._fields[place] = bulk(series) + bulk(value)

    def _write(self, entry_id: EntryId | None, fields: list[bytes]) -> None:
        """Make an entry under an id, or under one of the server's."""
        is_late = self._late and entry_id is not None
        begin = bulk(b"*" if entry_id is None or is_late else bytes(entry_id))
        if self._warm:
            begin += bulk(WARM) + bulk(b"%d" % entry_id.time_ms if entry_id is not None and is_late else OWN_TIME)
        head = b"*%d\r\n%b%b" % (3 + 2 * (len(fields) + self._warm), self._head, begin)
        self.commands.append(head + b"".join(fields))
        self.counts.append(len(fields))


class Packers:
    """The packers of a stream's partitions: each row goes to the one its series belongs to."""

    def __init__(self, packers: Sequence[Packer], shift: Shift) -> None:
        self._packers = packers
        self.shift = shift

    def add(self, rows: Sequence[Row]) -> None:
        """Pack rows in order of time."""
        add, shift = self._packers[0].add, self.shift
        if len(self._packers) == 1:
            for time_ms, series, value in rows:
                add(time_ms if time_ms is None else shift(time_ms), series, value)
            return
        for time_ms, series, value in rows:
            when = time_ms if time_ms is None else shift(time_ms)
            for packer in self._targets(series, value):
                packer.add(when, series, value)

    def add_together(self, rows: Sequence[Row]) -> None:
        """Pack the values of one line: without a time they are one entry a partition."""
        if not rows or rows[0][0] is not None:
            self.add(rows)
            return
        parts: dict[int, list[tuple[bytes, bytes]]] = {}
        for _, series, value in rows:
            for packer in self._targets(series, value):
                parts.setdefault(self._packers.index(packer), []).append((series, value))
        for index, part in parts.items():
            self._packers[index].add_together(part)

    def take(self, *, close: bool) -> list[tuple[str, list[bytes], list[int]]]:
        """Hand over, for each stream with something new, its commands and counts; `close` ends the open entries."""
        if close:
            for packer in self._packers:
                packer.close()
        return [(packer.stream, *packer.take()) for packer in self._packers if packer.commands]

    def _targets(self, series: bytes, value: bytes) -> Sequence[Packer]:
        """Where a row goes: by its series; a command by the series it names, and a reset of all to everyone."""
        if len(self._packers) == 1 or (series == RESET and value == ALL_SERIES):
            return self._packers
        named = value if series == RESET else value.rsplit(b" ", 2)[0] if series in COMMANDS else series
        return (self._packers[partition_of(named, len(self._packers))],)
