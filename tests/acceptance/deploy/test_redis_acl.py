"""deploy/redis: under its ACL file every command does its work and nothing was denied; strangers get nowhere."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

import streamlstm
from support.paths import ROOT
from support.server import HOST, Server, binaries
from support.serving import Serving, add, eventually, serve, wait_for_position
from support.serving import run as run_program
from support.traffic import entries

FOLDER = ROOT / "deploy" / "redis"
MADE = entries(41, 400, series=20, odd=0.05)
STREAM = "values"
QUICK = ("--epochs", "0", "--units", "2", "--ensemble", "1", "--season", "none")


@dataclass
class GuardedServer(Server):
    """A server with the configuration and the users of the folder, and one user of the test's own."""

    def client(self) -> redis.Redis:
        """As the test's own user."""
        return redis.Redis(host=HOST, port=self.port, username="test", password="t", protocol=2)

    def url_of(self, user: str) -> str:
        """As one of the file's users."""
        return f"redis://{user}:secret@{HOST}:{self.port}/0"


def guarded(kind: str, folder: Path) -> GuardedServer:
    """Started from deploy/redis with passwords given, as its comments say."""
    lines = (FOLDER / "users.acl").read_text().splitlines()
    secret = "#" + hashlib.sha256(b"secret").hexdigest()
    given = [line if line.startswith("user default") else f"{line} {secret}" for line in lines]
    acl = folder / "users.acl"
    acl.write_text("\n".join([*given, "user test on >t ~* &* +@all"]) + "\n")
    made = GuardedServer(binaries()[kind], folder)
    options = ("--port", str(made.port), "--dir", str(folder), "--aclfile", str(acl))
    made.command = (str(FOLDER / "redis.conf"), *options, "--logfile", str(folder / "server.log"))
    made.start()
    return made


@pytest.fixture(params=list(binaries()))
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GuardedServer]:
    """A server of the test's own."""
    made = guarded(request.param, tmp_path)
    yield made
    made.stop()


@pytest.fixture(params=list(binaries()), scope="module")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedServer]:
    """One for tests that write nothing."""
    made = guarded(request.param, tmp_path_factory.mktemp("guarded"))
    yield made
    made.stop()


@pytest.fixture
def run(tmp_path: Path, server: GuardedServer) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the program as one of the users."""

    def call(user: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return run_program(tmp_path, *arguments, stdin=stdin, STREAMLSTM_REDIS=server.url_of(user))

    return call


def test_everything_works_under_the_acl_file(
    server: GuardedServer, run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path, model_path: Path
) -> None:
    """Daemon, push, tail, status, state, verify and another model, each as its user: no command of theirs is denied."""
    client = server.client()
    options = ("--redis", server.url_of("streamlstm"), "--retain", "36500d", "--idle-after", "36500d")
    daemon: Serving = serve(tmp_path, model_path, *options)
    try:
        daemon.ready()
        add(client, MADE)
        wait_for_position(client, STREAM, MADE[-1][0])
        assert run("streamlstm-producer", "push", STREAM, "--series", "s1", stdin="1\n2\n3\n").returncode == 0
        timed = f"s1,{MADE[-1][0].partition('-')[0]},1\n"
        assert run("streamlstm-producer", "push", "values:{7}", "--skip-existing", stdin=timed).returncode == 0
        assert run("streamlstm-producer", "push", "values:{7}", "--skip-existing", stdin=timed).returncode == 0
        wait_for_position(client, STREAM, client.xrevrange(STREAM, count=1)[0][0].decode())
        for user, *arguments in (
            ("streamlstm-reader", "status"),
            ("streamlstm-reader", "status", STREAM, "--json"),
            ("streamlstm-reader", "tail", STREAM, "--no-follow", "--last", "5"),
            ("streamlstm-reader", "status", STREAM, "--series", "hot"),
            ("streamlstm-reader", "forecast", STREAM, "--series", "hot", "--steps", "3"),
            ("streamlstm-operator", "forecast", STREAM, "--all", "--steps", "3", "-o", "ahead.csv"),
            ("streamlstm-reader", "export", STREAM, "-o", "values.csv"),
            ("streamlstm-reader", "train", "--stream", STREAM, "-o", "m.onnx", "--max-cells", "100000", *QUICK),
            ("streamlstm-reader", "tail", STREAM, "--no-follow", "--dead"),
            ("streamlstm-operator", "state", "list", STREAM),
            ("streamlstm-operator", "state", "show", STREAM, "--series", "hot"),
            ("streamlstm-operator", "state", "export", STREAM, "-o", "a.state"),
            ("streamlstm-operator", "verify", str(model_path), STREAM, "--idle-after", "36500d"),
            ("streamlstm-operator", "state", "reset", STREAM, "--series", "hot"),
        ):
            done = run(user, *arguments)
            assert done.returncode == 0, (arguments, done.stderr)
        with streamlstm.Client(server.url_of("streamlstm-reader")) as reader:
            given = [one.id for one in reader.predictions(name="report", follow=False)]
            assert given
            assert list(reader.predictions(name="report", follow=False)) == []
            assert len(list(reader.states())) > 10
        with streamlstm.Client(server.url_of("streamlstm-producer")) as producer:
            assert producer.push([("s1", 4.0)]).values == 1
        done = run("streamlstm-operator", "state", "import", STREAM, "--from", "a.state", "--force", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["series"] > 10
    finally:
        assert daemon.stop() == 0
    denied = [(entry["username"], entry["object"], entry["reason"]) for entry in client.acl_log()]
    assert denied == []
    client.close()


def test_models_change_roles_under_the_acl_file(
    server: GuardedServer,
    run: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    model_path: Path,
    other_path: Path,
) -> None:
    """A challenger is given, promoted and taken away by the operator, and stepped by the daemon's user."""
    client = server.client()
    meta = "{values}:meta"
    daemon = serve(tmp_path, model_path, "--redis", server.url_of("streamlstm"), "--retain", "36500d")
    try:
        daemon.ready()
        add(client, MADE)
        wait_for_position(client, STREAM, MADE[-1][0])
        for what in (["add", STREAM, str(other_path)], ["list"], ["promote"], ["rollback"], ["remove"]):
            done = run("streamlstm-operator", "model", *what)
            assert done.returncode == 0, done.stderr
            assert what[0] != "add" or eventually(
                lambda: client.hget(meta, "challenger_position") == client.hget(meta, "position")
            )
        for user in ("streamlstm-operator", "streamlstm"):  # the timers' jobs are the daemon's user
            done = run(user, "retrain", STREAM, *QUICK, "--test-size", "0")
            assert done.returncode == 0, done.stderr
            decide = ("--promote-if-better", "0.9", "--after", "30", "--within", "100ms")
            done = run(user, "retrain", STREAM, *decide, *QUICK, "--test-size", "0")
            assert done.returncode == 0, done.stderr
            assert run(user, "model", "remove", STREAM).returncode == 0
    finally:
        assert daemon.stop() == 0
    assert client.acl_log() == []
    client.close()


@pytest.mark.parametrize("policy", ["reset", "replay"])
def test_another_model_may_take_over_under_the_acl_file(
    policy: str, server: GuardedServer, tmp_path: Path, model_path: Path, other_path: Path
) -> None:
    """What replaces states at the start of another model is allowed to the daemon's user too."""
    client = server.client()
    for path, last in ((model_path, 200), (other_path, 400)):
        add(client, MADE[last - 200 : last])
        daemon = serve(tmp_path, path, "--redis", server.url_of("streamlstm"), "--on-model-change", policy)
        try:
            daemon.ready()
            wait_for_position(client, STREAM, MADE[last - 1][0])
        finally:
            assert daemon.stop() == 0
    assert client.acl_log() == []
    client.close()


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("streamlstm", ("FLUSHALL",)),
        ("streamlstm", ("CONFIG", "GET", "*")),
        ("streamlstm", ("EVAL", "return 1", "0")),
        ("streamlstm", ("GET", "somebody-elses")),
        ("streamlstm", ("KEYS", "*")),
        ("streamlstm-producer", ("XREAD", "STREAMS", "values", "0")),
        ("streamlstm-producer", ("HGETALL", "{values}:state")),
        ("streamlstm-producer", ("XADD", "{values}:predictions", "*", "s", "1")),
        ("streamlstm-producer", ("DEL", "values")),
        ("streamlstm-reader", ("XADD", "values", "*", "s", "1")),
        ("streamlstm-reader", ("HSET", "{values}:meta", "position", "9-9")),
        ("streamlstm-reader", ("HSET", "{values}:state", "s1", "x")),
        ("streamlstm-reader", ("HSET", "values:{7}:meta", "position", "9-9")),
        ("streamlstm-reader", ("DEL", "{values}:places")),
        ("streamlstm-operator", ("FLUSHALL",)),
        ("streamlstm-operator", ("SHUTDOWN",)),
    ],
)
def test_nobody_may_do_more_than_their_work(user: str, command: tuple[str, ...], shared: GuardedServer) -> None:
    """Commands and keys beyond a user's work are denied."""
    with redis.Redis.from_url(shared.url_of(user), protocol=2) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command)


@pytest.mark.parametrize("key", ["{values}:places", "values:{7}:places"])
def test_a_reader_may_keep_its_place(key: str, shared: GuardedServer) -> None:
    """Of the stream and of a partition, where it may write nothing else."""
    with redis.Redis.from_url(shared.url_of("streamlstm-reader"), protocol=2) as client:
        assert client.hset(key, "report", "1-1") == 1


def test_strangers_get_nowhere(shared: GuardedServer) -> None:
    """Without a user, or with one that was given no password, no command is carried out."""
    stranger = redis.Redis(host=HOST, port=shared.port, protocol=2, retry=Retry(NoBackoff(), 0))
    with stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    as_shipped = (FOLDER / "users.acl").read_text()
    assert ">" not in as_shipped
    assert "nopass" not in as_shipped


PASSWORDS = {"streamlstm": 'it\'s "quoted" $HOME `id` >#&\\ ü', "streamlstm-reader": "plain"}


@dataclass
class ScriptedServer(Server):
    """A server started by start.sh."""

    def client(self) -> redis.Redis:
        """As a user who has a password."""
        return self.client_of("streamlstm-reader", PASSWORDS["streamlstm-reader"])

    def client_of(self, user: str, password: str) -> redis.Redis:
        """As any user."""
        once = Retry(NoBackoff(), 0)  # a password that is wrong stays wrong
        return redis.Redis(host=HOST, port=self.port, username=user, password=password, protocol=2, retry=once)


@pytest.mark.parametrize("make", [False, True], ids=["given", "made"])
@pytest.mark.parametrize("kind", binaries())
def test_the_start_script_gives_the_passwords(kind: str, make: bool, tmp_path: Path) -> None:
    """Users get in with the password in their file, whatever is in it; missing ones are made if asked, or stay out."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "redis-server").symlink_to(binaries()[kind])
    passwords = tmp_path / "passwords"
    passwords.mkdir()
    for user, password in PASSWORDS.items():
        (passwords / user).write_text(password + "\n", encoding="utf-8")
    server = ScriptedServer("/bin/sh", tmp_path)
    settings = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "PASSWORDS": str(passwords),
        "TMPDIR": str(tmp_path),
    }
    server.command = (str(FOLDER / "start.sh"), "--port", str(server.port), "--dir", str(tmp_path), "--bind", HOST)
    server.environment = {**os.environ, **settings, "MAKE_PASSWORDS": "1" if make else ""}

    def greets(user: str, password: str) -> bool:
        with server.client_of(user, password) as client:
            return bool(client.ping())

    try:
        server.start()
        assert all(greets(user, password) for user, password in PASSWORDS.items())
        with pytest.raises(redis.AuthenticationError):
            greets("streamlstm", "wrong")
        others = {"streamlstm-producer", "streamlstm-operator"}
        assert {path.name for path in passwords.iterdir()} == PASSWORDS.keys() | (others if make else set())
        for user in others if make else ():
            made = (passwords / user).read_text()
            assert len(made) == 48
            assert greets(user, made)
        for user in ("default", *(() if make else others)):
            with pytest.raises(redis.AuthenticationError):
                greets(user, "")
        files = [path.read_text() for path in tmp_path.glob("*.acl")]
        assert files
        assert not [text for text in files if "plain" in text], "hashes only"
    finally:
        server.stop()
