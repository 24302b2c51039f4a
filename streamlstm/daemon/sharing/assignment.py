"""Which streams this process works on: its fair share of all, by leases, with word of every change to the others.

Of S streams and N members, the member that joined as number r (from 0) works on ceil((S - r) / N). So the shares add up
to S, a newcomer only takes from others and a leaver only gives, and nobody's share changes more than it must. Who has
too many finishes what is under way, deletes the leases and says so; who has too few takes what is free, its favourites
first (rendezvous hashing), so that members seldom reach for the same. A lease that is not renewed is waited for to the
millisecond; one whose owner died on this very machine is taken at once.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from streamlstm.common import LONGEST_LEASE_MS, listed
from streamlstm.daemon.sharing.discovery import Discovery
from streamlstm.daemon.sharing.leases import CHANGED, FOUND, Holder, Leases, Member, Roll
from streamlstm.daemon.sharing.stream_selector import Selection
from streamlstm.errors import StoreError

log = logging.getLogger(__name__)

BEATS_PER_TTL = 3  # so that a beat may come late, and even the next, before anything is lost
LEAST_PAUSE_S = 0.005
PAST_END_S = 0.002  # Redis rounds what is left of a lease to milliseconds
SEARCH_EVERY_S = 2.0
SEARCH_SHARE = 20  # a search is paused for so many times as long as it took: at most 5 % of a server's time
SEARCH_ON_S = 0.05  # between two parts of a search
REFUSED_FOR_S = 60.0
NEVER_MS = 10**12  # a time to live without an end, where there are no leases
TRIES = 3  # at taking, while others take as well


@dataclass(frozen=True)
class Change:
    """What is different after a look."""

    gained: Sequence[str] = ()
    surplus: Sequence[str] = ()  # still held: to be settled, then let go
    lost: Collection[str] = ()  # another has them already

    def __bool__(self) -> bool:
        return bool(self.gained or self.surplus or self.lost)


def share_of(streams: int, rank: int, members: int) -> int:
    """How many streams the member that joined as number `rank` works on."""
    return -(-(streams - rank) // members)


class Sharing:
    """The streams of one process, as they change hands."""

    def __init__(
        self,
        *,
        selection: Selection,
        leases: Leases,
        discovery: Discovery | None,
        owner: str,
        ttl_ms: int,
        monotonic: Callable[[], float],
        is_dead: Callable[[str], bool],
    ) -> None:
        """`owner` names this process in leases; `is_dead` says whether another owner is known to have ended."""
        self.selection = selection
        self.held: dict[str, None] = {}
        self._leases = leases
        self._discovery = discovery
        self._owner = owner
        self._ttl_ms = ttl_ms
        self._monotonic = monotonic
        self._is_dead = is_dead
        self._me: Member | None = None
        self._members: list[Member] = []  # that live, oldest first
        self._refused: dict[str, float] = {}  # stream -> when it may be tried again
        self._next_look = self._next_beat = self._next_search = 0.0
        self._searched = False
        self._search_began: float | None = None

    # What the loop asks.

    @property
    def repairs(self) -> int:
        """How often what others had made of leases and members was put right."""
        return self._leases.repairs

    def due(self) -> bool:
        """Whether it is time for a look."""
        return self._monotonic() >= self._next_look

    def wait_s(self, most_s: float) -> float:
        """How long the loop may wait before the next look."""
        return min(most_s, max(0.0, self._next_look - self._monotonic()))

    def fileno(self) -> int | None:
        """A descriptor that becomes readable when others have said something; `listen` is what to do then."""
        return self._leases.fileno()

    def listen(self) -> None:
        """Look at once: somebody may have said something."""
        self._next_look = 0.0

    def hurry(self) -> None:
        """Look at once, at everything: something has happened."""
        self._next_look = self._next_beat = 0.0

    def look(self) -> Change:
        """Say that this process lives, renew its leases, and see what is to be gained or given.

        Raises StoreUnavailableError if the leases cannot be reached.
        """
        now = self._monotonic()
        heard = self._leases.heard()
        new = self._search(now, told=FOUND in heard)
        if not (heard or new or now >= self._next_beat):
            self._plan_next(now, [])
            return Change()
        streams = self._streams(now)
        if self.selection.streams and not streams and not self.held:
            self._step_aside(now)
            return Change()
        roll = self._leases.beat(self._me, self._owner, list(self.held), self._ttl_ms)
        changed = self._note_roll(roll)
        # Of all streams, also of those that only others can serve: then no stream is left over between the shares.
        share = share_of(len(self.selection.streams), self._members.index(roll.me), len(self._members))
        wanted = set(streams)
        staying = [stream for stream in self.held if stream in wanted]
        surplus = [stream for stream in self.held if stream not in wanted]
        gained: list[str] = []
        ends_ms = [left for member, left in roll.members.items() if member != roll.me]
        if len(staying) > share:
            surplus += sorted(staying, key=self._liking)[: len(staying) - share]
        elif len(staying) < share:
            gained, free_in_ms = self._take(streams, share - len(staying))
            ends_ms += free_in_ms
        if changed or new:
            self._leases.tell(CHANGED if changed else FOUND)
        self._next_beat = now + self._ttl_ms / 1000 / BEATS_PER_TTL
        self._plan_next(now, ends_ms)
        if gained:
            log.info("took %d of %d streams", len(gained), len(streams), extra={"members": len(self._members)})
        return Change(gained, surplus, roll.lost)

    def let_go(self, streams: Collection[str]) -> None:
        """Hand streams over; whatever was under way for them is settled."""
        if not streams:
            return
        for stream in streams:
            self.held.pop(stream, None)
        self._leases.give_back(self._owner, list(streams))
        self._leases.tell(CHANGED)
        log.info("handed over %d streams", len(streams), extra={"left": len(self.held)})

    def pass_over(self, stream: str) -> None:
        """Take a stream that is not held not before a while: it could not be served."""
        self._refused[stream] = self._monotonic() + REFUSED_FOR_S

    def allow(self, stream: str) -> None:
        """It could be served again."""
        self._refused.pop(stream, None)

    def refuse(self, stream: str) -> None:
        """Leave a stream alone for a while: it cannot be served."""
        self.pass_over(stream)
        self.held.pop(stream, None)
        self._leases.give_back(self._owner, [stream])

    def is_refused(self, stream: str) -> bool:
        """Whether a stream is left alone just now."""
        return stream in self._refused

    def has_any(self) -> bool:
        """Whether there is a stream that is not left alone."""
        return any(stream not in self._refused for stream in self.selection.streams) or self._discovery is not None

    def is_named(self, stream: str) -> bool:
        """Whether the stream was asked for by its name, so that not to serve it is an error."""
        return stream in self.selection.names

    def yield_all(self) -> None:
        """Let others have all streams; where leases cannot be given back they end by themselves."""
        held = list(self.held)
        with suppress(StoreError):
            self.let_go(held)
        self.held.clear()

    def leave(self) -> None:
        """Give everything back and tell the others; a store that is away lets the leases end by themselves."""
        try:
            self._leases.give_back(self._owner, list(self.held))
            if self._me is not None:
                self._leases.give_up(self._me)
                self._leases.tell(CHANGED)
        except StoreError as error:
            log.warning("%s; the leases end by themselves", error)
        self._leases.close()

    def lose(self) -> None:
        """The store has gone: connect anew at the next look."""
        self._leases.close()
        if self._discovery is not None:
            self._discovery.abandon()
            self._search_began = None
        self.hurry()

    # How it is done.

    def _step_aside(self, now: float) -> None:
        """Be no member while there is nothing this process could serve: a share of it would be served by nobody."""
        if self._me is not None:
            self._leases.give_up(self._me)
            self._leases.tell(CHANGED)
            self._me = None
        self._next_beat = now + self._ttl_ms / 1000 / BEATS_PER_TTL
        self._plan_next(now, [])

    def _search(self, now: float, *, told: bool) -> set[str]:
        """Go on looking for streams; returns new ones that nobody has told of."""
        if self._discovery is None or (now < self._next_search and not told):
            return set()
        if self._search_began is None:
            self._search_began = now
        found = self._discovery.step(to_end=told or not self._searched)
        if found is None:
            self._next_search = now + SEARCH_ON_S
            return set()
        took_s = self._monotonic() - self._search_began
        self._search_began = None
        self._next_search = now + max(SEARCH_EVERY_S, SEARCH_SHARE * took_s)
        first, self._searched = not self._searched, True
        new = self.selection.take(found)
        return set() if first or told else new

    def _note_roll(self, roll: Roll) -> bool:
        """Take in who is there; returns whether this process has joined just now."""
        for stream in roll.lost:
            self.held.pop(stream, None)
        if roll.lost:
            log.warning(
                "%d streams were taken over (%s): this process was away for longer than a lease, or others wrote them",
                len(roll.lost),
                listed(sorted(roll.lost)),
            )
        joined, self._me = self._me != roll.me, roll.me
        if roll.members:
            dead = {member for member in roll.members if member != roll.me and self._is_dead(member.owner)}
            for member in dead:
                self._leases.give_up(member)
            self._members = sorted(roll.members.keys() - dead)
        elif roll.me not in self._members:
            self._members = [roll.me]
        return joined

    def _streams(self, now: float) -> list[str]:
        self._refused = {stream: until for stream, until in self._refused.items() if until > now}
        return [stream for stream in self.selection.streams if stream not in self._refused]

    def _take(self, streams: Sequence[str], need: int) -> tuple[list[str], list[int]]:
        """Take up to `need` streams; returns them, and the ms after which leases of others end."""
        candidates = sorted((s for s in streams if s not in self.held), key=self._liking, reverse=True)
        taken: list[str] = []
        ends_ms: list[int] = []
        for _ in range(TRIES):
            holders = self._leases.holders(candidates)
            for stream, holder in holders.items():
                if holder.left_ms > LONGEST_LEASE_MS:  # nobody of us did that, and nobody would ever take it
                    self._leases.shorten(stream, self._ttl_ms)
                elif len(taken) < need and not holder.is_lease:
                    taken.append(stream)  # whoever opens it says what its key is
                elif len(taken) < need and holder.owner != self._owner and self._is_dead(holder.owner):
                    if self._leases.take_over(self._owner, stream, holder.owner, self._ttl_ms):
                        taken.append(stream)
                elif len(taken) < need and holder.owner == self._owner:
                    taken.append(stream)
            left_ms = [holder.left_ms for holder in holders.values()]
            ends_ms = [self._ttl_ms if left > LONGEST_LEASE_MS else left for left in left_ms]
            free = [stream for stream in candidates if stream not in holders][: need - len(taken)]
            got = self._leases.take(self._owner, free, self._ttl_ms) if free else set()
            taken += [stream for stream in free if stream in got]
            candidates = [stream for stream in candidates if stream not in taken]
            if len(taken) >= need or len(got) == len(free):
                break
        self.held.update(dict.fromkeys(taken))
        return taken, ends_ms if len(taken) < need else []

    def _liking(self, stream: str) -> bytes:
        return hashlib.blake2b(f"{self._owner} {stream}".encode(), digest_size=8).digest()

    def _plan_next(self, now: float, ends_ms: Iterable[int]) -> None:
        self._next_beat = min([self._next_beat, *(now + left / 1000 + PAST_END_S for left in ends_ms)])
        searches = [] if self._discovery is None else [self._next_search]
        self._next_look = max(now + LEAST_PAUSE_S, min([self._next_beat, *searches]))


def all_of(streams: Iterable[str], monotonic: Callable[[], float]) -> Sharing:
    """A sharing that takes no leases: the process works on all the streams, whoever else does."""
    return Sharing(
        selection=Selection.of(streams),
        leases=NoLeases(),
        discovery=None,
        owner="alone",
        ttl_ms=NEVER_MS,
        monotonic=monotonic,
        is_dead=lambda _: False,
    )


class NoLeases:
    """`Leases` for a process that works on everything, whoever else does."""

    repairs = 0

    def fileno(self) -> int | None:
        return None

    def heard(self) -> set[bytes]:
        return set()

    def tell(self, what: bytes) -> None:
        """To nobody."""

    def beat(self, me: Member | None, owner: str, held: Sequence[str], ttl_ms: int) -> Roll:  # noqa: ARG002
        """One member, that loses nothing."""
        alone = me or Member(0, owner)
        return Roll(alone, {alone: ttl_ms}, set())

    def take(self, owner: str, streams: Sequence[str], ttl_ms: int) -> set[str]:  # noqa: ARG002
        return set(streams)

    def holders(self, streams: Sequence[str]) -> dict[str, Holder]:  # noqa: ARG002
        return {}

    def take_over(self, owner: str, stream: str, former: str, ttl_ms: int) -> bool:  # noqa: ARG002
        return False

    def shorten(self, stream: str, ttl_ms: int) -> None:
        """There is none."""

    def give_up(self, member: Member) -> None:
        """Nobody notices."""

    def give_back(self, owner: str, streams: Sequence[str]) -> None:
        """To nobody."""

    def close(self) -> None:
        """Nothing to close."""
