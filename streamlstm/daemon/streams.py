"""What a daemon knows of each stream: one object a stream, with a status that says where it stands.

    CLOSED --opened--> OPEN --the connection to the store was lost--> LOST --opened--> OPEN
    any --its server is away while others are not--> AWAY --opened--> OPEN
    any --it cannot be served--> REFUSED --a while later--> CLOSED
    any --handed over to another process--> CLOSED

What is remembered from before the connection was lost outlives a status without success: then it is LOST, not CLOSED.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field, replace

from streamlstm.daemon.strikes import Strikes
from streamlstm.engine import Engine, Result
from streamlstm.store import Commit, Head
from streamlstm.store.resp import BEGINNING, EntryId


class Status(enum.Enum):
    """Where a stream stands with this process."""

    CLOSED = enum.auto()  # another process's, or not opened yet
    OPEN = enum.auto()  # served
    LOST = enum.auto()  # not open; what was known when the connection to the store was lost is remembered
    AWAY = enum.auto()  # its server cannot be reached, those of other streams can
    REFUSED = enum.auto()  # left alone for a while because of what its keys hold

    __hash__ = object.__hash__  # that of an Enum is a Python function


@dataclass(slots=True)
class PendingCommit:
    """A commit sent and not answered."""

    sent: float
    result: Result


@dataclass(slots=True)
class Removal:
    """How far the search for the records of idle series is (`daemon.idle_sweeper`)."""

    cursor: bytes = b"0"
    idle: list[bytes] = field(default_factory=list)  # series that were idle when they were looked at
    under_way: int = 0  # removals in a commit that is not answered yet


@dataclass(slots=True)
class Seen:
    """What looks at the stream's end have found, so that only news is told (`daemon.lag_monitor`)."""

    position: bytes = BEGINNING  # at the last look at rest, or where the stream was opened
    waiting: tuple[bytes, float] | None = None  # the position that something waits at, and since when
    is_begun_again: bool = False  # its position lies beyond its end
    is_ahead: bool = False  # it has ids in the future


@dataclass(slots=True)
class Ages:
    """When the position was where (`daemon.retention`)."""

    opened: EntryId  # position when this process began with the stream
    marks: deque[tuple[float, EntryId]] = field(default_factory=deque)  # oldest first
    next_s: float = 0.0  # when it is trimmed again


@dataclass(slots=True)
class OpenChallenger:
    """The challenger of a stream that is open (`daemon.challengers`)."""

    engine: Engine
    position: bytes  # by what was handed out for commit
    strikes: Strikes = field(default_factory=Strikes)
    is_begun: bool = False  # it was stepped here
    has_come_through: bool = False  # and a commit with what it made holds

    @property
    def model(self) -> str:
        """Its fingerprint."""
        return self.engine.model.fingerprint


@dataclass(slots=True, eq=False)
class Stream:
    """All that is known of one stream, beside its records."""

    name: str
    status: Status = Status.CLOSED
    reason: str = ""  # AWAY or REFUSED: what was said of it
    head: Head | None = None  # as of the last commit known to hold; of a stream that is not open: before it was lost
    cursor: bytes = b""  # last id read; none if it is not open
    pending: PendingCommit | None = None
    unanswered: Result | None = None  # of a commit whose answer was lost, until the position tells whether it holds
    removal: Removal = field(default_factory=Removal)
    seen: Seen = field(default_factory=Seen)
    ages: Ages | None = None
    challenger: OpenChallenger | None = None

    @property
    def waits_for_challenger(self) -> bool:
        """Whether its challenger is not stepped here, though it has one."""
        return self.challenger is None and self.head is not None and self.head.challenger is not None

    def forget(self) -> None:
        """Let go of what holds only as long as the stream is this process's."""
        if self.status is Status.OPEN:
            self.head = None
        self.cursor, self.seen, self.ages = b"", Seen(), None


class Streams(dict[str, Stream]):
    """Every stream that this process has had to do with, by name; made when it is first asked for."""

    def __init__(self) -> None:
        self._having: dict[Status, dict[str, Stream]] = {status: {} for status in Status}
        self.open = self._having[Status.OPEN]
        self.away = self._having[Status.AWAY]
        self.refused = self._having[Status.REFUSED]

    def __missing__(self, name: str) -> Stream:
        made = self[name] = self._having[Status.CLOSED][name] = Stream(name)
        return made

    def set(self, stream: Stream, status: Status, reason: str = "") -> None:
        """Give a stream a status; `reason` is why."""
        former, stream.status, stream.reason = stream.status, status, reason
        if former is not status:
            del self._having[former][stream.name]
            self._having[status][stream.name] = stream

    def close(self, stream: Stream) -> None:
        """The stream is neither served nor tried just now."""
        self.set(stream, Status.CLOSED if stream.head is None else Status.LOST)

    @property
    def remembered(self) -> list[str]:
        """Those that are not open, of which it is known where they were."""
        return [name for name, stream in self.items() if stream.status is not Status.OPEN and stream.head is not None]


def after_commit(head: Head | None, commit: Commit, series: int) -> Head:
    """A stream's head once a commit holds."""
    assert head is not None, "a stream that is open has one"
    challenger = head.challenger
    if challenger is not None and commit.challenger is not None:
        challenger = replace(challenger, position=commit.challenger.position)
    return Head(
        position=commit.position,
        model=commit.model,
        series=series,
        answered=commit.answered,
        challenger=challenger,
        former=head.former,
        epoch=head.epoch,
        begun=head.begun,
    )
