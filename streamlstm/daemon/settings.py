"""How a daemon goes about its work, and where it takes time from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class DaemonSettings:
    """How the daemon goes about its work."""

    streams: tuple[str, ...]  # all of them, if no `Sharing` says which
    batch_values: int = 16_384  # values aimed at per micro-batch
    max_read_entries: int = 16_384  # entries of one stream per read at most
    most_dead_letters: int | None = None  # kept of each stream, the youngest; None keeps all
    retain_ms: int | None = None  # age at which answered input and predictions may be trimmed; None keeps all


@dataclass(frozen=True)
class Clock:
    """Where the daemon takes time from; the simulation has one of its own."""

    monotonic: Callable[[], float]
    wall: Callable[[], float]
    sleep: Callable[[float], None]
