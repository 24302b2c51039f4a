"""The connection that guards one stream's position and commits to it.

A commit is one flight: its commands and `EXEC`, then `WATCH base:meta`, an `HMGET` of its position and `MULTI`.
The watch set by one flight guards the next, so the position itself is the fencing token: whoever computed from a
position that has moved has its EXEC answered with nil. No flight leaves before the WATCH and the MULTI in front of it
have been answered with OK, so whatever is refused on the way, by an access list, a renamed command or a proxy, nothing
is ever carried out beside the transaction or without the watch.

The epoch counts the times all states were replaced at once (an import, another model). Such a change may leave the
position as it is, and it may fall between a flight's EXEC and its WATCH, where no watch sees it; the epoch does. So
does the position of the challenger, which moves alone while it catches up.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any

import hiredis

from streamlstm.errors import StoreError
from streamlstm.store.base import ChallengerHead, Commit, Head
from streamlstm.store.commit_commands import Flight, FlightPacker
from streamlstm.store.key_types import ask_types, check_types, hold_types
from streamlstm.store.keys import Keys
from streamlstm.store.resp import BEGINNING, Topology, agreed, checked, listed, odd, pack, parse_replies, stream_info
from streamlstm.store.stream_meta import FIELDS, Meta, read_meta
from streamlstm.store.transaction import name_of
from streamlstm.store.unfinished_commit import Unfinished


class CommitConnection:
    """The connection that guards and commits one stream."""

    def __init__(self, topology: Topology, stream: str, done: list[str], unfinished: dict[str, Unfinished]) -> None:
        """`done` is told of the stream once the outcome of its commit is here, `unfinished` of what one left out."""
        self.keys = Keys(stream)
        self._topology, self._done, self._unfinished = topology, done, unfinished
        self._packer = FlightPacker(self.keys)
        self.connection = topology.connect(topology.home(self.keys.input), "streamlstm-commit")
        self.guarded = b""  # position seen after the watch was set; empty while a flight may not leave
        self.epoch: bytes | None = None
        self.beside: bytes | None = None  # the challenger's position, likewise
        self.flight: Flight | None = None
        self._outcome: bool | None = None  # of a commit that was received on the way to something else

    def open(self) -> Head:
        """Watch the stream's meta hash and read its head; checks the types of all keys.

        What a commit of this process left out is written first.
        """
        keys, connection = self.keys, self.connection
        if keys.input in self._unfinished:
            check_types(connection, keys)
            self._unfinished[keys.input].finish(connection)
            del self._unfinished[keys.input]
        address, asked = connection.address, ask_types(keys)
        connection.send(
            pack("WATCH", keys.meta)
            + b"".join(asked)
            + pack("HMGET", keys.meta, *FIELDS)
            + pack("HLEN", keys.state)
            + pack("XINFO", "STREAM", keys.input)
            + pack("HLEN", keys.challenger_state)  # not beside the other count, which it could be taken for
            + pack("MULTI")
        )
        watched, *found, described, series, told, beside, begun = [connection.receive() for _ in range(len(asked) + 6)]
        agreed(watched, b"OK", address, "WATCH")
        hold_types(keys, found, address)
        fields = dict(zip(FIELDS, listed(described, len(FIELDS), address, "HMGET"), strict=True))
        info = stream_info(told, address)
        for count in (series, beside):
            if not isinstance(checked(count, address, "HLEN"), int):
                raise odd(count, address, "HLEN")
        agreed(begun, b"OK", address, "MULTI")
        meta = self._read_meta(described)
        answered = meta.answered
        if fields["position"] is None:  # entries that were trimmed before the first is read are nobody's loss
            answered = info.get(b"entries-added", 0) - info.get(b"length", 0)
        self.guarded, self.epoch, self.beside = meta.position, fields["epoch"], fields["challenger_position"]
        return Head(
            position=meta.position,
            model=meta.model,
            series=series,
            answered=answered,
            challenger=challenger_head(meta, beside),
            former=tuple(term.model for term in meta.champions[:-1]),
            epoch=meta.epoch,
            begun=meta.champion_terms[-1].begun.encode() if meta.champion_terms else BEGINNING,
        )

    def _read_meta(self, found: list[bytes | None]) -> Meta:
        if found[FIELDS.index("entries")] is not None or found[FIELDS.index("position")] is None:
            return read_meta(self.connection, self.keys, found)
        # Entries are counted anew; on the own connection that would be queued as a part of the first commit.
        with closing(self._topology.connect(self.connection.address, "streamlstm-control")) as other:
            return read_meta(other, self.keys, found)

    def send(self, commit: Commit) -> None:
        """Send the flight, unless the position has been seen to move since it was computed."""
        challenger = commit.challenger
        if self.guarded != commit.base or (challenger is not None and self.beside != challenger.base):
            self._outcome = False
            self._tell()
            return
        beside = self.beside if challenger is None else challenger.position
        flight = Flight(*self._packer.pack(commit), commit, self.epoch, beside)
        self.guarded = b""
        self.connection.raw.expect(flight.replies, least_bytes=flight.least_bytes)
        self.connection.send_pieces(flight.pieces)
        self.flight = flight

    def pull(self) -> bool:
        """Receive what has come; whether all replies to the flight are here."""
        is_whole = self.connection.raw.pull()
        if is_whole:
            self._tell()
        return is_whole

    def _tell(self) -> None:
        if self.keys.input not in self._done:
            self._done.append(self.keys.input)

    def receive(self) -> bool:
        """Whether the commit holds; raises if the server refused it."""
        if self.flight is None:
            outcome, self._outcome = self._outcome, None
            assert outcome is not None, "a commit is received once, after it was sent"
            return outcome
        flight, self.flight = self.flight, None
        raw = self.connection.raw.take()
        if flight.went_well(raw):
            self.guarded, self.beside = flight.commit.position, flight.beside
            return True
        return self._understand(flight, parse_replies(raw))

    def receive_early(self) -> None:
        """Receive the outcome on the way to something else; `receive` gives it later."""
        self._outcome = self.receive()
        self._tell()

    def _understand(self, flight: Flight, replies: list[Any]) -> bool:
        """The same, from replies that are not what they nearly always are."""
        address = self.connection.address
        *taken, executed, watched, seen, begun = listed(replies, flight.replies, address, "a commit")
        refused = [number for number, reply in enumerate(taken) if reply != b"QUEUED"]
        if isinstance(executed, list):
            self._hold_whole(flight, taken, executed)
        else:
            for number in refused:
                command = name_of(flight.take_apart()[number])
                agreed(taken[number], b"QUEUED", address, command)
            if checked(executed, address, "EXEC") is not None:
                raise odd(executed, address, "EXEC")
        agreed(watched, b"OK", address, "WATCH")
        position, epoch, beside = listed(seen, 3, address, "HMGET")
        agreed(begun, b"OK", address, "MULTI")
        # What is computed from states that somebody has replaced is not to be sent; the stream has to be opened again.
        self.guarded = (position or BEGINNING) if epoch == flight.epoch else b""
        self.beside = beside
        return executed is not None

    def _hold_whole(self, flight: Flight, taken: list[Any], executed: list[Any]) -> None:
        """Raise StoreError if a commit was carried out without some of its commands, and keep those."""
        if sum(reply == b"QUEUED" for reply in taken) != len(executed):
            raise odd(executed, self.connection.address, "EXEC")
        replies = iter(executed)
        outcomes = [next(replies) if reply == b"QUEUED" else reply for reply in taken]
        left_out = {
            number: outcome
            for number, outcome in enumerate(outcomes)
            if taken[number] != b"QUEUED" or isinstance(outcome, hiredis.ReplyError)
        }
        if not left_out:
            return
        commands = flight.take_apart()
        unfinished = Unfinished.of(flight.commit, self.keys, flight.epoch, commands, left_out)
        self._unfinished[self.keys.input] = unfinished
        for number, reply in left_out.items():
            try:
                agreed(reply, b"QUEUED", self.connection.address, name_of(commands[number]))
            except StoreError as error:
                raise type(error)(f"{error}; {unfinished}") from None


def challenger_head(meta: Meta, series: int) -> ChallengerHead | None:
    """What a head says of the challenger, which has so many records."""
    found = meta.challenger
    if found is None:
        return None
    begun = meta.challengers[-1].begun.encode() if meta.challengers else BEGINNING
    return ChallengerHead(model=found.model, position=found.position, series=series, off=found.off, begun=begun)
