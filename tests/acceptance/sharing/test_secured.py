"""TLS with certificates of both sides, Unix sockets, passwords from a file or the environment, and no word of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import streamlstm
from streamlstm.errors import StoreHandshakeError, StoreUnavailableError
from streamlstm.models.model import load
from streamlstm.store.redis import process_id
from streamlstm.store.resp.address import Address
from streamlstm.store.resp.url import shown as shown_url
from support.secured import Authority, SecureServer, secure_server
from support.server import HOST
from support.serving import Serving, run
from support.survivors import Producer
from support.traffic import entries

SECRET = "hush-hush/1@x"


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[SecureServer]:
    """A server on TLS and on a Unix socket."""
    made = secure_server(tmp_path_factory.mktemp("s"), authority, SECRET)
    yield made
    made.stop()


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    """The password in a file, with the line's end that an editor leaves."""
    path = tmp_path / "password"
    path.write_text(SECRET + "\n")
    return path


@pytest.mark.parametrize("how", ["tls", "unix"])
def test_serve_push_tail_and_status(
    how: str,
    server: SecureServer,
    start: Callable[..., Serving],
    model_path: Path,
    password_file: Path,
    tmp_path: Path,
) -> None:
    """Every command reaches a server by TLS or a socket, the password from a file or the environment, bit-equal."""
    url = server.url if how == "tls" else server.socket_url
    in_file = ("--password-file", str(password_file))
    daemon = start("--redis", url, *in_file, fresh=True)  # whose command line is its own
    daemon.ready()
    with_password = Producer(_with_password(url))
    traffic = {"values": entries(1, 800, odd=0.05)}
    with_password.add("values", traffic["values"])
    with_password.wait(traffic)
    with_password.check(traffic, load(model_path))
    done = run(
        tmp_path, "push", "--redis", url, "--series", "late", stdin="1\n2\n3\n", STREAMLSTM_REDIS_PASSWORD=SECRET
    )
    assert done.returncode == 0, done.stderr
    with_password.wait(traffic)
    said = json.loads(run(tmp_path, "status", "--redis", url, *in_file, "--json").stdout)
    assert [(item["stream"], item["lag_entries"]) for item in said] == [("values", 0)]
    assert run(tmp_path, "tail", "--redis", url, *in_file, "--no-follow", "--last", "2").stdout.count("\n") == 2
    client = streamlstm.Client(url, password_file=password_file)
    assert client.push([5.0, 6.0], series="late", wait="1m").entries == 2
    answered = [one.series for one in client.predictions(name="shown", follow=False)]
    assert answered[-5:] == ["late"] * 5
    assert {one["series"]: one["steps"] for one in client.states("late")} == {"late": 5}
    client.close()
    arguments = Path(f"/proc/{daemon.process.pid}/cmdline").read_text()
    shown = daemon.get("/metrics")[1]
    assert daemon.stop() == 0
    for text in (arguments, shown, daemon.log_path.read_text()):
        assert SECRET not in text
        assert SECRET.split("/", maxsplit=1)[0] not in text
    with_password.close()


def test_a_server_without_the_right_certificate_is_refused(server: SecureServer, tmp_path: Path) -> None:
    """An authority that did not sign it, and none at all, end in one line that names the reason."""
    for query in ("", f"?ssl_ca_certs={server.client_files / 'client.crt'}"):
        with pytest.raises(StoreUnavailableError, match=r"rediss://127\.0\.0\.1.*certificate verify failed"):
            process_id(f"rediss://{HOST}:{server.tls_port}/0{query}")
    with pytest.raises(StoreHandshakeError, match=r"the authorities .*missing cannot be used: No such file"):
        process_id(f"rediss://{HOST}:{server.tls_port}/0?ssl_ca_certs={tmp_path / 'missing'}")


def test_a_wrong_password_says_where_it_belongs_and_not_what_it_was(server: SecureServer, tmp_path: Path) -> None:
    """One line, status 1, no password in it."""
    for url, settings in (
        (server.url, {"STREAMLSTM_REDIS_PASSWORD": "wr0ng"}),
        (_with_password(server.url, "wr0ng"), {}),
    ):
        done = run(tmp_path, "status", "--redis", url, **settings)
        assert done.returncode == 1
        assert "STREAMLSTM_REDIS_PASSWORD or --password-file" in done.stderr
        assert done.stderr.count("\n") == 1
        assert "wr0ng" not in done.stderr


def test_a_password_file_that_is_none(tmp_path: Path) -> None:
    """A missing or empty file is said in one line; it may be there the next time, so it is no wrong usage."""
    (tmp_path / "empty").write_text("\n")
    for name, words in (("missing", "No such file"), ("empty", "is empty")):
        done = run(tmp_path, "status", "--redis", "redis://127.0.0.1:1", "--password-file", str(tmp_path / name))
        assert done.returncode == 1
        assert words in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:p@h:1/0", "redis://u:***@h:1/0"),
        ("rediss://:p@h/0?ssl_password=q&db=1", "rediss://:***@h/0?ssl_password=***&db=1"),
        ("redis://h/0?password=q", "redis://h/0?password=***"),
        (
            "redis+sentinel://:p@a:1,b:2/m/0?sentinel_password=q",
            "redis+sentinel://:***@a:1,b:2/m/0?sentinel_password=***",
        ),
        ("unix://:p@/run/s?db=1", "unix://:***@/run/s?db=1"),
    ],
)
def test_passwords_are_masked(url: str, shown: str) -> None:
    """Wherever a password may stand in a URL, it is not shown."""
    assert shown_url(url) == shown
    if not url.startswith("redis+"):
        assert Address.parse(url).url == shown


def _with_password(url: str, password: str = SECRET) -> str:
    from urllib.parse import quote

    return url.replace("://", f"://:{quote(password, safe='')}@", 1)
