"""Redis and Valkey servers on free loopback ports, started and ended by the tests that use them."""

from __future__ import annotations

import secrets
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import redis

from streamlstm.store.embedded_server import find_binary

HOST = "127.0.0.1"
START_TIMEOUT_S = 120.0


# Below those a system gives to connections (from 32,768 on Linux), one of which would else keep a server from its port,
# as when it is restarted; and a Cluster's second port, 10,000 above, is below them too.
PORTS = range(10_000, 22_000)


def is_free(port: int) -> bool:
    """Whether nobody has a port just now."""
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port nobody has just now, nor the one 10,000 above."""
    # Not Python's shared source of random numbers: tests seed it, and would all come to the same ports.
    while not (is_free(port := secrets.choice(PORTS)) and is_free(port + 10_000)):
        pass
    return port


def binaries() -> dict[str, str]:
    """The servers there are: the one that comes with the package, and Debian's where it is installed."""
    found = {"valkey": find_binary()}
    debian = shutil.which("redis-server")
    if debian:
        found["redis"] = debian
    return found


@dataclass
class Server:
    """One server process; data in `directory`, so that a restart finds it again."""

    binary: str
    directory: Path
    fsync: str = "always"
    arguments: tuple[str, ...] = ()
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    command: tuple[str, ...] | None = None  # instead of all options, where they stand in a file
    environment: dict[str, str] | None = None  # instead of the test's own

    @property
    def url(self) -> str:
        """Where it is."""
        return f"redis://{HOST}:{self.port}/0"

    def start(self) -> Server:
        """Start and wait until it answers."""
        self.begin()
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                with self.client() as client:
                    client.ping()
                return self
            except redis.RedisError:
                assert self.process is not None
                assert self.process.poll() is None, (self.directory / "server.log").read_text()
                assert time.monotonic() < deadline, "the test's server does not come up"
                time.sleep(0.01)

    def begin(self) -> None:
        """Start the process."""
        options = (
            *("--port", str(self.port), "--bind", HOST, "--dir", str(self.directory), "--save", ""),
            *("--appendonly", "yes", "--appendfsync", self.fsync, "--logfile", str(self.directory / "server.log")),
            *self.arguments,
        )
        self.process = subprocess.Popen(
            [self.binary, *(options if self.command is None else self.command)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.environment,
            # So that a file that may not grow any more is an error to the server, as a full disk is, and not its end.
            preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN),  # noqa: PLW1509  (no locks)
        )

    def client(self) -> redis.Redis:
        """A client of its own."""
        return redis.Redis(host=HOST, port=self.port, protocol=2)

    def kill(self) -> None:
        """SIGKILL, as a crash of the machine would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it, whatever state it is in."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
