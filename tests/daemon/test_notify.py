"""What systemd is told: ready when it serves, alive while the loop beats, stopping when it drains."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamlstm.notify import Notifier
from support import models
from support.server import Server
from support.serving import serve


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket that listens as systemd does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(20)
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


def test_a_daemon_says_ready_alive_and_stopping(
    manager: socket.socket, start_server: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole conversation of a unit of Type=notify with a watchdog, in order."""
    model = tmp_path / "model.onnx"
    model.write_bytes(models.lstm(4))
    monkeypatch.setenv("NOTIFY_SOCKET", address(manager))
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    daemon = serve(tmp_path, model, "--redis", start_server(fsync="no").url)
    try:
        assert heard(manager, b"READY=1")[-1] == b"READY=1\nSTATUS=serving 1 streams"
        for _ in range(3):
            assert heard(manager, b"WATCHDOG=1")
    finally:
        assert daemon.stop() == 0
    assert heard(manager, b"STOPPING=1")


def test_the_watchdog_is_fed_by_health(manager: socket.socket) -> None:
    """While something is wrong the reason is said and the watchdog starves."""
    wrong = ["the loop has not beaten for 61 s"]
    notifier = Notifier({"NOTIFY_SOCKET": address(manager), "WATCHDOG_USEC": "30000"}, os.getpid())
    stop = threading.Event()
    thread = threading.Thread(target=notifier.feed_watchdog, args=(lambda: wrong[0] if wrong else None, stop))
    thread.start()
    try:
        assert manager.recv(4096) == b"STATUS=the loop has not beaten for 61 s"
        wrong.clear()
        assert heard(manager, b"WATCHDOG=1")
    finally:
        stop.set()
        thread.join()


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
