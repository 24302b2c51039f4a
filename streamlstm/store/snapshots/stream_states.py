"""All states of one stream on a server: scanned page by page, frozen at one position, replaced as a whole.

What is replaced here is fenced as a commit is, by a WATCH on `base:meta`, and counted in its field `epoch`: whoever
serves the stream finds its next commit refused, drops the records it holds and opens the stream again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from streamlstm.errors import StoreError, StoreUnavailableError
from streamlstm.store import (
    FIELDS,
    Command,
    Keys,
    Meta,
    carry_out_whole,
    end_roles,
    entries_up_to,
    fetch_meta,
    format_of,
    making,
    read_groups,
    read_meta,
    watch,
)
from streamlstm.store.resp import BEGINNING, Connection, beyond, checked, pack, paired, stream_info
from streamlstm.store.snapshots.file_format import Record, SnapshotHead

PAGE = 1_000  # records (or entries) of one command
DRAFT_TTL_S = 600  # of a draft nobody works on any more; renewed with every page

Entry = tuple[bytes, list[bytes]]  # an id, and fields with their values in turn


class MovedError(StoreError):
    """The position moved, or the states were replaced, while they were read."""


class States:
    """The states of one stream over one connection."""

    def __init__(self, connection: Connection, keys: Keys, *, token: str) -> None:
        """`token` makes the names of drafts unlike those of others."""
        self._connection, self.keys, self._token = connection, keys, token

    def meta(self) -> Meta:
        """Read `base:meta`; raises StoreError if it has another format, or a field that somebody else wrote."""
        return fetch_meta(self._connection, self.keys)

    def count(self) -> int:
        """How many series have a record."""
        return int(self._connection.call("HLEN", self.keys.state))

    @property
    def server(self) -> str:
        """URL of the server they are on, password masked."""
        return self._connection.address.url

    def get(self, names: Sequence[bytes]) -> list[bytes | None]:
        records: list[bytes | None] = self._connection.call("HMGET", self.keys.state, *names)
        return records

    def add_input(self, fields: Sequence[bytes]) -> bytes:
        """Add an entry to the input, as a producer does; returns its id."""
        entry_id: bytes = self._connection.call("XADD", self.keys.input, "*", *fields)
        return entry_id

    def last_prediction(self) -> bytes | None:
        """Id of the last prediction, as far as they are kept."""
        newest = self._last(self.keys.predictions)
        return None if newest is None else newest[0]

    def last_dead_letter(self) -> Entry | None:
        """The last dead letter, as far as they are kept."""
        return self._last(self.keys.dead)

    def _last(self, key: str) -> Entry | None:
        newest = self._connection.call("XREVRANGE", key, "+", "-", "COUNT", 1)
        return (newest[0][0], newest[0][1]) if newest else None

    def dead_letters_were_trimmed(self) -> bool:
        """Whether the oldest were lost to a MAXLEN, and none to an XDEL, as far as the server tells (Redis 7)."""
        info = self._info(self.keys.dead)
        if info is None or b"entries-added" not in info:
            return info is not None
        return bool(info[b"entries-added"] > info[b"length"] and info[b"max-deleted-entry-id"] == b"0-0")

    def _info(self, key: str) -> dict[bytes, Any] | None:
        """What the server says of a stream; None if there is none."""
        self._connection.send(pack("XINFO", "STREAM", key))
        return stream_info(self._connection.receive(), self._connection.address) or None

    def first_input(self, after: bytes) -> bytes | None:
        """Id of the first entry of the input after an id."""
        found = self._connection.call("XRANGE", self.keys.input, *beyond(after), "COUNT", 1)
        return found[0][0] if found else None

    def entries_up_to(self, position: bytes) -> int:
        """How many entries the input has had up to an id, as far as the server counts those that are gone (Redis 7)."""
        return entries_up_to(self._connection, self.keys, position)

    def scan(self, key: str | None = None, *, match: str | None = None) -> Iterator[list[Record]]:
        """Pages of records, in no order; from a draft if its key is given.

        Of a hash that changes meanwhile, each series that is there all the time is given at least once.
        """
        cursor: bytes = b"0"
        pattern = () if match is None else ("MATCH", match)
        while True:
            if key is not None:
                self.keep(key)
            cursor, flat = self._connection.call("HSCAN", key or self.keys.state, cursor, *pattern, "COUNT", PAGE)
            if flat:
                yield list(paired(flat))
            if cursor == b"0":
                return

    def scan_still(self, meta: Meta) -> Iterator[list[Record]]:
        """Pages of records that all belong to one meta; raises MovedError once they no longer do."""
        for page in self.scan():
            if self.meta() != meta:
                raise MovedError(f"the position of {self.keys.input!r} moved while its states were read")
            yield page
        if self.meta() != meta:
            raise MovedError(f"the position of {self.keys.input!r} moved while its states were read")

    def keep(self, draft: str) -> None:
        """Let a draft live on; to be called every few minutes."""
        self._connection.call("EXPIRE", draft, DRAFT_TTL_S)

    @contextmanager
    def frozen(self, *, challenger: bool = False) -> Iterator[tuple[Meta, str]]:
        """Meta, and the key of a copy of all records that belong to it; the server makes the copy in one go.

        With `challenger` there is one of its challenger's records too, under `frozen_challenger` of that key.
        The copy takes as much memory as the records for as long as it is read, and the server answers nobody while it
        is made, about a second for two million records. Nobody has to stop for it.
        """
        draft = self.keys.draft(self._token)
        copies = {self.keys.state: draft}
        if challenger:
            copies[self.keys.challenger_state] = frozen_challenger(draft)
        commands: list[Command] = [("HMGET", self.keys.meta, *FIELDS)]
        for key, copy in copies.items():
            commands += [("COPY", key, copy, "REPLACE"), ("EXPIRE", copy, DRAFT_TTL_S)]
        try:
            replies = carry_out_whole(self._connection, commands)
            assert replies is not None, "nothing was watched"
            yield read_meta(self._connection, self.keys, replies[0]), draft
        finally:
            with suppress(StoreUnavailableError):  # it has a TTL
                self._connection.call("UNLINK", *copies.values())

    @contextmanager
    def draft(self) -> Iterator[Draft]:
        """Room for states to be; whatever was not put in place at the end is deleted."""
        draft = Draft(self._connection, self.keys, self._token)
        try:
            yield draft
        finally:
            draft.discard()

    def replace(self, draft: Draft, *, expected: Meta, head: SnapshotHead) -> bool:
        """Put a draft in the place of all states, and the head's position and model in meta, as one.

        False, and nothing done, if meta is not what is expected any more.
        """
        watch(self._connection, self.keys.meta)
        if self.meta() != expected:
            self._connection.call("UNWATCH")
            return False
        draft.keep()
        setting: Command = (
            *("HSET", self.keys.meta, "position", head.position, "model", head.model, "columns", head.columns),
            *("format", format_of(head.columns), "entries", head.answered, "epoch", expected.epoch + 1),
        )
        ends = end_roles(self.keys, expected)  # what is replaced here is no work of the models that had them
        if expected.model not in {None, head.model}:
            ends.append(("UNLINK", self.keys.model(str(expected.model))))
        return carry_out_whole(self._connection, [*draft.moves(), *ends, setting]) is not None


def frozen_challenger(frozen: str) -> str:
    """The key of the copy of a challenger's records, by that of the champion's."""
    return f"{frozen}-challenger"


class Draft:
    """Keys being filled that are to take the place of a stream's own."""

    def __init__(self, connection: Connection, keys: Keys, token: str) -> None:
        self._connection, self._keys = connection, keys
        # Own key -> the draft that is to take its place.
        self._drafts = {keys.state: keys.draft(token + "-state")}
        self._streams = {
            key: keys.draft(token + key.removeprefix(keys.base).replace(":", "-"))
            for key in (keys.predictions, keys.anomalies, keys.dead)
        }
        self._filled: set[str] = set()
        self._groups: dict[str, list[bytes]] = {}  # draft of a stream -> the consumer groups it was given

    def put(self, records: Sequence[Record]) -> None:
        key = self._drafts[self._keys.state]
        if records:
            self._fill(key, [pack("HSET", key, *(part for pair in records for part in pair))])

    def count(self) -> int:
        """How many records there are."""
        return int(self._connection.call("HLEN", self._drafts[self._keys.state]))

    def cut(self, is_kept: Callable[[str, Entry], bool]) -> None:
        """Take along predictions, anomalies and dead letters, but only those of which `is_kept(key, entry)` holds."""
        for key, draft in self._streams.items():
            self._drafts[key] = draft
            after = BEGINNING
            while True:
                page = self._connection.call("XRANGE", key, *beyond(after), "COUNT", PAGE)
                if not page:
                    break
                after = page[-1][0]
                kept = [pack("XADD", draft, entry[0], *entry[1]) for entry in page if is_kept(key, entry)]
                if kept:
                    self._fill(draft, kept)

    def carry_groups(self) -> None:
        """Give the streams that are taken along the consumer groups that their own have just now."""
        for key, draft in self._streams.items():
            if key not in self._drafts:
                continue
            commands = [pack("XGROUP", "DESTROY", draft, name) for name in self._groups.pop(draft, ())]
            groups = read_groups(self._connection, key)
            if groups or commands:
                self._fill(draft, commands + making(self._connection, draft, groups))
            self._groups[draft] = [group.name for group in groups]

    def remove(self, names: Sequence[bytes]) -> None:
        """Take records out again."""
        key = self._drafts[self._keys.state]
        if names and key in self._filled:
            self._connection.call("HDEL", key, *names)

    def keep(self) -> None:
        """Let what has been put live on; to be called every few minutes. Raises StoreError if it is gone."""
        for key in self._filled:
            if self._connection.call("EXPIRE", key, DRAFT_TTL_S) != 1:
                raise _gone(key)

    def _fill(self, key: str, commands: list[bytes]) -> None:
        begun = key in self._filled
        self._filled.add(key)
        live_on = pack("EXPIRE", key, DRAFT_TTL_S)
        packed = [live_on, *commands, live_on]
        self._connection.send(b"".join(packed))
        replies = [self._connection.receive() for _ in packed]
        for reply in replies:
            checked(reply, self._connection.address)
        if begun and replies[0] != 1:  # what was put before has expired: what is there now is not whole
            raise _gone(key)

    def moves(self) -> list[Command]:
        """The commands that put the drafts in place; a draft that was never filled empties its key."""
        moves: list[Command] = []
        for key, draft in self._drafts.items():
            moves.append(("UNLINK", key))
            if draft in self._filled:
                moves += [("PERSIST", draft), ("RENAME", draft, key)]
        return moves

    def discard(self) -> None:
        """Delete what was not put in place."""
        with suppress(StoreUnavailableError):  # they have a TTL
            if self._filled:
                self._connection.call("UNLINK", *self._filled)
                self._filled.clear()


def _gone(key: str) -> StoreError:
    return StoreError(f"the draft {key!r} is gone: the server was flushed, or it took too long; nothing is changed")
