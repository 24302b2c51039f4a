"""Leases in memory with Redis' semantics, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from streamlstm.daemon.sharing.leases import Holder, Member, Roll
from streamlstm.errors import StoreUnavailableError


@dataclass
class LeaseServer:
    """What all members see."""

    now_ms: Callable[[], int]
    leases: dict[str, tuple[str, int]] = field(default_factory=dict)  # stream -> owner, end
    members: dict[Member, int] = field(default_factory=dict)  # -> end
    ears: dict[str, set[bytes]] = field(default_factory=dict)  # owner -> what it has not heard yet
    down: bool = False

    def holder(self, stream: str) -> str | None:
        """Who has a lease just now."""
        owner, end_ms = self.leases.get(stream, ("", 0))
        return owner if end_ms > self.now_ms() else None


class MemoryLeases:
    """One member's client."""

    repairs = 0

    def __init__(self, server: LeaseServer, owner: str) -> None:
        self._server, self._owner = server, owner

    def fileno(self) -> int | None:
        """There is nothing to poll."""
        return None

    def heard(self) -> set[bytes]:
        """What has been said."""
        heard = self._server.ears.get(self._owner, set())
        if self._owner in self._server.ears:
            self._server.ears[self._owner] = set()
        return heard

    def tell(self, what: bytes) -> None:
        """Everybody else hears it."""
        self._reach()
        for owner, ear in self._server.ears.items():
            if owner != self._owner:
                ear.add(what)

    def beat(self, me: Member | None, owner: str, held: Sequence[str], ttl_ms: int) -> Roll:
        """Renew what is still one's own, take again what nobody has."""
        self._reach()
        now_ms, server = self._server.now_ms(), self._server
        server.ears.setdefault(owner, set())
        server.members = {member: end for member, end in server.members.items() if end > now_ms}
        if me is None or me not in server.members:
            me = Member(now_ms, owner)
        server.members[me] = now_ms + ttl_ms
        lost = {stream for stream in held if server.holder(stream) not in {owner, None}}
        server.leases.update({stream: (owner, now_ms + ttl_ms) for stream in held if stream not in lost})
        return Roll(me, {member: end - now_ms for member, end in server.members.items()}, lost)

    def take(self, owner: str, streams: Sequence[str], ttl_ms: int) -> set[str]:
        """What is free."""
        self._reach()
        free = {stream for stream in streams if self._server.holder(stream) is None}
        self._server.leases.update({stream: (owner, self._server.now_ms() + ttl_ms) for stream in free})
        return free

    def holders(self, streams: Sequence[str]) -> dict[str, Holder]:
        """Who has what."""
        self._reach()
        now_ms = self._server.now_ms()
        held = {stream: self._server.leases[stream] for stream in streams if self._server.holder(stream) is not None}
        return {stream: Holder(owner, end - now_ms) for stream, (owner, end) in held.items()}

    def take_over(self, owner: str, stream: str, former: str, ttl_ms: int) -> bool:
        """From a dead one."""
        self._reach()
        if self._server.holder(stream) != former:
            return False
        self._server.leases[stream] = (owner, self._server.now_ms() + ttl_ms)
        return True

    def shorten(self, stream: str, ttl_ms: int) -> None:
        """It ends sooner."""
        self._reach()
        owner, _ = self._server.leases[stream]
        self._server.leases[stream] = (owner, self._server.now_ms() + ttl_ms)

    def give_up(self, member: Member) -> None:
        """Off the roll."""
        self._reach()
        self._server.members.pop(member, None)

    def give_back(self, owner: str, streams: Sequence[str]) -> None:
        """Delete one's own."""
        self._reach()
        for stream in streams:
            if self._server.holder(stream) == owner:
                del self._server.leases[stream]

    def close(self) -> None:
        """Nobody listens any more."""
        self._server.ears.pop(self._owner, None)

    def _reach(self) -> None:
        if self._server.down:
            raise StoreUnavailableError("the leases in memory are away")
