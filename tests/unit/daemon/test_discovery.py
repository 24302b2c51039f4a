"""What the search for streams does when its server goes away."""

from __future__ import annotations

from typing import Any

import pytest

from streamlstm.daemon.sharing.discovery import RedisDiscovery
from streamlstm.errors import StoreUnavailableError
from streamlstm.store.resp import Nodes


class Wire:
    """A connection to a server that may be gone."""

    def __init__(self) -> None:
        self.is_up = True

    def call(self, *_: Any) -> list[Any]:
        """The answer to SCAN."""
        if not self.is_up:
            raise StoreUnavailableError("the server closed the connection")
        return [b"0", [b"values"]]

    def close(self) -> None:
        """Nothing to close."""


class Place:
    """A topology of one server."""

    def __init__(self) -> None:
        self.made: list[Wire] = []

    def homes(self) -> list[str]:
        """The one."""
        return ["server"]

    def connect(self, *_: Any) -> Wire:
        """A new connection, which works."""
        self.made.append(Wire())
        return self.made[-1]

    def doubt(self) -> None:
        """It stays where it is."""


def test_a_search_abandoned_begins_anew_over_a_new_connection() -> None:
    """Also where nobody else closes it, as leases do: one that is broken would stay so for good."""
    place: Any = Place()
    discovery = RedisDiscovery(Nodes(place, name="test"), ["val*"])
    assert discovery.step(to_end=True) == {"values"}
    place.made[-1].is_up = False
    with pytest.raises(StoreUnavailableError):
        discovery.step(to_end=True)
    discovery.abandon()
    assert discovery.step(to_end=True) == {"values"}
