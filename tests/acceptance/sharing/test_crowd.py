"""Two hundred streams, and five processes that come, go, die and fall asleep at random; streams come and go too."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streamlstm.models.model import load
from streamlstm.store.keys import Keys
from support.cluster import wait_until
from support.rounds import ROUNDS
from support.server import Server
from support.serving import Serving
from support.survivors import Producer, in_rounds
from support.traffic import entries

STREAMS, LATE, DELETED = 200, 50, 10
STEPS = 12
MOST = 5
# The server is never silent, but a process that starts while the machine stands still must not think so and end.
OPTIONS = ("--stream", "v:*", "--lease-ttl", "1s", "--socket-timeout", "30s")


class Crowd:
    """Processes that something happens to."""

    def __init__(self, rng: random.Random, start: Callable[[], Serving]) -> None:
        self._rng, self._start = rng, start
        self.awake = [start() for _ in range(2)]
        self.asleep: list[Serving] = []

    def shake(self) -> None:
        """One of them joins, leaves, is killed, falls asleep or wakes."""
        event = self._rng.choice(["join", "join", "leave", "kill", "sleep", "wake"])
        if self.asleep and event == "wake":
            self._wake(self.asleep.pop())
        elif event == "join" or len(self.awake) < 2:
            if len(self.awake) + len(self.asleep) < MOST:
                self.awake.append(self._start())
        else:
            chosen = self.awake.pop(self._rng.randrange(len(self.awake)))
            if event == "leave":
                chosen.process.terminate()
            elif event == "kill":
                chosen.kill()
            else:
                chosen.process.send_signal(signal.SIGSTOP)
                self.asleep.append(chosen)

    def wake_all(self) -> list[Serving]:
        """Everybody works again; returns who is there."""
        while self.asleep:
            self._wake(self.asleep.pop())
        return self.awake

    def _wake(self, sleeper: Serving) -> None:
        sleeper.process.send_signal(signal.SIGCONT)
        self.awake.append(sleeper)


@pytest.mark.parametrize("round_", ROUNDS)
def test_a_crowd(
    round_: int, start_server: Callable[..., Server], start: Callable[..., Serving], model_path: Path
) -> None:
    """Every value of every stream that is left has one answer, to the bit; at last all is shared fairly."""
    server, rng = start_server(fsync="no"), random.Random(round_)
    producer = Producer(server.url)
    names = [f"v:{number}" if number % 2 else f"v:{{{number}}}" for number in range(STREAMS)]
    traffic = {name: entries(1000 * round_ + n, 36, series=5, odd=0.05) for n, name in enumerate(names)}
    crowd = Crowd(rng, lambda: start("--redis", server.url, *OPTIONS))
    with server.client() as client:
        early, late = names[:-LATE], names[-LATE:]
        for number, part in enumerate(in_rounds(traffic, STEPS)):
            for name in early if number < STEPS // 2 else names:
                producer.add(name, part[name])
            if number == STEPS // 2 - 1:
                for name in late:  # found while the processes run; all that the others have had at once
                    producer.add(name, traffic[name][: 36 * STEPS // 2 // STEPS])
            crowd.shake()
            time.sleep(rng.uniform(0.05, 0.8))
        for name in names[:DELETED]:
            client.delete(name, *Keys(name).derived)
            del traffic[name]
        there = crowd.wake_all()
        producer.wait(traffic)
        assert producer.check(traffic, load(model_path)) == len(traffic) * 36
        ready = [daemon for daemon in there if daemon.ready()]
        wait_until(lambda: sum(owned(ready)) == STREAMS - DELETED, "every stream has one owner")
        wait_until(lambda: max(owned(ready)) - min(owned(ready)) <= 1, "the shares are fair")
    for daemon in ready:
        assert daemon.stop() == 0
        errors = [line for line in daemon.log() if line["level"] == "error"]
        assert {line["stream"] for line in errors} <= set(names[:DELETED]), "only their states are missed"
    producer.close()


def owned(daemons: list[Serving]) -> list[float]:
    """How many streams each works on."""
    return [daemon.metric("streamlstm_owned_streams") for daemon in daemons]
