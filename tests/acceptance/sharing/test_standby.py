"""A process too many: it holds no stream and stands by, for longer than any timeout, until one is free."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streamlstm.models.model import load
from support.cluster import Cluster, wait_until
from support.sentinel import Watched
from support.server import Server
from support.serving import Serving, eventually
from support.survivors import PATIENCE_S, Producer, Traffic
from support.traffic import entries

Start = Callable[..., Serving]

# Short, so that a spare process waits for longer than either; a machine that stands still for a moment trips none.
OPTIONS = ("--lease-ttl", "5s", "--socket-timeout", "3s")
WAIT_S = 7.0


def pair(start: Start, url: str) -> tuple[Serving, Serving]:
    """A process that holds the only stream, and a spare one that has stood by for a while and is none the worse."""
    holder = start("--redis", url, *OPTIONS)
    assert holder.ready()["streams"] == ["values"]
    spare = start("--redis", url, *OPTIONS)
    assert spare.ready()["streams"] == []
    time.sleep(WAIT_S)
    assert [line["message"] for line in spare.log()][1:] == [], "nothing was asked, so nothing is missing"
    assert spare.metric("streamlstm_reconnects_total") == 0
    assert spare.metric("streamlstm_owned_streams") == 0
    assert spare.get("/readyz")[0] == 200
    return holder, spare


def end(holder: Serving, how: str) -> None:
    """End a process, or let it stand still."""
    if how == "killed":
        holder.kill()
    elif how == "stopped":
        assert holder.stop() == 0
    else:
        holder.process.send_signal(signal.SIGSTOP)


@pytest.mark.parametrize("how", ["killed", "stopped", "paused"])
def test_a_spare_process_takes_over(
    how: str, start_server: Callable[..., Server], start: Start, model_path: Path
) -> None:
    """However the holder goes, the spare one has its stream and answers; a paused one is the spare afterwards."""
    server = start_server()
    producer = Producer(server.url)
    traffic = {"values": entries(7, 600, odd=0.05)}
    holder, spare = pair(start, server.url)
    producer.add("values", traffic["values"][:300])
    end(holder, how)
    producer.add("values", traffic["values"][300:])
    producer.wait(traffic)
    assert producer.check(traffic, load(model_path)) == 600
    assert eventually(lambda: spare.metric("streamlstm_owned_streams") == 1)
    if how == "paused":
        holder.process.send_signal(signal.SIGCONT)
        assert eventually(lambda: holder.metric("streamlstm_owned_streams") == 0)
        time.sleep(WAIT_S)
        assert holder.metric("streamlstm_owned_streams") == 0
        assert spare.metric("streamlstm_reconnects_total") == 0
        assert holder.stop() == 0
    assert spare.stop() == 0
    producer.close()


def test_a_spare_process_that_is_stopped_leaves_nothing(start_server: Callable[..., Server], start: Start) -> None:
    """It ends clean, and its place among the members is free."""
    server = start_server()
    holder, spare = pair(start, server.url)
    assert spare.stop() == 0
    with server.client() as client:
        (members,) = client.keys("streamlstm:*")
        assert client.zcard(members) == 1
    assert holder.metric("streamlstm_owned_streams") == 1
    assert holder.stop() == 0


def test_a_spare_process_on_a_server_that_is_away_for_a_while(
    start_server: Callable[..., Server], start: Start, model_path: Path
) -> None:
    """It says that it is not ready, comes back by itself, and takes over."""
    server = start_server()
    holder, spare = pair(start, server.url)
    server.kill()
    assert eventually(lambda: spare.get("/readyz")[0] == 503)
    server.start()
    assert eventually(lambda: spare.get("/readyz")[0] == 200)
    holder.kill()
    producer, traffic = Producer(server.url), {"values": entries(8, 200)}
    producer.add("values", traffic["values"])
    producer.wait(traffic)
    producer.check(traffic, load(model_path))
    assert spare.stop() == 0
    producer.close()


def lose_both(
    primary: Server, holder: Serving, spare: Serving, producer: Producer, made: Traffic, model_path: Path
) -> None:
    """Kill the primary, then the daemon that works, each before a part of the traffic; the spare one answers it all."""
    primary.kill()
    producer.add("values", made[200:400])
    assert eventually(lambda: spare.get("/readyz")[0] == 200, PATIENCE_S)
    holder.kill()
    producer.add("values", made[400:])
    producer.wait({"values": made})
    producer.check({"values": made}, load(model_path))


def test_a_spare_process_on_a_cluster(cluster: Cluster, start: Start, model_path: Path) -> None:
    """The primary dies while it stands by, then the holder."""
    producer, traffic = Producer(cluster.url), {"values": entries(9, 600, odd=0.05)}
    holder, spare = pair(start, cluster.url)
    producer.add("values", traffic["values"][:200])
    victim = cluster.primary_of("values")
    with cluster.impatient():
        lose_both(victim, holder, spare, producer, traffic["values"], model_path)
        wait_until(lambda: cluster.primary_of("values") is not victim, "every node knows who has taken over")
    assert eventually(lambda: spare.metric("streamlstm_owned_streams") == 1)
    assert spare.stop() == 0
    producer.close()


def test_a_spare_process_behind_sentinels(watched: Watched, start: Start, model_path: Path) -> None:
    """The primary dies while it stands by, then the holder."""
    producer, traffic = Producer(watched.url), {"values": entries(10, 600, odd=0.05)}
    holder, spare = pair(start, watched.url)
    producer.add("values", traffic["values"][:200])
    with watched.impatient():
        lose_both(watched.primary, holder, spare, producer, traffic["values"], model_path)
    assert spare.stop() == 0
    producer.close()
