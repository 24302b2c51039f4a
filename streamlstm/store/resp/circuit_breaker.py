"""Nodes that have gone silent: left alone for a while and then tried briefly, so that they hold up no other node.

A hung process still takes connections, so every try at it would cost as long as an answer is waited for, and a loop of
one thread would serve the streams of healthy nodes only in between: on a Cluster that is slow to replace a hung primary
(after 15 s, by default) a value of another node was seen to wait for 20 s; with this for 3.1 s, once.
"""

from __future__ import annotations

from collections.abc import Callable

from streamlstm.errors import StoreUnavailableError
from streamlstm.store.resp.address import Address
from streamlstm.store.resp.connection import Connection

FIRST_PROBE_S, LAST_PROBE_S = 0.1, 0.5  # how long a node that was silent may take to greet; doubled at every failure
LEFT_ALONE = 10  # times the probe that comes next: at most a tenth of the time is spent on it


class Hushed:
    """Which nodes are left alone until when."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._probes: dict[Address, tuple[float, float]] = {}  # -> when it may be tried, for how long

    def connect(self, address: Address, name: str) -> Connection:
        """Connect, unless the node is left alone just now; raises StoreUnavailableError."""
        when_s, patience_s = self._probes.get(address, (0.0, None))
        if self._monotonic() < when_s:
            raise StoreUnavailableError(
                f"no connection to the Redis server at {address.url}: it was silent a moment ago"
            )
        made = Connection(address, name=name, greeting_s=patience_s, on_silence=lambda: self._note(address))
        self._probes.pop(address, None)
        return made

    def _note(self, address: Address) -> None:
        _, before_s = self._probes.get(address, (0.0, None))
        probe_s = FIRST_PROBE_S if before_s is None else min(2 * before_s, LAST_PROBE_S)
        self._probes[address] = self._monotonic() + LEFT_ALONE * probe_s, probe_s
