"""URLs of Redis servers, read strictly and shown without their secrets.

What is not understood is refused: an option that is quietly ignored (`ssl_ca_cert` for `ssl_ca_certs`), or a path that
quietly means database 0, is found out in production. Options have the names that redis-py gave them.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import quote, unquote

from streamlstm.common import MASK, remember, without_secrets
from streamlstm.errors import UsageError

REDIS_PORT, SENTINEL_PORT = 6_379, 26_379
MOST_DATABASE = 2**31 - 1  # what SELECT takes

# Scheme -> kind of server, whether with TLS.
SCHEMES: dict[str, tuple[str, bool]] = {
    "redis": ("one", False),
    "rediss": ("one", True),
    "unix": ("socket", False),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
EXAMPLES = {
    "one": "redis://host:6379/0",
    "socket": "unix:///run/redis/redis.sock?db=0",
    "sentinel": "redis+sentinel://host:26379,host:26379/service/0",
    "cluster": "redis+cluster://host:6379,host:6379",
}
_ANY = ("username", "password", "password_file", "socket_timeout", "socket_connect_timeout")
_TRUST = ("ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_check_hostname")
_TLS = (*_TRUST, "ssl_certfile", "ssl_keyfile", "ssl_password")
_OF_KIND: dict[str, tuple[str, ...]] = {
    "one": ("db",),
    "socket": ("db",),
    "sentinel": ("sentinel_username", "sentinel_password", "sentinel_password_file"),
    "cluster": (),
}
# What other clients call them.
_OTHERS_NAMES = dict.fromkeys(("auth", "pass", "passwd", "pwd"), "password")
_OTHERS_NAMES |= {"user": "username", "database": "db", "timeout": "socket_timeout", "ssl": "rediss://"}
_SECRET = ("password", "ssl_password", "sentinel_password")
_ENCODE = (
    "in a URL a password is percent-encoded: / is %2F, # is %23, ? is %3F, @ is %40, % is %25; or leave it out and use "
    "--password-file or STREAMLSTM_REDIS_PASSWORD"
)
_PORT = re.compile(r"[0-9]{1,5}")
_PATH = re.compile(r"(?:db[=:]?)?[0-9]*/?")  # of a database; any other word may be a secret
_SERVICE = re.compile(r"[\w.-]+(?:/[0-9]*)?/?")  # Sentinels' path, a database behind it
# A socket, or a host, without scheme and port; any other word may be a password that was given for the URL.
_HOST = re.compile(r"/[a-z0-9._/-]*|localhost(?:/[0-9]*)?|[a-z0-9-]+(?:\.[a-z0-9-]+)+(?:/[0-9]*)?")

# A URL without its scheme: a host, a port and a database.
_BARE = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?(?:/[0-9]*)?")


@dataclass(frozen=True, kw_only=True)
class RedisUrl:
    """What a URL says."""

    kind: str  # one, socket, sentinel or cluster
    tls: bool
    shown: str  # without secrets, fit for messages
    hosts: tuple[tuple[str, int], ...] = ()  # none of a socket
    path: str | None = None  # of a socket
    service: str = ""  # of Sentinels
    database: int = 0
    username: str | None = None
    password: str | None = None
    options: Mapping[str, str]  # decoded; those that are given

    def seconds(self, name: str, default: float) -> float:
        """An option that is a number of seconds above 0; raises UsageError."""
        text = self.options.get(name)
        try:
            seconds = default if text is None else float(text)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise UsageError(f"{self.shown!r}: {name} is a number of seconds above 0")
        return seconds

    def flag(self, name: str, *, default: bool) -> bool:
        """An option that is yes or no; raises UsageError."""
        text = self.options.get(name, "").lower()
        if text not in {"", "true", "1", "yes", "false", "0", "no"}:
            raise UsageError(f"{self.shown!r}: {name} is true or false")
        return default if not text else text in {"true", "1", "yes"}


def read_url(url: str) -> RedisUrl:
    """Read a URL of any scheme of SCHEMES; raises UsageError, which shows no secret and says what to write instead."""
    return _Reader(url.strip()).read()


def shown(text: str) -> str:
    """What was given as a URL, however wrong, without what could be a secret; that is hidden elsewhere too from now."""
    try:
        return read_url(text).shown
    except UsageError:
        return _shown_wrong(text.strip())


def with_option(url: str, name: str, value: str) -> str:
    """A URL with one option more."""
    url = url.strip()
    return f"{url}{'&' if '?' in url else '?'}{name}={quote(value, safe='/')}"


def as_cluster(url: str) -> str:
    """The URL of a Cluster that a redis:// or rediss:// URL names a node of."""
    return url.replace("://", "+cluster://", 1)


class _Reader:
    """Takes one URL apart."""

    def __init__(self, url: str) -> None:
        self._url = url
        scheme, separator, rest = url.partition("://")
        self._scheme, self._rest = (scheme, rest) if separator else ("", url)

    def read(self) -> RedisUrl:
        known = SCHEMES.get(self._scheme)
        if known is None:
            self._fail(self._scheme_hint())
        kind, tls = known
        if not self._rest.isprintable() or " " in self._rest:
            self._fail(f"there are signs in it that no URL has; {_ENCODE}")
        body, _, query = self._rest.partition("?")
        place, slash, path = body.partition("/")
        before, at, hosts = place.rpartition("@")
        # Whatever follows such a sign in a password would be taken for host, path or options.
        in_path = "@/" in path if kind == "socket" and not place else "@" in path
        if "#" in self._rest or "@" in before or "@" in query or in_path:
            self._fail(_ENCODE)
        username, colon, password = before.partition(":")
        options = self._options(query, kind, tls)
        # A user without a password anywhere may be a password by mistake.
        is_user = colon or "password" in options or "password_file" in options
        who = f"{username}{':' + MASK if colon else ''}@" if is_user else f"{MASK}@"
        made = RedisUrl(
            kind=kind,
            tls=tls,
            shown=f"{self._scheme}://{who if at else ''}{hosts}{slash}{path}{_query_shown(query)}",
            hosts=() if kind == "socket" else self._hosts(kind, hosts),
            path=self._socket(hosts, slash + path) if kind == "socket" else None,
            service=self._service(path) if kind == "sentinel" else "",
            database=self._database(kind, path, options),
            username=self._once("username", self._decoded(username), options.get("username")),
            password=self._once("password", self._decoded(password), options.get("password")),
            options=options,
        )
        if made.password is not None:
            remember(made.password)
            remember(password)  # as it is written
        return made

    def _scheme_hint(self) -> str:
        kinds = ", ".join(f"{name}://" for name in SCHEMES)
        written = re.match(r"[A-Za-z+]+(?=:/)", self._url)
        near = difflib.get_close_matches((self._scheme or (written[0] if written else "")).lower(), SCHEMES, n=1)
        if near:
            return f"did you mean {near[0]}://?"
        if self._url.startswith("/"):
            return f"a socket is written as in {EXAMPLES['socket']}"
        if _BARE.fullmatch(self._url) and _shown_wrong(self._url) == self._url:  # no secret stands where a host would
            return f"did you mean redis://{self._url}?"
        return f"it begins with one of {kinds}; an example is {EXAMPLES['one']}"

    def _options(self, query: str, kind: str, tls: bool) -> dict[str, str]:
        known = (*_ANY, *_OF_KIND[kind], *(() if kind == "socket" else _TLS))
        found: dict[str, str] = {}
        for part in filter(None, query.split("&")):
            name, equals, value = part.partition("=")
            if name not in known:
                self._fail(_unknown_option(name, known))
            if name in found:
                self._fail(f"{name} is given twice")
            if not equals or not value:
                self._fail(f"{name} has no value")
            if name in _SECRET:
                remember(value)
                remember(self._decoded(value.replace("+", " ")) or "")
            if name in _TLS and not tls:
                self._fail(f"{name} is for TLS: write {self._scheme.replace('redis', 'rediss', 1)}://")
            found[name] = self._decoded(value.replace("+", " ")) or ""
        if "ssl_keyfile" in found and "ssl_certfile" not in found:
            self._fail("ssl_keyfile needs ssl_certfile beside it")
        for one, other in (("password", "password_file"), ("sentinel_password", "sentinel_password_file")):
            if one in found and other in found:
                self._fail(f"{one} and {other}: give one of them")
        return found

    def _hosts(self, kind: str, text: str) -> tuple[tuple[str, int], ...]:
        port = SENTINEL_PORT if kind == "sentinel" else REDIS_PORT
        parts = text.split(",")
        if kind == "one" and len(parts) > 1:
            self._fail(f"several servers have a URL such as {EXAMPLES['sentinel']} or {EXAMPLES['cluster']}")
        return tuple(self._host(part, port, required=kind != "one") for part in parts)

    def _host(self, text: str, port: int, *, required: bool) -> tuple[str, int]:
        match = re.fullmatch(r"(\[[^\[\]]+\]|[^:\[\]]*)(?::([^:]*))?", text)
        if match is None:
            self._fail("its host is not host:port; an IPv6 address stands in brackets, as in [::1]:6379")
        host, written = self._decoded(match[1].strip("[]")), match[2]
        if match[1].startswith("[") and not _is_ipv6(host):
            self._fail("what stands in brackets is no IPv6 address; write one as in [::1]:6379")
        if required and not host:
            self._fail("a host is missing")
        if host and not _is_name(host):
            self._fail("its host is neither a name nor an address")
        if written and not (_PORT.fullmatch(written) and 0 < int(written) < 65_536):
            self._fail(f"its port is not a number from 1 to 65535; {_ENCODE}")
        return host or "localhost", int(written) if written else port

    def _socket(self, hosts: str, path: str) -> str:
        if hosts or path in {"", "/"}:
            self._fail(f"the path of a socket is absolute: {EXAMPLES['socket']}")
        decoded = self._decoded(path) or ""
        if "\0" in decoded:
            self._fail("there is no file of that name")
        return decoded

    def _service(self, path: str) -> str:
        service, _, rest = path.partition("/")
        if not service:
            self._fail(f"it lacks the service: {EXAMPLES['sentinel']}")
        if "/" in rest.removesuffix("/"):
            self._fail(f"its path is service/database: {EXAMPLES['sentinel']}")
        return self._decoded(service) or ""

    def _database(self, kind: str, path: str, options: Mapping[str, str]) -> int:
        written = {"socket": "", "sentinel": path.partition("/")[2]}.get(kind, path).removesuffix("/")
        text = options.get("db", "") or written or "0"  # as redis-py has it
        if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MOST_DATABASE):
            number = re.fullmatch(r"db[=:]?([0-9]+)", text)
            near = f"; did you mean /{number[1]}?" if number else f": {EXAMPLES[kind]}"
            self._fail(f"its path is a database's number{near}")
        if kind == "cluster" and int(text):
            self._fail("a Redis Cluster has only the database 0; leave the path out")
        return int(text)

    def _once(self, name: str, before_host: str | None, option: str | None) -> str | None:
        if before_host and option:
            self._fail(f"the {name} is given twice, before the host and as an option")
        return before_host or option

    def _decoded(self, text: str) -> str | None:
        try:
            return unquote(text, errors="strict") or None
        except UnicodeDecodeError:
            self._fail("what is percent-encoded in it is not UTF-8")

    def _fail(self, reason: str) -> NoReturn:
        raise UsageError(f"{_shown_wrong(self._url)!r} is not a Redis URL: {reason}")


def _is_ipv6(host: str | None) -> bool:
    try:
        ipaddress.IPv6Address(host or "")
    except ValueError:
        return False
    return True


def _is_name(host: str) -> bool:
    """Whether a machine can be called so: no label is empty or too long, nothing in it acts."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return host.isprintable() and " " not in host


def _unknown_option(name: str, known: tuple[str, ...]) -> str:
    near = _near_option(name, known)
    # The name itself may be the rest of a password with a question mark in it.
    what = f"there is no option {without_secrets(name)!r}" if near else "an option of it is not known"
    return f"{what}; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}")


def _near_option(name: str, known: tuple[str, ...]) -> list[str]:
    """The option that is meant by a name; none if nothing is like it."""
    plain = unquote(name).lower()
    return [_OTHERS_NAMES[plain]] if plain in _OTHERS_NAMES else difflib.get_close_matches(plain, known, n=1)


def _query_shown(query: str) -> str:
    """Options with their values, but for those that are secret or may be meant so."""
    known = (*_ANY, *_TLS, *(name for names in _OF_KIND.values() for name in names))
    harmless = set(known).difference(_SECRET)
    parts = [part.partition("=") for part in query.split("&") if part]
    shown = [
        f"{name if _near_option(name, known) else MASK}={value if _may_be_shown(name, value, harmless) else MASK}"
        for name, _, value in parts
    ]
    return f"?{'&'.join(shown)}" if shown else ""


def _may_be_shown(name: str, value: str, harmless: set[str]) -> bool:
    return name in harmless and (name != "db" or value.isdigit())


def _shown_wrong(text: str) -> str:
    """What can be shown of text that is no URL: nothing that may be a secret, wherever in it that slipped to."""
    begin = re.match(r"[A-Za-z][A-Za-z+]*:/+", text)
    scheme = begin[0] if begin else ""
    rest = text[len(scheme) :]
    before, at, _ = rest.rpartition("@")
    if at:
        remember(before)
        remember(before.partition(":")[2])
        return f"{scheme}{MASK}"
    if not scheme and ":" not in text and not _HOST.fullmatch(text):
        return MASK
    place, _, query = rest.partition("?")
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name not in {*_ANY, *_TLS, "db"}.difference(_SECRET):
            remember(value)
            remember(unquote(value))
    # A password whose host was forgotten stands where a port would.
    after = re.search(r":(?![0-9]{1,4}(?:[/,]|$)|[1-6][0-9]{4}(?:[/,]|$))", re.sub(r"\[[^\]]*\]", "", place))
    if after:
        remember(rest.partition(":")[2])
        return f"{scheme}{place.partition(':')[0]}:{MASK}"
    host, slash, path = place.partition("/")
    host = re.sub(r"\[([^\]]*)\]?", lambda found: found[0] if _is_ipv6(found[1]) else MASK, host)
    if not scheme.startswith("unix") and not (_SERVICE if "sentinel" in scheme else _PATH).fullmatch(path):
        path = MASK
    return f"{scheme}{host}{slash}{path}{_query_shown(query)}"
