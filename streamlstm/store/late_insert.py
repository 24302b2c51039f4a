"""Predictions put in where later ones stand already: Redis adds to a stream's end alone, so the stream is written anew.

It is copied under a draft's name with what was missing, and takes its own place in one transaction that is fenced as a
commit is; consumer groups come along (`store.consumer_groups`). This takes some seconds for a million predictions,
and happens only where something refuses one command and takes the next of the same kind.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from streamlstm.errors import StoreError
from streamlstm.store.consumer_groups import making, read_groups
from streamlstm.store.keys import Keys
from streamlstm.store.resp import BEGINNING, Connection, EntryId, beyond, checked, pack, stream_info
from streamlstm.store.transaction import Command, carry_out_whole

log = logging.getLogger(__name__)

PAGE = 1_000  # entries of one command
DRAFT_TTL_S = 600  # of a draft nobody works on any more; renewed with every page
MOST = 3_000_000  # entries that are written anew, so that the loop beats again in time

Entry = Sequence[Any]  # an id, then fields with their values in turn


def insert_late(connection: Connection, keys: Keys, key: str, end: bytes, missing: Sequence[Entry]) -> bool | None:
    """Write predictions anew with some entries among them, under a watch that is set already.

    `key` is that of the champion's or of the challenger's; `end` is the last entry that is answered. False if there is
    no need to, as none of them comes too late; None if what is watched has changed meanwhile. Raises StoreError if that
    is refused, if there are too many predictions, or one that somebody else added behind `end`: the next commit would
    meet it again.
    """
    if not missing:
        return False
    address = connection.address
    connection.send(pack("XINFO", "STREAM", key))
    info = stream_info(connection.receive(), address)
    last = EntryId.parse(info[b"last-generated-id"]) if info else EntryId.parse(BEGINNING)
    if EntryId.parse(missing[0][0]) > last:
        return False
    if last > EntryId.parse(end):
        raise StoreError(
            f"somebody else added {last} to {key!r}, which takes nothing before that any more, and "
            f"{keys.input!r} is answered up to {end.decode()} only: rename or delete the key"
        )
    if info[b"length"] > MOST:
        raise StoreError(
            f"{len(missing)} predictions of {keys.input!r} were left out of a commit, and others follow; of more than "
            f"{MOST:,} they are not written anew: trim {key!r} (XTRIM MINID) if older ones may go"
        )
    log.warning("%d predictions of %r come too late to be added; all are written anew", len(missing), keys.input)
    draft = keys.draft(f"{key.removeprefix(keys.base + ':')}-whole")
    connection.call("DEL", draft)
    for page in _pages(connection, key, missing):
        _fill(connection, draft, [("XADD", draft, *entry) for entry in page])
    groups = read_groups(connection, key) if info[b"groups"] else []
    for command in making(connection, draft, groups) if groups else []:
        connection.send(command)
        checked(connection.receive(), address, "XGROUP")
    moves: list[Command] = [("PERSIST", draft), ("RENAME", draft, key)]
    return None if carry_out_whole(connection, moves) is None else True


def _pages(connection: Connection, key: str, missing: Sequence[Entry]) -> Iterator[list[Entry]]:
    """All entries of a stream in their order, with those that are missing among them."""
    left, after = list(missing), BEGINNING
    while page := connection.call("XRANGE", key, *beyond(after), "COUNT", PAGE):
        after = page[-1][0]
        edge, there = EntryId.parse(after), {entry[0] for entry in page}
        here = [entry for entry in left if EntryId.parse(entry[0]) <= edge]
        left = left[len(here) :]
        found = [(entry[0], *entry[1]) for entry in page] + [entry for entry in here if entry[0] not in there]
        yield sorted(found, key=lambda entry: EntryId.parse(entry[0]))
    yield left


def _fill(connection: Connection, draft: str, commands: Sequence[Command]) -> None:
    connection.send(b"".join([pack(*command) for command in (*commands, ("EXPIRE", draft, DRAFT_TTL_S))]))
    replies = [connection.receive() for _ in range(len(commands) + 1)]
    for command, reply in zip((*commands, ("EXPIRE",)), replies, strict=True):
        checked(reply, connection.address, str(command[0]))
