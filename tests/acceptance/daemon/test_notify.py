"""What systemd is told: ready when it serves, alive while the loop beats, stopping when it drains."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamlstm.daemon.telemetry import systemd
from streamlstm.daemon.telemetry.systemd import Notifier
from support import models
from support.server import Server
from support.serving import serve

TALK = b"STATUS=talkative"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket that listens as systemd does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(60)
        yield listener


def address(listener: socket.socket) -> str:
    """Where it listens."""
    return str(listener.getsockname())


def heard(listener: socket.socket, wanted: bytes) -> list[bytes]:
    """What is said up to something."""
    said = []
    while not said or wanted not in said[-1]:
        said.append(listener.recv(4096))
    return said


def fill(listener: socket.socket) -> None:
    """Say as much as it holds."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker, contextlib.suppress(BlockingIOError):
        speaker.setblocking(False)
        while True:
            speaker.sendto(TALK, address(listener))


def emptied(listener: socket.socket) -> list[bytes]:
    """All that waits in it."""
    said = []
    listener.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            said.append(listener.recv(4096))
    return said


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["alone", "with workers"])
def test_a_daemon_says_ready_alive_and_stopping(
    options: tuple[str, ...],
    manager: socket.socket,
    start_server: Callable[..., Server],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The whole conversation of a unit of Type=notify with a watchdog, in order."""
    model = tmp_path / "model.onnx"
    model.write_bytes(models.lstm(4))
    monkeypatch.setenv("NOTIFY_SOCKET", address(manager))
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    daemon = serve(tmp_path, model, "--redis", start_server(fsync="no").url, *options)
    try:
        assert heard(manager, b"READY=1")[-1] == b"READY=1\nSTATUS=serving 1 streams"
        for _ in range(3):
            assert heard(manager, b"WATCHDOG=1")
        daemon.process.terminate()
        assert heard(manager, b"STOPPING=1")
        manager.close()  # or what is said until its end would fill it, and be waited for
        assert daemon.process.wait(60) == 0
    finally:
        daemon.kill()


def test_the_watchdog_is_fed_by_health(manager: socket.socket) -> None:
    """While something is wrong the reason is said and the watchdog starves."""
    wrong = ["the loop has not beaten for 61 s"]
    notifier = Notifier({"NOTIFY_SOCKET": address(manager), "WATCHDOG_USEC": "30000"}, os.getpid())
    stop = threading.Event()
    thread = threading.Thread(target=notifier.feed_watchdog, args=(lambda: next(iter(wrong), None), stop))
    thread.start()
    try:
        assert manager.recv(4096) == b"STATUS=the loop has not beaten for 61 s"
        wrong.clear()
        assert heard(manager, b"WATCHDOG=1")
    finally:
        stop.set()
        manager.close()  # the thread may be waiting for room in it
        thread.join()


def test_a_manager_that_does_not_read_is_not_waited_for_ever(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket that is full takes nothing more: that is let go, and what there was room for has arrived."""
    monkeypatch.setattr(systemd, "PATIENCE_S", 0.05)
    notifier = Notifier({"NOTIFY_SOCKET": address(manager)}, os.getpid())
    fill(manager)
    notifier.say("READY=1")
    waiting = emptied(manager)
    assert waiting
    assert set(waiting) == {TALK}
    notifier.say("READY=1")
    assert manager.recv(4096) == b"READY=1"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "1000"},
        {"NOTIFY_SOCKET": "/nowhere/at/all"},
        {"NOTIFY_SOCKET": "@nobody-listens", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "rubbish"},
    ],
)
def test_without_a_manager_nothing_happens(environment: dict[str, str]) -> None:
    """No socket, a socket nobody listens on, a watchdog meant for another process: not an error, and no feeding."""
    notifier = Notifier(environment, os.getpid())
    notifier.say("READY=1")
    notifier.feed_watchdog(lambda: None, threading.Event())  # comes back at once
