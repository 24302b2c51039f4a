"""The store on a Redis server: one blocking read for all streams, and a connection a stream to watch and commit.

A stream has a connection of its own (`store.commit`) because EXEC ends every watch of its connection.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

from streamlstm.errors import StoreError, StoreForbidsError, StoreRefusesError, StoreUnavailableError
from streamlstm.store.base import Commit, Head, KeptRecord, Tail
from streamlstm.store.commit import CommitConnection
from streamlstm.store.dead_letters import Letters, Refused, nothing
from streamlstm.store.kept_records import read_kept
from streamlstm.store.keys import Keys
from streamlstm.store.model_files import ModelFiles
from streamlstm.store.preflight import Preflight
from streamlstm.store.resp import (
    SOCKET_TIMEOUT_S,
    Address,
    Connection,
    Nodes,
    Topology,
    Waiting,
    listed,
    pack,
    paired,
    parse_topology,
)
from streamlstm.store.server_check import refuse_unsafe
from streamlstm.store.stream_ends import count_to, read_range, read_tail
from streamlstm.store.stream_reader import Readers
from streamlstm.store.unfinished_commit import Unfinished

# A blocking read comes back after this long at the latest, so that a connection that died silently is noticed.
BLOCK_MS = 1000


class RedisStore:
    """A `store.base.Store` on Redis or Valkey, 6.2 or later: one server, behind Sentinels, or a Cluster."""

    def __init__(
        self,
        where: str | Topology,
        *,
        block_ms: int = BLOCK_MS,
        busy_poll_s: float = 0.0,
        wakeup: int | None = None,
        preflight: Preflight | None = None,
        model_files: ModelFiles | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Connects when first used; raises UsageError for a URL it cannot read.

        A `wait` looks for so long before it sleeps: a process that is awake answers sooner, and takes a core for it.
        `wakeup` is a descriptor that ends a `wait` when it becomes readable (a signal arrived). `preflight` asks
        for the right to what will be sent; if none is given, commits will not trim streams, and `scan` is not called.
        `model_files` keeps the model's file beside the streams.
        """
        self._topology = parse_topology(where) if isinstance(where, str) else where
        self._waiting = Waiting(monotonic=monotonic, busy_poll_s=busy_poll_s, wakeup=wakeup)
        self.call_when_readable = self._waiting.call_when_readable
        self.call_while_polling = self._waiting.call_while_polling
        self._readers = Readers(self._topology, self._waiting, block_ms=block_ms)
        self._nodes = Nodes(self._topology, name="streamlstm-control")
        self._preflight = Preflight(self._topology) if preflight is None else preflight
        self._model_files = model_files
        self._streams: dict[str, CommitConnection] = {}
        self._letters: dict[str, Letters] = {}  # of streams, as far as they were read
        self._done: list[str] = []  # streams whose commit's outcome is here
        self._unfinished: dict[str, Unfinished] = {}  # what commits left out that were carried out in part

    @property
    def url(self) -> str:
        """Where it is, password masked."""
        return self._topology.url

    @property
    def spread(self) -> bool:
        """Whether it is a Cluster."""
        return self._topology.spread

    def check_server(self, *, accept_eviction: bool = False) -> dict[str, str]:
        """INFO of a server; raises StoreError if the settings of any could lose data without a word.

        On a Cluster a node that is away is passed over, unless all are. Nothing of a server that does not let itself be
        asked.
        """
        info: dict[str, str] = {}
        away: StoreUnavailableError | None = None
        is_there = False
        for address in self._topology.homes():
            try:
                connection = self._nodes.at(address)
                with contextlib.suppress(StoreForbidsError):  # by rights, by name or by what stands before it
                    info = _parse_info(connection.call("INFO"))
                is_there = True
            except StoreUnavailableError as error:
                if not self.spread:
                    raise
                away = error
                continue
            refuse_unsafe(info, address.url, accept_eviction=accept_eviction)
        if away is not None and not is_there:
            raise away
        return info

    def open(self, stream: str) -> Head:
        """Connect, watch, read the head; the first time, ask the server whether it takes all that will be sent."""
        self.release(stream)
        try:
            self._preflight.ask_once(stream)
            made = CommitConnection(self._topology, stream, self._done, self._unfinished)
            self._streams[stream] = made
            head = made.open()
            if self._model_files is not None:
                keys = Keys(stream)
                self._model_files.keep(self._nodes.connection(keys.input), keys, head.model)
            return head
        except StoreUnavailableError:
            self._topology.doubt()
            raise

    def send_read(self, cursors: Mapping[str, bytes], count: int) -> None:
        """One XREAD over all streams, or one a slot."""
        self._readers.ask(cursors, count)

    def receive_read(self) -> bytes:
        """The entries of the last `send_read`."""
        return self._readers.take()

    def load(self, stream: str, names: Sequence[bytes], *, challenger: bool = False) -> list[bytes | None]:
        """HMGET, once the stream's commit is answered: its own connection has begun the next one already."""
        keys = Keys(stream)
        connection = self._after_commits(keys)
        connection.send(pack("HMGET", keys.challenger_state if challenger else keys.state, *names))
        return listed(connection.receive(), len(names), connection.address, "HMGET")

    def _after_commits(self, keys: Keys) -> Connection:
        """A connection that sees what the stream's commits have written."""
        held = self._streams[keys.input]
        if held.flight is not None:
            self._waiting.forget(held.connection)
            held.receive_early()
        return self._nodes.connection(keys.input)

    def letters(self, stream: str, names: Container[bytes], beat: Callable[[], object] = nothing) -> Refused:
        """XRANGE, of what came since the last time."""
        keys = Keys(stream)
        return self._letters.setdefault(stream, Letters(keys, names)).read(self._after_commits(keys), beat)

    def kept(self, stream: str, names: Sequence[bytes]) -> list[list[KeptRecord]]:
        """HMGET of both."""
        keys = Keys(stream)
        return read_kept(self._after_commits(keys), keys, names)

    def read(self, stream: str, after: bytes, end: bytes, count: int) -> bytes:
        """XRANGE."""
        keys = Keys(stream)
        return read_range(self._nodes.connection(keys.input), keys, after, end, count)

    def scan(self, stream: str, cursor: bytes, count: int) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """HSCAN, beside the commits."""
        keys = Keys(stream)
        connection = self._nodes.connection(keys.input)
        connection.send(pack("HSCAN", keys.state, cursor, "COUNT", count))
        cursor, flat = listed(connection.receive(), 2, connection.address, "HSCAN")
        return cursor, list(paired(flat))

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

    def go_on_sending(self) -> None:
        """As much as the sockets have room for."""
        self._waiting.go_on_sending()

    def receive_commit(self, stream: str) -> bool:
        """Outcome of the stream's flight."""
        held = self._streams[stream]
        if stream in self._done:
            self._done.remove(stream)
        else:  # it is waited for here
            self._waiting.forget(held.connection)
        return held.receive()

    def hear_out(self) -> bool:
        """The replies to flights; what one has left out is written when its stream is opened again."""
        for held in self._streams.values():
            if held.flight is not None:
                with contextlib.suppress(StoreError):
                    held.receive()
        return bool(self._unfinished)

    def release(self, stream: str) -> None:
        """Close the stream's connection."""
        self._letters.pop(stream, None)
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

    def count_to(self, stream: str, last: bytes) -> int:
        """XRANGE."""
        keys = Keys(stream)
        return count_to(self._nodes.connection(keys.input), keys, last)

    def close(self) -> None:
        """Close every connection; where keys are is looked up anew."""
        for held in self._streams.values():
            self._hang_up(held)
        self._streams.clear()
        self._done.clear()
        self._preflight.forget()
        self._readers.close()
        self._nodes.close()

    def _hang_up(self, held: CommitConnection) -> None:
        self._waiting.forget(held.connection)
        held.connection.close()


def _parse_info(text: Any) -> dict[str, str]:
    if not isinstance(text, bytes):
        return {}
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
