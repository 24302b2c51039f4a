"""Tell systemd how the daemon is: ready, alive, stopping (the protocol of sd_notify(3)); without systemd, nothing."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping

PINGS_PER_TIMEOUT = 3  # the watchdog is fed so often within its time
PATIENCE_S = 5.0  # with a manager that has no room for more; what is said once should arrive


class Notifier:
    """Says things on the socket that NOTIFY_SOCKET names, if there is one."""

    def __init__(self, environment: Mapping[str, str], pid: int) -> None:
        """`environment` is the process's; a watchdog meant for another process (WATCHDOG_PID) is not ours to feed."""
        self._address = environment.get("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]  # Linux' abstract names
        ours = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
        microseconds = environment.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(microseconds) / 1e6 if ours and microseconds.isdigit() else 0.0

    def say(self, *states: str) -> None:
        """Send assignments such as `READY=1`; a manager that does not listen is no reason to fail."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
            speaker.settimeout(PATIENCE_S)
            speaker.sendto("\n".join(states).encode(), self._address)

    def feed_watchdog(self, unhealthy: Callable[[], str | None], stop: threading.Event) -> None:
        """Say `WATCHDOG=1` again and again while nothing is wrong, until `stop`; returns at once without a watchdog."""
        if not (self._address and self.watchdog_s):
            return
        while not stop.wait(self.watchdog_s / PINGS_PER_TIMEOUT):
            problem = unhealthy()
            # While it starts the watchdog does not run yet, but the time a start may take does: states that are made
            # again after a change of model take as long as they take.
            more = f"EXTEND_TIMEOUT_USEC={int(2e6 * self.watchdog_s)}"
            self.say(*([f"STATUS={problem}"] if problem else ["WATCHDOG=1", more]))

    @contextlib.contextmanager
    def watchdog(self, unhealthy: Callable[[], str | None]) -> Iterator[None]:
        """Feed the watchdog from a thread while the block runs: what feeds it is health, not that the thread lives."""
        stop = threading.Event()
        thread = threading.Thread(target=self.feed_watchdog, args=(unhealthy, stop), name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def of_process() -> Notifier:
    """The notifier of this process."""
    return Notifier(os.environ, os.getpid())
