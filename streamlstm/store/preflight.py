"""Whether a server takes every command that serving a stream will need, found out before the first is needed.

Commands are queued in a transaction that is never carried out: that tells of rights, of renamed and missing commands
and of a proxy's own mind on any server since Redis 6.2, and needs no right of its own, as COMMAND or ACL would.
"""

from __future__ import annotations

from collections.abc import Sequence

import hiredis

from streamlstm.store.keys import EVENTS_CHANNEL, Keys
from streamlstm.store.resp import Address, Connection, Topology, advice, agreed, odd, pack
from streamlstm.store.transaction import Command, name_of

_BEGINNING = "0-0"


class Preflight:
    """The servers of a topology, held against what will be sent to them."""

    def __init__(
        self,
        topology: Topology,
        *,
        trims: bool = False,
        sweeps: bool = False,
        replaces: bool = False,
        scores: bool = False,
        members: str | None = None,
    ) -> None:
        """Whether commits will trim streams, records be scanned, states of other models be replaced, anomalies be told.

        `members` is the key of the processes that share the streams; None where there are no leases.
        """
        self._topology, self._members = topology, members
        self._needs = {"trims": trims, "sweeps": sweeps, "replaces": replaces, "scores": scores}
        self._needs["leases"] = members is not None
        self._willing: set[Address] = set()  # servers that take every command, as far as they were asked

    def ask_once(self, stream: str) -> None:
        """Raise StoreError for the first command that a stream's server refuses, if it was not asked before."""
        address = self._topology.home(Keys(stream).input)
        if address not in self._willing:
            self._ask(address, [Keys(stream)], [])

    def ask(self, streams: Sequence[str]) -> None:
        """The same of some streams' servers and of that of the members, whether they were asked or not."""
        asked: dict[Address, tuple[list[Keys], list[Command]]] = {}
        if self._members is not None:
            asked[self._topology.home(self._members)] = [], needed_for_members(self._members)
        for keys in map(Keys, streams):
            asked.setdefault(self._topology.home(keys.input), ([], []))[0].append(keys)
        for address, (chosen, others) in asked.items():
            self._ask(address, chosen, others)

    def forget(self) -> None:
        """What servers take may be another thing by now."""
        self._willing.clear()

    def _ask(self, address: Address, streams: Sequence[Keys], others: Sequence[Command]) -> None:
        commands = [command for keys in streams for command in needed(keys, **self._needs)]
        watched = streams[0].meta if streams else self._members
        assert watched is not None, "something is asked for"
        hold_commands(self._topology.connect(address, "streamlstm-preflight"), watched, [*others, *commands])
        if streams:
            self._willing.add(address)


def needed(
    keys: Keys,
    *,
    trims: bool = False,
    sweeps: bool = False,
    replaces: bool = False,
    scores: bool = False,
    leases: bool = False,
) -> list[Command]:
    """What is asked of the server of a stream's keys while it is served, one command of a kind."""
    commands: list[Command] = [
        ("TYPE", keys.meta),
        *(("HLEN", key) for key in (keys.state, keys.challenger_state)),
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
        ("XRANGE", keys.dead, "-", "+", "COUNT", 1),
        ("TIME",),
    ]
    if trims:
        commands += [("XTRIM", key, "MINID", "~", _BEGINNING) for key in (keys.input, keys.predictions, keys.anomalies)]
    if scores:
        commands.append(("XADD", keys.anomalies, "*", "series", "1"))
    if sweeps:
        commands.append(("HSCAN", keys.state, 0, "COUNT", 1))
    if replaces:
        draft = keys.draft("state")
        commands += [("EXPIRE", draft, 1), ("PERSIST", draft), ("RENAME", draft, keys.state), ("UNLINK", keys.state)]
        commands.append(("UNWATCH",))
    if leases:
        commands += [
            ("SET", keys.lease, "owner", "NX", "PX", 1),
            ("GET", keys.lease),
            ("PTTL", keys.lease),
            ("PEXPIRE", keys.lease, 1),
            ("DEL", keys.lease),
        ]
    return commands


def needed_for_members(key: str) -> list[Command]:
    """What is asked of the server that knows which processes share the streams."""
    return [
        ("TIME",),
        ("ZRANGE", key, 0, -1, "WITHSCORES"),
        ("ZADD", key, 1, "member"),
        ("ZREM", key, "member"),
        ("ZREMRANGEBYSCORE", key, "-inf", 0),
        ("PEXPIRE", key, 1),
        ("PUBLISH", EVENTS_CHANNEL, "changed"),
    ]


def hold_commands(connection: Connection, watched: str, commands: Sequence[Command]) -> None:
    """Raise StoreError for the first that the server refuses; the connection is closed, so that none is carried out.

    What it refuses just now alone (it is full, or a replica) is no matter of this.
    """
    address = connection.address
    try:
        connection.send(pack("EXEC") + pack("WATCH", watched) + pack("MULTI"))
        alone, watching, begun = [connection.receive() for _ in range(3)]
        if "without MULTI" not in str(alone):  # the one answer of a server that knows it
            agreed(alone, b"", address, "EXEC")
            raise odd(alone, address, "EXEC")
        agreed(watching, b"OK", address, "WATCH")
        agreed(begun, b"OK", address, "MULTI")
        connection.send(b"".join(pack(*command) for command in commands))
        for command, reply in [(command, connection.receive()) for command in commands]:
            if not (isinstance(reply, hiredis.ReplyError) and advice(str(reply)) is not None):
                agreed(reply, b"QUEUED", address, name_of(command))
    finally:
        connection.close()


def needed_beside(keys: Keys) -> list[Command]:
    """What is asked besides of the server of a stream that has a challenger."""
    return [
        ("HMGET", keys.challenger_state, "series"),
        ("HSET", keys.challenger_state, "series", "record"),
        ("HDEL", keys.challenger_state, "series"),
        ("DEL", keys.challenger_state),
        ("XADD", keys.challenger_predictions, "*", "series", "1"),
        ("XTRIM", keys.challenger_predictions, "MINID", "~", _BEGINNING),
    ]
