"""One worker as its supervisor sees it: a process, orders on its standard input, and a socket to ask it over."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from streamlstm.daemon.workers.channel import MOST_MESSAGE_BYTES, REQUEST

ASK_S = 5.0  # for an answer: half of what Prometheus gives a scrape by default
# The path of this process, if it has not ended by then, and -P: nothing of the working directory is imported there that
# would not be here.
_BOOT = (
    "import json, sys; path = sys.stdin.buffer.readline() or sys.exit(1); sys.path[:] = json.loads(path); "
    "from streamlstm.cli.worker import main; main()"
)
_OURS = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")  # the supervisor speaks for all


@dataclass(frozen=True)
class Reply:
    """What a worker answered to a request."""

    status: int
    kind: str
    body: bytes
    headers: Mapping[str, str]

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace").strip()


@dataclass
class Worker:
    """A process from its start to its end; whoever replaces it is another of the same number."""

    number: int
    process: subprocess.Popen[bytes]
    channel: socket.socket
    began_s: float
    ready: dict[str, Any] | None = None  # what it said when it was
    _received: bytearray = field(default_factory=bytearray)

    @classmethod
    def start(cls, number: int, of: int, job: dict[str, Any]) -> Worker:
        """Start a process in a session of its own, so that what a terminal says is heard by the supervisor alone."""
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _BOOT, f"streamlstm worker {number}/{of}"],
                stdin=subprocess.PIPE,
                env={name: value for name, value in os.environ.items() if name not in _OURS},
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
            worker = cls(number, process, ours, time.monotonic())
            worker.order(sys.path)
            worker.order({**job, "number": number, "channel": theirs.fileno()})
        return worker

    def order(self, order: Any) -> None:
        """Send a line of JSON; a process that is gone is noticed elsewhere."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.write(json.dumps(order).encode() + b"\n")
            self.process.stdin.flush()

    def hear(self) -> tuple[list[dict[str, Any]], bool]:
        """What it has said, and whether it says no more, which is its end; waits for nothing."""
        over = False
        while not over:
            try:
                data = self.channel.recv(65_536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError:
                data = b""
            self._received += data
            over = not data or len(self._received) > MOST_MESSAGE_BYTES
        *lines, rest = self._received.split(b"\n")
        self._received = bytearray(rest)
        return [json.loads(line) for line in lines], over

    def stop(self) -> None:
        """Ask it to commit what it has and end."""
        with contextlib.suppress(OSError):
            self.channel.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)

    def ended(self, patience_s: float) -> int:
        """Its exit status, negative for a signal; one that does not end in time is killed."""
        try:
            status = self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()
            status = self.process.wait()
        self.channel.close()
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        return status


def ask_all(workers: Iterable[Worker], target: str, timeout_s: float = ASK_S) -> dict[int, Reply | None]:
    """What each says to `GET target`, all asked at once; None of whoever does not answer in time."""
    deadline_s = time.monotonic() + timeout_s
    asked = [(worker.number, _ask(worker, target)) for worker in workers]
    return {number: _receive(connection, deadline_s) for number, connection in asked}


def _ask(worker: Worker, target: str) -> socket.socket | None:
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            socket.send_fds(worker.channel, [REQUEST], [theirs.fileno()], socket.MSG_DONTWAIT)
        ours.settimeout(ASK_S)
        ours.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode("latin-1"))
    except OSError:  # it has ended, or stands still and takes no more
        ours.close()
        return None
    return ours


def _receive(connection: socket.socket | None, deadline_s: float) -> Reply | None:
    if connection is None:
        return None
    with connection:
        try:
            connection.settimeout(max(0.001, deadline_s - time.monotonic()))
            with http.client.HTTPResponse(connection) as answer:
                answer.begin()
                body = answer.read()
                headers = {name.title(): value for name, value in answer.getheaders()}
                return Reply(answer.status, headers.get("Content-Type", ""), body, headers)
        except (OSError, http.client.HTTPException):
            return None
