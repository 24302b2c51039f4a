"""What Sentinels and nodes of a Cluster say about where servers are, taken apart.

Whoever answers may be something else than was asked for, or say what is no address. A ValueError says that a reply is
none to its command; whoever asked goes on to the next.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

HostPort = tuple[str, int]  # host and port

MOST_SLOT, MOST_PORT = 16_383, 65_535
# A name of DNS, with the underscores that containers have, or an address; where it is local, its interface.
_HOST = re.compile(r"[\w.:-]{1,253}(?:%[\w.-]{1,32})?")


def read_slots(reply: Any, asked: str) -> list[tuple[int, int, list[HostPort]]]:
    """First and last slot of each range, and its nodes, the primary first; `asked` is the host of who says so."""
    return [_slots(part, asked) for part in _parts(reply)]


def read_primary(reply: Any) -> HostPort:
    """Where a Sentinel has a service's primary."""
    host, port, *_ = _parts(reply, least=2)
    return _host(_text(host)), _number(port, MOST_PORT, least=1)


def read_role(reply: Any) -> str:
    """`master`, `slave` or `sentinel`."""
    return _text(_parts(reply, least=1)[0])


def _slots(part: Any, asked: str) -> tuple[int, int, list[HostPort]]:
    first, last, *nodes = _parts(part, least=3)
    return _number(first, MOST_SLOT), _number(last, MOST_SLOT), [_node(node, asked) for node in nodes]


def _node(node: Any, asked: str) -> HostPort:
    host, port, *_ = _parts(node, least=2)
    # An empty host, or none, is that of whoever was asked (Redis' documentation of CLUSTER SLOTS).
    name = "" if host is None else _text(host)
    return asked if name in {"", "?"} else _host(name), _number(port, MOST_PORT)


def _parts(reply: Any, least: int = 0) -> Sequence[Any]:
    if not isinstance(reply, list) or len(reply) < least:
        raise ValueError(reply)
    return reply


def _text(part: Any) -> str:
    if not isinstance(part, bytes):
        raise ValueError(part)
    return part.decode()  # a UnicodeDecodeError is a ValueError


def _host(name: str) -> str:
    if not _HOST.fullmatch(name):
        raise ValueError(name)
    return name


def _number(part: Any, most: int, least: int = 0) -> int:
    number = part if isinstance(part, int) else int(part[:10]) if isinstance(part, bytes) and part.isdigit() else -1
    if not least <= number <= most:
        raise ValueError(part)
    return number
