"""How many cores this process may use, and how many threads step values on them if nobody says."""

from __future__ import annotations

import os
from pathlib import Path

from streamlstm.errors import UsageError
from streamlstm.models import CPU

MOST_THREADS = 4  # more gain little: what they cannot share out is a fifth of the work
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container, by cgroup v2: microseconds it may run, of so many


def chosen_threads(asked: int | None, workers: int, threads: int, provider: str, cores: int | None = None) -> int:
    """How many threads of each worker step values; `threads` are those of one call of the model.

    On two cores it is one: the server needs the other. Raises UsageError.
    """
    cores = usable_cores() if cores is None else cores
    alone = provider != CPU
    if asked is None:
        shared = 1 if alone or threads > 1 or cores <= 2 else (cores - 1) // workers
        return max(1, min(shared, MOST_THREADS))
    if asked > 1 and alone:
        raise UsageError(f"--step-threads is for --provider {CPU}: {provider} is called by one thread")
    return asked


def usable_cores(quota: Path = QUOTA) -> int:
    """Cores that this process may run on, or those of a container that it has the time of."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        cores = os.cpu_count() or 1
    try:
        time_us, of_us = quota.read_text().split()
        return min(cores, max(1, int(time_us) // int(of_us)))
    except (OSError, ValueError):  # there is none, or it is "max"
        return cores
