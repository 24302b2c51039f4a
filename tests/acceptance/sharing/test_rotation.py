"""Passwords and certificates replaced under traffic: serve goes on without loss, and says why it is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.rotation import Flow, came_back, says
from support.secured import Authority, SecureServer, secure_server
from support.serving import Serving, eventually, run
from support.survivors import Producer

OLD, NEW = "old-secret-1/@", "new#secret?2"
Start = Callable[..., Serving]


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another authority, with certificates of the same names."""
    made = Authority(tmp_path_factory.mktemp("stranger"))
    made.issue("server")
    made.issue("client")
    return made


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[SecureServer]:
    """A server on TLS, whose default user the tests reach over its socket without a password."""
    made = secure_server(tmp_path_factory.mktemp("s"), authority)
    with made.client() as client:
        client.execute_command("ACL", "SETUSER", "serving", "on", f">{OLD}", "~*", "&*", "+@all")
    yield made
    made.stop()


@pytest.fixture
def producer(server: SecureServer) -> Iterator[Producer]:
    """Traffic by the socket."""
    made = Producer(server.socket_url)
    yield made
    made.nodes.close()


def test_a_password_is_rotated_while_serve_runs(
    server: SecureServer, producer: Producer, start: Start, model_path: Path, tmp_path: Path
) -> None:
    """ACL SETUSER >new <old, the file after it: refused in the server's words until the file is new, nothing lost."""
    file = tmp_path / "password"
    file.write_text(OLD + "\n")
    url = server.url.replace("://", "://serving@")
    daemon = start("--redis", url, "--password-file", str(file))
    daemon.ready()
    flow = Flow(producer)
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "serving", f">{NEW}", f"<{OLD}")
    server.hang_up()
    assert eventually(says(daemon, "WRONGPASS"))
    file.write_text("")  # as whoever writes it anew leaves it for a moment
    assert eventually(says(daemon, "is empty"))
    file.write_text(NEW + "\n")
    assert eventually(came_back(daemon, 1))
    for command in (("status", "--json"), ("tail", "--no-follow", "--last", "1")):
        done = run(tmp_path, *command, "--redis", url, "--password-file", str(file))
        assert done.returncode == 0, done.stderr
    assert run(tmp_path, "push", "--redis", url, "--password-file", str(file), "other", stdin="s,1\n").returncode == 0
    flow.end(model_path)
    assert daemon.stop() == 0
    log = daemon.log_path.read_text()
    assert OLD not in log
    assert NEW not in log


def test_all_certificates_are_rotated_while_serve_runs(
    server: SecureServer, producer: Producer, start: Start, model_path: Path, authority: Authority, stranger: Authority
) -> None:
    """Authority, certificate, key of both sides, one file after the other: why it is refused is said, nothing lost."""
    daemon = start("--redis", server.url.replace("://", f"://serving:{OLD.replace('/', '%2F').replace('@', '%40')}@"))
    daemon.ready()
    flow = Flow(producer)
    server.use(stranger, stranger.directory / "server.crt")
    server.hang_up()
    assert eventually(says(daemon, "certificate verify failed"))
    shutil.copy(stranger.directory / "ca.crt", server.client_files / "ca.crt")
    assert eventually(says(daemon, "unknown ca"))
    shutil.copy(stranger.directory / "client.crt", server.client_files / "client.crt")
    assert eventually(says(daemon, "key values mismatch"))
    shutil.copy(stranger.directory / "client.key", server.client_files / "client.key")
    assert eventually(came_back(daemon, 1))
    # And back again, both sides at once, as careful operators do it: not a word.
    for name in ("ca.crt", "client.crt", "client.key"):
        shutil.copy(authority.directory / name, server.client_files / name)
    server.use(authority, authority.directory / "server.crt")
    server.hang_up()
    assert eventually(came_back(daemon, 2))
    flow.end(model_path)
    assert daemon.stop() == 0


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("the server's has expired", "certificate has expired"),
        ("the server's is of another host", "certificate is not valid for '127.0.0.1'"),
        (
            "the server's is of an unknown authority",
            "verify failed: unable to get local issuer certificate",
        ),
        ("the client's has expired", "alert certificate expired"),
        ("the client's is of an unknown authority", "alert unknown ca"),
        ("the client has none", "alert certificate required"),
    ],
)
def test_why_a_certificate_is_refused(
    trouble: str, words: str, server: SecureServer, authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    """One line in the words of the library that refused it, of this side or the other's, and status 1."""
    url = server.url
    if trouble == "the server's has expired":
        server.use(authority, authority.issue("late", days=-1))
    elif trouble == "the server's is of another host":
        server.use(authority, authority.issue("elsewhere", host="IP:127.0.0.9"))
    elif trouble == "the server's is of an unknown authority":
        server.use(authority, stranger.directory / "server.crt")
    elif trouble == "the client has none":
        url = url.partition("&ssl_certfile")[0]
    else:
        place = authority.issue("client-late", days=-1) if "expired" in trouble else stranger.directory / "client.crt"
        for suffix in (".crt", ".key"):
            shutil.copy(place.with_suffix(suffix), server.client_files / f"client{suffix}")
    done = run(tmp_path, "status", "--redis", url)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
