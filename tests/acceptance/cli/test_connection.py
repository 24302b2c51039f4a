"""Which server a command talks to, and what it says if none answers."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from streamlstm.cli.connection import connect, find_redis, resolve_redis
from streamlstm.client import connection
from streamlstm.errors import StoreError, StoreUnavailableError, UsageError
from streamlstm.store import embedded_server
from support.server import Server


def test_a_url_wins_over_the_embedded_server_and_there_is_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The server named is taken, else the one of the data directory, waited for; never one that nobody named."""
    monkeypatch.setattr(embedded_server, "running_url", lambda directory: f"redis://embedded/{directory.name}")
    assert resolve_redis("redis://named/0", tmp_path) == "redis://named/0"
    assert resolve_redis(None, tmp_path) == f"redis://embedded/{tmp_path.name}"
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(embedded_server, "running_url", lambda directory: None)
    monkeypatch.setattr(connection, "COMING_S", 0.0)
    with pytest.raises(StoreUnavailableError, match=r"no server: none is named.*streamlstm serve MODEL.*--redis URL"):
        resolve_redis(None, tmp_path)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"waiting for `streamlstm serve` to start a server from {tmp_path}" in said


def test_a_running_embedded_server_is_found(tmp_path: Path) -> None:
    """The server that was started from a directory is found by that directory."""
    server = embedded_server.EmbeddedServer.start(tmp_path)
    try:
        assert embedded_server.is_held(tmp_path)
        assert resolve_redis(None, tmp_path) == server.url
        connect(server.url).close()
    finally:
        server.stop()
    with pytest.raises(StoreUnavailableError):
        find_redis(None, tmp_path)
    assert not embedded_server.is_held(tmp_path / "nowhere")


def test_a_server_on_its_way_is_waited_for_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a daemon that is alive holds the directory, its server may have much to load first."""
    monkeypatch.setattr(connection, "COMING_S", 0.0)
    found = iter([None] * 5 + ["redis://late/0"])
    monkeypatch.setattr(embedded_server, "running_url", lambda _: next(found))
    monkeypatch.setattr(embedded_server, "is_held", lambda _: True)
    assert resolve_redis(None, tmp_path) == "redis://late/0"


def test_no_server_says_what_to_do() -> None:
    """Nobody listening is an error that names URL and remedy."""
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:1.*streamlstm serve.*--redis"):
        connect("redis://127.0.0.1:1/0")


@pytest.mark.parametrize("url", ["http://127.0.0.1/0", "redis://127.0.0.1:port/0", "values"])
def test_a_url_that_is_none(url: str) -> None:
    """What is no server's URL is a usage error."""
    with pytest.raises(UsageError, match="is not a Redis URL"):
        connect(url)


def test_a_password_is_asked_for(start_server: Callable[..., Server], tmp_path: Path) -> None:
    """A server that wants a password, and one that refuses the one given, say where it belongs."""
    settings = tmp_path / "users.acl"
    settings.write_text("user default on >secret ~* &* +@all\nuser probe on nopass ~* &* +@all\n")
    server = Server(embedded_server.find_binary(), tmp_path, arguments=("--aclfile", str(settings)))
    server.client = lambda: redis_client(server)  # type: ignore[method-assign]
    server.start()
    try:
        connect(server.url.replace("//", "//:secret@")).close()
        for url in (server.url, server.url.replace("//", "//:wrong@")):
            said = refusal(url)
            assert "--password-file" in said
            assert said.endswith("put user and password in the URL: redis://user:password@host:port/0")
            assert ":wrong@" not in said
    finally:
        server.stop()


def refusal(url: str) -> str:
    """What connecting fails with; the refused connection is let go of here and now."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # its socket is closed by the garbage collector
        with pytest.raises(StoreError) as refused:
            connect(url)
        said = str(refused.value)
        del refused
        gc.collect()
    return said


def redis_client(server: Server) -> object:
    """A client with the password the test's server wants."""
    import redis

    return redis.Redis(port=server.port, password="secret", protocol=2)
