"""Whether a server takes every command that serving a stream will need, found out before the first is needed.

Commands are queued in a transaction that is never carried out: that tells of rights, of renamed and missing commands
and of a proxy's own mind on any server since Redis 6.2, and needs no right of its own, as COMMAND or ACL would.
"""

from __future__ import annotations

import hiredis

from streamlstm.keys import Keys
from streamlstm.refusals import advice
from streamlstm.replies import agreed, odd
from streamlstm.transaction import Command, name_of
from streamlstm.wire import Connection, pack

_BEGINNING = "0-0"


def needed(keys: Keys, *, trims: bool, sweeps: bool) -> list[Command]:
    """What is asked of the server of a stream's keys while it is served, one command of a kind."""
    commands: list[Command] = [
        ("XREAD", "COUNT", 1, "BLOCK", 1, "STREAMS", keys.input, _BEGINNING),
        ("HMGET", keys.state, "series"),
        ("HSET", keys.state, "series", "record"),
        ("HDEL", keys.state, "series"),
        ("DEL", keys.state),
        ("XADD", keys.predictions, "*", "series", "1"),
        ("XADD", keys.dead, "MAXLEN", "~", 1, "*", "id", _BEGINNING),
        ("HSET", keys.meta, "position", _BEGINNING),
        ("HGET", keys.meta, "position"),
        ("XINFO", "STREAM", keys.input),
        ("XRANGE", keys.input, "-", "+", "COUNT", 1),
        ("TIME",),
    ]
    if trims:
        commands += [("XTRIM", key, "MINID", "~", _BEGINNING) for key in (keys.input, keys.predictions)]
    if sweeps:
        commands.append(("HSCAN", keys.state, 0, "COUNT", 1))
    return commands


def hold_commands(connection: Connection, commands: list[Command]) -> None:
    """Raise StoreError for the first that the server refuses; the connection is closed, so that none is carried out.

    What it refuses just now alone (it is full, or a replica) is no matter of this.
    """
    address = connection.address
    try:
        connection.send(pack("EXEC") + pack("MULTI"))
        alone, begun = connection.receive(), connection.receive()
        if "without MULTI" not in str(alone):  # the one answer of a server that knows it
            agreed(alone, b"", address, "EXEC")
            raise odd(alone, address, "EXEC")
        agreed(begun, b"OK", address, "MULTI")
        connection.send(b"".join(pack(*command) for command in commands))
        for command, reply in [(command, connection.receive()) for command in commands]:
            if not (isinstance(reply, hiredis.ReplyError) and advice(str(reply)) is not None):
                agreed(reply, b"QUEUED", address, name_of(command))
    finally:
        connection.close()
