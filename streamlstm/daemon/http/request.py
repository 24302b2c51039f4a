"""One HTTP request: its head read by a deadline and within bounds, taken apart strictly, and the host it was sent to.

A page of another site can have its name point at this machine once it is loaded (DNS rebinding), and then reads what is
answered here as its own. The name it was sent to stands in `Host`, which no page can change.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import time
from collections.abc import Collection
from dataclasses import dataclass

REQUEST_S = 10.0  # from the connection to the end of the head, however its bytes come
MOST_HEAD_BYTES = 16_384  # a browser's is under 2,000; the longest path here names a stream and a series
ANY_NAME = "*"

_END = re.compile(rb"\r?\n\r?\n")
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  (RFC 9110's word)
_LINE = re.compile(rf"({_TOKEN}) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])")
_FIELD = re.compile(rf"({_TOKEN}):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_TARGET = re.compile(r"https?://([^/?#]*)([^#]*)", re.IGNORECASE)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::[0-9]*)?")


@dataclass(frozen=True)
class Request:
    """The head of an HTTP request, taken apart."""

    method: str
    path: str
    query: str
    host: str | None  # name or address, without the port, in lower case; None if an old client did not say


@dataclass(frozen=True)
class Refusal:
    """Why a request is not answered."""

    status: int
    reason: str


def read_request(connection: socket.socket) -> Request | Refusal | None:
    """Read a request's head; None if the client has left. Raises OSError if the connection breaks."""
    deadline_s = time.monotonic() + REQUEST_S
    received = bytearray()
    while (end := _END.search(received, 0, MOST_HEAD_BYTES)) is None:
        if len(received) >= MOST_HEAD_BYTES:
            return Refusal(431, f"the head of the request is longer than {MOST_HEAD_BYTES:,} bytes")
        left_s = deadline_s - time.monotonic()
        try:
            connection.settimeout(max(left_s, 0.001))
            data = connection.recv(MOST_HEAD_BYTES) if left_s > 0 else b""
        except TimeoutError:
            data = b""
        if not data:
            late = time.monotonic() >= deadline_s
            return Refusal(408, f"the request took longer than {REQUEST_S:.0f} s") if late else None
        received = bytearray((received + data).lstrip(b"\r\n"))
    return parse(received[: end.start()].decode("latin-1"))


def parse(head: str) -> Request | Refusal:
    """Take a head apart, without the empty line that ends it (RFC 9112)."""
    first, *lines = head.replace("\r\n", "\n").split("\n")
    match = _LINE.fullmatch(first)
    if match is None:
        return Refusal(400, "the first line is not METHOD PATH HTTP/1.1")
    method, target, major, minor = match.groups()
    if major != "1":
        return Refusal(505, "this server speaks HTTP/1.1")
    hosts = []
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            return Refusal(400, "a line of the head is not NAME: VALUE")
        if field[1].lower() == "host":
            hosts.append(field[2].strip(" \t"))
    if len(hosts) > 1 or (not hosts and minor != "0"):
        return Refusal(400, "there is one field Host in a request")
    absolute = _TARGET.fullmatch(target)
    if absolute is not None:  # as to a proxy; it counts instead of Host
        hosts, target = [absolute[1]], absolute[2] or "/"
    host = host_name(hosts[0]) if hosts else None
    if host == "":
        return Refusal(400, "Host is not HOST or HOST:PORT")
    path, _, query = target.partition("?")
    return Request(method, path, query, host)


def host_name(text: str) -> str:
    """The name or address of `HOST:PORT` or `HOST`, in lower case; empty if it is neither."""
    match = _HOST.fullmatch(text)
    return match[1].strip("[]").rstrip(".").lower() if match else ""


def is_own(host: str | None, names: Collection[str]) -> bool:
    """Whether a request was meant for this machine, and not for a name that somebody made point here.

    Nobody can make an address or `localhost` point here; other names are this machine's if they are among `names`.
    """
    if host is None or ANY_NAME in names or host in names or host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
