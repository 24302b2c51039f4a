"""Who a process is, so that others on the same host can tell whether it still lives."""

from __future__ import annotations

import os
import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

UNKNOWN = "-"
_PID = re.compile("[0-9]{1,10}")


@dataclass(frozen=True)
class Process:
    """A process, as it is written into leases: `host:pid:start:machine`."""

    host: str  # for people
    pid: int
    start: str  # clock ticks between the machine's start and the process's; tells it from a later one with its pid
    machine: str  # the machine's current run and its pid namespace; UNKNOWN where there is no /proc

    @classmethod
    def this(cls) -> Process:
        pid = os.getpid()
        return cls(socket.gethostname().replace(":", "_"), pid, _start(pid) or UNKNOWN, _machine())

    @classmethod
    def parse(cls, text: str) -> Process | None:
        """Read what `str` wrote; None for anything else."""
        parts = text.split(":")
        if len(parts) != 4 or not _PID.fullmatch(parts[1]):
            return None
        return cls(parts[0], int(parts[1]), parts[2], parts[3])

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}:{self.start}:{self.machine}"


def is_dead_here(owner: str) -> bool:
    """Whether a process of this very machine, as its lease names it, has ended; False for those of other machines."""
    process = Process.parse(owner)
    if process is None or process.machine in {UNKNOWN, ""} or process.machine != _machine():
        return False
    return _start(process.pid) != process.start


def _machine() -> str:
    """The id of the machine's current run and of the pid namespace, in which alone a pid means anything."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return UNKNOWN
    return f"{boot[:8]}{boot[-8:]}.{''.join(filter(str.isdigit, namespace))}"


def _start(pid: int) -> str | None:
    """When a process began (proc(5), field 22 of stat); None if there is none, or only its zombie."""
    with suppress(OSError):
        # The second field is the program's name in brackets, which may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        if fields[0] not in {"Z", "X"}:
            return fields[19]
    return None
