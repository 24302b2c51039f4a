"""`streamlstm serve` as a process against real servers: bit-equal answers, restarts, kills, clean ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import redis

from streamlstm.models.model import load
from streamlstm.store.keys import Keys
from streamlstm.store.resp.entry_id import HIGHEST
from support import models
from support.server import Server, binaries
from support.serving import Serving, add, check, eventually, wait_for_position
from support.traffic import entries

STREAM = "values"


@pytest.fixture
def start(start: Callable[..., Serving]) -> Callable[..., Serving]:
    """Every daemon in a new interpreter, as a user starts it."""
    return partial(start, fresh=True)


@pytest.mark.parametrize("kind", list(binaries()))
def test_ragged_traffic_of_some_hundred_series_is_bit_equal(
    kind: str, start_server: Callable[..., Server], start: Callable[..., Serving], model_path: Path
) -> None:
    """What is answered live, in whatever batches, is what stepping each series alone gives; ids are the input's."""
    server = start_server(binaries()[kind])
    daemon, client = start("--redis", server.url), server.client()
    daemon.ready()
    made = entries(7, 3000, series=300, odd=0.05)
    for first in range(0, len(made), 500):
        add(client, made[first : first + 500])
    wait_for_position(client, STREAM, made[-1][0])
    check(client, load(model_path), made)
    assert eventually(lambda: daemon.metric('streamlstm_entries_total{stream="values"}') == len(made))
    assert daemon.stop() == 0
    client.close()


def test_a_restarted_daemon_goes_on_where_it_was(
    start_server: Callable[..., Server], start: Callable[..., Serving], model_path: Path
) -> None:
    """Stop, push more, start: the states are carried, nothing is answered twice or left out."""
    server = start_server()
    client, made = server.client(), entries(8, 1500, series=100, odd=0.05)
    for first in range(0, 1500, 500):
        daemon = start("--redis", server.url)
        daemon.ready()
        add(client, made[first : first + 500])
        wait_for_position(client, STREAM, made[first + 499][0])
        assert daemon.stop() == 0
    check(client, load(model_path), made)
    client.close()


def test_kills_and_twins_change_no_bit(
    start_server: Callable[..., Server], start: Callable[..., Serving], model_path: Path
) -> None:
    """Two daemons on one stream, each killed again and again while values come: one bit-equal answer a value."""
    server = start_server()
    client, made = server.client(), entries(9, 6000, series=200, odd=0.05)
    daemons = [start("--redis", server.url), start("--redis", server.url)]
    for daemon in daemons:
        daemon.ready()
    for number, first in enumerate(range(0, 6000, 1000)):
        add(client, made[first : first + 1000])
        time.sleep(0.05)
        daemons[number % 2].kill()
        daemons[number % 2] = start("--redis", server.url)
        daemons[number % 2].ready()
    wait_for_position(client, STREAM, made[-1][0])
    check(client, load(model_path), made)
    client.close()


def test_a_killed_server_comes_back_and_nothing_is_lost(
    start_server: Callable[..., Server], start: Callable[..., Serving], model_path: Path
) -> None:
    """With `appendfsync always` the server may die at any time: the daemon waits, connects and goes on."""
    server = start_server(fsync="always")
    daemon, made = start("--redis", server.url), entries(10, 2000, series=100, odd=0.05)
    daemon.ready()
    with server.client() as client:
        add(client, made[:1000])
    server.kill()
    assert eventually(lambda: daemon.get("/readyz")[0] == 503)
    assert daemon.get("/healthz")[0] == 200
    server.start()
    with server.client() as client:
        add(client, made[1000:])
        wait_for_position(client, STREAM, made[-1][0])
        check(client, load(model_path), made)
    assert eventually(lambda: daemon.get("/readyz")[0] == 200)
    assert daemon.metric("streamlstm_reconnects_total") >= 1
    assert daemon.stop() == 0


def test_several_streams_are_served_by_one_process(
    start_server: Callable[..., Server], start: Callable[..., Serving], model_path: Path
) -> None:
    """Streams share the process and keep their own states; a hash tag in a name is used as it is."""
    server = start_server()
    streams = ("values", "loads:{7}", "prices")
    daemon = start("--redis", server.url, *(part for s in streams for part in ("--stream", s)))
    daemon.ready()
    client = server.client()
    made = {stream: entries(seed, 400, odd=0.05) for seed, stream in enumerate(streams)}
    for stream, traffic in made.items():
        add(client, traffic, stream)
    for stream, traffic in made.items():
        wait_for_position(client, stream, traffic[-1][0])
        check(client, load(model_path), traffic, stream)
    assert client.exists("loads:{7}:predictions")
    assert daemon.stop() == 0
    client.close()


def test_the_embedded_server_keeps_its_data_and_ends_with_the_daemon(
    start: Callable[..., Serving], tmp_path: Path, model_path: Path
) -> None:
    """Without --redis a server is started; a second daemon finds its data; SIGKILL of the daemon takes it along."""
    made = entries(11, 300, odd=0.05)
    for first, last, how in ((0, 100, "stop"), (100, 200, "kill"), (200, 300, "stop")):
        daemon = start("--data-dir", str(tmp_path / "data"))
        with redis.Redis.from_url(daemon.ready()["redis"], protocol=2) as client:
            add(client, made[first:last])
            wait_for_position(client, STREAM, made[last - 1][0])
            if last == 300:
                check(client, load(model_path), made)
        if how == "stop":
            assert daemon.stop() == 0
        else:
            time.sleep(1.2)  # the append-only file is synced every second
            daemon.kill()
    assert not (tmp_path / "data" / "serve.json").exists()


def test_a_directory_has_one_daemon(start: Callable[..., Serving], tmp_path: Path) -> None:
    """A second daemon on the same data directory is told who has it and what to do."""
    first = start("--data-dir", str(tmp_path / "data"))
    first.ready()
    second = start("--data-dir", str(tmp_path / "data"))
    assert second.process.wait(60) == 1
    line = second.log_path.read_text().strip()
    assert f"in use by process {first.process.pid}" in line
    assert "\n" not in line


def test_signals_end_it_cleanly_and_at_once(start_server: Callable[..., Server], start: Callable[..., Serving]) -> None:
    """SIGTERM, SIGINT and a terminal's end end an idle daemon with 0, without waiting for a read to time out."""
    server = start_server()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        daemon = start("--redis", server.url)
        daemon.ready()
        daemon.process.send_signal(number)
        assert daemon.process.wait(60) == 0
        assert daemon.log()[-1]["message"] == "stopped"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["nowhere.onnx"], 1, ["no model file 'nowhere.onnx'", "streamlstm train"]),
        (["rubbish.onnx"], 1, ["rubbish.onnx", "is not an ONNX model"]),
        (["model.onnx", "--redis", "redis://127.0.0.1:1"], 1, ["127.0.0.1:1", "refused"]),
        (["model.onnx", "--redis", "http://x"], 2, ["not a Redis URL"]),
        (["model.onnx", "--stream", "a{b"], 2, ["a{b"]),
        (["model.onnx", "--http", "nonsense"], 2, ["HOST:PORT"]),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: list[str], status: int, words: list[str], tmp_path: Path, model_path: Path
) -> None:
    """Missing model, missing server, bad names: one clear line, the right status, no traceback."""
    assert model_path.exists()
    (tmp_path / "rubbish.onnx").write_bytes(b"rubbish")
    done = subprocess.run(
        [sys.executable, "-m", "streamlstm", "serve", "--http", "127.0.0.1:0", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr


def test_another_models_states_are_refused(
    start_server: Callable[..., Server], start: Callable[..., Serving], tmp_path: Path
) -> None:
    """States belong to one model; a daemon with another says whose they are and touches nothing."""
    server = start_server()
    client = server.client()
    daemon = start("--redis", server.url)
    daemon.ready()
    add(client, [("1-0", ["s", "1"])])
    wait_for_position(client, STREAM, "1-0")
    assert daemon.stop() == 0
    before = client.hgetall(Keys(STREAM).state)
    (tmp_path / "other.onnx").write_bytes(models.lstm(16, seed=1))
    other = start("--redis", server.url, model=tmp_path / "other.onnx")
    assert other.process.wait(60) == 1
    assert "made by another model" in other.log_path.read_text()
    assert client.hgetall(Keys(STREAM).state) == before
    client.close()


def test_pages(start_server: Callable[..., Server], start: Callable[..., Serving]) -> None:
    """Metrics, health and readiness answer; every other path is 404."""
    server = start_server()
    daemon = start("--redis", server.url)
    daemon.ready()
    assert daemon.get("/healthz") == (200, "ok\n")
    assert daemon.get("/readyz") == (200, "ok\n")
    assert daemon.get("/metric")[0] == 404
    assert daemon.metric('streamlstm_dead_letters_total{reason="not_a_number",stream="values"}') == 0
    assert daemon.metric('streamlstm_lag_entries{stream="values"}') == 0


def test_a_stream_begun_again_with_smaller_ids_is_said(
    start_server: Callable[..., Server], start: Callable[..., Serving]
) -> None:
    """Deleted and begun again below the position, a stream is named in the log, with the command that mends it."""
    server = start_server()
    client = server.client()
    daemon = start("--redis", server.url)
    daemon.ready()
    add(client, [("1000-0", ["s", "1"])])
    wait_for_position(client, STREAM, "1000-0")
    client.delete(STREAM)
    add(client, [("5-0", ["s", "1"])])
    said = "redis-cli DEL " + " ".join(f"'{key}'" for key in Keys(STREAM).derived)
    assert eventually(lambda: any(said in line["message"] for line in daemon.log()))
    assert daemon.stop() == 0
    client.close()


def test_an_end_that_is_asked_for_twice_at_once_is_a_clean_one(
    start_server: Callable[..., Server], start: Callable[..., Serving]
) -> None:
    """`timeout` and groups of processes send a signal twice; only one that comes later leaves at once."""
    server = start_server()
    daemon = start("--redis", server.url)
    daemon.ready()
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    with server.client() as client:
        daemon.process.send_signal(signal.SIGSTOP)
        daemon.process.send_signal(signal.SIGTERM)  # both are there before it sees either
        daemon.process.send_signal(signal.SIGINT)
        daemon.process.send_signal(signal.SIGCONT)
        server.process.send_signal(signal.SIGCONT)
        client.ping()
    assert daemon.process.wait(60) == 0
    assert daemon.log()[-1]["message"] == "stopped"


def test_the_highest_id_there_is_harms_no_other_stream(
    start_server: Callable[..., Server], start: Callable[..., Serving], model_path: Path
) -> None:
    """A stream that has it takes no more entries; it is answered, its commands work, and others are served as ever."""
    server = start_server()
    client, last = server.client(), HIGHEST.decode()
    made = [("1-0", ["s", "1"]), (last, ["s", "2", "t", "3"])]
    daemon = start("--redis", server.url, "--stream", STREAM, "--stream", "others")
    url = daemon.ready()["http"]
    add(client, made)
    wait_for_position(client, STREAM, last)
    looked = 'streamlstm_lag_entries{stream="others"}'
    for number in range(1, 4):
        add(client, [(f"{number}-0", ["s", str(number)])], "others")
        wait_for_position(client, "others", f"{number}-0")
        assert eventually(lambda: daemon.metric(looked) == 0)
        time.sleep(1.1)  # ends are looked at every second
    assert daemon.get("/readyz")[0] == 200, url
    told = [line["message"] for line in daemon.log() if line["level"] in {"warning", "error"}]
    assert len(told) == 1, told
    assert told[0].startswith("the last id of 'values' is ")  # in the future, once
    check(client, load(model_path), made)
    assert daemon.stop() == 0
    again = start("--redis", server.url)
    again.ready()
    assert eventually(lambda: again.get("/readyz")[0] == 200)
    assert again.stop() == 0
    client.close()


def test_what_was_trimmed_before_it_was_read_is_counted(
    start_server: Callable[..., Server], start: Callable[..., Serving]
) -> None:
    """Entries trimmed while no daemon ran are lost and counted, also if others were answered before anybody looked."""
    server = start_server()
    client = server.client()
    add(client, [(f"{n}-0", ["s", "1"]) for n in range(1, 101)])
    client.xtrim(STREAM, maxlen=10, approximate=False)
    daemon = start("--redis", server.url)
    daemon.ready()
    add(client, [(f"{n}-0", ["s", "1"]) for n in range(101, 111)])
    wait_for_position(client, STREAM, "110-0")
    assert eventually(lambda: daemon.metric('streamlstm_lag_entries{stream="values"}') == 0)
    assert daemon.stop() == 0
    assert not [line for line in daemon.log() if "were trimmed" in line["message"]], "nobody's loss: it was gone before"
    add(client, [(f"{n}-0", ["s", "1"]) for n in range(111, 161)])
    client.xtrim(STREAM, maxlen=5, approximate=False)
    add(client, [("161-0", ["s", "1"])])
    daemon = start("--redis", server.url)
    daemon.ready()
    assert eventually(lambda: daemon.metric('streamlstm_lost_entries_total{stream="values"}') == 45)
    assert eventually(lambda: daemon.metric('streamlstm_lag_entries{stream="values"}') == 0)
    assert daemon.stop() == 0
    assert [line["entries"] for line in daemon.log() if "were trimmed" in line["message"]] == [45]
    client.close()
