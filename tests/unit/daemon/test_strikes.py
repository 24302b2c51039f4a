"""When a challenger is given up: one that is always slow, and not one that the machine, or another process, held up."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest

from streamlstm.common.settings import DaemonSettings
from streamlstm.daemon.clock import Clock
from streamlstm.daemon.daemon import Daemon
from streamlstm.daemon.strikes import COUNTS_TIMES, MOST_STRIKES, SLOW_S, Strikes
from streamlstm.daemon.telemetry.metrics import Metrics
from streamlstm.engine.engine import Engine
from streamlstm.store.keys import Keys
from streamlstm.store.memory import MemoryServer, MemoryStore
from streamlstm.store.roles import Roles
from support.chain import Chain, chain_file
from support.memory_connection import MemoryConnection
from support.roles import library_of

STREAM = "values"
WEEK_S = 7 * 86_400.0


def test_slow_values_in_a_row_end_a_trial() -> None:
    """The third is one too many, and the reason says what it took."""
    strikes = Strikes()
    assert strikes.slow(0.06, 0.06, 1.0) is None
    assert strikes.slow(0.07, 0.07, 2.0) is None
    why = strikes.slow(0.08, 0.08, 3.0)
    assert why is not None
    assert "too slow" in why
    assert "0.08 s" in why


@pytest.mark.parametrize("took_s", [SLOW_S, 1.0, 60.0])
def test_a_slow_value_counts_for_a_hundred_times_as_long_as_it_took(took_s: float) -> None:
    """One that comes when the first is just forgotten ends nothing, one just before does."""
    for early_s, is_given_up in ((0.0, False), (0.001, True)):
        strikes = Strikes()
        for _ in range(MOST_STRIKES - 1):
            assert strikes.slow(SLOW_S, took_s, 0.0) is None
        assert (strikes.slow(SLOW_S, took_s, COUNTS_TIMES * took_s - early_s) is not None) is is_given_up


def test_three_slow_values_in_a_week_are_no_reason() -> None:
    """Nor are they in every week of a year."""
    strikes = Strikes()
    assert [strikes.slow(1.0, 1.0, n * WEEK_S / 3) for n in range(3 * 52)] == [None] * 156


def test_a_correction_that_fails_is_tried_again_until_the_third_time() -> None:
    """What failed in between, and then held, is forgotten; slow values are not."""
    strikes = Strikes()
    for _ in range(10):
        assert strikes.failed("it has moved") is None
        assert strikes.failed("it has moved") is None
        strikes.moved_on()
    assert [strikes.failed(f"no {n}") for n in range(3)] == [None, None, "no 2"]
    slow = Strikes()
    for _ in range(MOST_STRIKES - 1):
        slow.slow(1.0, 1.0, 0.0)
    slow.moved_on()
    assert slow.slow(1.0, 1.0, 0.0) is not None


@dataclass
class Passing:
    """Time that passes by what a test says that steps take."""

    wall_s: float = 0.0
    processor_s: float = 0.0
    takes: Callable[[int], tuple[float, float]] = lambda _: (0.0, 0.0)  # call -> seconds of the wall, of the processor
    calls: itertools.count[int] = field(default_factory=itertools.count)

    def step(self) -> None:
        """One call of the challenger."""
        wall_s, processor_s = self.takes(next(self.calls))
        self.wall_s += wall_s
        self.processor_s += processor_s

    def look(self) -> float:
        """The time; a millisecond passes between two looks."""
        self.wall_s += 0.001
        return self.wall_s


class Waiting(MemoryStore):
    """A store for which somebody waits until something comes, or for as long as was asked."""

    passing = Passing()

    def wait(self, timeout_s: float) -> tuple[bool, list[str]]:
        found = super().wait(timeout_s)
        if not any(found):
            self.passing.wall_s += timeout_s
        return found


class Timed(Chain):
    """A challenger whose calls take time."""

    passing = Passing()

    def advance(self, *arguments: Any) -> Any:
        self.passing.step()
        return super().advance(*arguments)


class Trial:
    """A real daemon over a store in memory, with a challenger beside the champion of its stream."""

    def __init__(self, takes: Callable[[int], tuple[float, float]]) -> None:
        self.server, self.passing = MemoryServer(), Passing(takes=takes)
        champion, challenger = Chain(0), Timed(1)
        challenger.passing = self.passing
        connect = lambda stream: MemoryConnection(self.server, {}, stream, lambda *_: None)  # noqa: E731
        engine, store = Engine(champion), Waiting(self.server)
        store.passing = self.passing
        self.daemon = Daemon(
            engine=engine,
            store=store,
            metrics=Metrics(champion.fingerprint, engine.columns, [STREAM]),
            settings=DaemonSettings(streams=(STREAM,)),
            clock=Clock(
                monotonic=self.passing.look,
                wall=lambda: 0.0,
                processor=lambda: self.passing.processor_s,
                sleep=lambda _: None,
            ),
            library=library_of([champion, challenger], connect),
        )
        self.daemon.start()
        self.ids = itertools.count(1)
        self.feed(1)
        with closing(connect(STREAM)) as connection:
            Roles(connection, Keys(STREAM)).add(challenger.fingerprint, chain_file(1), replay=True)  # type: ignore[arg-type]
        self.feed(1)

    def feed(self, entries: int, series: int = 1) -> None:
        """Entries one by one, each answered before the next; the challenger has time to catch up in between."""
        for _ in range(entries):
            fields = [text for n in range(series) for text in (f"s{n}", "1.5")]
            self.server.add(STREAM, f"{next(self.ids)}-0", *fields)
            for _ in range(6):
                self.daemon.turn(0.2)

    @property
    def off(self) -> str | None:
        """Why the challenger is not stepped any more."""
        beside = self.server.stream(STREAM).challenger
        assert beside is not None
        return beside.off

    @property
    def is_in_step(self) -> bool:
        """Whether it has seen all that came."""
        held = self.server.stream(STREAM)
        return held.challenger is not None and held.challenger.position == held.position

    def is_answered(self) -> bool:
        """Whether the champion has answered all that came."""
        return self.server.stream(STREAM).position == b"%d-0" % (next(self.ids) - 1)


@pytest.mark.parametrize("series", [1, 50])
def test_a_challenger_that_is_always_slow_is_given_up(series: int) -> None:
    """Whether an entry is one value or many; the champion answers on."""
    trial = Trial(lambda _: (0.06 * series, 0.06 * series))
    trial.feed(30, series)
    assert trial.off is not None
    assert "too slow" in trial.off
    assert next(trial.passing.calls) < 10, "it holds nobody up for long"
    assert trial.is_answered()


def test_a_machine_that_pauses_is_not_held_against_a_challenger() -> None:
    """However often it does: the process has not worked meanwhile."""
    trial = Trial(lambda _: (0.2, 0.001))
    trial.feed(200)
    assert trial.off is None
    assert trial.is_answered()


def test_a_challenger_that_is_slow_now_and_then_goes_on() -> None:
    """One value in forty, half a minute apart, takes a tenth of a second of the processor: many strikes in all."""
    trial = Trial(lambda call: (0.1, 0.1) if call % 40 == 0 else (0.0, 0.0))
    trial.feed(400)
    assert next(trial.passing.calls) > 40 * MOST_STRIKES
    assert trial.off is None
    assert trial.is_in_step
