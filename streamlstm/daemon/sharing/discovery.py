"""Finds streams by patterns, a few SCANs at a time, so that a large keyspace holds nobody up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from streamlstm.store.resp import Nodes

SCAN_COUNT = 1_000  # keys looked at by one call: about a third of a millisecond of the server's time
CALLS_AT_ONCE = 8


class Discovery(Protocol):
    """Where streams are looked for."""

    def step(self, *, to_end: bool) -> set[str] | None:
        """Go on with the search under way, or begin one; returns all that was found once it is complete."""

    def abandon(self) -> None:
        """Let go of the search under way and of every connection: the server has gone."""


class RedisDiscovery:
    """`Discovery` by SCAN … TYPE stream on every server there is."""

    def __init__(self, nodes: Nodes, patterns: Sequence[str]) -> None:
        self._nodes = nodes
        self._patterns = patterns
        self._calls: Iterator[list[bytes]] | None = None
        self._found: set[str] = set()

    def step(self, *, to_end: bool) -> set[str] | None:
        """Some calls, or all of them."""
        if self._calls is None:
            self._calls, self._found = self._search(), set()
        for number, names in enumerate(self._calls):
            self._found.update(name.decode() for name in names if _is_text(name))
            if not to_end and number + 1 >= CALLS_AT_ONCE:
                return None
        self._calls = None
        return self._found

    def abandon(self) -> None:
        """The next step begins anew, over connections of its own: where there are no leases nobody else closes them."""
        self._calls = None
        self._nodes.close()

    def _search(self) -> Iterator[list[bytes]]:
        for address in self._nodes.topology.homes():
            for pattern in self._patterns:
                cursor = b"0"
                while True:
                    scan = ("SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT, "TYPE", "stream")
                    cursor, names = self._nodes.at(address).call(*scan)
                    yield names
                    if cursor == b"0":
                        break


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
