"""How far a stream's end is from its position, by what the server says of the stream."""

from __future__ import annotations

import shlex
from dataclasses import replace

from streamlstm.store.base import Head, Tail
from streamlstm.store.keys import Keys
from streamlstm.store.resp import (
    Connection,
    EntryId,
    beyond,
    bulk,
    checked,
    listed,
    pack,
    parse_replies,
    stream_info,
)
from streamlstm.store.stream_meta import read_count, read_position

NO_ENTRIES = b"*0\r\n"
PAGE = 10_000  # entries counted one by one where the server's own count is of no use


def read_tail(connection: Connection, keys: Keys, head: Head) -> Tail:
    """What waits after a position, and what the server knows of entries that are gone."""
    connection.send(
        pack("HMGET", keys.meta, "position", "epoch")
        + pack("XINFO", "STREAM", keys.input)  # first: what it counts is then before what waits, or among it
        + pack("XRANGE", keys.input, *beyond(head.position), "COUNT", 1)
        + pack("TIME")
    )
    replies = [connection.receive() for _ in range(4)]
    info = stream_info(replies[1], connection.address)
    position, epoch = listed(replies[0], 2, connection.address, "HMGET")
    waiting = checked(replies[2], connection.address, "XRANGE")
    seconds, microseconds = listed(replies[3], 2, connection.address, "TIME")
    now_ms = int(seconds) * 1000 + int(microseconds) // 1000
    position = read_position(keys, position)
    held = Tail(lag_entries=0, lag_ms=0, position=position, epoch=read_count(keys, "epoch", epoch, "set it to 0"))
    if not info:
        return held
    last = EntryId.parse(info[b"last-generated-id"])
    first = None if info[b"first-entry"] is None else info[b"first-entry"][0]
    added, length = info.get(b"entries-added"), info[b"length"]
    tail = replace(
        held,
        ahead_ms=max(0, last.time_ms - now_ms),
        first=first,
        last_deleted=info.get(b"max-deleted-entry-id"),
    )
    if not waiting:
        if first is not None and last < EntryId.parse(head.position):
            # Deleting entries leaves the last id as it was; so the stream itself was deleted, and has smaller ids now.
            age_ms = max(0, now_ms - EntryId.parse(first).time_ms)
            return replace(tail, lag_entries=length, lag_ms=age_ms, ends_before_position=True)
        # All that ever came lies before the position now: what was not answered is gone.
        return replace(tail, answered=added)
    oldest, answered = waiting[0][0], None
    if first == oldest:
        # Nothing answered is left in the stream, so all of it waits; what was trimmed besides is gone.
        lag, answered = length, None if added is None else added - length
    elif added is not None and added > head.answered:
        lag = min(length, added - head.answered)
    else:  # Redis 6.2 does not count, and a stream begun again counts anew; long lags are told roughly
        lag = len(connection.call("XRANGE", keys.input, *beyond(head.position), "COUNT", PAGE))
    lag_ms = max(0, now_ms - EntryId.parse(oldest).time_ms)
    return replace(tail, lag_entries=lag, lag_ms=lag_ms, answered=answered)


def count_to(connection: Connection, keys: Keys, last: bytes) -> int:
    """How many entries a stream has up to an id, that one included; PAGE at most."""
    return len(connection.call("XRANGE", keys.input, "-", last, "COUNT", PAGE))


def read_range(connection: Connection, keys: Keys, after: bytes, end: bytes, count: int) -> bytes:
    """Up to `count` entries of a stream after one id up to another, as an XREAD would have answered."""
    key = keys.input.encode()
    connection.send(pack("XRANGE", key, *beyond(after, end), "COUNT", count))
    connection.raw.expect(1)
    reply = connection.raw.take()
    if reply == NO_ENTRIES:
        return reply
    if reply.startswith(b"-"):
        checked(parse_replies(reply)[0], connection.address)
    return b"*1\r\n*2\r\n" + bulk(key) + reply


def begun_again_text(stream: str) -> str:
    """What a stream that was begun again with smaller ids means, and what mends it."""
    derived = " ".join(map(shlex.quote, Keys(stream).derived))
    return (
        "the stream was begun again with smaller ids: its position lies beyond its end, so what it holds is never "
        f"read; to have it answered, all series beginning anew, run `redis-cli DEL {derived}`; to go on from the "
        "states there are, add values with ids above the position"
    )
