"""Entries sent to their streams, each once and in order, in transactions that go in as a whole or not at all.

What a server refuses it has not done, so it is asked again: where a Cluster redirects to (MOVED, ASK), or once what
passes has passed (LOADING, READONLY, CLUSTERDOWN, a failover, memory that is full). What a lost connection leaves open
is looked for in the stream before it is sent again. Nothing is sent before the batch before it is known to be in.
Entries that have to stand behind a stream's end give way to what others send (`client.producer.giving_way`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import hiredis

from streamlstm.client.producer.giving_way import TRIES, EndMovedError, end_of, placed
from streamlstm.client.producer.packing import OLD_MS
from streamlstm.common import counted
from streamlstm.errors import StoreError, StoreNotNowError, StoreUnavailableError
from streamlstm.store.resp import (
    BEGINNING,
    Address,
    Connection,
    EntryId,
    Nodes,
    at,
    beyond,
    checked,
    pack,
    paired,
    parse_replies,
)

MOST_COMMANDS = 5_000  # of one transaction, which holds up everybody else on the server
PAUSE_S = 0.25  # between two attempts
REDIRECTIONS = 5  # followed without a pause; a map of slots that is being changed may send round in circles
PAGE = 1_000  # entries of one look

_MULTI, _EXEC, _ASKING = pack("MULTI"), pack("EXEC"), pack("ASKING")
_REDIRECTION = re.compile(r"\b(MOVED|ASK) [0-9]+ (\S*):([0-9]{1,5})\b")

Found = TypeVar("Found")
Attempt = Callable[[Connection, bool], Found]


@dataclass
class Tally:
    """What a stream is known to have taken: entries whose id came back."""

    server: str
    entries: int = 0
    values: int = 0
    first: bytes = b""
    last: bytes = b""


@dataclass(eq=False)
class _Batch:
    """Entries of one stream that go in together or not at all."""

    stream: str
    commands: Sequence[bytes]
    counts: Sequence[int]  # values of each entry
    after: bytes  # the stream's last entry, as far as is known, before them
    connection: Connection | None = None  # on which its replies are under way
    server: str = ""  # where it was sent last
    trouble: StoreUnavailableError | None = None  # why there is no such connection
    open: bool = False  # whether it may be in

    def packed(self) -> bytes:
        return b"".join((_MULTI, *self.commands, _EXEC))

    def entries(self) -> list[tuple[bytes, list[bytes]]]:
        """Id (`*`: the server's) and fields of each entry."""
        return [(command[2], command[3:]) for command in parse_replies(b"".join(self.commands))]


def _say_nothing(message: str) -> None:
    del message


class Sender:
    """Sends entries in bulk and reads the replies."""

    def __init__(
        self,
        nodes: Nodes,
        *,
        retry_for_s: float,
        pause: Callable[[float], None] = time.sleep,
        say: Callable[[str], None] = _say_nothing,
        gives_way: bool = False,
    ) -> None:
        """`retry_for_s`: how long a server that is away or refuses is asked again; `pause` waits so many seconds.

        `say` is told when a server is waited for, and when it is there again. `gives_way`: ids of entries are the next
        free ones where others have taken theirs.
        """
        self._say, self._gives_way = say, gives_way
        # Told the stream, the id and the command of each entry that is in.
        self.take: Callable[[str, bytes, bytes], None] | None = None
        self.tallies: dict[str, Tally] = {}
        self._nodes = nodes
        self._retry_for_s = retry_for_s
        self._pause = pause
        self._ends: dict[str, bytes] = {}  # the last entry of each stream, as far as is known
        self._awaited: list[_Batch] = []
        self._tried: set[Connection] = set()  # known to take transactions

    def last_id(self, stream: str) -> bytes:
        """Where a stream ends; before everything if it is not there. Raises StoreError for a key that is no stream."""
        kind = self.call(stream, "TYPE", stream)
        if kind == b"none":
            return BEGINNING
        if kind != b"stream":
            where = self._nodes.connection(stream).address.url
            raise StoreError(
                f"the key {stream!r} at {where} is a {kind.decode()}, not a stream; push to another name or delete it "
                "(DEL)"
            )
        end: bytes = self.info(stream)[b"last-generated-id"]
        self._ends[stream] = end
        return end

    def info(self, stream: str) -> dict[bytes, Any]:
        """What XINFO STREAM says of a stream that is there."""
        return dict(paired(self.call(stream, "XINFO", "STREAM", stream)))

    def call(self, stream: str, *command: bytes | str | int, within_s: float | None = None) -> Any:
        """The reply to a command that only reads, once all that was sent is in; raises StoreError.

        A server that is away or refuses is asked again, for `within_s` at most if all that is to be sent has been.
        """
        self.settle()
        return self._insist(stream, lambda connection, asking: _call(connection, asking, *command), within_s=within_s)

    def send(self, stream: str, commands: Sequence[bytes], counts: Sequence[int]) -> None:
        """Send entries of one stream; their replies are waited for by `settle`.

        Raises StoreUnavailableError if the server stays away, StoreError if it refuses an entry for good; both say what
        is known to be in.
        """
        for first in range(0, len(commands), MOST_COMMANDS):
            if first:
                self.settle()
            part = slice(first, first + MOST_COMMANDS)
            batch = _Batch(stream, commands[part], counts[part], self._ends.get(stream, BEGINNING))
            self._awaited.append(batch)
            if self._gives_way:
                self.settle()
                continue
            try:
                connection = self._ready(stream)
                batch.connection, batch.server, batch.open = connection, connection.address.url, True
                connection.send(batch.packed())
            except StoreUnavailableError as error:
                self._nodes.forget(stream)
                batch.connection, batch.trouble = None, error

    @property
    def open_entries(self) -> int:
        """How many entries may be in, or may not."""
        return sum(len(batch.counts) for batch in self._awaited if batch.open)

    def settle(self, *, insist: bool = True) -> None:
        """Wait until all that was sent is in, or, if not to `insist`, until all replies are; raises as `send`."""
        left: list[_Batch] = []
        # All replies first: on a connection they come in the order of the batches.
        for batch in self._awaited:
            try:
                connection, batch.connection = batch.connection, None
                if connection is not None:
                    self._count(batch, self._replies(batch, connection))
            except StoreUnavailableError as error:
                batch.trouble = error
            # Open without trouble: a wait for it was broken off. What gives way has not been sent yet.
            if batch.trouble is not None or batch.open or not batch.server:
                left.append(batch)
        self._awaited = left
        if not insist:
            return
        for batch in tuple(left):
            self._count(batch, self._insist(batch.stream, self._again(batch), batch.trouble))
            self._awaited.remove(batch)

    def _replies(self, batch: _Batch, connection: Connection) -> list[Any]:
        """The ids of a batch that is in; raises StoreNotNowError if it is not, but may be tried again."""
        multi, *queued, done = [connection.receive() for _ in range(len(batch.commands) + 2)]
        if isinstance(done, list):
            return done
        batch.open = False
        if done is None:
            raise EndMovedError(batch.stream, connection.address)
        if isinstance(multi, hiredis.ReplyError) and not all(isinstance(one, hiredis.ReplyError) for one in queued):
            return queued  # the rights to MULTI were taken away: each entry was taken or refused by itself
        refused = next(reply for reply in (multi, *queued, done) if isinstance(reply, hiredis.ReplyError))
        try:
            checked(refused, connection.address)
        except StoreUnavailableError:
            raise
        except StoreError as error:
            raise StoreError(f"{error}; {self._known()}") from None
        raise AssertionError("a reply that is an error raises one")

    def _again(self, batch: _Batch) -> Attempt[list[Any]]:
        """An attempt to send a batch, but for one that a lost connection left open and that is in."""

        def attempt(connection: Connection, asking: bool) -> list[Any]:
            if batch.open:
                found = self._find(batch, connection, asking)
                if found is not None:
                    return found
            for left in reversed(range(TRIES)):
                if self._gives_way:
                    self._place(batch, connection, asking, is_last=not left)
                batch.server, batch.open = connection.address.url, True
                connection.send((_ASKING if asking else b"") + batch.packed())
                if asking:
                    checked(connection.receive(), connection.address)
                with suppress(EndMovedError) if left else nullcontext():
                    return self._replies(batch, connection)
            raise AssertionError("the last try returns or raises")

        return attempt

    def _place(self, batch: _Batch, connection: Connection, asking: bool, *, is_last: bool) -> None:
        """Put a batch behind its stream's end; the last time under any ids, if others go on with ids of now."""
        anyhow = is_last and EntryId.parse(batch.after).time_ms > time.time_ns() // 1_000_000 - OLD_MS
        end = end_of(connection, batch.stream, watch=not anyhow, before=_ASKING if asking else b"")
        batch.after, batch.commands = bytes(end), placed(batch.commands, end, anyhow=anyhow)

    def _find(self, batch: _Batch, connection: Connection, asking: bool) -> list[bytes] | None:
        """The ids of a batch in its stream, where its entries stand together; None if they are not there."""
        wanted, entries = batch.entries(), _entries(connection, asking, batch.stream, batch.after)
        if wanted[0][0] != b"*":
            # If the last is in, all are; a daemon may have answered and trimmed it meanwhile. Others may have its id.
            last, there = wanted[-1], dict(entries)
            is_gone = last[0] not in there and last[0] == _end(connection, asking, batch.stream)
            is_in = is_gone or (last[0] in there and (not self._gives_way or there[last[0]] == last[1]))
            return [entry_id for entry_id, _ in wanted] if is_in else None
        fields = [found for _, found in wanted]
        for first in range(len(entries) - len(fields) + 1):
            part = entries[first : first + len(fields)]
            if [found for _, found in part] == fields:
                return [entry_id for entry_id, _ in part]
        return None

    def _count(self, batch: _Batch, replies: Sequence[Any]) -> None:
        """Add what the replies to a batch's entries say is in; raises StoreError for one that is refused for good."""
        refused: hiredis.ReplyError | None = None
        batch.open = False
        tally = self.tallies.setdefault(batch.stream, Tally(batch.server))
        for reply, count, command in zip(replies, batch.counts, batch.commands, strict=True):
            if isinstance(reply, hiredis.ReplyError):
                refused = refused or reply
                continue
            tally.entries += 1
            tally.values += count
            tally.first, tally.last = tally.first or reply, reply
            if self.take is not None:
                self.take(batch.stream, reply, command)
        if tally.last:
            self._ends[batch.stream] = tally.last
        if refused is not None:
            self._refused(batch, refused)

    def _insist(
        self,
        stream: str,
        attempt: Attempt[Found],
        trouble: StoreUnavailableError | None = None,
        *,
        within_s: float | None = None,
    ) -> Found:
        """Attempt until the server does it: redirections are followed, and what passes is waited for, but not for ever.

        `trouble` is what came of the first attempt, if there was one.
        """
        began_s, asked, said, followed = time.monotonic(), None, False, 0
        while True:
            if trouble is not None:
                where = _REDIRECTION.search(str(trouble))
                asked = self._redirected(stream, where) if where else None
                followed += bool(where)
                if where is None or followed > REDIRECTIONS:
                    self._wait(trouble, began_s, within_s, said=said)
                    said = True
            try:
                connection = self._nodes.at(asked) if asked else self._ready(stream)
                found = attempt(connection, asked is not None)
            except StoreUnavailableError as error:
                trouble = error
                if not isinstance(error, StoreNotNowError) or " READONLY " in str(error):
                    self._forget(stream, asked)
                continue
            if said:
                self._say(f"going on at {connection.address.url}")
            return found

    def _wait(self, trouble: StoreUnavailableError, began_s: float, within_s: float | None, *, said: bool) -> None:
        """Pause, having said why once; raises the trouble once it has lasted for too long."""
        longest_s = self._retry_for_s if within_s is None else min(within_s, self._retry_for_s)
        if time.monotonic() - began_s >= longest_s:
            if within_s is not None:
                raise trouble
            self._lost(trouble)
        if not said:
            self._say(f"{trouble}; trying again for {longest_s:.3g} s (--retry-for)")
        self._pause(PAUSE_S)

    def _redirected(self, stream: str, where: re.Match[str]) -> Address | None:
        """Where ASK sends this one command; MOVED sends all, and the map of slots is fetched anew."""
        kind, host, port = where.groups()
        if kind == "MOVED":
            self._nodes.moved()
            return None
        home = self._nodes.topology.home(stream)
        return at(home, host.strip("[]") or home.host, int(port))

    def _forget(self, stream: str, asked: Address | None) -> None:
        """Connect anew next time, to whichever server has the stream then."""
        if asked is not None:
            self._nodes.drop(asked)
        self._nodes.forget(stream)

    def _ready(self, stream: str) -> Connection:
        """The connection to a stream's server, known to take transactions: one that refuses MULTI alone would still do
        each of the commands behind it.
        """
        connection = self._nodes.connection(stream)
        if connection not in self._tried:
            connection.call("MULTI")
            connection.call("EXEC")
            self._tried.add(connection)
        return connection

    def _refused(self, batch: _Batch, error: Exception) -> NoReturn:
        where = self.tallies[batch.stream].server
        raise StoreError(f"the server at {where} refused an entry of {batch.stream!r}: {error}; {self._known()}")

    def _lost(self, error: StoreUnavailableError) -> NoReturn:
        if not self._awaited and not self.tallies:
            raise error
        pending = self.open_entries
        more = f", and {pending:,} more may be" if pending else ""
        raise StoreUnavailableError(
            f"{error}: {self._known()}{more}; look at the end of the stream before pushing the rest, for what is "
            "pushed twice is stepped twice (--skip-existing leaves out what is there)"
        ) from None

    def _known(self) -> str:
        entries = sum(tally.entries for tally in self.tallies.values())
        last = [f"last {tally.last.decode()} of {stream!r}" for stream, tally in self.tallies.items() if tally.last]
        return f"{counted(entries, 'entry', 'entries')} known to be in" + (f" ({', '.join(last)})" if last else "")


def _call(connection: Connection, asking: bool, *command: bytes | str | int) -> Any:
    if asking:
        connection.call("ASKING")
    return connection.call(*command)


def _end(connection: Connection, asking: bool, stream: str) -> bytes:
    """The last id that a stream has had."""
    if _call(connection, asking, "TYPE", stream) != b"stream":
        return BEGINNING
    end: bytes = dict(paired(_call(connection, asking, "XINFO", "STREAM", stream)))[b"last-generated-id"]
    return end


def _entries(connection: Connection, asking: bool, stream: str, after: bytes) -> list[tuple[bytes, list[bytes]]]:
    """All entries of a stream after an id."""
    found: list[tuple[bytes, list[bytes]]] = []
    while page := _call(connection, asking, "XRANGE", stream, *beyond(after), "COUNT", PAGE):
        found += [(entry_id, fields) for entry_id, fields in page]
        after = page[-1][0]
    return found
