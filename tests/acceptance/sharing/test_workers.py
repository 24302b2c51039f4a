"""`serve --workers`: several processes as one service, whichever of them is killed: one bit-equal answer a value."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from streamlstm.models.model import load
from streamlstm.store.keys import Keys
from support.cluster import wait_until
from support.rounds import ROUNDS
from support.server import Server
from support.serving import Serving, eventually, run
from support.survivors import Producer, in_rounds
from support.traffic import entries

STREAMS = tuple(f"values:{{{number}}}" for number in range(4))
ALL = ("--stream", "values:{0..3}", "--workers", "2", "--lease-ttl", "2s")
Start = Callable[..., Serving]
StartServer = Callable[..., Server]


def workers(daemon: Serving) -> dict[int, int]:
    """The pids of a supervisor's workers, by their numbers."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            words = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        named = [word for word in words if word.startswith(b"streamlstm worker ")]
        if parent == daemon.process.pid and named:
            found[int(named[0].split()[2].partition(b"/")[0])] = int(path.name)
    return found


def is_running(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def total(daemon: Serving, metric: str) -> float:
    """A counter over all streams."""
    lines = (line.rpartition(" ") for line in daemon.get("/metrics")[1].splitlines())
    return sum(float(value) for name, _, value in lines if name.startswith(metric + "{"))


def test_workers_are_one_service(start_server: StartServer, start: Start, model_path: Path) -> None:
    """One port has the metrics of all, health, forecasts and the page; one signal ends them, clean."""
    server = start_server(fsync="no")
    producer = Producer(server.url)
    daemon = start("--redis", server.url, *ALL, "--series-metrics", "*")
    ready = daemon.ready()
    assert (ready["streams"], ready["workers"]) == (list(STREAMS), 2)
    pids = workers(daemon)
    assert sorted(pids) == [1, 2]
    traffic = {stream: entries(number, 300) for number, stream in enumerate(STREAMS)}
    for stream, chunk in traffic.items():
        producer.add(stream, chunk)
    producer.wait(traffic)
    producer.check(traffic, load(model_path))
    assert eventually(lambda: total(daemon, "streamlstm_entries_total") == 4 * 300)
    assert eventually(lambda: daemon.metric("streamlstm_owned_streams") == 4)
    for stream in STREAMS:
        lag = f'streamlstm_lag_entries{{stream="{stream}"}}'
        assert eventually(lambda lag=lag: daemon.metric(lag) == 0)
    text = daemon.get("/metrics")[1]
    assert text.count("\nstreamlstm_series_actual{") > 0
    assert {f'streamlstm_loop_beats{{worker="{n}"}} 1.0' in text for n in (1, 2)} == {True}
    assert daemon.get("/healthz") == daemon.get("/readyz") == (200, "ok\n")
    assert json.loads(daemon.get("/streams")[1]) == list(STREAMS)
    with server.client() as client:
        for stream in STREAMS:
            series = client.hkeys(Keys(stream).state)[0].decode()
            status, body = daemon.get("/forecast?" + urllib.parse.urlencode({"stream": stream, "series": series}))
            assert (status, json.loads(body)["series"]) == (200, series)
    with urllib.request.urlopen(f"{ready['http']}/events?stream={urllib.parse.quote(STREAMS[0])}") as events:
        assert events.readline() == b"event: figures\n"
        figures = json.loads(events.readline().removeprefix(b"data: "))
    assert figures["connected"]
    assert sorted(figures["streams"]) == list(STREAMS)
    counted = [(shown["lag_entries"], sum(shown["latency"]) <= 300) for shown in figures["streams"].values()]
    assert counted == [(0, True)] * 4
    assert figures["streams"][STREAMS[0]]["values"] > 300
    assert daemon.get("/forecast?stream=other&series=a")[0] == 404
    assert daemon.stop() == 0
    assert not any(map(is_running, pids.values()))
    assert {line["worker"] for line in daemon.log() if line["message"] == "stopped"} == {1, 2}
    with server.client() as client:
        assert not client.keys("streamlstm:*"), "no lease and no member is left"
    producer.close()


@pytest.mark.parametrize("round_", ROUNDS)
def test_whoever_is_killed_nothing_is_lost(
    round_: int, start_server: StartServer, start: Start, model_path: Path, tmp_path: Path
) -> None:
    """Either worker, the server, the supervisor, and SIGTERM in the middle of the load: verified to the bit."""
    server = start_server(fsync="always")
    producer = Producer(server.url)
    options = ("--redis", server.url, *ALL)
    daemon = start(*options)
    daemon.ready()
    traffic = {stream: entries(10 * round_ + number, 900, odd=0.05) for number, stream in enumerate(STREAMS)}
    for number, part in enumerate(in_rounds(traffic, 6)):
        producer.add_part(part)
        time.sleep(0.03 * (round_ % 10))
        pids = workers(daemon)
        if number in {0, 1}:
            os.kill(pids[number + 1], signal.SIGKILL)
            wait_until(lambda d=daemon, p=pids: workers(d) not in ({}, p) and len(workers(d)) == 2, "it is replaced")
        elif number == 2:
            server.kill()
            server.start()
        elif number == 3:
            daemon.kill()
            wait_until(lambda p=pids: not any(map(is_running, p.values())), "no worker outlives its supervisor")
            daemon = start(*options)
            daemon.ready()
        elif number == 4:
            assert daemon.stop() == 0
            daemon = start(*options)
            daemon.ready()
    producer.wait(traffic)
    assert producer.check(traffic, load(model_path)) == 4 * 900
    done = run(tmp_path, "verify", str(model_path), STREAMS[0], "--redis", server.url)
    assert done.returncode == 0, done.stderr
    assert daemon.stop() == 0
    producer.close()


def test_a_dead_worker_is_replaced_and_its_counts_stay(start_server: StartServer, start: Start) -> None:
    """What it had counted is still in the sums, and the metrics say how many there are and were replaced."""
    server = start_server(fsync="no")
    producer = Producer(server.url)
    daemon = start("--redis", server.url, *ALL)
    daemon.ready()
    traffic = {stream: entries(number, 100) for number, stream in enumerate(STREAMS)}
    for stream, chunk in traffic.items():
        producer.add(stream, chunk)
    producer.wait(traffic)
    assert eventually(lambda: total(daemon, "streamlstm_entries_total") == 400)
    pids = workers(daemon)
    os.kill(pids[1], signal.SIGKILL)
    assert eventually(lambda: daemon.metric("streamlstm_workers_replaced_total") == 1)
    assert total(daemon, "streamlstm_entries_total") == 400
    assert eventually(lambda: daemon.metric('streamlstm_workers{state="ready"}') == 2)
    assert eventually(lambda: daemon.get("/readyz")[0] == 200)
    assert total(daemon, "streamlstm_entries_total") == 400
    new = workers(daemon)
    assert (new[1] != pids[1], new[2] == pids[2]) == (True, True)
    os.kill(new[2], signal.SIGTERM)  # one alone may be begun anew; it gives its streams to the other first
    assert eventually(lambda: daemon.metric("streamlstm_workers_replaced_total") == 2)
    assert eventually(lambda: daemon.metric("streamlstm_owned_streams") == 4)
    assert daemon.stop() == 0
    producer.close()


def test_a_worker_that_stands_still_is_named(start_server: StartServer, start: Start) -> None:
    """Health says which one does not answer, the metrics show its loop as hanging, and the others go on."""
    server = start_server(fsync="no")
    daemon = start("--redis", server.url, *ALL)
    daemon.ready()
    assert daemon.get("/metrics")[0] == 200
    pid = workers(daemon)[2]
    os.kill(pid, signal.SIGSTOP)
    status, said = daemon.get("/healthz")
    assert (status, said) == (503, "worker 2: does not answer within 5 s\n")
    assert daemon.metric('streamlstm_loop_beats{worker="2"}') == 0
    assert daemon.metric('streamlstm_loop_beats{worker="1"}') == 1
    os.kill(pid, signal.SIGCONT)
    assert eventually(lambda: daemon.get("/healthz")[0] == 200)
    assert daemon.stop() == 0


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--redis", "redis://127.0.0.1:1"), 1, "no connection to the Redis server at redis://127.0.0.1:1"),
        (("--redis", "redis://127.0.0.1:1", "--lease-ttl", "0"), 2, "share the streams by leases"),
        (("--redis", "http://x"), 2, "http://x"),
    ],
)
def test_a_start_that_fails_is_one_line(arguments: tuple[str, ...], status: int, words: str, start: Start) -> None:
    """What one worker cannot do none can: it is said once, and all end."""
    daemon = start(*arguments, "--stream", "values:{0..3}", "--workers", "2")
    assert daemon.process.wait(60) == status
    lines = [line for line in daemon.log_path.read_text().splitlines() if not line.startswith("{")]
    assert len(lines) == 1, lines
    assert words in lines[0]


def test_a_model_that_is_none_starts_no_server(start: Start, tmp_path: Path) -> None:
    """The first worker finds it out before the embedded server is started; so is a model that is another's."""
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    daemon = start("--data-dir", str(tmp_path / "data"), "--workers", "2", model=broken)
    assert daemon.process.wait(60) == 1
    assert daemon.log_path.read_text().count("streamlstm: error: ") == 1
    assert not (tmp_path / "data").exists()


def test_the_embedded_server_is_the_supervisors(start: Start, tmp_path: Path, model_path: Path) -> None:
    """It outlives a worker that is killed, ends with the supervisor, and keeps what came."""
    made = {"values": entries(3, 200)}
    options = ("--data-dir", str(tmp_path / "data"), "--workers", "2", "--fsync", "always")
    daemon = start(*options)
    url = daemon.ready()["redis"]
    assert any("2 workers share 1 stream: 1 worker only stand" in line["message"] for line in daemon.log())
    place = tmp_path / "data" / "serve.json"
    assert eventually(place.exists)
    assert json.loads(place.read_text())["pid"] == daemon.process.pid
    producer = Producer(url)
    producer.add("values", made["values"][:100])
    os.kill(workers(daemon)[1], signal.SIGKILL)
    producer.wait({"values": made["values"][:100]})
    producer.close()
    daemon.kill()
    again = start(*options)
    producer = Producer(again.ready()["redis"])
    producer.add("values", made["values"])
    producer.wait(made)
    assert producer.check(made, load(model_path)) == 200
    producer.close()
    assert again.stop() == 0
    assert not place.exists()
