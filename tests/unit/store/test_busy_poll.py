"""Busy polling: the store looks without sleeping for as long as it is told, then sleeps as ever."""

from __future__ import annotations

import itertools
import select
from collections.abc import Iterator
from contextlib import closing

import pytest

from streamlstm.store.redis import RedisStore
from streamlstm.store.resp import poller


class Looks:
    """Stands for `select.poll`: notes how long each look may sleep; from the given look on there is something."""

    found: Iterator[list[tuple[int, int]]]
    slept_ms: list[int]

    def register(self, descriptor: int, events: int) -> None:
        """Any will do."""
        assert events == select.POLLIN

    def poll(self, timeout_ms: int) -> list[tuple[int, int]]:
        """Nothing, until there is."""
        self.slept_ms.append(timeout_ms)
        return next(self.found)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> type[Looks]:
    """Every look of the store; a millisecond passes at each."""
    Looks.slept_ms = []
    monkeypatch.setattr(poller.select, "poll", Looks)
    return Looks


def waited(looks: type[Looks], *, busy_poll_s: float, found_at: int, timeout_s: float = 1.0) -> list[int]:
    """How long each look of a wait could have slept, ms."""
    ticks = itertools.count()
    looks.found = ([(-1, select.POLLIN)] if number == found_at else [] for number in itertools.count(1))
    store = RedisStore("redis://127.0.0.1:1", busy_poll_s=busy_poll_s, monotonic=lambda: next(ticks) / 1000)
    with closing(store):
        assert store.wait(timeout_s) == (False, [])
    return looks.slept_ms


def test_it_sleeps_only_after_it_has_looked_for_long_enough(looks: type[Looks]) -> None:
    """Looks that do not sleep for ten milliseconds, then one that sleeps for the rest of the wait."""
    *busy, last = waited(looks, busy_poll_s=0.01, found_at=0)
    assert 8 <= len(busy) <= 10
    assert set(busy) == {0}
    assert last == 1000


def test_what_comes_meanwhile_is_taken_at_once(looks: type[Looks]) -> None:
    """The third look finds something, and nothing sleeps."""
    assert waited(looks, busy_poll_s=0.01, found_at=3) == [0, 0, 0]


def test_it_looks_no_longer_than_the_wait_may_take(looks: type[Looks]) -> None:
    """A wait of two milliseconds is over after two, whatever was asked for."""
    assert len(waited(looks, busy_poll_s=10.0, found_at=0, timeout_s=0.002)) <= 3


def test_without_it_every_look_sleeps(looks: type[Looks]) -> None:
    """The default; and a wait that may not take time does not."""
    assert waited(looks, busy_poll_s=0.0, found_at=0) == [1000]
    assert waited(looks, busy_poll_s=1.0, found_at=0, timeout_s=0.0) == [1000, 0]


def test_something_is_done_now_and_then_while_nobody_sleeps(looks: type[Looks]) -> None:
    """The more rarely the longer it takes, and no more once it is of no use."""
    ticks, looks.found = itertools.count(), itertools.repeat([])
    called: list[int] = []

    def meanwhile() -> bool:
        called.append(len(looks.slept_ms))
        return len(called) < 3

    store = RedisStore("redis://127.0.0.1:1", busy_poll_s=1.0, monotonic=lambda: next(ticks) / 1000)
    store.call_while_polling(meanwhile)
    with closing(store):
        assert store.wait(1.0) == (False, [])
    first, second, third = called
    assert first < second < third < len(looks.slept_ms) / 2
    assert third - second >= poller.MEANWHILE_SHARE


def test_nothing_is_done_meanwhile_by_those_who_sleep(looks: type[Looks]) -> None:
    """Without busy polling nobody waits for it."""
    looks.found = itertools.repeat([])
    store = RedisStore("redis://127.0.0.1:1", busy_poll_s=0.0)
    store.call_while_polling(lambda: pytest.fail("nobody is to call this"))
    with closing(store):
        assert store.wait(1.0) == (False, [])
