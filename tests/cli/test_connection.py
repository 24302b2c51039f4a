"""Which server a command talks to, and what it says if none answers."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from streamlstm import embedded
from streamlstm.cli.connection import DEFAULT_URL, connect, resolve_redis
from streamlstm.errors import StoreError, StoreUnavailableError, UsageError
from support.server import Server


def test_a_url_wins_over_the_embedded_server_over_the_usual_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server named is taken, else the one that runs from the data directory, else port 6379."""
    monkeypatch.setattr(embedded, "running_url", lambda directory: f"redis://embedded/{directory.name}")
    assert resolve_redis("redis://named/0", tmp_path) == "redis://named/0"
    assert resolve_redis(None, tmp_path) == f"redis://embedded/{tmp_path.name}"
    monkeypatch.setattr(embedded, "running_url", lambda directory: None)
    assert resolve_redis(None, tmp_path) == DEFAULT_URL


def test_a_running_embedded_server_is_found(tmp_path: Path) -> None:
    """The server that was started from a directory is found by that directory."""
    server = embedded.EmbeddedServer.start(tmp_path)
    try:
        assert resolve_redis(None, tmp_path) == server.url
        connect(server.url).close()
    finally:
        server.stop()
    assert resolve_redis(None, tmp_path) == DEFAULT_URL


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
    server = Server(embedded.find_binary(), tmp_path, arguments=("--aclfile", str(settings)))
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
