"""How members share: fair, complete, at once when told and within a lease when not; on leases and a clock in memory."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from streamlstm.daemon.sharing.assignment import Sharing, share_of
from streamlstm.daemon.sharing.leases import CHANGED
from streamlstm.daemon.sharing.process_identity import Process, is_dead_here
from streamlstm.daemon.sharing.stream_selector import Selection
from streamlstm.errors import UsageError
from streamlstm.store.keys import is_derived
from support.memory_leases import LeaseServer, MemoryLeases

TTL_MS = 3000
TICK_MS = 10


@dataclass
class World:
    """Some members, some streams, one clock."""

    streams: list[str]
    now_ms: int = 0
    members: dict[str, Sharing] = field(default_factory=dict)
    asleep: set[str] = field(default_factory=set)
    unserved_ms: Counter[str] = field(default_factory=Counter)  # since each stream was worked on last
    changes: int = 0

    def __post_init__(self) -> None:
        self.server = LeaseServer(lambda: self.now_ms)

    def join(self, name: str) -> None:
        """A process starts."""
        self.members[name] = Sharing(
            selection=Selection.of(self.streams),
            leases=MemoryLeases(self.server, name),
            discovery=None,
            owner=name,
            ttl_ms=TTL_MS,
            monotonic=lambda: self.now_ms / 1000,
            is_dead=lambda _: False,
        )
        self.turn(name)

    def turn(self, name: str) -> None:
        """What the loop does, with everything settled at once."""
        sharing = self.members[name]
        if self.server.ears.get(name):
            sharing.listen()
        if sharing.due():
            change = sharing.look()
            sharing.let_go(change.surplus)
            self.changes += len(change.surplus) + len(change.gained)

    def leave(self, name: str) -> None:
        """SIGTERM."""
        self.members.pop(name).leave()

    def kill(self, name: str) -> None:
        """SIGKILL, on a host where nobody else is."""
        del self.members[name]
        self.server.ears.pop(name, None)
        self.asleep.discard(name)

    def pass_ms(self, passed_ms: int) -> None:
        """Let time pass."""
        for _ in range(passed_ms // TICK_MS):
            self.now_ms += TICK_MS
            for name in [name for name in self.members if name not in self.asleep]:
                self.turn(name)
            at_work = {s for name, sharing in self.members.items() if name not in self.asleep for s in sharing.held}
            for stream in self.streams:
                self.unserved_ms[stream] = 0 if stream in at_work else self.unserved_ms[stream] + TICK_MS

    @property
    def shares(self) -> list[int]:
        """How many streams each member works on, the oldest first."""
        return [len(sharing.held) for sharing in self.members.values()]

    def check(self) -> None:
        """Every stream is worked on by one member, and the shares are fair."""
        held = [stream for sharing in self.members.values() for stream in sharing.held]
        assert sorted(held) == sorted(self.streams)
        assert max(self.shares) - min(self.shares) <= 1


def names(count: int) -> list[str]:
    """So many streams."""
    return [f"values:{{{number}}}" for number in range(count)]


def test_shares_add_up_and_a_newcomer_only_takes() -> None:
    """For every number of streams and members; and joining last raises nobody's share."""
    for streams in range(30):
        for members in range(1, 12):
            shares = [share_of(streams, rank, members) for rank in range(members)]
            assert sum(shares) == streams
            assert max(shares) - min(shares) <= 1
            assert all(share_of(streams, rank, members + 1) <= share for rank, share in enumerate(shares))


def test_who_is_told_hands_over_in_no_time() -> None:
    """Join and leave take turns of the loops, and no part of a lease."""
    world = World(names(10))
    for count, expected in ((1, [10]), (2, [5, 5]), (3, [4, 3, 3]), (4, [3, 3, 2, 2])):
        world.join(f"m{count}")
        world.pass_ms(3 * TICK_MS)
        assert world.shares == expected
    world.leave("m1")
    world.pass_ms(2 * TICK_MS)
    assert world.shares == [4, 3, 3]
    world.check()


def test_what_a_dead_member_had_is_waited_for_no_longer_than_its_lease() -> None:
    """Killed at any moment between two beats, its streams are at work again when the lease has ended."""
    for moment_ms in range(0, 1100, 130):
        world = World(names(7))
        for name in ("a", "b", "c"):
            world.join(name)
        world.pass_ms(2000 + moment_ms)
        world.kill("b")
        world.pass_ms(TTL_MS + 2 * TICK_MS)
        assert world.shares == [4, 3]
        world.check()


def test_few_streams_move_when_a_member_comes_or_goes() -> None:
    """Nobody but the newcomer gains when one joins, and nobody but the leaver loses."""
    world = World(names(12))
    for name in ("a", "b", "c"):
        world.join(name)
        world.pass_ms(100)
    world.changes = 0
    world.join("d")
    world.pass_ms(100)
    assert world.changes == 6, "three are given and taken"
    world.changes = 0
    world.leave("d")
    world.pass_ms(100)
    assert world.changes == 3, "three are taken"


def test_who_wakes_after_its_lease_is_the_youngest_and_takes_nothing_back_but_its_share() -> None:
    """The only stream stays with who took it over."""
    world = World(names(1))
    world.join("a")
    world.join("b")
    world.asleep.add("a")
    world.pass_ms(TTL_MS + 2 * TICK_MS)
    assert world.shares == [1, 1], "the sleeper does not know yet"
    world.asleep.clear()
    world.pass_ms(1000)
    assert world.shares == [0, 1]
    world.pass_ms(10_000)
    assert world.shares == [0, 1]


def test_a_store_that_was_away_changes_nothing() -> None:
    """Members that could not be reached for a while go on where they were, also if the leases ended meanwhile."""
    world = World(names(6))
    world.join("a")
    world.join("b")
    world.pass_ms(1000)
    before = {name: set(sharing.held) for name, sharing in world.members.items()}
    world.now_ms += 2 * TTL_MS
    for sharing in world.members.values():
        sharing.lose()
    world.pass_ms(5000)
    world.check()
    assert {name: set(sharing.held) for name, sharing in world.members.items()} == before


@pytest.mark.parametrize("seed", range(40))
def test_whatever_comes_and_goes(seed: int) -> None:
    """After any sequence of joins, leaves, kills and sleeps no stream waits longer than a lease, and all is fair."""
    rng = random.Random(seed)
    world = World(names(rng.randint(1, 9)))
    world.join("m0")
    for number in range(1, 25):
        event = rng.random()
        awake = [name for name in world.members if name not in world.asleep]
        if event < 0.4 or len(awake) < 2:
            world.join(f"m{number}")
        elif event < 0.55:
            world.leave(rng.choice(awake))
        elif event < 0.7:
            world.kill(rng.choice(awake))
        elif event < 0.85:
            world.asleep.add(rng.choice(awake))
        elif world.asleep:
            world.asleep.remove(rng.choice(sorted(world.asleep)))
        world.pass_ms(rng.choice([10, 100, 1000, 4000]))
        # A lease may pass to one that dies in turn; more than one such is not waited for here.
        assert max(world.unserved_ms.values()) <= 2 * TTL_MS, (seed, number)
    world.asleep.clear()
    world.pass_ms(3 * TTL_MS)
    world.check()
    assert not any(world.unserved_ms.values())


def test_word_of_a_change_is_not_heard_by_who_said_it() -> None:
    """Otherwise every word would wake its speaker."""
    world = World(names(1))
    world.join("a")
    world.join("b")
    world.pass_ms(100)
    MemoryLeases(world.server, "a").tell(CHANGED)
    assert not world.server.ears["a"]
    assert world.server.ears["b"] == {CHANGED}


def test_expansions_and_patterns() -> None:
    """A range stands for its streams, hash tags and all; a wildcard makes a pattern; both make the group's name."""
    made = Selection.of(["values:{0..2}", "loads", "v:*", "loads"])
    assert made.names == ("values:{0}", "values:{1}", "values:{2}", "loads")
    assert made.patterns == ("v:*",)
    assert Selection.of(["values"]).group == "values"
    assert Selection.of(["b", "a"]).group == Selection.of(["a", "b"]).group == "a,b"
    assert len(made.group) == 16
    for wrong in (["values:{3..1}"], ["values:{0..99999}"], ["a", "{a}"], [""]):
        with pytest.raises(UsageError):
            Selection.of(wrong)


def test_what_a_search_finds() -> None:
    """Derived keys and unusable names are left out; what is missing twice in a row is let go of."""
    made = Selection.of(["named", "v*"])
    assert made.take({"v1", "v:{7}", "v:{7}:predictions", "{v1}:dead", "v{", "named", "{v1}"}) == {"v:{7}", "v1"}
    assert made.streams == ["named", "v1", "v:{7}"]
    assert made.take({"v:{7}", "v2"}) == {"v2"}
    assert made.take({"v:{7}", "v2"}) == set()
    assert made.streams == ["named", "v:{7}", "v2"]


def test_derived_keys_are_told_from_input() -> None:
    """Only a base with a hash tag has derived keys, so a stream may be called predictions."""
    assert is_derived("{values}:predictions")
    assert is_derived("values:{7}:dead")
    assert not is_derived("sales:predictions")
    assert not is_derived("values:{7}")


def test_this_process_is_not_dead() -> None:
    """A process is known by machine, pid and start; another start is another process, another machine unknown."""
    here = Process.this()
    assert Process.parse(str(here)) == here
    assert not is_dead_here(str(here))
    if here.machine != "-":
        assert is_dead_here(f"{here.host}:{here.pid}:1:{here.machine}")
        assert is_dead_here(f"{here.host}:{2**22 + 1}:1:{here.machine}")
    assert not is_dead_here(f"{here.host}:{here.pid}:1:another")
    assert not is_dead_here("rubbish")
