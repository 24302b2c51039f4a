"""Real processes, real servers, and what happens to them: afterwards every value has one answer with the oracle's bits.

Each test is one round of some seconds; `make chaos` (CHAOS_ROUNDS=20) goes on for minutes with other traffic each time.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from streamlstm.models.model import load
from streamlstm.store.keys import Keys
from support import forked
from support.disk import filled, small_disk
from support.proxy import Proxy
from support.rounds import ROUNDS
from support.server import Server, binaries
from support.serving import READY_TIMEOUT_S, Serving, add, check, eventually, run, wait_for_position
from support.traffic import entries

STREAM = "values"

StartServer = Callable[..., Server]
Start = Callable[..., Serving]


@pytest.fixture
def proxy_to() -> Iterator[Callable[[Server], Proxy]]:
    """A function that puts a proxy before a server."""
    made: list[Proxy] = []

    def stand(server: Server) -> Proxy:
        made.append(Proxy(server.port))
        return made[-1]

    yield stand
    for proxy in made:
        proxy.close()


def said(daemon: Serving, words: str) -> int:
    """How many lines of a daemon's log hold some words."""
    return sum(words in line["message"] for line in daemon.log())


def push_again(server: Server, made: list[tuple[str, list[str]]]) -> None:
    """Push entries as a producer does that does not know how far it came before the server went."""
    with server.client() as client:
        newest = client.xrevrange(STREAM, count=1)
        last = int(newest[0][0].split(b"-")[0]) if newest else 0
        add(client, [entry for entry in made if int(entry[0].split("-")[0]) > last])


@pytest.mark.parametrize("round_", ROUNDS)
def test_a_daemon_stopped_for_a_while_overtakes_nobody(
    round_: int, start_server: StartServer, start: Start, model_path: Path
) -> None:
    """SIGSTOP in the midst of work, longer than a blocking read, while a twin goes on; then both go on."""
    server = start_server()
    client, made = server.client(), entries(100 + round_, 6000, series=200, odd=0.05)
    daemons = [start("--redis", server.url) for _ in range(2)]
    for daemon in daemons:
        daemon.ready()
    for number, first in enumerate(range(0, 6000, 2000)):
        stopped = daemons[number % 2].process
        add(client, made[first : first + 1000])
        stopped.send_signal(signal.SIGSTOP)
        add(client, made[first + 1000 : first + 2000])
        time.sleep(1.3)
        stopped.send_signal(signal.SIGCONT)
    wait_for_position(client, STREAM, made[-1][0])
    check(client, load(model_path), made)
    client.close()


@pytest.mark.parametrize("round_", ROUNDS)
def test_cut_connections_lose_and_double_nothing(
    round_: int, start_server: StartServer, start: Start, proxy_to: Callable[[Server], Proxy], model_path: Path
) -> None:
    """Every connection cut again and again while values come, replies of commits on their way."""
    server = start_server()
    proxy = proxy_to(server)
    client, made = server.client(), entries(200 + round_, 6000, series=200, odd=0.05)
    daemon = start("--redis", proxy.url)
    daemon.ready()
    cut = 0
    for first in range(0, 6000, 500):
        add(client, made[first : first + 500])
        assert eventually(lambda: proxy.connections > 0), "it comes back every time"
        if first // 500 % 4 < 3:
            time.sleep(0.02 * (first // 500 % 4))
            cut += proxy.cut()
            continue
        # A cut is counted of a daemon that was at work, and one that is slow may not be so every time.
        counted = daemon.metric("streamlstm_reconnects_total")
        assert eventually(lambda: daemon.metric("streamlstm_store_connected") == 1)
        cut += proxy.cut()
        assert eventually(lambda counted=counted: daemon.metric("streamlstm_reconnects_total") > counted)
    wait_for_position(client, STREAM, made[-1][0])
    check(client, load(model_path), made)
    assert cut >= 10
    assert daemon.metric("streamlstm_reconnects_total") >= 3
    assert daemon.stop() == 0
    client.close()


@pytest.mark.parametrize("round_", ROUNDS)
def test_half_open_connections_are_given_up(
    round_: int, start_server: StartServer, start: Start, proxy_to: Callable[[Server], Proxy], model_path: Path
) -> None:
    """Connections that stay open but say nothing any more are given up, and the daemon goes on over new ones."""
    server = start_server()
    proxy = proxy_to(server)
    client, made = server.client(), entries(300 + round_, 2000, series=100, odd=0.05)
    daemon = start("--redis", proxy.url, "--socket-timeout", "3s")  # a machine may stand still for a while
    daemon.ready()
    add(client, made[:1000])
    wait_for_position(client, STREAM, made[999][0])
    for first in (1000, 1500):
        assert proxy.go_silent() >= 2
        add(client, made[first : first + 500])
        wait_for_position(client, STREAM, made[first + 499][0])
    check(client, load(model_path), made)
    assert said(daemon, "no answer for 3 s")
    assert daemon.stop() == 0
    client.close()


@pytest.mark.parametrize("round_", ROUNDS)
def test_a_server_out_of_memory_is_waited_for(
    round_: int, start_server: StartServer, start: Start, model_path: Path
) -> None:
    """Full (maxmemory, noeviction), it is said once with what to do; with room again nothing is lost or doubled."""
    server = start_server()
    client, made = server.client(), entries(400 + round_, 2000, series=200, odd=0.05)
    daemon = start("--redis", server.url)
    daemon.ready()
    add(client, made[:500])
    wait_for_position(client, STREAM, made[499][0])
    daemon.process.send_signal(signal.SIGSTOP)
    add(client, made[500:])  # what waits is in; what it takes to answer it is not
    client.config_set("maxmemory", "1mb")
    daemon.process.send_signal(signal.SIGCONT)
    assert eventually(lambda: said(daemon, "OOM") > 0)
    assert eventually(lambda: daemon.get("/readyz") == (503, "the store takes no commits\n"))
    assert daemon.get("/healthz")[0] == 200
    time.sleep(1.0)
    assert said(daemon, "OOM") == 1
    assert said(daemon, "raise its maxmemory") == 1
    client.config_set("maxmemory", "0")
    wait_for_position(client, STREAM, made[-1][0])
    check(client, load(model_path), made)
    assert eventually(lambda: said(daemon, "takes commits again") == 1)
    assert eventually(lambda: daemon.get("/readyz")[0] == 200)
    assert daemon.stop() == 0
    client.close()


@pytest.mark.parametrize("round_", ROUNDS)
def test_a_read_only_replica_is_named_and_waited_for(
    round_: int, start_server: StartServer, start: Start, model_path: Path
) -> None:
    """A server that becomes a replica takes no commits until it is a primary again; a daemon started there says so."""
    server = start_server()
    client, made = server.client(), entries(500 + round_, 1000, series=100, odd=0.05)
    daemon = start("--redis", server.url)
    daemon.ready()
    daemon.process.send_signal(signal.SIGSTOP)
    add(client, made)
    client.execute_command("REPLICAOF", "127.0.0.1", "1")
    daemon.process.send_signal(signal.SIGCONT)
    assert eventually(lambda: said(daemon, "it is a read-only replica") == 1)
    late = start("--redis", server.url)
    named = "is a replica of 127.0.0.1:1 and takes no writes"
    assert eventually(lambda: said(late, named) == 1, READY_TIMEOUT_S)
    client.execute_command("REPLICAOF", "NO", "ONE")
    wait_for_position(client, STREAM, made[-1][0])
    check(client, load(model_path), made)
    assert daemon.stop() == 0
    client.close()


@pytest.mark.parametrize("round_", ROUNDS)
def test_a_full_disk_is_waited_for(
    round_: int, start_server: StartServer, start: Start, model_path: Path, tmp_path: Path
) -> None:
    """When the append-only file cannot grow, commits are refused; with room again nothing is lost or doubled."""
    server = start_server(fsync="everysec")
    client, made = server.client(), entries(600 + round_, 4000, series=200, odd=0.05)
    daemon = start("--redis", server.url, "--batch-values", "200")
    daemon.ready()
    add(client, made[:1000])
    wait_for_position(client, STREAM, made[999][0])
    assert server.process is not None
    daemon.process.send_signal(signal.SIGSTOP)
    add(client, made[1000:])  # what waits is written; the answers find no room
    size = max(path.stat().st_size for path in server.directory.rglob("*") if path.is_file())
    before = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size + 5_000, resource.RLIM_INFINITY))
    daemon.process.send_signal(signal.SIGCONT)
    assert eventually(lambda: said(daemon, "MISCONF") > 0), daemon.log_path.read_text()
    assert all("make room there" in line["message"] for line in daemon.log() if "MISCONF" in line["message"])
    looked_at = run(tmp_path, "status", "--redis", server.url)
    assert (looked_at.returncode, looked_at.stderr) == (0, ""), "just then one wants to look"
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, before)
    assert eventually(lambda: client.info("persistence")["aof_last_write_status"] == "ok")
    wait_for_position(client, STREAM, made[-1][0])
    check(client, load(model_path), made)
    assert daemon.stop() == 0
    client.close()


@pytest.mark.parametrize("fsync", ["always", "everysec"])
@pytest.mark.parametrize("round_", ROUNDS)
def test_a_disk_that_is_really_full(
    round_: int, fsync: str, start_server: StartServer, start: Start, model_path: Path, tmp_path: Path
) -> None:
    """A server that can write no byte refuses, or ends itself (always); with room, and started again, all is whole."""
    made = entries(650 + round_, 4000, series=200, odd=0.05)
    with small_disk(tmp_path / "disk", megabytes=64) as disk:
        server = start_server(binaries().get("redis" if round_ % 2 else "valkey"), disk, fsync=fsync)
        daemon = start("--redis", server.url, "--batch-values", "200")
        daemon.ready()
        push_again(server, made[:1000])
        with filled(disk):
            with contextlib.suppress(redis.RedisError):
                push_again(server, made[:3000])
            assert eventually(lambda: daemon.get("/readyz")[0] == 503), daemon.log_path.read_text()
            time.sleep(0.1 * (round_ % 10))
        if fsync == "always":
            assert server.process is not None
            assert server.process.wait(60) != 0
            server.start()
        else:
            with server.client() as client:
                assert eventually(lambda: client.info("persistence")["aof_last_write_status"] == "ok")
        push_again(server, made)
        with server.client() as client:
            wait_for_position(client, STREAM, made[-1][0])
            check(client, load(model_path), made)
        assert daemon.stop() == 0
        server.stop()


@pytest.mark.parametrize("fsync", ["always", "everysec"])
@pytest.mark.parametrize("round_", ROUNDS)
def test_a_server_killed_in_the_midst_of_work(
    round_: int, fsync: str, start_server: StartServer, start: Start, model_path: Path
) -> None:
    """SIGKILL of the server under load, three times: what survives is answered once, to the bit."""
    server = start_server(binaries().get("redis" if round_ % 2 else "valkey"), fsync=fsync)
    made = entries(700 + round_, 6000, series=200, odd=0.05)
    daemon = start("--redis", server.url)
    daemon.ready()
    for first in range(0, 6000, 2000):
        push_again(server, made[: first + 2000])
        time.sleep(0.01 * (round_ % 7))
        server.kill()
        server.start()
    push_again(server, made)
    with server.client() as client:
        wait_for_position(client, STREAM, made[-1][0])
        check(client, load(model_path), made)
    assert daemon.stop() == 0


def test_a_flushed_server_is_noticed(start_server: StartServer, start: Start, model_path: Path) -> None:
    """Everything deleted under a daemon at work: it says so, and answers what comes after from fresh states."""
    server = start_server()
    client, made = server.client(), entries(800, 600, series=50, odd=0.05)
    daemon = start("--redis", server.url)
    daemon.ready()
    add(client, made[:400])
    wait_for_position(client, STREAM, made[399][0])
    client.flushall()
    add(client, made[400:])
    wait_for_position(client, STREAM, made[-1][0])
    check(client, load(model_path), made[400:])
    assert eventually(lambda: said(daemon, "the server was flushed") == 1)
    client.flushall()
    add(client, made[:10])  # with smaller ids than the position
    wait_for_position(client, STREAM, made[9][0])
    check(client, load(model_path), made[:10])
    assert daemon.stop() == 0
    client.close()


def test_a_server_without_persistence_is_warned_of(start_server: StartServer, start: Start) -> None:
    """Without an append-only file the daemon serves, and says what would be lost."""
    server = start_server(arguments=("--appendonly", "no"))
    daemon = start("--redis", server.url)
    daemon.ready()
    assert said(daemon, "keeps no append-only file") == 1
    assert daemon.stop() == 0


def test_export_and_verify_while_values_come(
    start_server: StartServer, start: Start, model_path: Path, tmp_path: Path
) -> None:
    """States exported in full flight are those of one position: what comes after it verifies from them, to the bit."""
    server = start_server()
    client, made = server.client(), entries(900, 12_000, series=3000, odd=0.05)
    daemon = start("--redis", server.url)
    daemon.ready()
    add(client, made[:4000])
    wait_for_position(client, STREAM, made[3999][0])

    def run(*arguments: str) -> subprocess.Popen[bytes]:
        pipes = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
        return forked.begin([*arguments, "--redis", server.url, "--json"], cwd=tmp_path, env=os.environ, **pipes)

    def push(first: int) -> int:
        add(client, made[first : first + 40])
        time.sleep(0.01)
        return min(first + 40, len(made))

    export = run("state", "export", "-o", "live.state")
    first = 4000
    while export.poll() is None:
        first = push(first)
    assert export.returncode == 0, export.communicate()
    export.communicate()
    verify = run("verify", str(model_path), "--from", "live.state")
    while verify.poll() is None:
        first = push(first)
    report, trouble = verify.communicate()
    assert verify.returncode == 0, trouble
    assert b'"difference": null' in report
    wait_for_position(client, STREAM, made[first - 1][0])
    before = client.hgetall(Keys(STREAM).state)
    back = run("state", "import", "--from", "live.state", "--force")
    assert back.wait(120) == 0, back.communicate()
    back.communicate()
    wait_for_position(client, STREAM, made[first - 1][0])
    assert eventually(lambda: client.hgetall(Keys(STREAM).state) == before)
    check(client, load(model_path), made[:first])
    assert daemon.stop() == 0
    client.close()
