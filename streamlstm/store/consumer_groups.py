"""Consumer groups of a stream that is written anew: read from the old one, made again on the new one.

Redis has no command that takes entries off a stream's end so that their ids can be used again (XSETID refuses an id
below one that was deleted), so a stream that goes back is copied, and a copy has no groups. What a group is comes
along: how far it was delivered (at most to the new end, so that what is answered again is delivered again), its
consumers, and what each has been given and not acknowledged, with its age and count. Between reading and replacing lie
some milliseconds; what a reader acknowledges in them is given to it once more, and nothing is ever left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from streamlstm.store.resp import Connection, EntryId, beyond, checked, pack, paired

PAGE = 1_000  # pending entries of one command

_NO_SUCH_KEY = "ERR no such key"


@dataclass(frozen=True)
class PendingEntry:
    """An entry that a consumer has been given and has not acknowledged."""

    id: bytes
    consumer: bytes
    idle_ms: int
    deliveries: int


@dataclass(frozen=True)
class ConsumerGroup:
    """One consumer group."""

    name: bytes
    delivered: bytes  # id of the last entry it was given
    counts: bool  # whether the server counts what a group has read (Redis 7)
    consumers: list[bytes] = field(default_factory=list)
    pending: list[PendingEntry] = field(default_factory=list)


def read_groups(connection: Connection, key: str) -> list[ConsumerGroup]:
    """The groups of a stream; none if there is no stream."""
    connection.send(pack("XINFO", "GROUPS", key))
    reply = connection.receive()
    if str(reply).startswith(_NO_SUCH_KEY):
        return []
    groups = []
    for raw in checked(reply, connection.address):
        said = dict(paired(raw))
        group = ConsumerGroup(said[b"name"], said[b"last-delivered-id"], b"entries-read" in said)
        consumers = connection.call("XINFO", "CONSUMERS", key, group.name)
        group.consumers.extend(dict(paired(one))[b"name"] for one in consumers)
        group.pending.extend(_pending(connection, key, group.name))
        groups.append(group)
    return groups


def making(connection: Connection, key: str, groups: list[ConsumerGroup]) -> list[bytes]:
    """The packed commands that make groups on a stream that has the entries of the old one up to some id."""
    newest = connection.call("XREVRANGE", key, "+", "-", "COUNT", 1)
    end = EntryId.parse(newest[0][0]) if newest else EntryId(0, 0)
    commands = []
    for group in groups:
        delivered = min(EntryId.parse(group.delivered), end)
        counted = ("ENTRIESREAD", _count(connection, key, bytes(delivered))) if group.counts else ()
        commands.append(pack("XGROUP", "CREATE", key, group.name, bytes(delivered), "MKSTREAM", *counted))
        commands += [pack("XGROUP", "CREATECONSUMER", key, group.name, name) for name in group.consumers]
        for one in group.pending:
            if EntryId.parse(one.id) <= delivered:
                given = ("IDLE", one.idle_ms, "RETRYCOUNT", one.deliveries, "FORCE", "JUSTID")
                commands.append(pack("XCLAIM", key, group.name, one.consumer, 0, one.id, *given))
    return commands


def _count(connection: Connection, key: str, end: bytes) -> int:
    """How many entries a copy has up to an id; nothing was ever deleted from it."""
    total = int(connection.call("XLEN", key))
    later, after = 0, end
    while True:
        page = connection.call("XRANGE", key, *beyond(after), "COUNT", PAGE)
        if not page:
            return total - later
        later, after = later + len(page), page[-1][0]


def _pending(connection: Connection, key: str, group: bytes) -> Iterator[PendingEntry]:
    after = b"-"
    while True:
        page: list[Any] = connection.call("XPENDING", key, group, after, "+", PAGE)
        if not page:
            return
        yield from (PendingEntry(*one) for one in page)
        after = b"(" + page[-1][0]
