"""The store on a Redis server: one blocking read for all streams, and a connection a stream to watch and commit.

A commit is one flight: `MULTI … EXEC`, then `WATCH base:meta` and `HMGET base:meta position epoch`. The watch set by
one flight guards the next, so the position itself is the fencing token: whoever computed from a position that has moved
has its EXEC answered with nil. A stream has a connection of its own because EXEC ends every watch of its connection.

The epoch counts the times all states were replaced at once (an import, another model). Such a change may leave the
position as it is, and it may fall between a flight's EXEC and its WATCH, where no watch sees it; the epoch does.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import hiredis

from streamlstm.address import SOCKET_TIMEOUT_S, Address
from streamlstm.ends import read_tail
from streamlstm.entry_id import BEGINNING
from streamlstm.errors import StoreError, StoreRefusesError, StoreUnavailableError
from streamlstm.flight import FlightPacker
from streamlstm.key_types import ask_types, hold_types
from streamlstm.keys import Keys
from streamlstm.meta import FIELDS, read_meta
from streamlstm.nodes import Nodes
from streamlstm.readers import Readers
from streamlstm.server_check import refuse_unsafe
from streamlstm.store import Commit, Head, Tail
from streamlstm.topology import Topology, parse_topology
from streamlstm.waiting import Waiting
from streamlstm.wire import Connection, bulk, checked, pack, parse_replies, stream_info

# A blocking read comes back after this long at the latest, so that a connection that died silently is noticed.
BLOCK_MS = 1000

QUEUED = b"+QUEUED\r\n"


@dataclass
class _Flight:
    """A commit under way."""

    commands: int  # between MULTI and EXEC
    position: bytes
    epoch: bytes | None

    @property
    def queued(self) -> bytes:
        """How the replies begin if every command was taken and EXEC carried them out."""
        return b"+OK\r\n%b*%d\r\n" % (QUEUED * self.commands, self.commands)

    @property
    def watched(self) -> bytes:
        """How they end if nobody has moved the position or replaced the states since."""
        epoch = b"$-1\r\n" if self.epoch is None else bulk(self.epoch)
        return b"+OK\r\n*2\r\n%b%b" % (bulk(self.position), epoch)


class _StreamConnection:
    """The connection that guards and commits one stream."""

    def __init__(self, topology: Topology, stream: str, done: list[str]) -> None:
        """`done` is told of the stream once the outcome of its commit is here."""
        self.keys = Keys(stream)
        self._done = done
        self.packer = FlightPacker(self.keys)
        self.connection = topology.connect(topology.home(self.keys.input), "streamlstm-commit")
        self.guarded = b""  # position seen when the watch was set; empty once the states are not those it knew
        self.epoch: bytes | None = None
        self.flight: _Flight | None = None
        self.outcome: bool | None = None  # of a commit that was received on the way to something else

    def open(self) -> Head:
        """Watch the stream's meta hash and read its head; checks the types of all keys."""
        keys, connection = self.keys, self.connection
        asked = ask_types(keys)
        connection.send(
            pack("WATCH", keys.meta) + b"".join(asked) + pack("HMGET", keys.meta, *FIELDS) + pack("HLEN", keys.state)
        )
        _, *found, described, series = [connection.receive() for _ in range(len(asked) + 3)]
        hold_types(keys, found, connection.address)
        described = checked(described, connection.address)
        meta = read_meta(connection, keys, described)
        self.guarded, self.epoch = meta.position, described[FIELDS.index("epoch")]
        answered = meta.answered
        if described[FIELDS.index("position")] is None:  # entries trimmed before the first is read are nobody's loss
            connection.send(pack("XINFO", "STREAM", keys.input))
            info = stream_info(connection.receive(), connection.address)
            answered = info.get(b"entries-added", 0) - info.get(b"length", 0)
        return Head(
            position=meta.position,
            model=meta.model,
            series=checked(series, connection.address),
            answered=answered,
        )

    def send(self, commit: Commit) -> None:
        """Send the flight, unless the position has been seen to move since it was computed."""
        if self.guarded != commit.base:
            self.outcome = False
            self._tell()
            return
        flight, commands = self.packer.pack(commit)
        replies = commands + 4  # and MULTI, EXEC, WATCH, HMGET
        self.connection.expect(replies, least_bytes=len(QUEUED) * commands)
        self.connection.send_pieces(flight)
        self.flight = _Flight(commands, commit.position, self.epoch)

    def pull(self) -> bool:
        """Receive what has come; whether all replies to the flight are here."""
        is_whole = self.connection.pull()
        if is_whole:
            self._tell()
        return is_whole

    def _tell(self) -> None:
        if self.keys.input not in self._done:
            self._done.append(self.keys.input)

    def receive(self) -> bool:
        """Whether the commit holds; raises if the server refused it."""
        if self.flight is None:
            outcome, self.outcome = self.outcome, None
            assert outcome is not None, "a commit is received once, after it was sent"
            return outcome
        flight, self.flight = self.flight, None
        raw = self.connection.take()
        self.guarded = flight.position
        if raw.startswith(flight.queued) and raw.endswith(flight.watched) and b"\r\n-" not in raw:
            return True  # carried out without an error, and the position is the one it set
        replies = parse_replies(raw)
        for reply in replies:
            checked(reply, self.connection.address)
        executed, _, (position, epoch) = replies[-3:]
        # What is computed from states that somebody has replaced is not to be sent; the stream has to be opened again.
        self.guarded = (position or BEGINNING) if epoch == self.epoch else b""
        if executed is None:
            return False
        for reply in executed:
            if isinstance(reply, hiredis.ReplyError):
                raise StoreError(
                    f"a command of a commit to {self.keys.input!r} was refused while the others were carried out: "
                    f"{reply}; find out who writes to the keys of {self.keys.base!r} besides streamlstm"
                )
        return True

    def load(self, names: Sequence[bytes]) -> list[bytes | None]:
        """Records by name; what was sent before is received first."""
        if self.flight is not None:
            self.outcome = self.receive()
            self._tell()
        records: list[bytes | None] = self.connection.call("HMGET", self.keys.state, *names)
        return records


class RedisStore:
    """A `streamlstm.store.Store` on Redis or Valkey, 6.2 or later: one server, behind Sentinels, or a Cluster."""

    def __init__(
        self,
        where: str | Topology,
        *,
        block_ms: int = BLOCK_MS,
        busy_poll_s: float = 0.0,
        wakeup: int | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connects when first used; raises UsageError for a URL it cannot read.

        A `wait` looks for so long before it sleeps: a process that is awake answers sooner, and takes a core for it.
        `wakeup` is a descriptor that ends a `wait` when it becomes readable (a signal arrived).
        """
        self._topology = parse_topology(where) if isinstance(where, str) else where
        self._waiting = Waiting(monotonic=monotonic, busy_poll_s=busy_poll_s, wakeup=wakeup)
        self.call_when_readable = self._waiting.call_when_readable
        self._readers = Readers(self._topology, self._waiting, block_ms=block_ms)
        self._nodes = Nodes(self._topology, name="streamlstm-control")
        self._streams: dict[str, _StreamConnection] = {}
        self._done: list[str] = []  # streams whose commit's outcome is here

    @property
    def url(self) -> str:
        """Where it is, password masked."""
        return self._topology.url

    @property
    def spread(self) -> bool:
        """Whether it is a Cluster."""
        return self._topology.spread

    def check_server(self) -> dict[str, str]:
        """INFO of a server; raises StoreError if the settings of any could lose data without a word.

        On a Cluster a node that is away is passed over, unless all are.
        """
        info: dict[str, str] = {}
        away: StoreUnavailableError | None = None
        for address in self._topology.homes():
            try:
                info = _parse_info(self._nodes.at(address).call("INFO"))
            except StoreUnavailableError as error:
                if not self.spread:
                    raise
                away = error
                continue
            refuse_unsafe(info, address.url)
        if away is not None and not info:
            raise away
        return info

    def open(self, stream: str) -> Head:
        """Connect, watch, read the head."""
        self.release(stream)
        try:
            self._streams[stream] = made = _StreamConnection(self._topology, stream, self._done)
            return made.open()
        except StoreUnavailableError:
            self._topology.doubt()
            raise

    def send_read(self, cursors: Mapping[str, bytes], count: int) -> None:
        """One XREAD over all streams, or one a slot."""
        self._readers.ask(cursors, count)

    def receive_read(self) -> bytes:
        """The entries of the last `send_read`."""
        return self._readers.take()

    def load(self, stream: str, names: Sequence[bytes]) -> list[bytes | None]:
        """HMGET on the stream's own connection, after its commits."""
        held = self._streams[stream]
        if held.flight is not None:  # its outcome is received on the way
            self._waiting.forget(held.connection)
        return held.load(names)

    def scan(self, stream: str, cursor: bytes, count: int) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """HSCAN, beside the commits."""
        keys = Keys(stream)
        cursor, flat = self._nodes.connection(keys.input).call("HSCAN", keys.state, cursor, "COUNT", count)
        return cursor, list(zip(flat[0::2], flat[1::2], strict=True))

    def connect(self, stream: str) -> Connection:
        """A connection of the caller's own to where a stream is, for work on all its states: that may take long."""
        address = self._topology.home(Keys(stream).input)
        patient = replace(address, socket_timeout_s=max(address.socket_timeout_s, SOCKET_TIMEOUT_S))
        return Connection(patient, name="streamlstm-states")

    def send_commit(self, commit: Commit) -> None:
        """Send the flight of one stream."""
        held = self._streams[commit.stream]
        held.send(commit)
        if held.flight is not None:
            self._waiting.expect(held.connection, held.pull)

    def receive_commit(self, stream: str) -> bool:
        """Outcome of the stream's flight."""
        held = self._streams[stream]
        if stream in self._done:
            self._done.remove(stream)
        else:  # it is waited for here
            self._waiting.forget(held.connection)
        return held.receive()

    def release(self, stream: str) -> None:
        """Close the stream's connection."""
        held = self._streams.pop(stream, None)
        if held is not None:
            if stream in self._done:
                self._done.remove(stream)
            self._hang_up(held)

    def wait(self, timeout_s: float) -> tuple[bool, list[str]]:
        """Poll the sockets something is expected on; returns early, with nothing, when only a part has come.

        Raises StoreUnavailableError if one has been silent for too long: its other end may be gone without a word.
        """
        self._waiting.wait(0.0 if self._done or self._readers.whole else timeout_s)
        return self._readers.whole > 0, self._done.copy()

    def tail(self, stream: str, head: Head) -> Tail:
        """By the position, the first entry after it, and the server's count of entries ever added."""
        keys = Keys(stream)
        return read_tail(self._nodes.connection(keys.input), keys, head)

    def close(self) -> None:
        """Close every connection; where keys are is looked up anew."""
        for held in self._streams.values():
            self._hang_up(held)
        self._streams.clear()
        self._done.clear()
        self._readers.close()
        self._nodes.close()

    def _hang_up(self, held: _StreamConnection) -> None:
        self._waiting.forget(held.connection)
        held.connection.close()


def _parse_info(text: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in text.decode("utf-8", "replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


def process_id(url: str) -> int:
    """The process of a server that is ready to serve; raises StoreError if none answers there."""
    connection = Connection(Address.parse(url))
    try:
        # A server that loads its file refuses PING, but not INFO; one whose disk is full does too, and is there.
        with contextlib.suppress(StoreRefusesError):
            connection.call("PING")
        return int(_parse_info(connection.call("INFO", "server"))["process_id"])
    finally:
        connection.close()
