"""The types that a stream's keys must have on the server, and one line about the first that has another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamlstm.address import Address
from streamlstm.errors import StoreError
from streamlstm.keys import Keys
from streamlstm.wire import Connection, checked, pack


def ask_types(keys: Keys) -> list[bytes]:
    """The commands that ask for them, packed; a reply each."""
    return [pack("TYPE", key) for key in keys.types]


def hold_types(keys: Keys, replies: Sequence[Any], address: Address) -> None:
    """Raise StoreError if a reply names another type than the key must have; a key that is not there is fine."""
    for (key, wanted), reply in zip(keys.types.items(), replies, strict=True):
        kind = checked(reply, address).decode()
        if kind not in {wanted, "none"}:
            raise StoreError(
                f"the key {key!r} at {address.url} is a {kind}, not a {wanted}; rename or delete it (DEL), or name "
                "another stream"
            )


def check_types(connection: Connection, keys: Keys) -> None:
    """Ask and hold; so that a reader who finds nothing is not left to think there was nothing."""
    packed = ask_types(keys)
    connection.send(b"".join(packed))
    hold_types(keys, [connection.receive() for _ in packed], connection.address)
