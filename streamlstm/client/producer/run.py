"""One run of a producer: rows into entries, sent in order, each once; what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from streamlstm.client.connection import connect_all
from streamlstm.client.producer.existing import SkippingPacker
from streamlstm.client.producer.packing import BEFORE_ALL, Packer, Packers
from streamlstm.client.producer.row_format import Row
from streamlstm.client.producer.sending import PAUSE_S, Sender
from streamlstm.client.producer.time_shift import Shift, earliest, moved_note, shift_years
from streamlstm.common import counted
from streamlstm.errors import StoreNotNowError
from streamlstm.store.resp import EntryId, Nodes

ROWS_AT_ONCE = 5_000  # of a file, packed and sent in one go: about 300 KB


class Ending(Protocol):
    """How a run may be broken off."""

    def held(self) -> AbstractContextManager[None]:
        """A block that is not to be torn."""

    def pause(self, seconds: float) -> None:
        """Wait."""


class AnyTime:
    """A run that an exception may break off anywhere; its connections are then given up."""

    def held(self) -> AbstractContextManager[None]:
        """Nothing is held back."""
        return nullcontext()

    def pause(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def now_ms() -> int:
    """The time, ms since 1970."""
    return time.time_ns() // 1_000_000


def connected(url: str, streams: list[str], retry_for_s: float, say: Callable[[str], None]) -> Nodes:
    """Connect to the streams' servers; one that is there, but is loading or has no primary yet, is waited for."""
    ends_s, said = time.monotonic() + retry_for_s, False
    while True:
        try:
            return connect_all(url, streams)
        except StoreNotNowError as error:
            if time.monotonic() >= ends_s:
                raise
            if not said:
                say(f"{error}; waiting for it for {retry_for_s:g} s (--retry-for)")
                said = True
        time.sleep(PAUSE_S)


def packer_of(sender: Sender, stream: str, skipping: Ending | None, *, warm: bool = False) -> Packer:
    """What makes the entries of a stream; with `skipping`, which Ctrl-C waits for, without those that are there.

    `warm` ones are not answered.
    """
    last = EntryId.parse(sender.last_id(stream))
    if skipping is None:
        return Packer(stream, last, warm=warm)
    info = {} if last == BEFORE_ALL else sender.info(stream)
    trimmed = info.get(b"entries-added", 0) > info.get(b"length", 0)
    first = info.get(b"first-entry")

    def look(*command: bytes | str | int) -> Any:
        with skipping.held():
            return sender.call(stream, *command)

    before_ms = 0 if not trimmed else EntryId.parse(first[0]).time_ms if first else last.time_ms + 1
    return SkippingPacker(stream, last, look, trimmed_before_ms=before_ms, warm=warm)


class Push:
    """One run: from rows to replies and the summary."""

    def __init__(
        self,
        packers: list[Packer],
        sender: Sender,
        interrupts: Ending,
        years: int | None,
        say: Callable[[str], None],
    ) -> None:
        """`years`: move all times by so many, None: those before 1970; `say` is told what is worth a word."""
        self._packers = packers
        self._sender = sender
        self._interrupts = interrupts
        self._years = years
        self._say = say
        self._spread: Packers | None = None  # known when the first time is

    def send(self, rows: list[Row], *, together: bool = False, close: bool = True) -> None:
        """Pack and send rows in order of time; `together`: they are one line; `close`: end the open entries."""
        if self._spread is None:
            first = earliest(time for time, _, _ in rows)
            self._spread = self._begin(first)
        if together:
            self._spread.add_together(rows)
        else:
            self._spread.add(rows)
        if close or not together:
            self.flush(close=close)

    def send_rows(self, rows: list[Row], together: list[int] | None) -> None:
        """Send rows that are all there: those with times in order of time, the others as they stand.

        `together` are the lengths of the lines whose rows share an entry.
        """
        if rows and rows[0][0] is not None:
            rows.sort(key=lambda row: row[0] or 0)  # stable: the order of a series' values of one time stays
            together = None
        if together is None:
            for first in range(0, len(rows), ROWS_AT_ONCE):
                self.send(rows[first : first + ROWS_AT_ONCE], close=False)
        else:
            first = 0
            for length in together:
                self.send(rows[first : first + length], together=True, close=False)
                first += length
                if first % ROWS_AT_ONCE < length:
                    self.flush(close=True)
        self.flush(close=True)
        self.settle()

    def flush(self, *, close: bool) -> None:
        if self._spread is not None:
            with self._interrupts.held():
                self._sender.settle()
                for stream, commands, counts in self._spread.take(close=close):
                    self._sender.send(stream, commands, counts)

    def duplicates(self, policy: str) -> None:
        """Say what becomes of a value whose series has one of that time already: first (stays), error or keep."""
        for packer in self._packers:
            packer.duplicates = policy

    def settle(self, *, insist: bool = True) -> None:
        """Wait until all that was sent is in, or at least until the server has answered for it."""
        with self._interrupts.held():
            self._sender.settle(insist=insist)

    @property
    def values(self) -> int:
        """How many values are known to be in."""
        return sum(tally.values for tally in self._sender.tallies.values())

    @property
    def entries(self) -> int:
        """How many entries are known to be in."""
        return sum(tally.entries for tally in self._sender.tallies.values())

    @property
    def skipped(self) -> int:
        """How many values were left out because they are there."""
        return sum(packer.skipped for packer in self._packers if isinstance(packer, SkippingPacker))

    @property
    def last_ids(self) -> dict[str, bytes]:
        """The last entry that each stream was given."""
        return {name: tally.last for name, tally in self._sender.tallies.items() if tally.last}

    @property
    def dropped(self) -> int:
        """How many values were left out whose series had one of that time already."""
        return sum(packer.dropped for packer in self._packers)

    def summary(self) -> dict[str, Any]:
        """What was pushed, by name."""
        tallies = self._sender.tallies
        streams = [
            {
                "stream": name,
                "server": t.server,
                "values": t.values,
                "entries": t.entries,
                "first": t.first.decode(),
                "last": t.last.decode(),
            }
            for name, t in tallies.items()
        ]
        shifted = self._spread.shift.years if self._spread else 0
        return {
            "values": self.values,
            "entries": self.entries,
            "skipped": self.skipped,
            "shift_years": shifted,
            "streams": streams,
        }

    def line(self) -> str:
        """What was pushed, in a line for people."""
        tallies = self._sender.tallies
        if len(tallies) == 1:
            name, tally = next(iter(tallies.items()))
            where = f" to {name} at {tally.server}, {tally.first.decode()} to {tally.last.decode()}"
        else:
            servers = ", ".join(dict.fromkeys(tally.server for tally in tallies.values()))
            where = f" to {len(tallies)} streams at {servers}" if tallies else ""
        were = "was" if self.skipped == 1 else "were"
        there = f"; {counted(self.skipped, 'value')} {were} there already" if self.skipped else ""
        there += f"; {counted(self._sender.open_entries, 'entry', 'entries')} more may be in" * bool(
            self._sender.open_entries
        )
        return f"pushed {counted(self.values, 'value')} in {counted(self.entries, 'entry', 'entries')}{where}{there}"

    def dropped_line(self) -> str | None:
        """What was left out, in a line for people; None if nothing was."""
        if not self.dropped:
            return None
        return (
            f"{counted(self.dropped, 'value')} left out whose series has one of that time already (--duplicates keep: "
            "sent too)"
        )

    def _begin(self, first_ms: int | None) -> Packers:
        years = self._years
        if years is None:
            years = 0 if first_ms is None or first_ms >= 0 else shift_years(first_ms)
        shift = Shift(years, in_order=not any(packer.takes_late for packer in self._packers))
        if self._years is None and years and first_ms is not None:
            self._say(moved_note(first_ms, Shift(years)(first_ms), years))
        return Packers(self._packers, shift)
