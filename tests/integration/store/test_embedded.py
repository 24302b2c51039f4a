"""The embedded server, started where others start servers too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from streamlstm.errors import StoreError
from streamlstm.store import embedded_server
from streamlstm.store.embedded_server import EmbeddedServer, PortTakenError, running_url
from streamlstm.store.redis import process_id
from support.server import HOST, Server, free_port


@pytest.fixture
def port_of_another(start_server: Callable[..., Server]) -> int:
    """A port at which another server answers."""
    return start_server().port


@pytest.fixture
def ended() -> Iterator[list[EmbeddedServer]]:
    """Servers that are ended after the test."""
    servers: list[EmbeddedServer] = []
    yield servers
    for server in servers:
        server.stop()


@pytest.mark.parametrize("times", [1, 3])
def test_a_port_that_was_taken_meanwhile_is_left_for_another(
    tmp_path: Path, port_of_another: int, ended: list[EmbeddedServer], monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Whoever took the port answers at it: that server is not taken for our own, and the next port is tried."""
    free = free_port()
    chosen = iter([*[port_of_another] * times, free])
    monkeypatch.setattr(embedded_server, "_free_port", lambda: next(chosen))
    ended.append(EmbeddedServer.start(tmp_path))
    assert ended[0].url == f"redis://{HOST}:{free}/0"
    assert running_url(tmp_path) == ended[0].url


def test_a_named_port_that_is_taken_is_said(tmp_path: Path, port_of_another: int) -> None:
    """A port that was asked for is not silently another; the directory is free again."""
    for _ in range(2):
        with pytest.raises(PortTakenError, match=rf"cannot use redis://127\.0\.0\.1:{port_of_another}/0: somebody"):
            EmbeddedServer.start(tmp_path, port=port_of_another)
    assert running_url(tmp_path) is None


def test_a_directory_that_cannot_be_written_to_is_said(tmp_path: Path, ended: list[EmbeddedServer]) -> None:
    """What is in the way is named, and nothing is left running: the directory is free once that is mended."""
    (tmp_path / "server.json").mkdir()
    for _ in range(2):
        with pytest.raises(StoreError, match=r"cannot be written to: .*server\.json: Is a directory"):
            EmbeddedServer.start(tmp_path)
    (tmp_path / "server.json").rmdir()
    ended.append(EmbeddedServer.start(tmp_path))
    assert running_url(tmp_path) == ended[0].url


def test_many_that_start_at_once_each_have_their_own(tmp_path: Path, ended: list[EmbeddedServer]) -> None:
    """All would choose the usual port at the same moment."""
    with ThreadPoolExecutor(6) as pool:  # a server ends with the thread that started it
        ended.extend(pool.map(EmbeddedServer.start, [tmp_path / str(number) for number in range(6)]))
        assert len({server.url for server in ended}) == 6
        assert {process_id(server.url) for server in ended} == {server._process.pid for server in ended}


def test_what_a_killed_daemon_left_behind_is_not_believed(tmp_path: Path, start_server: Callable[..., Server]) -> None:
    """The port in the directory may be another server's by now."""
    other = start_server()
    (tmp_path / "server.json").write_text(json.dumps({"redis": other.url, "pid": process_id(other.url)}))
    assert running_url(tmp_path) == other.url
    (tmp_path / "server.json").write_text(json.dumps({"redis": other.url, "pid": 1}))
    assert running_url(tmp_path) is None
    (tmp_path / "server.json").write_text("[]")
    assert running_url(tmp_path) is None
