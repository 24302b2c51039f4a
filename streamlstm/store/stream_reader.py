"""Blocking reads of new entries: one for all streams of a server, or on a Cluster one for each slot with streams.

A Cluster takes no command over keys of two slots, and a read that blocks keeps its connection busy; so a slot has a
connection of its own.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from streamlstm.errors import StoreUnavailableError
from streamlstm.store.base import TOO_MUCH
from streamlstm.store.resp import Address, Connection, Topology, Waiting, checked, pack, parse_replies

BLOCKED_SHARE = 0.5  # of the longest silence, that a read blocks at most
NOTHING = b"*-1\r\n"  # the reply to a read that timed out
# Of one read: what is more is given up on the way and asked for again entry by entry, since a server says nothing of
# sizes beforehand. Taken apart it needs some times as much. A single entry is read whole, however large.
MOST_BYTES = 64 << 20


@dataclass
class _Reader:
    connection: Connection
    asked: Mapping[str, bytes] | None = None  # cursors of the read under way
    count: int = 0  # entries of each stream asked for
    whole: bool = False  # its reply is here, or as much of it as is taken

    def ask(self, cursors: Mapping[str, bytes], count: int, block_ms: int) -> None:
        command: list[bytes | str | int] = ["XREAD", "COUNT", count, "BLOCK", block_ms, "STREAMS"]
        self.connection.raw.expect(1)
        self.connection.send(pack(*command, *cursors, *cursors.values()))
        self.asked, self.count, self.whole = cursors, count, False

    @property
    def is_too_much(self) -> bool:
        """Whether the rest of the reply is not to be waited for."""
        return self.count > 1 and self.connection.raw.held > MOST_BYTES

    def receive(self) -> bool:
        self.whole = self.connection.raw.pull() or self.is_too_much
        return self.whole

    def take(self) -> bytes:
        self.asked, self.whole = None, False
        reply = self.connection.raw.take()
        if reply.startswith(b"-"):
            checked(parse_replies(reply)[0], self.connection.address, "XREAD")
        return reply


class Readers:
    """All reads under way."""

    def __init__(self, topology: Topology, waiting: Waiting, *, block_ms: int) -> None:
        self._topology = topology
        self._waiting = waiting
        self._block_ms = block_ms
        self._readers: dict[Hashable, _Reader] = {}

    def ask(self, cursors: Mapping[str, bytes], count: int) -> None:
        """Ask for what comes after the cursors, which are kept; a read under way for something else is replaced."""
        parts = self._parts(cursors)
        for place in self._readers.keys() - parts.keys():
            self._hang_up(self._readers.pop(place))
        for place, (address, wanted) in parts.items():
            reader = self._readers.get(place)
            if reader is not None and reader.asked is not None:
                if reader.asked == wanted:
                    continue
                # Its reply could come at any moment, and nothing but the connection's end takes a read back.
                self._hang_up(self._readers.pop(place))
                reader = None
            if reader is None:
                reader = self._readers[place] = _Reader(self._topology.connect(address, "streamlstm-read"))
            block_ms = max(1, min(self._block_ms, int(address.socket_timeout_s * 1000 * BLOCKED_SHARE)))
            reader.ask(wanted, count, block_ms)
            self._waiting.expect(reader.connection, reader.receive)

    @property
    def whole(self) -> int:
        """How many replies are here."""
        return sum([reader.whole for reader in self._readers.values()])  # asked twice a turn: no generator

    def take(self) -> bytes:
        """The replies that are here as one, or all that are under way if none is; TOO_MUCH if one is too large."""
        too_much = [place for place, reader in self._readers.items() if reader.whole and reader.is_too_much]
        for place in too_much:
            self._hang_up(self._readers.pop(place))
        if too_much:
            return TOO_MUCH
        under_way = [reader for reader in self._readers.values() if reader.asked is not None]
        here = [reader for reader in under_way if reader.whole]
        return merged([reader.take() for reader in here or under_way])

    def close(self) -> None:
        """Close every connection."""
        for reader in self._readers.values():
            self._hang_up(reader)
        self._readers.clear()

    def _hang_up(self, reader: _Reader) -> None:
        self._waiting.forget(reader.connection)
        reader.connection.close()

    def _parts(self, cursors: Mapping[str, bytes]) -> Mapping[Hashable, tuple[Address, Mapping[str, bytes]]]:
        if not self._topology.spread:
            return {None: (self._topology.home(""), cursors)} if cursors else {}
        parts: dict[Hashable, tuple[Address, dict[str, bytes]]] = {}
        for stream, cursor in cursors.items():
            address, slot = self._topology.home(stream), self._topology.slot(stream)
            parts.setdefault((address, slot), (address, {}))[1][stream] = cursor
        return parts


def merged(replies: list[bytes]) -> bytes:
    """Replies of XREADs over different streams as that of one XREAD over all (RESP2)."""
    found = [reply for reply in replies if reply != NOTHING]
    if len(found) <= 1:
        return found[0] if found else NOTHING
    count, bodies = 0, []
    for reply in found:
        head, _, body = reply.partition(b"\r\n")
        if not head.startswith(b"*"):
            raise StoreUnavailableError("the Redis server answered a read with what is no list of streams")
        count += int(head[1:])
        bodies.append(body)
    return b"*%d\r\n%b" % (count, b"".join(bodies))
