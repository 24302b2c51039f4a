"""A private server and real `streamlstm serve` processes on it, as a user runs them, for one measurement."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamlstm.cli.settings_file import environment_without_settings
from streamlstm.errors import StoreError
from streamlstm.store import HOST, EmbeddedServer, Keys, end_process
from streamlstm.store.resp import Address, Connection

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0
POLL_S = 0.005


@dataclass(frozen=True)
class PrivateServer:
    """A server of the measurement's own, and a connection to it."""

    url: str
    port: int
    directory: Path  # for files of the processes started on it
    connection: Connection

    def info(self) -> dict[str, str]:
        """What INFO says."""
        lines = self.connection.call("INFO").decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def clear_results(self, streams: Sequence[str]) -> None:
        """Remove every key derived from the streams; the input stays."""
        for stream in streams:
            self.connection.call("DEL", *Keys(stream).derived)

    def clear(self) -> None:
        self.connection.call("FLUSHALL", "SYNC")


@contextmanager
def private_server(directory: Path, persistence: str) -> Iterator[PrivateServer]:
    """Start the embedded server on a free loopback port, its data in a directory that is new; ended afterwards.

    `persistence`: `off` (no append-only file), or one of the policies of appendfsync.
    """
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = int(probe.getsockname()[1])
    data = directory / "data"
    server = EmbeddedServer.start(data, fsync="no" if persistence == "off" else persistence, port=port)
    try:
        connection = Connection(Address.parse(server.url), name="streamlstm-bench")
        try:
            # Valkey frees what is deleted in another thread, which would go on while the next thing is measured.
            connection.call("CONFIG", "SET", "lazyfree-lazy-user-del", "no")
            if persistence == "off":
                connection.call("CONFIG", "SET", "appendonly", "no")
            yield PrivateServer(server.url, port, directory, connection)
        finally:
            connection.close()
    finally:
        server.stop()


@dataclass(frozen=True)
class BenchProcess:
    """A process that works on the server, and the file its messages go to."""

    popen: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise StoreError if it has ended."""
        if self.popen.poll() is not None:
            lines = self.log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            raise StoreError(f"the process being measured ended with status {self.popen.returncode}: {lines[-1]}")

    def logged(self, beginning: str) -> dict[str, Any]:
        """Wait for a line logged as JSON whose message begins so."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            for line in self.log.read_text(errors="replace").splitlines(keepends=True):
                if line.startswith("{") and line.endswith("}\n"):
                    found: dict[str, Any] = json.loads(line)
                    if str(found.get("message", "")).startswith(beginning):
                        return found
            self.check()
            time.sleep(POLL_S)
        raise StoreError(f"the process being measured was not ready within {READY_TIMEOUT_S:.0f} s")

    def metrics(self) -> dict[str, float]:
        """The samples of a daemon's /metrics, by name with labels."""
        with urllib.request.urlopen(self.logged("ready")["http"] + "/metrics", timeout=30) as answer:  # noqa: S310
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


@contextmanager
def started(server: PrivateServer, arguments: Sequence[str]) -> Iterator[BenchProcess]:
    """Run a Python module with arguments in a process of its own, as `python -m`; ended afterwards.

    Settings of the user's are for servers of theirs and do not reach it.
    """
    log, popen = server.directory / f"process-{time.monotonic_ns()}.log", None
    try:
        with log.open("wb") as file:
            # A session of its own, so that Ctrl-C reaches the bench only, which then ends the process in order.
            popen = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                env=environment_without_settings(),
                cwd=server.directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
                start_new_session=True,
            )
        yield BenchProcess(popen, log)
    finally:
        if popen is not None:
            end_process(popen, STOP_TIMEOUT_S)
        log.unlink(missing_ok=True)


@contextmanager
def serving(server: PrivateServer, model: Path, streams: Sequence[str], *options: str) -> Iterator[BenchProcess]:
    """Run `streamlstm serve` on the streams."""
    settings = server.directory / "settings.toml"
    settings.touch()
    arguments = ["streamlstm", "--config", str(settings), "serve", str(model), "--redis", server.url]
    arguments += [argument for stream in streams for argument in ("--stream", stream)]
    with started(server, [*arguments, "--http", f"{HOST}:0", *options]) as process:
        yield process


@contextmanager
def sharing_a_core(server: PrivateServer) -> Iterator[int | None]:
    """Bind the server to a core that is yielded; None where processes cannot be bound (only Linux can).

    Two processes that talk in turns are fastest on one core: the other way each message wakes a sleeping core, which
    takes a virtual machine some 50 us. The system puts them now here, now there, so such a loop has two speeds.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield None
        return
    pid = int(server.info()["process_id"])
    cores = os.sched_getaffinity(pid)
    os.sched_setaffinity(pid, {max(cores)})
    try:
        yield max(cores)
    finally:
        os.sched_setaffinity(pid, cores)


def run_module(server: PrivateServer, module: str, **arguments: Any) -> Any:
    """Run a module of the bench to its end in a process of its own: arguments and result are JSON."""
    done = subprocess.run(
        [sys.executable, "-m", module, json.dumps(arguments)],
        env=environment_without_settings(),
        cwd=server.directory,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise StoreError(f"{module} ended with status {done.returncode}: {lines[-1]}")
    return json.loads(done.stdout)
