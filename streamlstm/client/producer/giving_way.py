"""Entries whose ids give way to what others send to the same stream meanwhile: corrections, and values that come late.

Such an entry stands just behind the stream's end, wherever that is, so its id is only known when it goes in: the end is
watched, and the transaction comes to nothing if it moves. Values that the end has passed since they were packed have
come late by then.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from streamlstm.engine import COMMANDS, CORRECTIONS, LATE
from streamlstm.errors import StoreForbidsError, StoreNotNowError
from streamlstm.store.resp import (
    BEGINNING,
    Address,
    Connection,
    EntryId,
    agreed,
    pack,
    paired,
    parse_replies,
    stream_info,
)

TRIES = 20  # to send while nobody else does
ANY = b"*"  # an id that the server gives


class EndMovedError(StoreNotNowError):
    """A transaction came to nothing, as the end of the stream that was watched has moved."""

    def __init__(self, stream: str, address: Address) -> None:
        super().__init__(f"others write to {stream!r} at {address.url} all the time, so its end could not be met")


def end_of(connection: Connection, stream: str, *, watch: bool, before: bytes) -> EntryId:
    """Where a stream ends, which is watched from now on, if it may be; `before` goes before each command."""
    asked = [pack("WATCH", stream)] * watch + [pack("XINFO", "STREAM", stream)]
    connection.send(b"".join(before + command for command in asked))
    each = 2 if before else 1
    replies = [connection.receive() for _ in range(each * len(asked))][each - 1 :: each]
    if watch:
        with suppress(StoreForbidsError):  # rights as an earlier version gave them: then ids may be taken meanwhile
            agreed(replies[0], b"OK", connection.address, "WATCH")
    return EntryId.parse(stream_info(replies[-1], connection.address).get(b"last-generated-id", BEGINNING))


def placed(commands: Sequence[bytes], end: EntryId, *, anyhow: bool = False) -> list[bytes]:
    """XADD commands, those with ids of their own behind a stream's end: each where it is to be, or just behind it.

    Values among what is moved are late ones. `anyhow`: all of them come under ids of the server's.
    """
    made, last = list[bytes](), end
    for command, (xadd, stream, own, *fields) in zip(commands, parse_replies(b"".join(commands)), strict=True):
        if own == ANY:
            made.append(command)
            continue
        entry, names = EntryId.parse(own), set(fields[0::2])
        if (entry > last and not anyhow) or names & COMMANDS - CORRECTIONS:
            made.append(command)
            last = max(last, entry)
            continue
        last = EntryId(last.time_ms, last.sequence + 1)
        made.append(pack(xadd, stream, ANY if anyhow else bytes(last), *_late(own, fields)))
    return made


def _late(own: bytes, fields: Sequence[bytes]) -> list[bytes]:
    """What an entry holds, with its values as late ones."""
    made = list[bytes]()
    for name, text in paired(fields):
        made += (name, text) if name in CORRECTIONS else (LATE, b"%b %b %b" % (name, own, text or b"nan"))
    return made
