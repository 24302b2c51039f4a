"""Several `serve` processes on one server: they share the streams, and every way to come or go leaves no gap."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from streamlstm.daemon.sharing.process_identity import Process
from streamlstm.models.model import load
from streamlstm.store.keys import Keys
from support.cluster import wait_until
from support.rounds import ROUNDS
from support.server import Server
from support.serving import Serving, eventually
from support.survivors import Producer, in_rounds
from support.traffic import entries

STREAMS = tuple(f"values:{{{number}}}" for number in range(5))
ALL = ("--stream", "values:{0..4}")


def owner(client: redis.Redis, stream: str) -> int | None:
    """The pid of the process that holds a stream's lease."""
    text = client.get(Keys(stream).lease)
    process = Process.parse(text.decode()) if isinstance(text, bytes) else None
    return process.pid if process is not None else None


def shares(client: redis.Redis, daemons: list[Serving], streams: tuple[str, ...] = STREAMS) -> list[int]:
    """How many streams each daemon has a lease of."""
    owners = [owner(client, stream) for stream in streams]
    return [owners.count(daemon.process.pid) for daemon in daemons]


def test_members_share_and_hand_over(
    start_server: Callable[..., Server], start: Callable[..., Serving], model_path: Path
) -> None:
    """One has all, two and three have fair shares, and who leaves is replaced; every value is answered once."""
    server = start_server()
    client, producer = server.client(), Producer(server.url)
    traffic = {stream: entries(number, 600, odd=0.05) for number, stream in enumerate(STREAMS)}
    parts = in_rounds(traffic, 6)
    daemons: list[Serving] = []
    for part, expected in zip(parts, ([5], [3, 2], [2, 2, 1], [3, 2], [5], [5]), strict=True):
        if len(expected) > len(daemons):
            # Nobody waits for a lease to end here; one that did, of a process that stood still, would change ranks.
            daemons.append(start("--redis", server.url, *ALL, "--lease-ttl", "1m"))
            daemons[-1].ready()
        elif len(expected) < len(daemons):
            assert daemons.pop(0).stop() == 0
        wait_until(lambda e=expected: shares(client, daemons) == e, f"the shares are {expected}")
        producer.add_part(part)
    producer.wait(traffic)
    assert producer.check(traffic, load(model_path)) == 5 * 600
    assert eventually(lambda: daemons[0].metric("streamlstm_owned_streams") == 5)
    assert daemons[0].stop() == 0
    assert shares(client, daemons) == [0]
    assert not client.keys("streamlstm:*")
    producer.close()
    client.close()


@pytest.mark.parametrize("round_", ROUNDS)
def test_kills_in_a_row(
    round_: int, start_server: Callable[..., Server], start: Callable[..., Serving], model_path: Path
) -> None:
    """Of three daemons one is killed again and again, and replaced, while values come: one bit-equal answer each."""
    server = start_server()
    producer = Producer(server.url)
    options = ("--redis", server.url, *ALL, "--lease-ttl", "1s")
    daemons = [start(*options) for _ in range(3)]
    for daemon in daemons:
        daemon.ready()
    traffic = {stream: entries(10 * round_ + number, 900, odd=0.05) for number, stream in enumerate(STREAMS)}
    for number, part in enumerate(in_rounds(traffic, 6)):
        producer.add_part(part)
        time.sleep(0.03 * (round_ % 10))
        daemons[number % 3].kill()
        daemons[number % 3] = start(*options)
    producer.wait(traffic)
    assert producer.check(traffic, load(model_path)) == 5 * 900
    with server.client() as client:
        wait_until(lambda: sorted(shares(client, daemons)) == [1, 2, 2], "the shares are fair again")
    for daemon in daemons:
        assert daemon.stop() == 0
    producer.close()


@pytest.mark.parametrize("round_", ROUNDS)
def test_who_was_stopped_for_longer_than_a_lease_gives_way(
    round_: int, start_server: Callable[..., Server], start: Callable[..., Serving], model_path: Path
) -> None:
    """Its streams are taken over while it stands still; it wakes in the middle of the load and harms nothing."""
    server = start_server()
    client, producer = server.client(), Producer(server.url)
    daemons = [start("--redis", server.url, *ALL, "--lease-ttl", "3s") for _ in range(2)]
    for daemon in daemons:
        daemon.ready()
    wait_until(lambda: sorted(shares(client, daemons)) == [2, 3], "both have a share")
    traffic = {stream: entries(10 * round_ + number, 800, odd=0.05) for number, stream in enumerate(STREAMS)}
    for number, part in enumerate(in_rounds(traffic, 8)):
        sleeper, other = daemons[number // 4], daemons[1 - number // 4]
        if number % 4 == 0:
            sleeper.process.send_signal(signal.SIGSTOP)
        producer.add_part(part)
        if number % 4 == 1:
            wait_until(lambda s=sleeper, o=other: shares(client, [s, o]) == [0, 5], "the other has all")
        if number % 4 == 2:
            sleeper.process.send_signal(signal.SIGCONT)
    producer.wait(traffic)
    assert producer.check(traffic, load(model_path)) == 5 * 800
    wait_until(lambda: sorted(shares(client, daemons)) == [2, 3], "both have a share again")
    assert any("taken over" in line["message"] for line in daemons[0].log())
    for daemon in daemons:
        assert eventually(lambda d=daemon: d.get("/readyz")[0] == 200)
        assert daemon.stop() == 0
    producer.close()
    client.close()


def test_a_killed_process_is_replaced_at_once_on_its_own_host(
    start_server: Callable[..., Server], start: Callable[..., Serving]
) -> None:
    """A restart does not wait for the lease of a process that it can see is dead."""
    server = start_server()
    first = start("--redis", server.url, "--lease-ttl", "10m")
    assert first.ready()["streams"] == ["values"]
    first.kill()
    again = start("--redis", server.url, "--lease-ttl", "10m")
    assert again.ready()["streams"] == ["values"]
    assert again.stop() == 0


def test_a_lease_of_nobody_knows_whom_is_waited_for(
    start_server: Callable[..., Server], start: Callable[..., Serving], model_path: Path
) -> None:
    """A process that cannot tell whether the owner lives stands by until the lease has ended, then answers all."""
    server = start_server()
    producer = Producer(server.url)
    traffic = {"values": entries(1, 50)}
    with server.client() as client:
        client.set(Keys("values").lease, "elsewhere:17:99:another-machine", px=3_600_000)
        daemon = start("--redis", server.url)
        assert daemon.ready()["streams"] == []
        assert daemon.get("/readyz")[0] == 200
        producer.add("values", traffic["values"])
        assert client.pexpire(Keys("values").lease, 2500)  # only now, however long the daemon took to start
        producer.wait(traffic)
        wait_until(lambda: owner(client, "values") == daemon.process.pid, "the lease is the daemon's")
    producer.check(traffic, load(model_path))
    assert daemon.stop() == 0
    producer.close()


def test_a_lease_that_somebody_deletes_is_taken_again(
    start_server: Callable[..., Server], start: Callable[..., Serving]
) -> None:
    """Leases are advice: gone by hand or by a failover, they are written again and nothing stops."""
    server = start_server()
    daemon = start("--redis", server.url, "--lease-ttl", "600ms")
    daemon.ready()
    with server.client() as client:
        client.flushall()
        wait_until(lambda: owner(client, "values") == daemon.process.pid, "the lease is there again")
    assert eventually(lambda: daemon.metric("streamlstm_owned_streams") == 1)
    assert daemon.stop() == 0


def test_patterns_find_what_is_there_and_what_comes(
    start_server: Callable[..., Server], start: Callable[..., Serving], model_path: Path
) -> None:
    """Streams that match are served, later ones too; derived keys never are; a deleted one is let go of."""
    server = start_server()
    producer = Producer(server.url)
    traffic = {stream: entries(number, 100) for number, stream in enumerate(("v:a", "v:{1}", "v:late"))}
    with server.client() as client:
        client.set("v:text", "not a stream")
        client.xadd("w:other", {"s": "1"})
        client.xadd("v:odd}", {"s": "1"})
        for stream in ("v:a", "v:{1}"):
            producer.add(stream, traffic[stream])
        daemon = start("--redis", server.url, "--stream", "v:*", "--lease-ttl", "1s")
        assert sorted(daemon.ready()["streams"]) == ["v:a", "v:{1}"]
        producer.wait({stream: traffic[stream] for stream in ("v:a", "v:{1}")})
        assert client.exists("v:{1}:predictions")
        producer.add("v:late", traffic["v:late"])
        producer.wait(traffic)
        producer.check(traffic, load(model_path))
        assert eventually(lambda: daemon.metric("streamlstm_owned_streams") == 3)
        assert any("'v:odd}'" in line["message"] for line in daemon.log())
        client.delete("v:a")
        wait_until(lambda: client.get(Keys("v:a").lease) is None, "the deleted stream is let go of")
        assert not client.exists("{w:other}:meta", "{v:{1}:predictions}:meta", "v:{1}:predictions:meta")
    assert daemon.stop() == 0
    producer.close()


def test_a_stream_that_cannot_be_served_does_not_end_the_others(
    start_server: Callable[..., Server], start: Callable[..., Serving], model_path: Path
) -> None:
    """Found by a pattern, a stream whose keys are somebody else's is named in the log and left alone."""
    server = start_server()
    producer = Producer(server.url)
    traffic = {"v:good": entries(3, 50)}
    with server.client() as client:
        client.xadd("v:bad", {"s": "1"})
        client.set(Keys("v:bad").state, "mine")
        producer.add("v:good", traffic["v:good"])
        daemon = start("--redis", server.url, "--stream", "v:*")
        daemon.ready()
        producer.wait(traffic)
        assert any("'v:bad' is not served" in line["message"] for line in daemon.log())
        assert client.get(Keys("v:bad").lease) is None
    assert daemon.stop() == 0
    producer.close()


@pytest.mark.parametrize("ttl", ["0", "300ms"])
def test_twins_without_leases_and_with_short_ones(
    ttl: str, start_server: Callable[..., Server], start: Callable[..., Serving], model_path: Path
) -> None:
    """Safety rests on the position alone: two that work on the same streams at once answer every value once."""
    server = start_server()
    producer = Producer(server.url)
    daemons = [start("--redis", server.url, *ALL, "--lease-ttl", ttl) for _ in range(2)]
    for daemon in daemons:
        daemon.ready()
    traffic = {stream: entries(number, 600, odd=0.05) for number, stream in enumerate(STREAMS)}
    for part in in_rounds(traffic, 20):
        producer.add_part(part)
        time.sleep(0.01)
    producer.wait(traffic)
    assert producer.check(traffic, load(model_path)) == 5 * 600
    fair = [5, 5] if ttl == "0" else [2, 3]
    assert eventually(lambda: sorted(daemon.metric("streamlstm_owned_streams") for daemon in daemons) == fair)
    for daemon in daemons:
        assert daemon.stop() == 0
    producer.close()
