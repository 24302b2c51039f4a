"""What the engine and the daemon ask of a store: read entries, load records, commit a stream's results atomically.

The commit is the only thing safety rests on. It is fenced by the position: a store refuses a commit whose base is not
the position it holds, so whoever computed from an overtaken position changes nothing. Sending and receiving are apart
so that the store works while the next batch is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streamlstm.store.dead_letters import Refused, nothing
from streamlstm.store.record import NO_RECORDS, Records, Rows
from streamlstm.store.resp import BEGINNING, ID_AT, ID_LENGTH, NAME_AT, NAME_LENGTH, SLOT, Texts, write_numbers

EMPTY = Texts.of([])
TOO_MUCH = b"*0\r\n"  # instead of the entries of a read that is to be asked again for fewer


@dataclass(frozen=True, kw_only=True)
class ChallengerHead:
    """What a stream's `base:meta` says of its challenger, and how many series that has."""

    model: str  # fingerprint
    position: bytes  # id of the last entry whose results are in the challenger's records
    series: int  # records in base:challenger:state
    off: str | None = None  # why it is not stepped any more
    begun: bytes = BEGINNING  # id of the last entry before those its states were made of


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a stream's `base:meta` says, and how many series it has."""

    position: bytes  # id of the last entry whose results are committed; 0-0 before the first
    model: str | None  # fingerprint; None before the first commit
    series: int  # records in base:state
    answered: int  # entries up to the position, counted from the stream's beginning
    challenger: ChallengerHead | None = None
    former: tuple[str, ...] = ()  # models that were the champion before
    epoch: int = 0  # times all states were replaced at once, or models in their roles
    begun: bytes = BEGINNING  # id of the last entry before those the states were made of, where that is known


BEFORE_ANYTHING = Head(position=BEGINNING, model=None, series=0, answered=0)


@dataclass(frozen=True)
class DeadLetter:
    """A value that could not be stepped, and why."""

    id: bytes  # of the input entry
    series: bytes
    value: bytes
    error: str
    kind: str  # of its flaw; not stored, counted
    values: int = 1  # it stands for; not stored, counted

    def stored(self) -> list[bytes]:
        """The fields of its entry: names and texts in turn."""
        return [b"id", self.id, b"series", self.series, b"value", self.value, b"error", self.error.encode()]


@dataclass(frozen=True)
class Anomalies:
    """Values of some entries that scored as anomalies, by entry; each text is ANOMALY_COLUMNS, joined by commas."""

    ids: Texts  # of the entries
    fields: Texts  # series, and texts, of all entries in one run
    texts: Texts
    counts: NDArray[np.int64]  # values an entry


@dataclass(frozen=True)
class Kept:
    """Records to be kept aside, each behind the position it belongs to and a blank (`engine.checkpoints`)."""

    begins: int | None  # which of the two hashes is emptied first
    records: Mapping[int, Sequence[tuple[bytes, bytes]]]  # by the hash they go to


class KeptRecord(NamedTuple):
    """A record that was kept aside, or what a hash says of itself."""

    window: int  # which of the two hashes it lies in
    position: bytes  # that it belongs to
    record: bytes  # b"" where the series had none


@dataclass(kw_only=True)  # frozen ones take three times as long to make
class Commit:
    """The results of a run of entries of one stream, to be written as one."""

    stream: str
    base: bytes  # the position the results were computed from
    position: bytes  # id of the last entry answered
    model: str  # fingerprint
    columns: str  # joined by commas
    answered: int  # entries up to `position`
    # Records to write, and series whose record is to be removed; `reset_all` removes every other record too.
    names: Texts = EMPTY
    records: Records = NO_RECORDS
    removed: Sequence[bytes] = ()
    reset_all: bool = False
    # Predictions: ids of output entries; series names and texts of all their fields in one run; fields per entry.
    ids: Texts = EMPTY
    fields: Texts = EMPTY
    texts: Texts = EMPTY
    counts: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    anomalies: Anomalies | None = None  # of the values answered; of a challenger's they are not written
    dead: Sequence[DeadLetter] = field(default_factory=tuple)
    most_dead: int | None = None  # about so many dead letters are kept, the youngest; None keeps all
    trim_before_ms: int | None = None  # entries older than this may go; never past the position
    kept: Kept | None = None
    # What the challenger makes of entries up to `challenger.position`; of it only records and predictions are written.
    challenger: Commit | None = None


class LiveCommit(Commit):
    """The commit of live values; what only some stores ask for is made when they do."""

    removed = dead = ()
    reset_all = False
    most_dead = trim_before_ms = kept = None
    anomalies: Anomalies | None = None
    challenger: Commit | None = None

    def __init__(
        self,
        *,
        stream: str,
        base: bytes,
        position: bytes,
        model: str,
        columns: str,
        answered: int,
        scanned: tuple[bytes, NDArray[np.int64], int],
        answer: tuple[Rows, NDArray[np.floating[Any]], int],
    ) -> None:
        """`scanned` is a read's reply, what `codec.scan_live` found in it (6, n), and of how many series: n, or 1.

        `answer` is the rows, of which each series' is its slot's, the predictions (n, columns), and how many of these
        columns are written, the first ones.
        """
        self.stream, self.base, self.position = stream, base, position
        self.model, self.columns, self.answered = model, columns, answered
        self.reply, self.found, self.series = scanned
        self.rows, self.y, self.told = answer

    @property
    def entries(self) -> int:
        """How many values it is of."""
        return len(self.y)

    @cached_property
    def names(self) -> Texts:  # type: ignore[override]  # made once, then an attribute like any other
        return self.fields[: self.series]

    @cached_property
    def records(self) -> Records:  # type: ignore[override]
        return Records(self.rows, self.found[SLOT, : self.series])

    @cached_property
    def ids(self) -> Texts:  # type: ignore[override]
        return Texts(self.reply, self.found[ID_AT], self.found[ID_LENGTH])

    @cached_property
    def fields(self) -> Texts:  # type: ignore[override]
        return Texts(self.reply, self.found[NAME_AT], self.found[NAME_LENGTH])

    @cached_property
    def texts(self) -> Texts:  # type: ignore[override]
        return write_numbers(self.y[:, : self.told])

    @property
    def counts(self) -> NDArray[np.int64]:  # type: ignore[override]
        return np.ones(self.entries, np.int64)


@dataclass(frozen=True, kw_only=True)
class Tail:
    """How far a stream's end is from its position."""

    lag_entries: int
    lag_ms: int  # age of the oldest entry not yet answered, by its id and the store's clock; 0 when there is none
    answered: int | None = None  # entries up to the position, where the store knows better than the head
    position: bytes | None = None  # what the store holds now, where it was looked up
    epoch: int | None = None  # likewise
    ends_before_position: bool = False  # the stream was begun again with smaller ids, which nobody will ever read
    ahead_ms: int = 0  # of the store's clock, that the last id is
    first: bytes | None = None  # id of the first entry that is there
    last_deleted: bytes | None = None  # highest id that was deleted one by one (XDEL), where the store knows


class Store(Protocol):
    """A place where streams, records and positions live. Methods raise StoreUnavailableError when it is away."""

    @property
    def spread(self) -> bool:
        """Whether streams lie on several servers, one of which may be away while the others are not."""

    def open(self, stream: str) -> Head:
        """Read a stream's head and guard its position from now on; a pending commit's outcome is dropped."""

    def send_read(self, cursors: Mapping[str, bytes], count: int) -> None:
        """Ask for up to `count` entries a stream after the given ids; answered by `receive_read`.

        A read that is still under way is replaced where it asks for something else, and left alone where it does not.
        """

    def receive_read(self) -> bytes:
        """The entries asked for last, as the reply of an XREAD (RESP2); streams without new ones are absent.

        TOO_MUCH if they take too much memory to be taken at once.
        """

    def load(self, stream: str, names: Sequence[bytes], *, challenger: bool = False) -> list[bytes | None]:
        """The records of the named series, None where there is none; sees every commit sent before.

        Those of the stream's challenger, if that is asked for.
        """

    def read(self, stream: str, after: bytes, end: bytes, count: int) -> bytes:
        """Up to `count` entries after one id up to another, beside what `send_read` asked for, as `receive_read`."""

    def letters(self, stream: str, names: Container[bytes], beat: Callable[[], object] = nothing) -> Refused:
        """Why items of some names were rejected, by id of the entry, name and text; sees every commit sent before.

        `beat` is called now and then while they are read.
        """

    def kept(self, stream: str, names: Sequence[bytes]) -> list[list[KeptRecord]]:
        """Of each series the records that are kept aside, the newest first; sees every commit sent before."""

    def scan(self, stream: str, cursor: bytes, count: int) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """About `count` series with their records from a cursor on, b"0" at first, and the cursor of the next ones.

        The cursor is b"0" again at the end. A series that is there all the time is given at least once.
        """

    def send_commit(self, commit: Commit) -> None:
        """Send a commit; answered by `receive_commit`. One at a time may be under way per stream."""

    def go_on_sending(self) -> None:
        """Send more of commits that have not left whole; called now and then in the midst of long work. Never fails."""

    def receive_commit(self, stream: str) -> bool:
        """Whether the pending commit holds; False if its base had been overtaken (nothing was written)."""

    def hear_out(self) -> bool:
        """Receive what is under way, though nobody asks for it any more; whether parts of it are still to be written.

        Nobody else could write those.
        """

    def release(self, stream: str) -> None:
        """Let go of a stream, whose commits have all been received."""

    def wait(self, timeout_s: float) -> tuple[bool, list[str]]:
        """Wait until a read or a commit can be received: (read ready, streams whose commit is ready)."""

    def tail(self, stream: str, head: Head) -> Tail:
        """How far the stream's end is from `head`'s position."""

    def count_to(self, stream: str, last: bytes) -> int:
        """How many entries a stream has up to an id, that one included; where there are very many, not all of them."""

    def close(self) -> None:
        """Let go of every connection; commits under way may or may not hold."""
