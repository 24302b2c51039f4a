"""The types that a stream's keys must have on the server, and one line about the first that has another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamlstm.errors import NoStreamError, StoreError
from streamlstm.store.keys import Keys
from streamlstm.store.resp import Address, Connection, checked, odd, pack


def ask_types(keys: Keys) -> list[bytes]:
    """The commands that ask for them, packed; a reply each."""
    return [pack("TYPE", key) for key in keys.types]


def hold_types(keys: Keys, replies: Sequence[Any], address: Address) -> bool:
    """Raise StoreError if a reply names another type than the key must have; returns whether any key is there."""
    kinds = [_kind(reply, address) for reply in replies]
    for (key, wanted), kind in zip(keys.types.items(), kinds, strict=True):
        if kind not in {wanted, "none"}:
            raise StoreError(
                f"the key {key!r} at {address.url} is a {kind}, not a {wanted}; rename or delete it (DEL), or name "
                "another stream"
            )
    return any(kind != "none" for kind in kinds)


def _kind(reply: Any, address: Address) -> str:
    kind = checked(reply, address, "TYPE")
    if not isinstance(kind, bytes):
        raise odd(reply, address, "TYPE")
    return kind.decode()


def check_types(connection: Connection, keys: Keys) -> bool:
    """Ask and hold, so that a reader who finds nothing is not left to think there was nothing; whether any is there."""
    packed = ask_types(keys)
    connection.send(b"".join(packed))
    return hold_types(keys, [connection.receive() for _ in packed], connection.address)


def check_stream(connection: Connection, keys: Keys) -> None:
    """Ask and hold; raises NoStreamError if there is nothing of the stream."""
    if not check_types(connection, keys):
        raise no_stream(keys, connection.address)


def no_stream(keys: Keys, address: Address, *, follow: bool = False) -> NoStreamError:
    """The error of a stream of which there is nothing: most often its name is mistyped."""
    return NoStreamError(
        f"there is no stream {keys.input!r} at {address.url}; `streamlstm status` shows those that have been served"
        + (", and --follow waits for one that is yet to come" if follow else "")
    )
