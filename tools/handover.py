"""Measure how long a value waits when streams change hands: a process joins, leaves, is killed, is stopped.

python tools/handover.py MODEL.onnx [--streams 4] [--lease-ttl 3s]

A value goes to every stream every few milliseconds; the figure is the longest time from XADD to its prediction around
each event. The last owner is run in a pid namespace of its own (Linux, root), where nobody can see that it has died.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from streamlstm.store.embedded_server import EmbeddedServer
from streamlstm.store.keys import Keys
from streamlstm.store.resp.address import Address
from streamlstm.store.resp.connection import Connection

EVERY_S = 0.004
CALM_S = 1.5  # before and after an event, besides what it takes
READY_TIMEOUT_S = 30.0


class Traffic:
    """Sends values to all streams and times their predictions."""

    def __init__(self, url: str, streams: list[str]) -> None:
        self.sent: dict[tuple[str, bytes], float] = {}
        self.answered: dict[tuple[str, bytes], float] = {}  # may come before the reply to XADD does
        self._streams = streams
        self._address = Address.parse(url)
        self._ending = False
        self._threads = [threading.Thread(target=run) for run in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def worst_since(self, moment: float) -> float:
        """The longest wait of a value sent since; one that is not answered yet counts up to now."""
        now, answered = time.monotonic(), dict(self.answered)
        sent = [(entry, at) for entry, at in list(self.sent.items()) if at >= moment]
        return max(answered.get(entry, now) - at for entry, at in sent)

    def stop(self) -> None:
        """End both threads."""
        self._ending = True
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        connection = Connection(self._address, name="handover")
        while not self._ending:
            for stream in self._streams:
                at = time.monotonic()
                entry = connection.call("XADD", stream, "*", "sensor", "1.5")
                self.sent[stream, entry] = at
            time.sleep(EVERY_S)
        connection.close()

    def _receive(self) -> None:
        connection = Connection(self._address, name="handover")
        cursors = {Keys(stream).predictions: b"0-0" for stream in self._streams}
        names = {Keys(stream).predictions: stream for stream in self._streams}
        while not self._ending:
            reply = connection.call("XREAD", "BLOCK", 200, "STREAMS", *cursors, *cursors.values())
            now = time.monotonic()
            for key, entries in reply or []:
                for entry, _ in entries:
                    cursors[key.decode()] = entry
                    self.answered[names[key.decode()], entry] = now
        connection.close()


def start(arguments: list[str], directory: Path, *, hidden: bool = False) -> subprocess.Popen[bytes]:
    """A `serve` process, once it is ready; `hidden`: in a pid namespace of its own."""
    log = directory / f"{time.monotonic_ns()}.log"
    prefix = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"] if hidden else []
    with log.open("wb") as file:
        command = [*prefix, sys.executable, "-m", "streamlstm", "serve", *arguments, "--http", "127.0.0.1:0"]
        process = subprocess.Popen(command, stderr=file, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + READY_TIMEOUT_S
    while '"ready' not in log.read_text() and time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(log.read_text())
        time.sleep(0.01)
    return process


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--lease-ttl", default="3s")
    options = parser.parse_args()
    streams = [f"values:{{{number}}}" for number in range(options.streams)]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        server = EmbeddedServer.start(directory / "data", fsync="no")
        named = [part for stream in streams for part in ("--stream", stream)]
        common = [str(options.model), "--redis", server.url, *named, "--lease-ttl", options.lease_ttl]
        traffic: Traffic | None = None
        owners: list[subprocess.Popen[bytes]] = []
        found: dict[str, float] = {}

        def measure(what: str, event: Callable[[], object], wait_s: float) -> None:
            assert traffic is not None
            time.sleep(CALM_S)
            moment = time.monotonic()
            event()
            time.sleep(wait_s)
            found[what] = round(traffic.worst_since(moment - 0.01) * 1000, 1)

        try:
            owners.append(start(common, directory))
            traffic = Traffic(server.url, streams)
            measure("calm_ms", lambda: None, CALM_S)
            measure("join_ms", lambda: owners.append(start(common, directory)), CALM_S)
            measure("leave_ms", owners[0].terminate, CALM_S)
            owners[0].wait()
            owners[0] = start(common, directory)
            measure("killed_on_this_host_ms", owners[1].kill, 6.0)
            owners[1].wait()
            owners[1] = start(common, directory)
            measure("stopped_ms", lambda: os.kill(owners[0].pid, signal.SIGSTOP), 6.0)
            measure("woken_ms", lambda: os.kill(owners[0].pid, signal.SIGCONT), 3.0)
            owners[0].terminate()
            owners[0].wait()
            if os.geteuid() == 0 and sys.platform.startswith("linux"):
                owners[0] = start(common, directory, hidden=True)
                measure("killed_elsewhere_ms", owners[0].kill, 6.0)
        finally:
            if traffic is not None:
                traffic.stop()
            for owner in owners:
                if owner.poll() is None:
                    owner.kill()
                owner.wait()
            server.stop()
        print(json.dumps({"streams": options.streams, "lease_ttl": options.lease_ttl, **found}))


if __name__ == "__main__":
    main()
