"""Which server holds a key: one server, the primary that Sentinels name, or the nodes of a Cluster.

Whoever meets a failure calls `doubt`, and the next answer is looked up anew: with Sentinel the primary of just now,
checked with ROLE; with Cluster the map of slots. Nothing follows a redirection of a Cluster by itself: during a
failover or while a slot moves the keys of a stream wait until they are whole in one place again.
"""

from __future__ import annotations

import binascii
import re
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

from streamlstm.errors import StoreError, StoreHandshakeError, StoreNotNowError, StoreUnavailableError
from streamlstm.store.resp.address import SOCKET_TIMEOUT_S, Address, path_of
from streamlstm.store.resp.circuit_breaker import Hushed
from streamlstm.store.resp.connection import Connection
from streamlstm.store.resp.replies import odd
from streamlstm.store.resp.reply_limits import OF_PLACES
from streamlstm.store.resp.topology_replies import HostPort, read_primary, read_role, read_slots
from streamlstm.store.resp.url import as_cluster, read_url

Found = TypeVar("Found")

# Nodes known from the last map that are asked for the next one, before those of the URL; a map may name any number.
MOST_ASKED = 32
MOST_FAILURES = 5  # of servers that are said

TOPOLOGY = "streamlstm-topology"  # the name of connections that only ask where keys are

SLOTS = 16_384
_HASH_TAG = re.compile(rb"[^{]*\{([^}]+)\}")


def key_slot(key: bytes) -> int:
    """The slot of a key in any Cluster: CRC-16 of its hash tag, or of the whole key (Redis Cluster specification).

    redis-py has the same; importing all of it for this took a third of the time in which a command starts.
    """
    tag = _HASH_TAG.match(key)
    return binascii.crc_hqx(key if tag is None else tag[1], 0) % SLOTS


class Topology(Protocol):
    """Where keys are."""

    @property
    def url(self) -> str:
        """What was asked for, password masked."""

    @property
    def spread(self) -> bool:
        """Whether keys lie on several servers, any of which may be away while the others are not."""

    def home(self, key: str) -> Address:
        """The server that takes commands for a key; raises StoreUnavailableError if there is none just now."""

    def homes(self) -> list[Address]:
        """All servers with keys."""

    def slot(self, key: str) -> int:
        """Keys of one slot of one server may be read in one command."""

    def doubt(self) -> None:
        """Look anew before the next answer."""

    def moved(self) -> Topology:
        """What to ask from now on, once a server has sent a key to another one."""

    def connect(self, address: Address, name: str) -> Connection:
        """A connection of the caller's own to a server; raises StoreUnavailableError.

        StoreNotNowError where the server is there, and others have its keys by now.
        """


def parse_topology(url: str, socket_timeout_s: float = SOCKET_TIMEOUT_S) -> Topology:
    """Read redis://, rediss://, unix://, and redis+sentinel:// or redis+cluster:// (rediss+…: with TLS).

    `socket_timeout_s` is the longest silence while a reply is waited for, where the URL does not say it itself.
    Raises UsageError for anything else.
    """
    said = read_url(url)
    greeting = Address.of(said, socket_timeout_s)
    if said.kind == "cluster":
        return Cluster(said.shown, greeting, list(said.hosts))
    if said.kind == "sentinel":
        watcher = replace(
            greeting,
            username=said.options.get("sentinel_username"),
            password=said.options.get("sentinel_password"),
            password_file=path_of(said.options.get("sentinel_password_file")),
            database=0,
        )
        return Sentinel(said.shown, greeting, watcher, list(said.hosts), said.service)
    return OneServer(greeting)


def at(address: Address, host: str, port: int) -> Address:
    """The same greeting for another host."""
    shown = f"[{host}]" if ":" in host else host
    scheme = "rediss" if address.tls is not None else "redis"
    return replace(address, host=host, port=port, url=f"{scheme}://{shown}:{port}/{address.database}")


@dataclass(frozen=True)
class OneServer:
    """The one server of a redis://, rediss:// or unix:// URL."""

    address: Address

    spread = False

    @property
    def url(self) -> str:
        """Password masked."""
        return self.address.url

    def home(self, key: str) -> Address:  # noqa: ARG002
        return self.address

    def homes(self) -> list[Address]:
        return [self.address]

    def slot(self, key: str) -> int:  # noqa: ARG002
        """All keys can be read together."""
        return 0

    def doubt(self) -> None:
        """There is no other."""

    def moved(self) -> Topology:
        """A server that knows of others is a node of a Cluster."""
        address = self.address
        if address.path is not None:
            return self
        return Cluster(as_cluster(address.url), address, [(address.host, address.port)])

    def connect(self, address: Address, name: str) -> Connection:
        return Connection(address, name=name)


class Sentinel:
    """The primary of a service, asked of the first Sentinel that answers and checked with ROLE.

    Source: Redis' "Guidelines for Redis clients with support for Redis Sentinel".
    """

    spread = False

    def __init__(
        self, url: str, primary: Address, watcher: Address, endpoints: list[tuple[str, int]], service: str
    ) -> None:
        """`primary` and `watcher` say how to greet a data server and a Sentinel; their hosts do not count."""
        self.url = url
        self._greeting = primary
        self._watchers = [at(watcher, *endpoint) for endpoint in endpoints]
        self._service = service
        self._primary: Address | None = None

    def home(self, key: str) -> Address:  # noqa: ARG002
        if self._primary is None:
            self._primary = self._find()
        return self._primary

    def homes(self) -> list[Address]:
        return [self.home("")]

    def slot(self, key: str) -> int:  # noqa: ARG002
        """All keys can be read together."""
        return 0

    def doubt(self) -> None:
        """Ask the Sentinels again."""
        self._primary = None

    def moved(self) -> Topology:
        """Sentinels watch no Clusters."""
        return self

    def connect(self, address: Address, name: str) -> Connection:
        """Connect; a primary of before may be there, as a replica that answers reads by what it has."""
        made = Connection(address, name=name)
        try:
            role = _reply(made, read_role, "ROLE")
            if role != "master":
                self.doubt()
                raise StoreNotNowError(f"{address.url} is a {role}, not the primary any more")
        except BaseException:
            made.close()
            raise
        return made

    def _find(self) -> Address:
        failures: list[str | StoreUnavailableError] = []
        for number, watcher in enumerate(self._watchers):
            try:
                where = self._ask_where(watcher)
                if where is None:
                    failures.append(f"the Sentinel at {watcher.host}:{watcher.port} knows no {self._service!r}")
                    continue
                primary = at(self._greeting, *where)
                role = _ask(Connection(primary, name=TOPOLOGY), read_role, "ROLE")
            except StoreUnavailableError as error:
                failures.append(error)
                continue
            if role == "master":
                # The one that answered is asked first next time.
                self._watchers.insert(0, self._watchers.pop(number))
                return primary
            failures.append(f"{primary.url} is a {role}, not the primary yet")
        raise _all_failed(f"no primary of {self._service!r} at {self.url}", failures)

    def _ask_where(self, watcher: Address) -> HostPort | None:
        def read(reply: Any) -> HostPort | None:
            return None if reply is None else read_primary(reply)

        found = Connection(watcher, name=TOPOLOGY)
        return _ask(found, read, "SENTINEL", "get-master-addr-by-name", self._service)


class Cluster:
    """The nodes of a Redis Cluster, by CLUSTER SLOTS, which every version since 3.0 answers."""

    spread = True

    def __init__(
        self,
        url: str,
        greeting: Address,
        endpoints: list[tuple[str, int]],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url
        self._greeting = greeting
        self._hushed = Hushed(monotonic)
        self._seeds = [at(greeting, *endpoint) for endpoint in endpoints]
        self._slots: list[tuple[int, int, Address]] = []  # first, last, primary; sorted; empty when in doubt
        self._homes: dict[str, Address] = {}  # by key, of those asked for
        self._known: list[Address] = []  # primaries and replicas seen last

    def home(self, key: str) -> Address:
        """The primary of the key's slot."""
        known = self._homes.get(key)
        if known is not None:
            return known
        slot = self.slot(key)
        for first, last, address in self._map():
            if first <= slot <= last:
                self._homes[key] = address
                return address
        self.doubt()
        raise StoreUnavailableError(f"no node of the Redis Cluster at {self.url} serves the slot {slot} just now")

    def homes(self) -> list[Address]:
        return list(dict.fromkeys(address for _, _, address in self._map()))

    def slot(self, key: str) -> int:
        """`key_slot`."""
        return key_slot(key.encode())

    def doubt(self) -> None:
        """Fetch the map of slots again."""
        self._slots = []
        self._homes.clear()

    def moved(self) -> Topology:
        """The same, which looks anew."""
        self.doubt()
        return self

    def connect(self, address: Address, name: str) -> Connection:
        """Connect; a node that has just been silent is refused at once."""
        return self._hushed.connect(address, name)

    def _map(self) -> list[tuple[int, int, Address]]:
        if not self._slots:
            self._slots = self._fetch()
        return self._slots

    def _fetch(self) -> list[tuple[int, int, Address]]:
        failures: list[str | StoreUnavailableError] = []
        for node in dict.fromkeys([*self._known[:MOST_ASKED], *self._seeds]):
            try:
                slots = _ask(self.connect(node, TOPOLOGY), partial(read_slots, asked=node.host), "CLUSTER", "SLOTS")
            except StoreUnavailableError as error:
                failures.append(error)
                continue
            except StoreError as error:
                if "cluster support disabled" not in str(error):
                    raise
                raise StoreError(f"{self.url}: the server is not part of a Cluster; use {node.url}") from None
            # A map has each place many times, and may have more than anybody asks.
            everyone = dict.fromkeys([node for _, _, nodes in slots for node in nodes])
            known = {place: at(self._greeting, *place) for place in dict.fromkeys([nodes[0] for _, _, nodes in slots])}
            known |= {place: at(self._greeting, *place) for place in list(everyone)[:MOST_ASKED]}
            if slots:
                self._known = [known[place] for place in everyone if place in known]
                return [(first, last, known[nodes[0]]) for first, last, nodes in sorted(slots)]
            failures.append(f"{node.url} knows of no slots")
        raise _all_failed(f"no node of the Redis Cluster at {self.url} answers", failures)


def _all_failed(what: str, failures: Sequence[str | StoreUnavailableError]) -> StoreUnavailableError:
    """Nobody could be asked; if somebody has to mend something, that is what it is about."""
    kind = (
        StoreHandshakeError if any(isinstance(one, StoreHandshakeError) for one in failures) else StoreUnavailableError
    )
    more = len(failures) - MOST_FAILURES
    said = [*map(str, failures[:MOST_FAILURES]), *([f"and {more} more"] if more > 0 else [])]
    return kind(f"{what}: {'; '.join(said)}")


def _ask(connection: Connection, read: Callable[[Any], Found], *command: str) -> Found:
    """What a server says at the end of a connection, as `_reply`."""
    with closing(connection):
        return _reply(connection, read, *command)


def _reply(connection: Connection, read: Callable[[Any], Found], *command: str) -> Found:
    """What a server says, taken apart; raises StoreUnavailableError if it is no answer, for another may give one."""
    limits, connection.limits = connection.limits, OF_PLACES
    reply = connection.call(*command)
    connection.limits = limits
    try:
        return read(reply)
    except ValueError:
        raise StoreUnavailableError(str(odd(reply, connection.address, " ".join(command[:2])))) from None
