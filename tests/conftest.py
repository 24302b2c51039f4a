"""Fixtures shared by all tests: servers of the tests' own on free loopback ports; which process takes which."""

from __future__ import annotations

import gc
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from streamlstm.common import masking
from support.forked import Loaded
from support.server import Server, binaries
from support.smaller import SMALLER

if TYPE_CHECKING:
    from support.scheduling import Mixed

# To look for garbage among all that is imported and collected took a third of that time, in each process.
gc.disable()

# How long an example takes says more of the machine than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """pytest-rerunfailures tells two small things of each test: the second is sent at once, not 40 ms later."""
    told = getattr(getattr(config, "failures_db", None), "sock", None)
    if told is not None:
        told.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def pytest_collection_finish() -> None:
    """From here on garbage is looked for, as it is without tests, but not among the 800,000 objects that stay.

    Each look at those took 0.7 s: a fifteenth of all that short tests take.
    """
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Mixed | None:
    """Tests that wait and tests that compute run beside each other (`--dist loadgroup`)."""
    from support.scheduling import Mixed

    return Mixed(config, log) if config.getoption("dist") == "loadgroup" else None


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Shells and nohup have what they start ignore some signals, and so all that tests start; to those they count.

    A handler of this process is not inherited, but what it ignores is.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)


@pytest.fixture(scope="session", autouse=True)
def forks() -> Iterator[None]:
    """What has loaded the program to be forked (`support.forked`) ends with the tests."""
    yield
    Loaded.end_all()


@pytest.fixture(autouse=True)
def forgotten_secrets() -> Iterator[None]:
    """What one test's passwords were is not hidden in the next one's messages."""
    yield
    masking._known.clear()


@pytest.fixture
def smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings in this process measure and check less besides, as those of forked ones do."""
    for name, value in SMALLER.items():
        monkeypatch.setattr(name, value)


@pytest.fixture
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """A function that starts a server; all are ended with the test."""
    started: list[Server] = []

    def start(binary: str | None = None, directory: Path | None = None, **options: object) -> Server:
        made = Server(
            binary or binaries()["valkey"],
            directory or tmp_path_factory.mktemp("server"),
            **options,  # type: ignore[arg-type]
        )
        started.append(made)
        return made.start()

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for tests that keep to keys of their own."""
    server = Server(binaries()["valkey"], tmp_path_factory.mktemp("shared-server"), fsync="no").start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(shared_server: Server) -> Iterator[str]:
    """URL of the shared server, whose keys are gone after the test."""
    yield shared_server.url
    with shared_server.client() as client:
        client.flushdb()
