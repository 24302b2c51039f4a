"""The floor of a drain: the commands the daemon would send, packed beforehand, sent from a loop that does nothing else.

The daemon itself runs once over the backlog on a store that writes down what it sends to Redis: reads, loads and
commits, byte for byte and in order. The replay sends those bytes and takes the replies in without looking at them
(their number of bytes is known from a first replay that does look), so what it takes is what Redis needs, plus a few
system calls a micro-batch. With the same commands nothing in the daemon can be faster than that.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field

import hiredis

from streamlstm.cli.benchmark.backlog import Backlog
from streamlstm.common import DaemonSettings
from streamlstm.daemon import Clock, Daemon
from streamlstm.daemon.telemetry import Metrics
from streamlstm.engine import Engine
from streamlstm.errors import StoreError
from streamlstm.models import Model
from streamlstm.store import BLOCK_MS, Commit, FlightPacker, Head, KeptRecord, Keys, RedisStore, Refused, Store, Tail
from streamlstm.store.resp import pack

RECEIVE_BYTES = 1 << 20
STALLED_S = 1.0
READER, LOADER = 0, 1  # numbers of the connections that read and load; a stream's own is one of those after them


@dataclass
class Send:
    """Bytes to send on a connection."""

    connection: int
    data: bytes


@dataclass
class Receive:
    """Replies to wait for on a connection; their bytes are known after the first replay."""

    connection: int
    replies: int
    size: int = 0


@dataclass
class Script:
    """What the daemon sends and waits for, in order."""

    connections: int
    events: list[Send | Receive] = field(default_factory=list)

    def without_open_read(self) -> Script:
        """The same without the read at the end that waits for entries nobody sends."""
        reads = [number for number, event in enumerate(self.events) if event.connection == READER]
        if reads and isinstance(self.events[reads[-1]], Send):
            return Script(self.connections, self.events[: reads[-1]] + self.events[reads[-1] + 1 :])
        return self


class RecordingStore:
    """A `store.base.Store` that works on another one and records what that sends to Redis.

    The last read, which waits for entries that never come, is left out, and so is what the daemon looks up for its
    metrics every two seconds.
    """

    def __init__(self, store: Store, streams: Sequence[str]) -> None:
        self._store = store
        self._numbers = {stream: number for number, stream in enumerate(streams, LOADER + 1)}
        self._packers = {stream: FlightPacker(Keys(stream)) for stream in streams}
        self._replies: dict[str, int] = {}  # stream -> replies to the flight under way
        self.positions: dict[str, bytes] = {}
        self.script = Script(connections=LOADER + 1 + len(streams))

    def open(self, stream: str) -> Head:
        """Of what is looked up, only what the first flight rests on belongs to the flights."""
        self._call(self._numbers[stream], pack("WATCH", Keys(stream).meta))
        self._call(self._numbers[stream], pack("MULTI"))
        return self._store.open(stream)

    @property
    def spread(self) -> bool:
        return False

    def release(self, stream: str) -> None:
        """Nothing is handed over here."""
        self._store.release(stream)

    def send_read(self, cursors: Mapping[str, bytes], count: int) -> None:
        """One XREAD over all streams."""
        command = pack("XREAD", "COUNT", count, "BLOCK", BLOCK_MS, "STREAMS", *cursors, *cursors.values())
        self.script.events.append(Send(READER, command))
        self._store.send_read(cursors, count)

    def receive_read(self) -> bytes:
        """The reply to the last read."""
        self.script.events.append(Receive(READER, 1))
        return self._store.receive_read()

    def read(self, stream: str, after: bytes, end: bytes, count: int) -> bytes:
        """There is no challenger that could have fallen behind."""
        raise NotImplementedError

    def load(self, stream: str, names: Sequence[bytes], *, challenger: bool = False) -> list[bytes | None]:
        """HMGET, after what was sent before."""
        self._receive_flight(stream)
        self._call(LOADER, pack("HMGET", Keys(stream).state, *names))
        return self._store.load(stream, names, challenger=challenger)

    def letters(self, stream: str, names: Container[bytes], beat: Callable[[], object] | None = None) -> Refused:
        """Nothing is corrected."""
        raise NotImplementedError

    def kept(self, stream: str, names: Sequence[bytes]) -> list[list[KeptRecord]]:
        """Nothing is corrected."""
        raise NotImplementedError

    def scan(self, stream: str, cursor: bytes, count: int) -> tuple[bytes, list[tuple[bytes, bytes]]]:  # noqa: ARG002
        return b"0", []

    def send_commit(self, commit: Commit) -> None:
        data, commands = self._packers[commit.stream].pack(commit)
        self.script.events.append(Send(self._numbers[commit.stream], b"".join(data)))
        self._replies[commit.stream] = commands + 4  # EXEC, WATCH, HMGET, MULTI
        self._store.send_commit(commit)
        self.positions[commit.stream] = commit.position

    def go_on_sending(self) -> None:
        self._store.go_on_sending()

    def receive_commit(self, stream: str) -> bool:
        """Raises StoreError if it does not hold: somebody else writes to the bench's own server."""
        self._receive_flight(stream)
        if not self._store.receive_commit(stream):
            raise StoreError(f"another process works on {stream!r} of the private server; leave it alone")
        return True

    def hear_out(self) -> bool:
        """Nothing is refused here."""
        return False

    def wait(self, timeout_s: float) -> tuple[bool, list[str]]:
        return self._store.wait(timeout_s)

    def tail(self, stream: str, head: Head) -> Tail:  # noqa: ARG002  (the same for all)
        return Tail(lag_entries=0, lag_ms=0)

    def count_to(self, stream: str, last: bytes) -> int:  # noqa: ARG002
        return 0

    def close(self) -> None:
        self._store.close()

    @property
    def idle(self) -> bool:
        """Whether no commit is under way."""
        return not self._replies

    def _receive_flight(self, stream: str) -> None:
        replies = self._replies.pop(stream, 0)
        if replies:
            self.script.events.append(Receive(self._numbers[stream], replies))

    def _call(self, number: int, data: bytes) -> None:
        self.script.events += (Send(number, data), Receive(number, 1))


def record(model: Model, backlog: Backlog, url: str) -> Script:
    """Run the daemon in this process over a backlog that is on a server; what it sent."""
    streams, engine = tuple(backlog.streams), Engine(model)
    store = RecordingStore(RedisStore(url), streams)
    daemon = Daemon(
        engine=engine,
        store=store,
        metrics=Metrics(model.fingerprint, engine.columns, streams),
        settings=DaemonSettings(streams=streams),
        clock=Clock(monotonic=time.monotonic, wall=time.time, processor=time.process_time, sleep=time.sleep),
    )
    try:
        daemon.start()
        while store.positions != backlog.last_ids or not store.idle:
            daemon.turn(STALLED_S)
    finally:
        store.close()
    return store.script.without_open_read()


def measure_replies(script: Script, host: str, port: int) -> None:
    """Replay with an eye on every reply: note how many bytes they are; raises StoreError if one is an error."""
    connections = _Connections(script, host, port)
    readers = [hiredis.Reader() for _ in range(script.connections)]
    try:
        for event in script.events:
            if isinstance(event, Send):
                connections.sockets[event.connection].sendall(event.data)
            else:
                event.size = connections.receive_replies(event, readers[event.connection])
    finally:
        connections.close()


def replay(script: Script, host: str, port: int) -> float:
    """Seconds a server takes for the script; `measure_replies` has to be called once before."""
    connections = _Connections(script, host, port)
    view = memoryview(bytearray(RECEIVE_BYTES))
    sockets = connections.sockets
    try:
        began = time.perf_counter()
        for event in script.events:
            one = sockets[event.connection]
            if isinstance(event, Send):
                one.sendall(event.data)
                continue
            left = event.size
            while left:
                left -= one.recv_into(view, min(left, RECEIVE_BYTES)) or _closed()
        return time.perf_counter() - began
    finally:
        connections.close()


class _Connections:
    """The sockets of one replay."""

    def __init__(self, script: Script, host: str, port: int) -> None:
        self.sockets = [socket.create_connection((host, port)) for _ in range(script.connections)]
        for one in self.sockets:
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def receive_replies(self, event: Receive, reader: hiredis.Reader) -> int:
        """Wait for an event's replies and look at them; returns their size in bytes."""
        size = found = 0
        while found < event.replies:
            data = self.sockets[event.connection].recv(RECEIVE_BYTES)
            size += len(data) or _closed()
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                found += 1
                for one in reply if isinstance(reply, list) else (reply,):
                    if isinstance(one, hiredis.ReplyError):
                        raise StoreError(f"the server refused a command of the floor: {one}")
        return size

    def close(self) -> None:
        for one in self.sockets:
            one.close()


def _closed() -> int:
    raise StoreError("the server closed the connection while the floor was measured; is it short of memory?")
