"""Where the HTTP server listens: HOST:PORT read, bound, and written as a URL; IPv6 in brackets."""

from __future__ import annotations

import errno
import ipaddress
import re
import socket

from streamlstm.errors import ResourceError, UsageError

BACKLOG = 128  # connections that wait to be taken
_ADDRESS = re.compile(r"(\[[^\[\]]+\]|[^:\[\]/@]*):([0-9]{1,5})")
_NOT_HERE = {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


def parse_address(address: str) -> tuple[str, int]:
    """`HOST:PORT` or `[IPv6]:PORT` as a pair; raises UsageError for anything else."""
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match[2]) > 65_535:
        raise UsageError(f"{address!r} is not HOST:PORT; examples are 127.0.0.1:9478 and [::1]:9478")
    host = match[1].strip("[]") or "127.0.0.1"
    if match[1].startswith("["):
        try:
            ipaddress.IPv6Address(host)
        except ValueError as error:
            raise UsageError(f"{address!r} is not HOST:PORT, what brackets hold is an IPv6 address: {error}") from None
    return host, int(match[2])


def listen(address: str, host: str, port: int) -> socket.socket:
    """A socket that listens; `::` is every address of both kinds. Raises ResourceError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        # `localhost` is most often both; 127.0.0.1 is what others take it for.
        found.sort(key=lambda one: one[0] != socket.AF_INET)
        for number, (family, _, _, _, place) in enumerate(found):
            try:
                return _bound(family, place)
            except OSError as error:
                if error.errno not in _NOT_HERE or number + 1 == len(found):
                    raise
    except (OSError, UnicodeError) as error:  # a name that is none is a UnicodeError
        reason = getattr(error, "strerror", None) or error
        raise ResourceError(
            f"cannot listen on {address} for HTTP: {reason}; name another address with --http HOST:PORT"
        ) from None
    raise AssertionError("a name that is found has an address")


def _bound(family: int, place: tuple[object, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, place[0] != "::")
        made.bind(place)
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def url_of(host: str, listening: socket.socket) -> str:
    """The URL of a host that was asked for, with the port that was given."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listening.getsockname()[1]}"


def is_loopback(listening: socket.socket) -> bool:
    """Whether only this machine can reach it."""
    return ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback
