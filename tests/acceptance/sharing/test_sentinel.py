"""A primary behind Sentinels that dies during load: the daemon finds the new one and answers what survives."""

from __future__ import annotations

import contextlib
import json
import random
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

import streamlstm
from streamlstm.errors import StoreUnavailableError
from streamlstm.models.model import load
from streamlstm.store.resp.topology import parse_topology
from support.cluster import call, role, wait_until
from support.rounds import ROUNDS
from support.sentinel import SERVICE, Watched
from support.serving import Serving, run
from support.survivors import Producer, in_rounds
from support.traffic import entries


def test_a_sentinel_that_knows_no_such_service(watched: Watched) -> None:
    """The message names the service and the Sentinels, and there is no wait."""
    topology = parse_topology(watched.url.replace("forecasts", "nothing"))
    with pytest.raises(StoreUnavailableError, match=r"no primary of 'nothing' at redis\+sentinel://127\.0\.0\.1"):
        topology.home("values")


@pytest.mark.parametrize("round_", ROUNDS)
def test_a_failover_during_load(
    round_: int, watched: Watched, start: Callable[..., Serving], model_path: Path, tmp_path: Path
) -> None:
    """The primary is killed; predictions and states are what the oracle gives for the input that survived."""
    streams = (f"values{round_}", f"loads{round_}")
    named = [part for stream in streams for part in ("--stream", stream)]
    daemons = [start("--redis", watched.url, *named) for _ in range(2)]
    for daemon in daemons:
        daemon.ready()
    producer = Producer(watched.url)
    traffic = {stream: entries(10 * round_ + number, 1500, odd=0.05) for number, stream in enumerate(streams)}
    before, moment = watched.primary, random.Random(round_).randint(3, 15)
    with contextlib.ExitStack() as stack:
        for number, part in enumerate(in_rounds(traffic, 20)):
            if number == moment - 1:  # a machine with much else to do may be far behind with replicating
                with before.client() as client:
                    client.set("replicated", number)  # WAIT is for what the connection itself has written
                    assert client.wait(1, 120_000) == 1
            if number == moment:
                stack.enter_context(watched.impatient())
                before.kill()
            producer.add_part(part)
        producer.wait(traffic)
    survived = producer.check(traffic, load(model_path))
    assert survived > 0.9 * 2 * 1500, "most of what was sent survived the failover"
    assert watched.primary is not before
    done = run(tmp_path, "push", streams[0], "--redis", watched.url, "--series", "late", stdin="1.5\n")
    assert done.returncode == 0, done.stderr
    producer.wait({streams[0]: ()})
    said = json.loads(run(tmp_path, "status", streams[0], "--redis", watched.url, "--json").stdout)[0]
    assert said["lag_entries"] == 0
    last = run(tmp_path, "tail", streams[0], "--redis", watched.url, "--no-follow", "--last", "1")
    assert last.stdout.count("\n") == 1
    for daemon in daemons:
        assert daemon.stop() == 0
    producer.close()
    before.start()
    watched.wait_until_whole()


def test_pages_follow_a_planned_failover(watched: Watched, start: Callable[..., Serving]) -> None:
    """The primary of before stays, as a replica that answers what it has: no page reads from it any more."""
    daemon = start("--redis", watched.url, "--stream", "planned", "--series-metrics", "*")
    client, before = streamlstm.Client(watched.url, "planned"), watched.primary
    daemon.ready()
    client.push({"a": 1.0}, wait="2m")
    pages = ("/series?stream=planned", "/dead?stream=planned", "/forecast?stream=planned&series=a", "/metrics")
    assert [daemon.get(path)[0] for path in pages] == [200] * len(pages)
    with urllib.request.urlopen(daemon.ready()["http"] + "/events?stream=planned&series=a") as events:
        assert _next_values(events) == [1.0]
        call(watched.sentinels[0], "SENTINEL", "FAILOVER", SERVICE)
        wait_until(lambda: role(before) == b"slave", "the primary is a replica")
        watched.wait_until_whole()
        client.push({"b": 3.0, "a": 2.0}, wait="2m")
        while 2.0 not in _next_values(events):
            pass
        with before.client() as replica:
            replica.config_resetstat()
            said = [daemon.get(path) for path in pages]
            asked = {name.removeprefix("cmdstat_") for name in replica.info("commandstats")}
            names = {one["name"] for one in replica.client_list()}
    assert [status for status, _ in said] == [200] * len(pages)
    assert sorted(json.loads(said[0][1])) == ["a", "b"]
    assert 'streamlstm_series_actual{series="b",stream="planned"} 3.0' in said[-1][1]
    assert not asked & {"xrevrange", "xrange", "xread", "xlen", "hget", "hmget", "hscan"}
    assert "streamlstm-page" not in names
    assert daemon.stop() == 0


def _next_values(events: IO[bytes]) -> list[float]:
    """The values of the next event that has some."""
    while not events.readline().startswith(b"event: values"):
        pass
    return [point[1] for point in json.loads(events.readline().removeprefix(b"data: "))["points"]]


def test_a_replica_is_not_taken_for_the_primary(watched: Watched) -> None:
    """What a Sentinel names is asked for its role first."""
    topology = parse_topology(watched.url)
    assert topology.home("values").port == watched.primary.port
    for sentinel in watched.sentinels[1:]:  # a majority would make one of the two a primary again
        sentinel.kill()
    with watched.primary.client() as client:
        client.replicaof("127.0.0.1", "1")
    topology.doubt()
    with pytest.raises(StoreUnavailableError, match="is a slave, not the primary yet"):
        topology.home("values")
