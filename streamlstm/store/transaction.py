"""Commands carried out as one, each sent only when what it rests on has been answered.

So none of them is carried out alone, or without the watch, whichever command is refused, and by whom: an access list
that changes in between, a renamed command, a proxy that answers for the server. It takes three round trips, which is
what a commit (`store.commit`) cannot afford and does otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamlstm.errors import StoreError
from streamlstm.store.resp import Connection, agreed, checked, listed, pack

Command = tuple[bytes | str | int, ...]


def watch(connection: Connection, key: str) -> None:
    """Let the next transaction of the connection come to nothing if the key changes until then."""
    connection.send(pack("WATCH", key))
    agreed(connection.receive(), b"OK", connection.address, "WATCH")


def carry_out(connection: Connection, commands: Sequence[Command]) -> list[Any] | None:
    """The replies of commands carried out as one, errors among them; None if what is watched has changed.

    Raises StoreError if any of them is refused beforehand; nothing is carried out then, and the connection is closed.
    """
    try:
        connection.send(pack("MULTI"))
        agreed(connection.receive(), b"OK", connection.address, "MULTI")
        connection.send(b"".join(pack(*command) for command in commands))
        for command, reply in [(command, connection.receive()) for command in commands]:
            agreed(reply, b"QUEUED", connection.address, name_of(command))
        connection.send(pack("EXEC"))
        executed = connection.receive()
        return None if executed is None else listed(executed, len(commands), connection.address, "EXEC")
    except StoreError:
        connection.close()  # and with it whatever was queued
        raise


def carry_out_whole(connection: Connection, commands: Sequence[Command]) -> list[Any] | None:
    """The same; raises StoreError for the first that was carried out in vain."""
    executed = carry_out(connection, commands)
    for command, reply in zip(commands, executed or (), strict=False):
        checked(reply, connection.address, name_of(command))
    return executed


def name_of(command: Sequence[bytes | str | int]) -> str:
    """A command and its key, for messages."""
    return " ".join(part.decode("utf-8", "replace") if isinstance(part, bytes) else str(part) for part in command[:2])
