"""A Redis Cluster of three primaries and three replicas under load: a primary is killed, a slot is moved."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamlstm.model import load
from support.cluster import Cluster, wait_until
from support.serving import Serving
from support.survivors import Producer, in_rounds
from support.traffic import entries

STREAMS = tuple(f"values:{{{number}}}" for number in range(6))


@pytest.fixture
def producer(cluster: Cluster) -> Iterator[Producer]:
    """What adds the values."""
    made = Producer(cluster.url)
    yield made
    made.close()


def test_a_slot_is_moved_and_a_primary_killed_during_load(
    cluster: Cluster, producer: Producer, start: Callable[..., Serving], model_path: Path
) -> None:
    """Two daemons answer what survives bit for bit, while a slot moves to another node and a primary dies."""
    daemons = [start("--redis", cluster.url, "--stream", "values:{0..5}") for _ in range(2)]
    for daemon in daemons:
        daemon.ready()
    traffic = {stream: entries(number, 900, odd=0.05) for number, stream in enumerate(STREAMS)}
    rounds = in_rounds(traffic, 30)
    mover = threading.Thread(target=cluster.move_slot, args=(STREAMS[0],))
    victim = cluster.primary_of(STREAMS[1])
    for number, part in enumerate(rounds):
        if number == 5:
            mover.start()
        if number == 15:
            mover.join()
            victim = cluster.primary_of(STREAMS[1])
            victim.kill()
        for stream, chunk in part.items():
            producer.add(stream, chunk)
    producer.wait(traffic)
    survived = producer.check(traffic, load(model_path))
    assert survived > 0.9 * sum(map(len, traffic.values())), "most of what was sent survived the failover"
    assert cluster.primary_of(STREAMS[1]) is not victim
    assert sum(daemon.metric("streamlstm_owned_streams") for daemon in daemons) == len(STREAMS)
    for daemon in daemons:
        assert daemon.stop() == 0
    victim.start()
    wait_until(lambda: cluster.nodes[0].client().ping(), "the dead node is back")
