"""Leases on Redis: who works on which stream just now, who is there to work, and word of changes.

A lease is a string with its owner and a time to live. It saves double work and is never what safety rests on: that is
the position, which fences every commit. So a lease needs no script and no token; where two commands leave a gap, the
worst that can happen is that two processes compute the same values for a moment, and one of them commits.

The members of a group are a sorted set, each scored with the time (the server's) at which it is given up if it says
nothing more. On a Cluster that key lies in another slot than the streams, which does not matter: it is advice.

Because nothing rests on them, what others have made of these keys is put right and said, never waited for: a lease that
this process holds is written again, one without an end is given one, members that nobody keeps alive are taken off.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from streamlstm.errors import StoreError, StoreUnavailableError
from streamlstm.store import EVENTS_CHANNEL, Keys, carry_out_whole, members_key, watch
from streamlstm.store.resp import WRONG_TYPE, Connection, Nodes, is_away, pack, paired

log = logging.getLogger(__name__)

# A lease with less than this left is not deleted but left to end: between looking and deleting it could become
# another's.
SURELY_OURS_MS = 200
MOST_UNANSWERED = 3  # PINGs on the subscription, one a beat; then it is taken for dead and made anew
FORGET_MEMBERS_AFTER = 10  # times the time to live; so that a group that was killed leaves no key behind
MOST_DIGITS = 18  # of a time in ms
AT_ONCE = 1_000  # members taken off by one command
NO_END = -1  # what PTTL answers for a key without a time to live
CHANGED, FOUND = b"changed", b"found"  # what members tell each other: of leases and members, of new streams


Command = tuple[str, Sequence[Any]]  # and the key by which its server is found


class Member(NamedTuple):
    """One process of a group; sorts by when it joined."""

    joined_ms: int
    owner: str


@dataclass(frozen=True)
class Roll:
    """Who is there, and what has become of one's own leases."""

    me: Member
    members: dict[Member, int]  # ms until each is given up
    lost: set[str]  # streams whose lease is another's now


@dataclass(frozen=True)
class Holder:
    """Who has a lease, and for how long if it is not renewed."""

    owner: str
    left_ms: int  # infinite in effect (NEVER_MS) where somebody has set it without an end
    is_lease: bool = True  # False for a key of another type


NEVER_MS = 10**15


class Leases(Protocol):
    """Where leases are kept. Methods raise StoreUnavailableError when it is away."""

    repairs: int  # how often what others had made of leases and members was put right

    def fileno(self) -> int | None:
        """A descriptor that becomes readable when others have said something; None if there is none."""

    def heard(self) -> set[bytes]:
        """What others have said since it was asked last: CHANGED, FOUND or both. Waits for nothing."""

    def tell(self, what: bytes) -> None:
        """Say something to all others."""

    def beat(self, me: Member | None, owner: str, held: Sequence[str], ttl_ms: int) -> Roll:
        """Say that the owner lives and renew its leases; `me` is None if it joins or was given up meanwhile."""

    def take(self, owner: str, streams: Sequence[str], ttl_ms: int) -> set[str]:
        """Take the leases that are free."""

    def holders(self, streams: Sequence[str]) -> dict[str, Holder]:
        """Who has the leases of some streams; free ones are absent, and so are those nobody can tell of."""

    def take_over(self, owner: str, stream: str, former: str, ttl_ms: int) -> bool:
        """Take a lease from a former owner, unless it has changed hands meanwhile."""

    def shorten(self, stream: str, ttl_ms: int) -> None:
        """Have a lease end that would not in any time that counts, unless its owner renews it."""

    def give_up(self, member: Member) -> None:
        """Take a member off the roll."""

    def give_back(self, owner: str, streams: Sequence[str]) -> None:
        """Delete one's own leases of some streams."""

    def close(self) -> None:
        """Let go of every connection."""


class RedisLeases:
    """`Leases` on a server, or on the nodes of a Cluster."""

    def __init__(self, nodes: Nodes, group: str) -> None:
        self._nodes = nodes
        self._members = members_key(group)
        self.repairs = 0
        self._ear: Connection | None = None  # subscribed to what others say
        self._unanswered = 0  # PINGs on it
        self._said = b""  # our own messages begin with this, so that they wake only others

    def fileno(self) -> int | None:
        """The subscription's socket."""
        return None if self._ear is None else self._ear.fileno()

    def heard(self) -> set[bytes]:
        """Messages of others, without waiting."""
        found: set[bytes] = set()
        while self._ear is not None and self._ear.has_more():
            try:
                message = self._ear.receive()
            except StoreUnavailableError:  # subscribed again with the next beat; until then that alone tells
                self._hang_up()
                return found
            self._unanswered = 0
            if isinstance(message, list) and message[0] == b"message":
                who, _, what = message[2].rpartition(b" ")
                if who != self._said:
                    found.add(what)
        return found

    def tell(self, what: bytes) -> None:
        """PUBLISH: a Cluster carries it to all its nodes."""
        self._nodes.call(self._members, "PUBLISH", EVENTS_CHANNEL, self._said + b" " + what)

    def beat(self, me: Member | None, owner: str, held: Sequence[str], ttl_ms: int) -> Roll:
        """Two flights: look, then write."""
        self._listen(owner)
        clock, listed, *found = self._nodes.batch(
            [
                (self._members, ("TIME",)),
                (self._members, ("ZRANGE", self._members, 0, -1, "WITHSCORES")),
                *((key, ("GET", key)) for key in (Keys(stream).lease for stream in held)),
            ]
        )
        owners = dict(zip(held, found, strict=True))
        writes: list[Command] = []
        members: dict[Member, int] = {}
        if is_away(clock) or is_away(listed):
            if me is None:
                raise StoreUnavailableError(str(clock))
        else:
            now_ms = int(clock[0]) * 1000 + int(clock[1]) // 1000
            members, writes = self._look_at_members(listed, now_ms, FORGET_MEMBERS_AFTER * ttl_ms)
            if me is None or me not in members:
                me = Member(now_ms, owner)
            members[me] = ttl_ms
            writes += [
                (self._members, ("ZREMRANGEBYSCORE", self._members, "-inf", now_ms)),
                (self._members, ("ZADD", self._members, now_ms + ttl_ms, _write_member(me))),
                (self._members, ("PEXPIRE", self._members, ttl_ms * FORGET_MEMBERS_AFTER)),
            ]
        replies = self._nodes.batch_by({**dict(enumerate(writes)), **self._renewals(owners, owner, ttl_ms)})
        lost = {
            stream
            for stream, found in owners.items()
            if not is_away(found) and found not in {owner.encode(), WRONG_TYPE}
            if found is not None or replies[stream] is None  # taken by another in between
        }
        return Roll(me, members, lost)

    def _renewals(self, owners: Mapping[str, Any], owner: str, ttl_ms: int) -> dict[str | int, Command]:
        """What keeps the leases of some streams, by what each was found to be; nothing for another's."""
        made: dict[str | int, Command] = {}
        for stream, found in owners.items():
            key = Keys(stream).lease
            if found is WRONG_TYPE:
                self._note_repair(
                    "the lease %r, which this process holds, was made something else; it is set again", key
                )
                made[stream] = key, ("SET", key, owner, "PX", ttl_ms)
            elif found is None:
                made[stream] = key, ("SET", key, owner, "NX", "PX", ttl_ms)
            elif found == owner.encode():
                made[stream] = key, ("PEXPIRE", key, ttl_ms)
        return made

    def take(self, owner: str, streams: Sequence[str], ttl_ms: int) -> set[str]:
        """SET NX, all in one flight."""
        keys = {stream: Keys(stream).lease for stream in streams}
        replies = self._nodes.batch_by(
            {stream: (key, ("SET", key, owner, "NX", "PX", ttl_ms)) for stream, key in keys.items()}
        )
        return {stream for stream, reply in replies.items() if reply == b"OK"}

    def holders(self, streams: Sequence[str]) -> dict[str, Holder]:
        """GET and PTTL, all in one flight."""
        keys = {stream: Keys(stream).lease for stream in streams}
        replies = self._nodes.batch_by(
            {(stream, asked): (key, (asked, key)) for stream, key in keys.items() for asked in ("GET", "PTTL")}
        )
        found = {}
        for stream in keys:
            owner, left = replies[stream, "GET"], replies[stream, "PTTL"]
            if owner is WRONG_TYPE:
                found[stream] = Holder("", 0, is_lease=False)
            elif isinstance(owner, bytes) and isinstance(left, int):
                left_ms = NEVER_MS if left == NO_END else max(0, left)
                found[stream] = Holder(owner.decode("utf-8", "replace"), left_ms)
        return found

    def take_over(self, owner: str, stream: str, former: str, ttl_ms: int) -> bool:
        """WATCH, compare, set."""
        key = Keys(stream).lease
        connection = self._nodes.connection(key)
        try:
            watch(connection, key)
            if connection.call("GET", key) != former.encode():
                self._nodes.forget(key)  # and with it what is watched
                return False
            return carry_out_whole(connection, [("SET", key, owner, "PX", ttl_ms)]) is not None
        except StoreError:
            self._nodes.forget(key)  # what is watched or begun on the connection ends with it
            raise

    def shorten(self, stream: str, ttl_ms: int) -> None:
        """PEXPIRE."""
        key = Keys(stream).lease
        self._note_repair(f"the lease %r was set to end never, or too late to count; now it ends in {ttl_ms} ms", key)
        self._nodes.call(key, "PEXPIRE", key, ttl_ms)

    def give_up(self, member: Member) -> None:
        """ZREM."""
        self._nodes.call(self._members, "ZREM", self._members, _write_member(member))

    def give_back(self, owner: str, streams: Sequence[str]) -> None:
        """Those that are surely still one's own are deleted; the others end by themselves."""
        mine = [
            Keys(stream).lease
            for stream, holder in self.holders(streams).items()
            if holder.owner == owner and holder.left_ms > SURELY_OURS_MS
        ]
        self._nodes.batch([(key, ("DEL", key)) for key in mine])

    def close(self) -> None:
        """Close the subscription and the connections."""
        self._hang_up()
        self._nodes.close()

    def _look_at_members(self, listed: Any, now_ms: int, most_ms: int) -> tuple[dict[Member, int], list[Command]]:
        """The members listed, and the commands that take off whatever is none."""
        if listed is WRONG_TYPE:
            self._note_repair("the members %r were made something else; they are written anew", self._members)
            return {}, [(self._members, ("DEL", self._members))]
        members, odd = _read_members(listed, now_ms, most_ms)
        if not odd:
            return members, []
        self._note_repair(f"%r had {len(odd)} members that no process keeps alive; they are taken off", self._members)
        removals = [odd[first : first + AT_ONCE] for first in range(0, len(odd), AT_ONCE)]
        return members, [(self._members, ("ZREM", self._members, *some)) for some in removals]

    def _note_repair(self, text: str, key: str) -> None:
        self.repairs += 1
        log.warning(text, key)

    def _listen(self, owner: str) -> None:
        self._said = owner.encode()
        if self._unanswered >= MOST_UNANSWERED:
            self._hang_up()
        try:
            if self._ear is None:
                self._unanswered = 0
                address = self._nodes.topology.home(self._members)
                self._ear = self._nodes.topology.connect(address, "streamlstm-events")
                self._ear.call("SUBSCRIBE", EVENTS_CHANNEL)
            else:
                # Answered like a message, and taken off by `heard`: a connection that died silently is found out.
                self._ear.send(pack("PING"))
                self._unanswered += 1
        except StoreUnavailableError:
            self._hang_up()
            if not self._nodes.topology.spread:
                raise

    def _hang_up(self) -> None:
        if self._ear is not None:
            self._ear.close()
            self._ear = None


def _write_member(member: Member) -> str:
    return f"{member.joined_ms} {member.owner}"


def _read_members(listed: Sequence[bytes], now_ms: int, most_ms: int) -> tuple[dict[Member, int], list[bytes]]:
    """Members with the ms until each is given up; and what is none, or would live longer than a beat makes it."""
    found: dict[Member, int] = {}
    odd = []
    for raw, score in paired(listed):
        joined, _, owner = raw.partition(b" ")
        left_ms = float(score) - now_ms
        if not (joined.isdigit() and len(joined) <= MOST_DIGITS and left_ms <= most_ms):
            odd.append(raw)
        elif left_ms > 0:
            found[Member(int(joined), owner.decode("utf-8", "replace"))] = math.ceil(left_ms)
    return found, odd
