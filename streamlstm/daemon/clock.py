"""Where the daemon takes time from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """Where the daemon takes time from; the simulation has one of its own."""

    monotonic: Callable[[], float]
    wall: Callable[[], float]
    processor: Callable[[], float]  # seconds that this process has worked
    sleep: Callable[[float], None]
