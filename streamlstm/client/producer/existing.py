"""Values left out because their stream has them: what makes it safe to push the same file twice.

A value is known by its time, its series and where it stands among those of one series and time; how values share
entries does not count, for that depends on how a pipe flowed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from streamlstm.client.producer.packing import Packer
from streamlstm.client.producer.time_shift import written
from streamlstm.engine import RESET
from streamlstm.errors import StoreError, UsageError
from streamlstm.store.resp import EntryId, paired

PAGE = 1_000  # entries of one look

# A command that reads, and its reply.
Look = Callable[..., Any]


class SkippingPacker(Packer):
    """The entries of one stream, but for the values that are there."""

    may_begin_behind = False  # what came late has ids that say nothing of its time

    def __init__(self, stream: str, last: EntryId, look: Look, *, trimmed_before_ms: int, warm: bool = False) -> None:
        """`look` asks the stream's server; what is older than `trimmed_before_ms` was there and has been trimmed."""
        super().__init__(stream, last, warm=warm)
        self.skipped = 0
        self._look = look
        self._trimmed_before_ms = trimmed_before_ms
        self._there: dict[int, dict[bytes, deque[bytes]]] = {}  # by time and series, in order
        self._seen: tuple[int, set[bytes]] = (-1, set())  # a time, and the series that have had a value of it
        self._next: EntryId | None = None  # where to go on reading what is there; None: nothing has been read
        self._whole_until_ms = -1  # all that is there up to this time has been read

    def add(self, time_ms: int | None, series: bytes, value: bytes) -> None:
        """Put one value into the open entry of its time, unless it is there.

        Raises UsageError for one without a time, StoreError for one that the stream has otherwise.
        """
        if time_ms is None:
            raise _timeless()
        if time_ms <= self._last.time_ms:
            if time_ms != self._seen[0]:
                self._seen = time_ms, set()
            if self.duplicates != "keep" and series in self._seen[1]:
                self._refuse(time_ms, series, value)
                return
            if series != RESET:
                self._seen[1].add(series)
            if self._is_there(time_ms, series, value):
                self.skipped += 1
                return
        super().add(time_ms, series, value)

    def add_together(self, row: Sequence[tuple[bytes, bytes]]) -> None:  # noqa: ARG002
        """Raise UsageError: values that share an entry because they came together have no times."""
        raise _timeless()

    def _is_there(self, time_ms: int, series: bytes, value: bytes) -> bool:
        if time_ms < self._trimmed_before_ms:
            return True
        if time_ms > self._whole_until_ms:
            self._read(time_ms)
        known = self._there.get(time_ms, {}).get(series)
        if not known:
            return False
        found = known.popleft()
        if found != value and not _is_same_number(found, value):
            shown = ", ".join(text.decode("utf-8", "replace") for text in (series, found))
            raise StoreError(
                f"the stream {self.stream!r} has another value at {written(time_ms)}: {shown}, not "
                f"{value.decode('utf-8', 'replace')}; what is in a stream cannot be changed: push to another one"
            )
        return True

    def _read(self, time_ms: int) -> None:
        """Read what is there at a time, and some of what follows."""
        self._there = {at: known for at, known in self._there.items() if at >= time_ms}  # times only grow
        start = max(EntryId(time_ms, 0), self._next or EntryId(0, 0))
        while self._whole_until_ms < time_ms:
            page = self._look("XRANGE", self.stream, bytes(start), "+", "COUNT", PAGE)
            for entry_id, fields in page:
                at = self._there.setdefault(EntryId.parse(entry_id).time_ms, {})
                for name, text in paired(fields):
                    at.setdefault(name, deque()).append(text)
            if len(page) < PAGE:
                self._whole_until_ms = self._last.time_ms
                return
            end = EntryId.parse(page[-1][0])
            start = self._next = EntryId(end.time_ms, end.sequence + 1)
            self._whole_until_ms = end.time_ms - 1  # more of its own time may follow

    def _following(self, time_ms: int) -> EntryId:
        following = super()._following(time_ms)
        after_last = EntryId(self._last.time_ms, self._last.sequence + 1)
        return max(following, after_last) if time_ms == self._last.time_ms else following


def _timeless() -> UsageError:
    return UsageError("--skip-existing knows values by their times, and these have none")


def _is_same_number(one: bytes, other: bytes) -> bool:
    """Whether two texts are the same numbers, written differently."""
    try:
        return [float(part) for part in one.split(b",")] == [float(part) for part in other.split(b",")]
    except ValueError:
        return False
