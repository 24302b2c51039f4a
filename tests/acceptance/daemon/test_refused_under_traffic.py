"""`serve` while rights come and go, or a proxy refuses: it waits, says what is refused, and every value is exact."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from streamlstm.models.model import load
from streamlstm.store.keys import Keys
from support.oracle import Oracle
from support.resp_proxy import RespProxy
from support.server import HOST, Server
from support.serving import Serving, add, check, eventually, wait_for_position
from support.traffic import entries

StartServer = Callable[..., Server]
Start = Callable[..., Serving]

MADE = entries(61, 1_500, series=40, odd=0.1)
FLIGHT = ("WATCH", "MULTI", "EXEC", "HMGET", "HSET", "XADD")
OTHERS = ("XREAD", "HDEL", "XINFO", "XRANGE", "TIME")
LEASES = ("ZADD", "ZRANGE", "GET", "PEXPIRE", "ZREMRANGEBYSCORE")


def url_of(server: Server) -> str:
    """As a user whose rights change."""
    return f"redis://worker:p@{HOST}:{server.port}/0"


def allow(client: redis.Redis, *changes: str) -> None:
    """Change that user's rights."""
    client.execute_command("ACL", "SETUSER", "worker", "on", ">p", "~*", "&*", *(changes or ("+@all",)))


@contextmanager
def traffic(client: redis.Redis) -> Iterator[None]:
    """Entries come one by one, as many as there are; all of them have come when it ends."""
    ended = threading.Event()

    def push() -> None:
        made = iter(MADE)
        for one in made:
            add(client, [one])
            if ended.wait(0.02):
                break
        add(client, list(made))

    producer = threading.Thread(target=push)
    producer.start()
    try:
        yield
    finally:
        ended.set()
        producer.join()


def says(daemon: Serving, command: str) -> bool:
    """Whether it is not ready and has said that a command is refused."""
    lines = [line["message"] for line in daemon.log() if line["level"] != "info"]
    return daemon.get("/readyz")[0] == 503 and any(f"answered to {command}" in line for line in lines)


def answers_all(daemon: Serving, client: redis.Redis, model_path: Path) -> None:
    """Every value is answered once, and as if nothing had happened; then it ends clean."""
    wait_for_position(client, "values", MADE[-1][0])
    check(client, load(model_path), MADE)
    assert daemon.stop() == 0
    client.close()


@pytest.mark.parametrize("part", [FLIGHT, OTHERS + LEASES], ids=["flight", "others"])
def test_rights_that_come_and_go_under_traffic(
    part: tuple[str, ...], start_server: StartServer, start: Start, model_path: Path
) -> None:
    """One command after the other is taken away and given back: said by name, 503, then ready again and exact."""
    server = start_server()
    client = server.client()
    allow(client)
    daemon = start("--redis", url_of(server), "--lease-ttl", "1s")
    daemon.ready()
    with traffic(server.client()):
        for command in part:
            allow(client, f"-{command.lower()}")
            assert eventually(lambda name=command: says(daemon, name)), command
            allow(client)
            assert eventually(lambda: daemon.get("/readyz")[0] == 200), command
    answers_all(daemon, client, model_path)


def test_rights_that_come_and_go_in_the_midst_of_large_commits(
    start_server: StartServer, start: Start, model_path: Path
) -> None:
    """Redis looks at rights again at EXEC and carries out the rest: nothing is lost, and nothing is stepped twice."""
    server = start_server()
    client = server.client()
    allow(client)
    daemon = start("--redis", url_of(server), "--batch-values", "500")
    daemon.ready()

    def position() -> object:
        return client.hget("{values}:meta", "position")

    add(client, MADE)
    for command in itertools.cycle(("-xadd", "-hset")):
        before = position()
        if before == MADE[-1][0].encode():
            break
        allow(client, command)
        time.sleep(0.002)
        allow(client)
        assert eventually(lambda then=before: position() != then)
    assert eventually(lambda: daemon.get("/readyz")[0] == 200)  # what was left out last is written
    answers_all(daemon, client, model_path)


def test_a_proxy_that_refuses_under_traffic(start_server: StartServer, start: Start, model_path: Path) -> None:
    """It passes the other commands on, so commits are torn: what they left out is written once it may be."""
    server = start_server()
    client, proxy = server.client(), RespProxy(server.port)
    daemon = start("--redis", proxy.url, "--lease-ttl", "1s")
    daemon.ready()
    with traffic(server.client()):
        for command in FLIGHT:
            proxy.refused.add(command.encode())
            assert eventually(lambda name=command: says(daemon, name)), command
            proxy.refused.clear()
            assert eventually(lambda: daemon.get("/readyz")[0] == 200), command
    answers_all(daemon, client, model_path)
    proxy.close()


def test_a_proxy_that_refuses_one_of_many(start_server: StartServer, start: Start, model_path: Path) -> None:
    """The predictions behind the refused one are there already: it is put in among them."""
    server = start_server()
    client, proxy = server.client(), RespProxy(server.port)
    daemon = start("--redis", proxy.url)
    daemon.ready()
    for first in range(0, len(MADE), 100):
        part = MADE[first : first + 100]
        proxy.skipped[b"XADD"], proxy.once = first // 100, {b"XADD"}
        add(client, part)
        wait_for_position(client, "values", part[-1][0])
        assert eventually(lambda: not proxy.once and daemon.get("/readyz")[0] == 200)
    wanted = len(Oracle(load(model_path)).feed(MADE).predictions)  # it may be ready still, and not know of the last yet
    assert eventually(lambda: client.xlen(Keys("values").predictions) == wanted)
    answers_all(daemon, client, model_path)
    assert sum("written anew" in line["message"] for line in daemon.log()) > 1
    proxy.close()


@pytest.mark.parametrize("is_given_back", [True, False])
def test_an_end_while_a_commit_is_torn(
    is_given_back: bool, start_server: StartServer, start: Start, model_path: Path
) -> None:
    """What is left out is tried once more; where it is refused still, the last lines say that something is missing."""
    server = start_server()
    client, proxy = server.client(), RespProxy(server.port)
    daemon = start("--redis", proxy.url)
    daemon.ready()
    proxy.refused.add(b"XADD")
    add(client, MADE[:1])
    assert eventually(lambda: says(daemon, "XADD"))
    daemon.process.send_signal(signal.SIGSTOP)
    if is_given_back:
        proxy.refused.clear()
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.stop() == 0
    said = [line["message"] for line in daemon.log() if line["level"] == "error"]
    if is_given_back:
        check(client, load(model_path), MADE[:1])
        assert said == []
    else:
        assert "predictions are missing: `streamlstm verify` says which" in said[-1]
    proxy.close()
    client.close()


def test_two_processes_without_a_fence_of_their_own(start_server: StartServer, start: Start, model_path: Path) -> None:
    """Twins on one stream, whose right to WATCH comes and goes while commits of one are held up on their way."""
    server = start_server()
    client, proxy = server.client(), RespProxy(server.port)
    allow(client)
    slow = proxy.url.replace("//", "//worker:p@")
    daemons = [start("--redis", url, "--lease-ttl", "0", "--socket-timeout", "5s") for url in (slow, url_of(server))]
    for daemon in daemons:
        daemon.ready()
    with traffic(server.client()):
        for _ in range(4):
            proxy.held[b"EXEC"] = released = threading.Event()
            time.sleep(0.1)
            allow(client, "-watch")
            time.sleep(0.2)
            del proxy.held[b"EXEC"]
            released.set()
            time.sleep(0.2)
            allow(client)
            time.sleep(0.5)
    wait_for_position(client, "values", MADE[-1][0])
    check(client, load(model_path), MADE)
    assert [daemon.stop() for daemon in daemons] == [0, 0]
    proxy.close()
    client.close()
