"""`push` puts each value in once: whatever kills it, whatever the server does, and the same file a second time."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from streamlstm.cli.connection import connect
from streamlstm.client.producer.packing import Packer
from streamlstm.client.producer.sending import Sender
from streamlstm.errors import StoreNotNowError, StoreUnavailableError
from streamlstm.store.keys import Keys
from streamlstm.store.resp.connection_pool import Nodes
from streamlstm.store.resp.topology import parse_topology
from support.proxy import Proxy
from support.server import Server
from support.serving import eventually

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
Start = Callable[..., "subprocess.Popen[bytes]"]
ROWS = 60_000
MINUTE_MS = 60_000


def values_of(client: redis.Redis, series: bytes = b"s") -> list[int]:
    """The values of a series, in the order of the stream."""
    return [int(fields[series]) for _, fields in client.xrange("values") if series in fields]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A file of many values, one a minute."""
    path = tmp_path / "long.csv"
    lines = (f"s,{1_700_000_000_000 + n * MINUTE_MS},{n}" for n in range(ROWS))
    path.write_text("unique_id,ds,y\n" + "\n".join(lines))
    return path


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE])
def test_what_was_killed_is_pushed_again_without_what_is_there(
    number: signal.Signals, start: Start, run: Run, client: redis.Redis, table: Path
) -> None:
    """Ended in the middle of a file, and the whole file once more: each value is there once, in order."""
    process = start("push", "values", "long.csv")
    assert eventually(lambda: client.xlen("values") > 0, 120.0)
    client.execute_command("CLIENT", "PAUSE", 120_000, "WRITE")  # so that it ends in the middle
    try:
        process.send_signal(number)
        if number != signal.SIGPIPE:  # which the shell gives, and Python turns into an error of the next write
            process.send_signal(number)
            process.wait(120)
    finally:
        client.execute_command("CLIENT", "UNPAUSE")
    process.wait(120)
    done = run("push", "values", "long.csv", "--skip-existing")
    assert done.returncode == 0, done.stderr
    assert values_of(client) == list(range(ROWS))
    again = run("push", "values", "long.csv", "--skip-existing")
    said = again.stderr.decode().splitlines()[-1]  # after what the columns were taken for
    assert said == f"streamlstm: pushed 0 values in 0 entries; {ROWS:,} values were there already"
    assert client.xlen("values") == ROWS


def test_the_order_of_a_pipe_does_not_count(run: Run, client: redis.Redis) -> None:
    """Values of one time are known again however they shared entries; what is new of the last time is added."""
    lines = [b"a,2024-01-01,1\n", b"b,2024-01-01,2\n", b"a,2024-01-02,3\n", b"b,2024-01-02,4.50\n"]
    for line in lines[:3]:
        assert run("push", "--skip-existing", stdin=line).returncode == 0
    before = client.xlen("values")
    done = run("push", "--skip-existing", "--json", stdin=b"".join(lines))
    assert b'"skipped": 3' in done.stdout
    assert client.xlen("values") == before + 1
    assert run("push", "--skip-existing", stdin=b"".join(lines).replace(b"4.50", b"4.5")).returncode == 0
    assert client.xlen("values") == before + 1


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        (b"a,2024-01-01,9\n", 1, b"has another value at 2024-01-01: a, 1, not 9"),
        (b"a,2023-12-31,1\n", 1, b"already ends at"),
        (b"c,2024-01-01,1\n", 1, b"already ends at"),
        (b"a,1\n", 2, b"these have none"),
    ],
)
def test_what_cannot_be_known_again_is_an_error(
    run: Run, client: redis.Redis, text: bytes, status: int, words: bytes
) -> None:
    """Another value of the same time, what would have to go between, and what has no time."""
    run("push", stdin=b"a,2024-01-01,1\na,2024-01-02,2\n")
    done = run("push", "--skip-existing", stdin=text)
    assert done.returncode == status
    assert words in done.stderr
    assert client.xlen("values") == 2


def test_what_was_answered_and_trimmed_is_not_pushed_again(run: Run, client: redis.Redis, table: Path) -> None:
    """A stream whose beginning has been trimmed has had it."""
    assert run("push", "values", "long.csv").returncode == 0
    client.xtrim("values", maxlen=10, approximate=False)
    done = run("push", "values", "long.csv", "--skip-existing")
    assert done.returncode == 0, done.stderr
    assert client.xlen("values") == 10


def test_partitions_are_skipped_each(run: Run, client: redis.Redis) -> None:
    """Each stream is asked what it has."""
    text = b"".join(b"s%d,2024-01-0%d,%d\n" % (n, day, n) for day in (1, 2) for n in range(20))
    for part in (text[: len(text) // 2], text, text):
        assert run("push", "--partitions", "3", "--skip-existing", stdin=part[: part.rindex(b"\n") + 1]).returncode == 0
    stored = [series for p in range(3) for _, fields in client.xrange(f"values:{{{p}}}") for series in fields]
    assert sorted(stored) == sorted([b"s%d" % n for n in range(20)] * 2)


@pytest.mark.parametrize("timed", [True, False])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_reply_is_looked_up(
    timed: bool, when: str, shared_server: Server, redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the server had done it or not when the connection broke: each entry is in once, in order."""
    nodes = Nodes(parse_topology(redis_url), name="test")
    sender = Sender(nodes, retry_for_s=60.0, pause=lambda _: None)
    sender.last_id("values")
    packer, broken, replies = Packer("values"), [], Sender._replies

    def lose(self: Sender, batch: Any, connection: Any) -> list[Any]:
        if len(broken) < 2 and batch.commands:
            broken.append(when)
            if when == "after":
                replies(self, batch, connection)
            else:
                client.execute_command("XTRIM", "values", "MAXLEN", sum(t.entries for t in self.tallies.values()))
            connection.close()
            raise StoreUnavailableError("the connection was cut")
        return replies(self, batch, connection)

    monkeypatch.setattr(Sender, "_replies", lose)
    if when == "before":  # the transaction never arrives whole
        monkeypatch.setattr("streamlstm.client.producer.sending._EXEC", b"")
        monkeypatch.setattr(Sender, "_replies", lambda *a: (monkeypatch.undo(), lose(*a))[1])
    for first in range(0, 30, 10):
        for n in range(first, first + 10):
            packer.add(1_000 + n if timed else None, b"s", b"7" if n % 2 else b"%d" % n)
        packer.close()
        sender.send("values", *packer.take())
        sender.settle()
    nodes.close()
    assert [fields[b"s"] for _, fields in client.xrange("values")] == [b"7" if n % 2 else b"%d" % n for n in range(30)]
    assert sender.tallies["values"].entries == 30


@pytest.mark.parametrize("timed", [True, False])
def test_a_pipe_outlives_cut_connections(timed: bool, start_server: Callable[..., Server], start: Start) -> None:
    """Connections cut again and again while values flow: all of them are in once, in order."""
    server = start_server()
    proxy = Proxy(server.port)
    process = start("push", "values", "--series", "s", STREAMLSTM_REDIS=proxy.url)
    assert process.stdin is not None
    rng, count = random.Random(3), 30_000
    for first in range(0, count, 1_000):
        lines = (f"{1_700_000_000_000 + n},{n}\n" if timed else f"{n}\n" for n in range(first, first + 1_000))
        process.stdin.write("".join(lines).encode())
        process.stdin.flush()
        if rng.random() < 0.5:
            proxy.cut()
    _, said = process.communicate(timeout=240)
    proxy.close()
    assert process.returncode == 0, said
    with server.client() as client:
        assert values_of(client) == list(range(count))
    assert b"going on at" in said


REFUSALS = {
    "READONLY": (["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"]),
    "OOM": (["CONFIG", "SET", "maxmemory", "1"], ["CONFIG", "SET", "maxmemory", "0"]),
    "NOREPLICAS": (["CONFIG", "SET", "min-replicas-to-write", "1"], ["CONFIG", "SET", "min-replicas-to-write", "0"]),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_what_is_refused_for_now_is_waited_for(kind: str, start_server: Callable[..., Server], start: Start) -> None:
    """That it waits is said once; then everything goes in, in order."""
    server = start_server()
    process = start("push", "values", "--series", "s", STREAMLSTM_REDIS=server.url)
    assert process.stdin is not None
    assert process.stderr is not None
    refuse, take = REFUSALS[kind]
    with server.client() as client:
        process.stdin.write(b"0\n")
        process.stdin.flush()
        assert eventually(lambda: client.xlen("values") == 1, 120.0)
        client.execute_command(*refuse)
        process.stdin.write(b"1\n2\n3\n")
        process.stdin.flush()
        said = process.stderr.readline()
        assert kind.encode() in said
        assert b"trying again for 120 s (--retry-for)" in said
        client.execute_command(*take)
        _, rest = process.communicate(timeout=120)
        assert process.returncode == 0, rest
        assert values_of(client) == [0, 1, 2, 3]
    assert rest.splitlines()[0].startswith(b"streamlstm: going on at ")


def test_ctrl_c_ends_a_wait(start_server: Callable[..., Server], start: Start) -> None:
    """While it waits nothing is under way, so the first Ctrl-C ends it, with what is in."""
    server = start_server(arguments=("--maxmemory", "1"))
    process = start("push", "values", "--series", "s", STREAMLSTM_REDIS=server.url)
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(b"1\n")
    process.stdin.flush()
    assert b"OOM" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    assert process.stderr.read().splitlines()[0] == b"streamlstm: pushed 0 values in 0 entries"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_ends_a_pipe_hears_what_is_in(number: signal.Signals, redis_url: str, start: Start) -> None:
    """SIGTERM, as `timeout` sends it, and a terminal that closes end a pipe as Ctrl-C does, with what it wrote."""
    process = start("push", "values", "--series", "s", STREAMLSTM_REDIS=redis_url)
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(b"1\n2\n")
    process.stdin.flush()
    with redis.Redis.from_url(redis_url) as client:
        assert eventually(lambda: client.xlen("values") == 2, 120.0)
    process.send_signal(number)
    assert process.wait(120) == 130
    assert process.stderr.read().startswith(b"streamlstm: pushed 2 values in 2 entries to values at ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_server_that_hangs_holds_up_no_end(
    number: signal.Signals, start_server: Callable[..., Server], start: Start
) -> None:
    """Asked twice, a pipe ends without the reply that does not come, and says what is in and what may be."""
    server = start_server()
    process = start("push", "values", "--series", "s", STREAMLSTM_REDIS=server.url)
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(b"1\n")
    process.stdin.flush()
    with server.client() as client:
        assert eventually(lambda: client.xlen("values") == 1, 120.0)
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)
        process.stdin.write(b"2\n")
        process.stdin.flush()
        for _ in range(50):  # until it has read the value and the signal: one alone is waited upon
            process.send_signal(number)
            try:
                process.wait(2.0)
                break
            except subprocess.TimeoutExpired:
                continue
        server.process.send_signal(signal.SIGCONT)
    assert process.returncode == 130
    said = process.stderr.read()
    assert said.startswith(b"streamlstm: pushed 1 value in 1 entry to values at ")


def test_a_server_that_is_loading_is_waited_for(start_server: Callable[..., Server], start: Start) -> None:
    """It answers already, but not this: push begins when it does."""
    server = start_server()
    with server.client() as client:
        for n in range(4_000):
            client.set(f"key{n}", "x")
        client.bgrewriteaof()
        assert eventually(lambda: not client.info("persistence")["aof_rewrite_in_progress"], 120.0)
    server.kill()
    server.arguments = ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
    server.begin()

    def is_loading() -> bool:
        try:
            connect(server.url).close()
        except StoreNotNowError as error:
            return "LOADING" in str(error)
        except StoreUnavailableError:
            return False
        raise AssertionError("it has loaded already")

    assert eventually(is_loading, 120.0)
    process = start("push", "values", "--series", "s", STREAMLSTM_REDIS=server.url)
    _, said = process.communicate(b"1\n2\n", timeout=120)
    assert process.returncode == 0, said
    assert b"LOADING" in said
    with server.client() as client:
        assert values_of(client) == [1, 2]


def test_a_restart_in_the_middle(start_server: Callable[..., Server], start: Start, tmp_path: Path) -> None:
    """A server killed and started again while a pipe flows, with its file synced always: each value once, in order."""
    server = start_server(fsync="always")
    process = start("push", "values", "--series", "s", STREAMLSTM_REDIS=server.url)
    stdin = process.stdin
    assert stdin is not None

    def feed() -> None:
        for n in range(20_000):
            stdin.write(b"%d\n" % n)
            if n % 100 == 0:
                stdin.flush()
        stdin.flush()

    feeder = threading.Thread(target=feed)
    feeder.start()
    for least in (1, 5_000):
        with server.client() as client:
            assert eventually(lambda: client.xlen("values") >= least, 120.0)  # noqa: B023
        server.kill()
        server.start()
    feeder.join(120)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    with server.client() as client:
        assert values_of(client) == list(range(20_000))


@pytest.mark.parametrize("options", [(), ("--with-late",)], ids=("values", "late values"))
def test_a_server_that_restarts_while_answers_are_waited_for(
    options: tuple[str, ...], start_server: Callable[..., Server], start: Start, tmp_path: Path
) -> None:
    """It is waited for as while values are sent, and so are the answers after that."""
    server = start_server(fsync="always")
    (tmp_path / "table.csv").write_text("unique_id,ds,y\ns,1700000000000,1\n")
    process = start("push", "values", "table.csv", "--wait", "2m", *options, STREAMLSTM_REDIS=server.url)
    assert process.stderr is not None
    assert any(line.startswith(b"streamlstm: pushed 1 value") for line in process.stderr)
    server.kill()
    assert b"trying again" in process.stderr.readline()
    server.start()
    with server.client() as client:
        client.hset(Keys("values").meta, "position", client.xrevrange("values", count=1)[0][0])
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said


def test_answers_of_a_server_that_stays_away_are_not_known(
    start_server: Callable[..., Server], start: Start, tmp_path: Path
) -> None:
    """The wait ends when its time is over, and says that the values are in."""
    server = start_server(fsync="always")
    (tmp_path / "table.csv").write_text("unique_id,ds,y\ns,1700000000000,1\n")
    process = start("push", "values", "table.csv", "--wait", "2s", STREAMLSTM_REDIS=server.url)
    assert process.stderr is not None
    assert any(line.startswith(b"streamlstm: pushed 1 value") for line in process.stderr)
    server.kill()
    said = process.stderr.read()
    assert process.wait(120) == 1
    assert b"what was pushed to 'values' is in, but whether it is answered is not known: no connection" in said
