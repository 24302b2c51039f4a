"""Commands to whichever server holds their key, one connection a server, made when it is first needed."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

import hiredis

from streamlstm.errors import StoreError, StoreUnavailableError
from streamlstm.store.resp.address import Address
from streamlstm.store.resp.connection import Connection, pack
from streamlstm.store.resp.replies import checked
from streamlstm.store.resp.topology import Topology

Part = bytes | str | int
Name = TypeVar("Name", bound=Hashable)


class WrongType:
    """The reply of `Nodes.batch` to a command over a key of another type, which is that key's matter alone."""


WRONG_TYPE = WrongType()

AT_ONCE = 1_000  # commands sent before their replies are read: both fit into the sockets' buffers


class Nodes:
    """The servers of a topology, for commands that nobody is in a hurry about."""

    def __init__(self, topology: Topology, *, name: str) -> None:
        self.topology = topology
        self._name = name
        self._connections: dict[Address, Connection] = {}

    def connection(self, key: str) -> Connection:
        """The connection to the server of a key; raises StoreUnavailableError."""
        try:
            return self.at(self.topology.home(key))
        except StoreUnavailableError:
            self.topology.doubt()
            raise

    def at(self, address: Address) -> Connection:
        """The connection to a server; raises StoreUnavailableError."""
        held = self._connections.get(address)
        if held is None:
            held = self._connections[address] = self.topology.connect(address, self._name)
        return held

    def call(self, key: str, *command: Part) -> Any:
        """One command's reply; a redirection is followed once, since it means that nothing was done."""
        for last in (False, True):
            try:
                connection = self.connection(key)
                connection.send(pack(*command))
                reply = connection.receive()
            except StoreUnavailableError:
                self.forget(key)
                raise
            try:
                return self._understood(reply, connection.address, key, command)
            except StoreUnavailableError as error:
                self.topology.doubt()
                if last or not _says_moved(error):
                    raise
                self.moved()
        raise AssertionError("the second try returns or raises")

    def batch(self, commands: Sequence[tuple[str, Sequence[Part]]]) -> list[Any]:
        """The replies to (key, command) pairs, sent together; raises as `call`.

        If keys lie on several servers, the reply of one that is away is a StoreUnavailableError, not raised; of a key
        of another type it is WRONG_TYPE.
        """
        replies: list[Any] = [None] * len(commands)
        parts: dict[Address | None, list[int]] = {}
        for number, (key, _) in enumerate(commands):
            parts.setdefault(self._home(key), []).append(number)
        for address, numbers in parts.items():
            try:
                if address is None:
                    raise StoreUnavailableError(f"no server for some keys at {self.topology.url} just now")
                self._run(self.at(address), commands, numbers, replies)
            except StoreUnavailableError as error:
                self.topology.doubt()
                self.drop(address)
                was_spread = self.topology.spread
                if _says_moved(error):
                    self.moved()
                if not self.topology.spread:
                    raise
                if not was_spread:  # the one server has turned out to be a node of a Cluster
                    return self.batch(commands)
                for number in numbers:
                    replies[number] = error
        return replies

    def batch_by(self, commands: Mapping[Name, tuple[str, Sequence[Part]]]) -> dict[Name, Any]:
        """The same for commands that have names: their replies by name."""
        return dict(zip(commands, self.batch(list(commands.values())), strict=True))

    def forget(self, key: str) -> None:
        """Close the connection to a key's server, and look for the key anew next time."""
        with contextlib.suppress(StoreUnavailableError):
            self.drop(self.topology.home(key))
        self.topology.doubt()

    def moved(self) -> None:
        """Look anew for every key: one that was asked for has moved, or has always been elsewhere."""
        self.topology = self.topology.moved()

    def close(self) -> None:
        """Close every connection; the next command looks for its server anew."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()
        self.topology.doubt()

    def _home(self, key: str) -> Address | None:
        try:
            return self.topology.home(key)
        except StoreUnavailableError:
            if not self.topology.spread:
                raise
            return None

    def _run(
        self,
        connection: Connection,
        commands: Sequence[tuple[str, Sequence[Part]]],
        numbers: list[int],
        into: list[Any],
    ) -> None:
        for first in range(0, len(numbers), AT_ONCE):
            chosen = numbers[first : first + AT_ONCE]
            connection.send(b"".join(pack(*commands[number][1]) for number in chosen))
            for number in chosen:
                into[number] = connection.receive()
            for number in chosen:
                into[number] = self._checked(into[number], connection.address, *commands[number])

    def _understood(self, reply: Any, address: Address, key: str, command: Sequence[Part]) -> Any:
        try:
            return checked(reply, address, str(command[0]))
        except StoreUnavailableError:
            raise
        except StoreError as error:
            raise type(error)(f"{error} (key {key!r})") from None

    def _checked(self, reply: Any, address: Address, key: str, command: Sequence[Part]) -> Any:
        if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("WRONGTYPE"):
            return WRONG_TYPE
        try:
            return self._understood(reply, address, key, command)
        except StoreUnavailableError as error:
            if not self.topology.spread:
                raise
            self.topology.doubt()
            return error

    def drop(self, address: Address | None) -> None:
        """Close the connection to a server, if there is one."""
        held = self._connections.pop(address, None) if address is not None else None
        if held is not None:
            held.close()


def _says_moved(error: StoreUnavailableError) -> bool:
    """Whether a server has sent a key to another one."""
    return " MOVED " in f" {error} "


def is_away(reply: Any) -> bool:
    """Whether a reply of `Nodes.batch` is the lack of one."""
    return isinstance(reply, StoreUnavailableError)
