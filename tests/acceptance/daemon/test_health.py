"""/healthz, /readyz and the manners of the HTTP server: what a load balancer, a kubelet and a scraper see, and when."""

from __future__ import annotations

import http.client
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamlstm.common.settings import DaemonSettings, WebSettings
from streamlstm.daemon.clock import Clock
from streamlstm.daemon.daemon import Daemon
from streamlstm.daemon.health import BEAT_TIMEOUT_S
from streamlstm.daemon.http.live.figures import ProcessFigures
from streamlstm.daemon.http.routes import make_pages
from streamlstm.daemon.http.server import HttpServer
from streamlstm.daemon.telemetry.metrics import Metrics
from streamlstm.engine.engine import Engine
from streamlstm.errors import StoreError
from streamlstm.models.model import Model, load
from streamlstm.store.base import Head
from streamlstm.store.memory import MemoryServer, MemoryStore
from streamlstm.store.resp.topology import parse_topology
from support import models
from support.server import Server, free_port
from support.serving import READY_TIMEOUT_S, Serving, add, check, eventually, wait_for_position
from support.traffic import entries

STREAM = "values"


def ask(url: str, method: str = "GET") -> tuple[int, str, dict[str, str]]:
    """Status, body and headers of a request."""
    connection = http.client.HTTPConnection(url.removeprefix("http://").partition("/")[0], timeout=60)
    connection.request(method, "/" + url.removeprefix("http://").partition("/")[2])
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(), dict(answer.getheaders())
    connection.close()
    return found


@pytest.fixture
def page() -> Iterator[tuple[str, list[float], Daemon]]:
    """The pages of a daemon on a store in memory: their URL, its clock (one number that a test may move), and it."""
    now = [0.0]
    engine = Engine(models.load_lstm(4))
    metrics = Metrics(engine.model.fingerprint, engine.columns, [STREAM])
    daemon = Daemon(
        engine=engine,
        store=MemoryStore(MemoryServer()),
        metrics=metrics,
        settings=DaemonSettings(streams=(STREAM,)),
        clock=Clock(monotonic=lambda: now[0], wall=lambda: now[0], processor=lambda: 0.0, sleep=lambda _: None),
    )
    store = parse_topology("redis://127.0.0.1:1")
    web = HttpServer("127.0.0.1:0")
    health = daemon.health
    asked = {"unhealthy": health.unhealthy, "unready": health.unready, "remark": health.remark}
    web.show(make_pages(WebSettings(), ProcessFigures(metrics, daemon.health.unhealthy), store, **asked))
    web.start()
    yield web.url, now, daemon
    web.stop()


@pytest.mark.parametrize(
    "fields",
    [["s", "1", *["s", ""] * 100], ["s", "1"] * 5_000],
    ids=["missing", "plain"],
)
def test_the_loop_beats_within_long_work(
    fields: list[str], page: tuple[str, list[float], Daemon], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry whose values take a second each, one by one, does not make the process look as if it hung."""
    _, now, daemon = page
    seen: list[str | None] = []
    advance = Model.advance

    def slow(model: Model, *arguments: Any) -> Any:
        now[0] += 40.0
        seen.append(daemon.health.unhealthy())
        return advance(model, *arguments)

    monkeypatch.setattr(Model, "advance", slow)
    store = daemon._store
    assert isinstance(store, MemoryStore)
    store._server.add(STREAM, "1-0", *fields)
    daemon.start()
    for _ in range(5):
        daemon.turn(0.0)
    assert store._server.stream(STREAM).position == b"1-0"
    assert len(seen) > 1
    assert set(seen) == {None}


def test_a_loop_that_does_not_beat_is_unhealthy(page: tuple[str, list[float], Daemon]) -> None:
    """After a minute without a turn /healthz is 503 and the metrics say so; with the next turn all is well."""
    url, now, daemon = page
    daemon.start()
    daemon.turn(0.0)
    assert ask(url + "/healthz")[:2] == (200, "ok\n")
    assert "\nstreamlstm_loop_beats 1.0\n" in ask(url + "/metrics")[1]
    now[0] += BEAT_TIMEOUT_S + 1
    assert ask(url + "/healthz")[:2] == (503, "the loop has not beaten for 61 s\n")
    assert "\nstreamlstm_loop_beats 0.0\n" in ask(url + "/metrics")[1]
    daemon.turn(0.0)
    assert ask(url + "/healthz")[0] == 200


def test_long_work_at_the_start_beats(page: tuple[str, list[float], Daemon]) -> None:
    """Making the states of another model again may take hours: as long as it goes on, nobody is to restart it."""
    _, now, daemon = page

    def replay(stream: str, head: Head, engine: Engine, stopping: Callable[[], bool]) -> None:
        for _ in range(10):
            now[0] += BEAT_TIMEOUT_S - 1
            assert not stopping()
            assert daemon.health.unhealthy() is None
        daemon.health.stop()
        assert stopping()
        raise StoreError("stopped before the states were made again")

    other = MemoryServer()
    other.stream(STREAM).model = "another"
    daemon._store = daemon._opening._store = MemoryStore(other)
    daemon._opening._on_change = replay
    with pytest.raises(StoreError, match="stopped before"):
        daemon.start()


def test_methods_and_paths(page: tuple[str, list[float], Daemon]) -> None:
    """HEAD is GET without a body, other methods are 405 with what is allowed, other paths are 404."""
    url, _, daemon = page
    daemon.start()
    for path in ("/metrics", "/healthz", "/readyz", "/"):
        status, body, headers = ask(url + path)
        found = ask(url + path, "HEAD")
        assert (status, found[0], found[1]) == (200, 200, "")
        assert found[2]["Content-Type"] == headers["Content-Type"]
        assert int(headers["Content-Length"]) == len(body.encode())
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            status, _, headers = ask(url + path, method)
            assert (status, headers["Allow"]) == (405, "GET, HEAD")
    for path in ("/metric", "/metrics/", "/healthz/x", "/..", "/%2e%2e/etc/passwd"):
        assert ask(url + path)[0] == 404


def test_it_is_alive_and_not_ready_while_the_model_is_loaded(
    start_server: Callable[..., Server], start: Callable[..., Serving], tmp_path: Path
) -> None:
    """A model file that does not come (a slow volume): /healthz is 200 and /readyz 503; then it serves."""
    pipe, port = tmp_path / "slow.onnx", free_port()
    os.mkfifo(pipe)
    daemon = start("--redis", start_server().url, "--http", f"127.0.0.1:{port}", model=pipe)
    url = f"http://127.0.0.1:{port}"

    def listens() -> bool:
        try:
            return ask(url + "/healthz")[0] == 200
        except OSError:
            return False

    assert eventually(listens, READY_TIMEOUT_S)
    assert ask(url + "/readyz")[0] == 503
    assert ask(url + "/readyz")[1].startswith("starting")
    assert ask(url + "/metrics")[:2] == (200, "")
    pipe.write_bytes(models.lstm(4))
    daemon.ready()
    assert ask(url + "/readyz")[:2] == (200, "ok\n")
    assert daemon.stop() == 0


def test_it_is_alive_and_not_ready_while_it_drains(
    start_server: Callable[..., Server], start: Callable[..., Serving], model_path: Path
) -> None:
    """Told to end with values in flight while the server stalls, it says `draining`, then ends with 0, nothing lost."""
    server = start_server()
    assert server.process is not None
    patient = ("--socket-timeout", "30s")  # however long it takes to ask it what is asked here
    daemon, client, made = start("--redis", server.url, *patient), server.client(), entries(12, 3000, series=50)
    url = daemon.ready()["http"]
    add(client, made)
    server.process.send_signal(signal.SIGSTOP)
    daemon.process.terminate()
    assert eventually(lambda: ask(url + "/readyz")[:2] == (503, "draining\n"))
    assert ask(url + "/healthz")[0] == 200
    assert daemon.process.poll() is None
    server.process.send_signal(signal.SIGCONT)
    assert daemon.process.wait(60) == 0
    assert "not committed" not in daemon.log_path.read_text()
    again = start("--redis", server.url)
    again.ready()
    wait_for_position(client, STREAM, made[-1][0])
    check(client, load(model_path), made)
    assert again.stop() == 0
    client.close()
