"""A Redis Cluster of three primaries and three replicas under load: a primary is killed, a slot is moved."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamlstm.models.model import load
from support.cluster import Cluster, wait_until
from support.rounds import ROUNDS
from support.serving import Serving, eventually
from support.survivors import Producer, in_rounds
from support.traffic import entries


def streams_of(round_: int) -> tuple[str, ...]:
    """Six streams of a round's own, over all nodes."""
    return tuple(f"values{round_}:{{{number}}}" for number in range(6))


@pytest.fixture
def producer(cluster: Cluster) -> Iterator[Producer]:
    """What adds the values."""
    made = Producer(cluster.url)
    yield made
    made.close()


@pytest.mark.parametrize("round_", ROUNDS)
def test_a_slot_is_moved_and_a_primary_killed_during_load(
    round_: int, cluster: Cluster, producer: Producer, start: Callable[..., Serving], model_path: Path
) -> None:
    """Two daemons answer what survives bit for bit, while a slot moves to another node and a primary dies."""
    streams, rng = streams_of(round_), random.Random(round_)
    daemons = [start("--redis", cluster.url, "--stream", f"values{round_}:{{0..5}}") for _ in range(2)]
    for daemon in daemons:
        daemon.ready()
    traffic = {stream: entries(100 * round_ + number, 900, odd=0.05) for number, stream in enumerate(streams)}
    rounds = in_rounds(traffic, 30)
    mover = threading.Thread(target=cluster.move_slot, args=(streams[rng.randrange(6)],))
    moved, killed, hit = rng.randint(1, 8), rng.randint(12, 25), streams[rng.randrange(6)]
    victim = cluster.primary_of(hit)
    with contextlib.ExitStack() as stack:
        for number, part in enumerate(rounds):
            if number == moved:
                mover.start()
            if number == killed - 1:
                mover.join()
                victim = cluster.primary_of(hit)
                cluster.wait_until_replicated(victim)
            if number == killed:
                stack.enter_context(cluster.impatient())
                victim.kill()
            producer.add_part(part)
        producer.wait(traffic)
        survived = producer.check(traffic, load(model_path))
        assert survived > 0.9 * sum(map(len, traffic.values())), "most of what was sent survived the failover"
        wait_until(lambda: cluster.primary_of(hit) is not victim, "every node knows who has taken over")
    assert eventually(lambda: sum(daemon.metric("streamlstm_owned_streams") for daemon in daemons) == len(streams)), (
        "each stream is one daemon's"
    )
    for daemon in daemons:
        assert daemon.stop() == 0
    victim.start()
    cluster.wait_until_whole()


def test_a_hung_primary_holds_up_no_other_node(
    cluster: Cluster, producer: Producer, start: Callable[..., Serving], model_path: Path
) -> None:
    """While it stands still and nobody replaces it, streams of other nodes are answered; afterwards its own are too."""
    streams = tuple(f"hung:{{{number}}}" for number in range(6))
    options = ("--stream", "hung:{0..5}", "--socket-timeout", "3s", "--lease-ttl", "3s")
    daemons = [start("--redis", cluster.url, *options) for _ in range(2)]
    for daemon in daemons:
        daemon.ready()
    traffic = {stream: entries(number, 400, odd=0.05) for number, stream in enumerate(streams)}
    for stream in streams:
        producer.add(stream, traffic[stream][:100])
    producer.wait(traffic)
    victim = cluster.primary_of(streams[1])
    healthy = [stream for stream in streams if cluster.primary_of(stream) is not victim]
    assert victim.process is not None
    victim.process.send_signal(signal.SIGSTOP)
    for first in (100, 200):
        for stream in healthy:
            producer.add(stream, traffic[stream][first : first + 100])
        producer.wait(dict.fromkeys(healthy, ()))
    assert eventually(lambda: daemons[0].get("/readyz")[0] == 200)
    victim.process.send_signal(signal.SIGCONT)
    for stream in streams:
        producer.add(stream, traffic[stream])
    producer.wait(traffic)
    assert producer.check(traffic, load(model_path)) == 6 * 400
    for daemon in daemons:
        assert daemon.stop() == 0
