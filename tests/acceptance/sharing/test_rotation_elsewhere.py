"""Passwords and certificates of a Cluster and of Sentinels replaced under traffic: it is said, and nothing is lost."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.rotation import Flow, says
from support.secured import Authority
from support.secured_places import Secured, secure_cluster, secure_sentinel
from support.serving import Serving, eventually, run
from support.survivors import Producer

USER, OLD, NEW = "serving", "old-secret-1/@", "new#secret?2"
STREAMS = ("values:{1}", "values:{2}", "values:{3}")


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> list[Authority]:
    """What servers and clients trust at first, and what they trust later."""
    made = [Authority(tmp_path_factory.mktemp(name)) for name in ("before", "after")]
    for authority in made:
        authority.issue("server")
        authority.issue("client")
    return made


@pytest.fixture(params=["cluster", "sentinel"])
def servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, authorities: list[Authority]
) -> Iterator[Secured]:
    """A Cluster, or a primary and its Sentinel, with a user that has a password; a file has it too."""
    directory = tmp_path_factory.mktemp("s")
    file = directory / "password"
    file.write_text(OLD + "\n")
    query = f"&sentinel_username={USER}&sentinel_password_file={file}"
    kind = request.param
    made = (
        secure_cluster(directory, authorities[0])
        if kind == "cluster"
        else secure_sentinel(directory, authorities[0], query)
    )
    try:
        made.tell("ACL", "SETUSER", USER, "on", f">{OLD}", "~*", "&*", "+@all")
        yield made
    finally:
        made.stop()


@pytest.fixture
def producer(servers: Secured) -> Iterator[Producer]:
    """Traffic in plain text."""
    made = Producer(servers.plain)
    yield made
    made.close()


def test_passwords_and_certificates_are_rotated(
    servers: Secured,
    producer: Producer,
    start: Callable[..., Serving],
    model_path: Path,
    authorities: list[Authority],
    tmp_path: Path,
) -> None:
    """One after the other, each refused in the words of who refuses it until the file is new."""
    where = ("--redis", servers.url(USER), "--password-file", str(servers.directory / "password"))
    daemon = start(*where, *(part for stream in STREAMS for part in ("--stream", stream)))
    daemon.ready()
    flow = Flow(producer, STREAMS)
    servers.tell("ACL", "SETUSER", USER, f">{NEW}", f"<{OLD}")
    servers.hang_up()
    assert eventually(says(daemon, "WRONGPASS"))
    (servers.directory / "password").write_text(NEW + "\n")
    assert flow.goes_on()
    servers.use(authorities[1])
    if servers.watchers:  # a Sentinel that begins anew has only the users of its file
        servers.tell("ACL", "SETUSER", USER, "on", f">{NEW}", "~*", "&*", "+@all")
    servers.hang_up()
    assert eventually(says(daemon, "certificate verify failed"))
    shutil.copy(authorities[1].directory / "ca.crt", servers.client_files / "ca.crt")
    assert eventually(says(daemon, "unknown ca"))
    shutil.copy(authorities[1].directory / "client.crt", servers.client_files / "client.crt")
    assert eventually(says(daemon, "key values mismatch"))
    shutil.copy(authorities[1].directory / "client.key", servers.client_files / "client.key")
    assert flow.goes_on()
    for command in (("status", "--json"), ("tail", STREAMS[0], "--no-follow", "--last", "1")):
        done = run(tmp_path, *command, *where)
        assert done.returncode == 0, done.stderr
    flow.end(model_path)
    assert daemon.stop() == 0
    log = daemon.log_path.read_text()
    assert OLD not in log
    assert NEW not in log
