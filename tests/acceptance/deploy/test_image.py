"""The image of the Dockerfile, built and run for real beside the Redis of deploy/redis, wired as in compose.yaml."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import container
import pytest
import redis
import yaml

from streamlstm.store.keys import Keys
from support.paths import ROOT
from support.programs import program
from support.server import free_port
from support.serving import eventually

pytestmark = pytest.mark.xdist_group("image")  # so that one process builds it, once

SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
DAEMON = SERVICES["streamlstm"]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[container.Image]:
    """The image as files; the tests are skipped, by name, where a machine lacks what a build needs, or the network."""
    for name in ("buildah", "mmdebstrap"):
        program(name)
    missing = container.lacking()
    if missing is not None:
        pytest.skip(f"an image is not built here: it needs {missing}")
    builder = container.Builder(tmp_path_factory.mktemp("container"))
    try:
        builder.build()
    except container.BuildError as error:
        if error.elsewhere is None:
            raise
        pytest.skip(f"an image is not built here: {error.elsewhere}")
    with builder.mounted() as built:
        yield built


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    """The volume that both services have."""
    folder = tmp_path / "passwords"
    folder.mkdir()
    for part in (folder, *folder.parents[:3]):
        part.chmod(0o755)  # the way to it is open to the image's user, as on a volume
    return folder


@pytest.fixture
def port(tmp_path: Path, passwords: Path) -> Iterator[int]:
    """Port of a Redis that was started as compose.yaml starts it."""
    program("redis-server")
    (tmp_path / "data").mkdir()
    chosen = free_port()
    service = SERVICES["redis"]
    command = ["sh", str(ROOT / "deploy" / "redis" / Path(service["entrypoint"][-1]).name)]
    options = ["--dir", str(tmp_path / "data"), "--bind", "127.0.0.1", "--port", str(chosen)]
    environment = {**os.environ, **service["environment"], "PASSWORDS": str(passwords), "TMPDIR": str(tmp_path)}
    with subprocess.Popen([*command, *options], env=environment, stdout=subprocess.DEVNULL) as server:
        assert eventually(lambda: answers(chosen, passwords))
        yield chosen
        server.terminate()


def client(port: int, passwords: Path, user: str) -> redis.Redis:
    """A user of the server."""
    password = (passwords / user).read_text()
    return redis.Redis(port=port, username=user, password=password, decode_responses=True)


def answers(port: int, passwords: Path) -> bool:
    """Whether the server can be used."""
    try:
        with client(port, passwords, "streamlstm-reader") as reader:
            return bool(reader.ping())
    except (redis.ConnectionError, FileNotFoundError):
        return False


@pytest.fixture
def enter(image: container.Image, port: int, passwords: Path) -> Callable[..., list[str]]:
    """The command line of something in the daemon's container: by default its own command of compose.yaml."""
    http = free_port()
    sources = {
        "passwords": passwords,
        "${MODEL:-./streamlstm/models/universal.onnx}": ROOT / "streamlstm/models/universal.onnx",
    }
    mounts = {}
    for volume in DAEMON["volumes"]:
        source, target, mode = volume.rsplit(":", 2)
        assert mode == "ro"
        mounts[sources[source]] = target
    environment = {
        **DAEMON["environment"],
        "STREAMLSTM_REDIS": DAEMON["environment"]["STREAMLSTM_REDIS"].replace("@redis:6379", f"@127.0.0.1:{port}"),
        "STREAMLSTM_HTTP": f"127.0.0.1:{http}",
    }

    def command(*other: str) -> list[str]:
        if other:
            return image.enter(other, environment=environment, mounts=mounts)
        return image.run(DAEMON["command"], environment=environment, mounts=mounts)

    return command


@pytest.mark.slow
def test_the_image_serves_as_compose_has_it(
    enter: Callable[..., list[str]], image: container.Image, port: int, passwords: Path, tmp_path: Path
) -> None:
    """Neither root nor able to write, it is healthy, answers a value, and ends with 0 when it is asked to."""
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(enter(), stdout=log, stderr=log) as daemon,
        client(port, passwords, "streamlstm-producer") as producer,
        client(port, passwords, "streamlstm-reader") as reader,
    ):
        try:
            check = enter(*image.health_check)
            assert eventually(lambda: subprocess.run(check, capture_output=True, check=False).returncode == 0), (
                tmp_path / "log"
            ).read_text()
            sent = producer.xadd("values", {"sensor-1": "21.5"})
            assert eventually(lambda: reader.xlen(Keys("values").predictions) == 1)
            ((answered, fields),) = reader.xrange(Keys("values").predictions)
            assert (answered, fields) == (sent, {"sensor-1": "21.5"}), "the first forecast repeats the value"
            status = Path(f"/proc/{daemon.pid}/status").read_text()
            assert f"Uid:\t{image.user.split(':')[0]}\t" in status, "signals reach the daemon itself, which is not root"
            assert "CapBnd:\t0000000000000000" in status
        finally:
            daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(60) == 0, (tmp_path / "log").read_text()


@pytest.mark.slow
def test_nothing_of_the_image_can_be_written(enter: Callable[..., list[str]]) -> None:
    """Not even what the user owns; there is /tmp."""
    trial = "import sys; open(sys.argv[1], 'w')"
    assert subprocess.run(enter("python", "-c", trial, "/tmp/it"), check=False).returncode == 0
    for place in ("/it", "/opt/streamlstm/it", "/passwords/it"):
        done = subprocess.run(enter("python", "-c", trial, place), capture_output=True, text=True, check=False)
        assert "Read-only file system" in done.stderr or "Permission denied" in done.stderr
    root = subprocess.run(enter("sh", "-c", "cat /proc/mounts"), capture_output=True, text=True, check=True).stdout
    assert any(line.split()[1] == "/" and line.split()[3].startswith("ro") for line in root.splitlines()), root


@pytest.mark.slow
def test_the_image_has_neither_torch_nor_a_compiler(enter: Callable[..., list[str]]) -> None:
    """It is the daemon alone, with what was compiled."""
    names = "import importlib.util as u; print([n for n in ('torch', 'onnx', 'pip') if u.find_spec(n)])"
    shown = subprocess.run(
        enter("/opt/streamlstm/bin/python", "-I", "-c", names), capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"
    found = subprocess.run(enter("sh", "-c", "command -v gcc cc"), capture_output=True, text=True, check=False)
    assert found.stdout == ""
