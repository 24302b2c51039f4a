"""What servers and operators do to a daemon at work: it says one clear line, waits, loses nothing and goes on."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import redis

from streamlstm.models.model import load
from streamlstm.store.keys import Keys
from support.compare import assert_predictions_equal
from support.oracle import Oracle
from support.server import Server, binaries
from support.serving import (
    READY_TIMEOUT_S,
    Serving,
    add,
    check,
    eventually,
    found_predictions,
    run,
    wait_for_position,
)
from support.traffic import entries

STREAM = "values"
StartServer = Callable[..., Server]
Start = Callable[..., Serving]
Said = Callable[[], bool]
Trouble = Callable[[Server, redis.Redis, Said], None]
# What a connection shows whose other end is closed, by whether something was on its way to it just then.
CLOSED = "the server closed the connection|Connection reset by peer|Broken pipe"


def warnings(daemon: Serving) -> list[str]:
    """What it warned of or worse."""
    return [line["message"] for line in daemon.log() if line["level"] in {"warning", "error"}]


def stand_still(server: Server, client: redis.Redis, said: Said) -> None:
    """The server does nothing for longer than it is waited for."""
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    assert eventually(said)
    server.process.send_signal(signal.SIGCONT)


def pause(server: Server, client: redis.Redis, said: Said) -> None:
    """All clients are held up, this one too; once more if the daemon itself stood still meanwhile."""

    def noticed() -> bool:
        client.execute_command("CLIENT", "PAUSE", "5000", "ALL")
        return eventually(said, 5.0)

    assert eventually(noticed)


def pause_writes(server: Server, client: redis.Redis, said: Said) -> None:
    """Clients may read but not write."""
    client.execute_command("CLIENT", "PAUSE", "600000", "WRITE")
    assert eventually(said)
    client.execute_command("CLIENT", "UNPAUSE")


def kill_clients(server: Server, client: redis.Redis, said: Said) -> None:
    """Every connection is closed, several times."""
    for _ in range(5):
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        time.sleep(0.1)
    assert eventually(said)


def few_clients(server: Server, client: redis.Redis, said: Said) -> None:
    """No further client may connect for a while, and those that are there are gone."""
    before = client.config_get("maxclients")["maxclients"]
    client.config_set("maxclients", "1")
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert eventually(said)
    time.sleep(0.5)
    client.config_set("maxclients", before)


def save_fails(server: Server, client: redis.Redis, said: Said) -> None:
    """A snapshot cannot be written, and the server stops taking writes because of it."""
    (Path(client.config_get("dir")["dir"]) / "dump.rdb").mkdir()
    client.config_set("save", "3600 1")
    client.bgsave()
    assert eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
    assert eventually(said)
    client.config_set("stop-writes-on-bgsave-error", "no")
    client.config_set("save", "")


def rights_taken(server: Server, client: redis.Redis, said: Said) -> None:
    """The user may do nothing any more, for a while."""
    client.execute_command("ACL", "SETUSER", "default", "-exec", "-xread")
    assert eventually(said)
    client.execute_command("ACL", "SETUSER", "default", "+@all")


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (stand_still, "no answer for 3 s"),
        (pause, "no answer for 3 s"),
        (pause_writes, "no answer for 3 s"),
        (kill_clients, CLOSED),
        (few_clients, CLOSED),
        (save_fails, "it cannot write its files"),
        (rights_taken, "the rights that deploy/redis/users.acl lists"),
    ],
)
def test_a_server_in_trouble(
    trouble: Trouble, words: str, start_server: StartServer, start: Start, model_path: Path
) -> None:
    """While values come: it is said once or twice, not a hundred times, and afterwards all is answered to the bit."""
    server = start_server(binaries().get("redis"))
    client, made = server.client(), entries(41, 4000, series=200, odd=0.05)
    daemon = start("--redis", server.url, "--socket-timeout", "3s")  # a machine may stand still for a while
    daemon.ready()
    add(client, made[:1000])
    wait_for_position(client, STREAM, made[999][0])
    producer = threading.Thread(target=push_on, args=(server, made[1000:3000]), daemon=True)
    producer.start()
    trouble(server, client, lambda: any(re.search(words, line) for line in warnings(daemon)))
    producer.join(300)
    assert not producer.is_alive()
    add(client, made[3000:])
    wait_for_position(client, STREAM, made[-1][0])
    check(client, load(model_path), made)
    assert len(warnings(daemon)) < 10
    assert eventually(lambda: daemon.get("/readyz")[0] == 200)
    assert daemon.stop() == 0
    client.close()


def push_on(server: Server, made: list[tuple[str, list[str]]]) -> None:
    """Add entries in small parts, each again until the server has taken it."""
    for first in range(0, len(made), 100):
        while True:
            try:
                with server.client() as client:
                    newest = client.xrevrange(STREAM, count=1)
                    last = int(newest[0][0].split(b"-")[0]) if newest else 0
                    add(client, [entry for entry in made[: first + 100] if int(entry[0].split("-")[0]) > last])
                break
            except redis.RedisError:
                time.sleep(0.05)


def test_a_server_that_still_loads_is_waited_for(start_server: StartServer, start: Start, model_path: Path) -> None:
    """A daemon that is started meanwhile says so, is not ready, and serves once the server has its data."""
    server = start_server(binaries().get("redis"))
    client, made = server.client(), entries(42, 2000, series=100, odd=0.05)
    add(client, made)
    client.execute_command("BGREWRITEAOF")
    assert eventually(lambda: not client.info("persistence")["aof_rewrite_in_progress"])
    pipe = client.pipeline(transaction=False)
    for number in range(100_000):
        pipe.set(f"ballast{number}", "x")
    pipe.execute()
    server.kill()
    # It loads for a minute unless it is told to hurry, for a daemon may take long to start; it answers twice a second.
    server.arguments = ("--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024")
    server.begin()
    daemon = start("--redis", server.url)
    assert eventually(lambda: any("LOADING" in line for line in warnings(daemon)), READY_TIMEOUT_S), (
        daemon.log_path.read_text()
    )
    assert daemon.process.poll() is None
    client.config_set("key-load-delay", "0")
    daemon.ready()
    wait_for_position(client, STREAM, made[-1][0])
    check(client, load(model_path), made)
    assert sum("LOADING" in line for line in warnings(daemon)) == 1
    assert daemon.stop() == 0
    client.close()


def test_a_daemon_started_on_a_replica_waits(start_server: StartServer, start: Start, model_path: Path) -> None:
    """It is named, the process stands by, and serves when the server has become a primary."""
    server = start_server()
    client, made = server.client(), entries(43, 500)
    add(client, made)
    client.execute_command("REPLICAOF", "127.0.0.1", "1")
    daemon = start("--redis", server.url)
    named = "it is a read-only replica"
    assert eventually(lambda: any(named in line for line in warnings(daemon)), READY_TIMEOUT_S)
    assert daemon.process.poll() is None
    client.execute_command("REPLICAOF", "NO", "ONE")
    daemon.ready()
    wait_for_position(client, STREAM, made[-1][0])
    check(client, load(model_path), made)
    assert daemon.stop() == 0
    client.close()


def test_an_idle_daemon_is_ready_again_when_a_full_server_has_room(start_server: StartServer, start: Start) -> None:
    """Also if no value comes that could be committed to show it."""
    server = start_server()
    daemon = start("--redis", server.url, "--lease-ttl", "600ms")
    daemon.ready()
    with server.client() as client:
        client.config_set("maxmemory", "1mb")
        assert eventually(lambda: daemon.get("/readyz")[0] == 503)
        client.config_set("maxmemory", "0")
    assert eventually(lambda: daemon.get("/readyz")[0] == 200)
    assert daemon.stop() == 0


def test_a_server_that_comes_back_empty(start_server: StartServer, start: Start, model_path: Path) -> None:
    """Restarted without its data, it is said, and what comes is answered from fresh states, smaller ids too."""
    server = start_server(arguments=("--appendonly", "no"))
    client, made = server.client(), entries(44, 600, series=50, odd=0.05)
    daemon = start("--redis", server.url)
    daemon.ready()
    add(client, made[300:])
    wait_for_position(client, STREAM, made[-1][0])
    server.kill()
    server.start()
    add(client, made[:300])
    wait_for_position(client, STREAM, made[299][0])
    check(client, load(model_path), made[:300])
    assert eventually(lambda: any("the server was flushed" in line for line in warnings(daemon))), warnings(daemon)
    assert daemon.stop() == 0
    client.close()


@pytest.mark.parametrize("key", ["input", "predictions", "state", "meta", "dead"])
def test_a_key_that_becomes_another_type_costs_no_other_stream(
    key: str, start_server: StartServer, start: Start, model_path: Path
) -> None:
    """The stream is named and left alone; the others are served as before, and it is too once it is mended."""
    server = start_server()
    client = server.client()
    # None that resets all series: it deletes the states whatever they are, and if it is the first to be answered after
    # they were spoilt, all is well again.
    made = [entry for entry in entries(45, 600, series=50, odd=0.05) if "*" not in entry[1]]
    daemon = start("--redis", server.url, "--stream", "good", "--stream", "bad")
    daemon.ready()
    add(client, made[:200], "good")
    add(client, made[:200], "bad")
    wait_for_position(client, "bad", made[199][0])
    spoilt = getattr(Keys("bad"), key)
    pipe = client.pipeline()
    pipe.rename(spoilt, "aside")
    pipe.set(spoilt, "mine")
    pipe.execute()
    with contextlib.suppress(redis.ResponseError):
        add(client, made[200:400], "bad")
    add(client, made[200:400], "good")
    wait_for_position(client, "good", made[399][0])
    check(client, load(model_path), made[:400], "good")
    assert eventually(
        lambda: any(f"the key {spoilt!r} at {server.url} is a string" in line for line in warnings(daemon))
    )
    assert eventually(lambda: daemon.metric("streamlstm_owned_streams") == 1)
    assert eventually(lambda: daemon.get("/readyz")[0] == 200)
    add(client, made[400:], "good")
    wait_for_position(client, "good", made[-1][0])
    check(client, load(model_path), made, "good")
    assert daemon.stop() == 0
    client.close()


def test_giants(start_server: StartServer, start: Start, model_path: Path) -> None:
    """An entry of 50,000 values is answered; a text and a name of 30 MB are set aside, cut short."""
    server = start_server()
    client, made = server.client(), entries(46, 300, series=50, odd=0.05)
    wide = [part for number in range(50_000) for part in (f"w{number}", "1.25")]
    made[100:100] = [("100500-0", wide), ("100501-0", ["s1", "9" * 30_000_000])]
    named = ("100502-0", ["n" * 30_000_000, "1"])
    daemon = start("--redis", server.url, "--socket-timeout", "10s")  # a machine may stand still for a while
    daemon.ready()
    add(client, [*made[:102], named, *made[102:]])
    wait_for_position(client, STREAM, made[-1][0])
    oracle = Oracle(load(model_path)).feed(made)
    assert_predictions_equal(found_predictions(client, STREAM), oracle)
    letters = [fields for _, fields in client.xrange(Keys(STREAM).dead) if fields[b"id"].startswith(b"1005")]
    assert len(letters) == 2
    assert letters[0][b"error"] == b"out of the range of float32 (the first 1024 of 30000000 bytes are kept)"
    assert max(len(part) for letter in letters for part in letter.values()) <= 1024
    assert eventually(lambda: bool(warnings(daemon)))
    assert daemon.stop() == 0
    assert not any("answer" in line for line in warnings(daemon))
    client.close()


def test_a_server_that_closes_idle_connections(start_server: StartServer, start: Start, model_path: Path) -> None:
    """`timeout 1` closes what is idle for a second; values are answered all the same, and it is said now and then."""
    server = start_server(arguments=("--timeout", "1"))
    made = entries(47, 90, series=10)
    daemon = start("--redis", server.url)
    daemon.ready()
    for first in (0, 30, 60):
        with server.client() as client:
            add(client, made[first : first + 30])
            wait_for_position(client, STREAM, made[first + 29][0])
        time.sleep(2.5)
    with server.client() as client:
        check(client, load(model_path), made)
    assert daemon.stop() == 0
    # The longer it takes the oftener it happens, but not more than once a second.
    begin, *_, end = [datetime.fromisoformat(line["time"]) for line in daemon.log()]
    assert len(warnings(daemon)) < max(15.0, (end - begin).total_seconds())


@pytest.mark.parametrize(
    "name", ["with space", "naïve-ü-日本", "a:b:c", "{t}", "x{t}y{u}", "quo\"te'", "new\nline", "%s%d", "-", "n" * 2000]
)
def test_streams_of_odd_names(name: str, redis_url: str, start: Start, model_path: Path, tmp_path: Path) -> None:
    """Served, pushed to, shown and verified as any other."""
    made = entries(48, 50, series=5)
    with redis.Redis.from_url(redis_url, protocol=2) as client:
        add(client, made, name)
        daemon = start("--redis", redis_url, "--stream", name)
        assert daemon.ready()["streams"] == [name]
        wait_for_position(client, name, made[-1][0])
        check(client, load(model_path), made, name)
        assert "streamlstm_entries_total" in daemon.get("/metrics")[1]
        assert run(tmp_path, "verify", str(model_path), "--redis", redis_url, "--", name).returncode == 0
        shown = run(tmp_path, "status", "--redis", redis_url, "--json", "--", name)
        assert json.loads(shown.stdout)[0]["stream"] == name
    assert daemon.stop() == 0
