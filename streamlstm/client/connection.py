"""Which server is meant, and what to do when none answers.

Commands and clients use the store's own connection rather than redis-py's client: that would send an XADD again whose
reply was lost, so that a value is in the stream twice, and loses a field that an entry holds twice.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from streamlstm.common import remember
from streamlstm.errors import StoreError, StoreHandshakeError, StoreRefusesError, StoreUnavailableError, UsageError
from streamlstm.store.resp import Connection, Nodes, parse_topology, read_url, with_option

CLIENT_NAME = "streamlstm-cli"
PASSWORD_VARIABLE = "STREAMLSTM_REDIS_PASSWORD"  # noqa: S105  (where a password is, not one)
COMING_S = 20.0  # how long a `serve` that was just typed takes to begin its server, on a slow machine
LOOK_S = 0.1


def find_redis(url: str | None, data_dir: Path, password_file: Path | None = None) -> str:
    """Say which server is meant: the one named, else the embedded one that runs from `data_dir`.

    Never one that nobody named, as whatever listens on the usual port would be: values of strangers would go into it.
    Raises StoreUnavailableError if none is named and none runs.
    """
    if url:
        return with_password(url, password_file)
    from streamlstm.store import embedded_server  # not needed when a server is named

    found = embedded_server.running_url(data_dir)
    if found is None:
        raise StoreUnavailableError(
            f"no server: none is named, and none runs from the data directory {os.path.realpath(data_dir)!r}; start "
            "one with `streamlstm serve MODEL`, name yours with --redis URL, or another directory with --data-dir"
        )
    return found


def resolve_redis(
    url: str | None, data_dir: Path, password_file: Path | None = None, *, say: Callable[[str], None]
) -> str:
    """`find_redis`, but an embedded server is waited for, which takes a moment to come up beside `serve MODEL &`."""
    try:
        return find_redis(url, data_dir, password_file)
    except StoreUnavailableError:
        say(f"waiting for `streamlstm serve` to start a server from {data_dir} (--redis names another)")
    from streamlstm.store import embedded_server

    began_s = time.monotonic()
    while True:
        # Who holds the directory may have gigabytes to load first.
        within_s = embedded_server.START_TIMEOUT_S if embedded_server.is_held(data_dir) else COMING_S
        try:
            return find_redis(url, data_dir, password_file)
        except StoreUnavailableError:
            if time.monotonic() - began_s > within_s:
                raise
        time.sleep(LOOK_S)


def with_password(url: str, file: Path | None = None) -> str:
    """The URL with the password of a file or of STREAMLSTM_REDIS_PASSWORD, unless it has one of its own.

    Of a file only the name: it is read at each connection. Raises UsageError for a URL that is none.
    """
    said = read_url(url)
    password = os.environ.get(PASSWORD_VARIABLE, "").rstrip("\r\n")
    if said.password or "password_file" in said.options or not (file or password):
        return url
    if file:
        return with_option(url, "password_file", str(file))
    remember(password)
    return with_option(url, "password", password)


def connect(url: str, key: str = "") -> Connection:
    """Connect to the server of a key, and check with PING that it answers.

    Raises UsageError for a URL that is none, StoreUnavailableError for a server that cannot be reached, StoreError for
    one that refuses the password; each says what to do.
    """
    nodes = connect_all(url, [key])
    return nodes.connection(key)


def connect_all(url: str, keys: Iterable[str] = ("",)) -> Nodes:
    """Connect to the servers of some keys, and check with PING that they answer; raises as `connect`."""
    nodes = Nodes(parse_topology(url), name=CLIENT_NAME)
    try:
        for key in keys:
            # One whose disk is full refuses even PING, but not to be looked at.
            with contextlib.suppress(StoreRefusesError):
                nodes.call(key, "PING")
            # A node of a Cluster, named as if it were alone, sends on to the others only who names a key.
            with contextlib.suppress(StoreError):
                if key and not nodes.topology.spread:
                    nodes.call(key, "TYPE", key)
    except UsageError:
        raise
    except StoreError as error:
        nodes.close()
        raise _advised(error) from None
    return nodes


def _advised(error: StoreError) -> StoreError:
    """Add what to do about a server that does not answer."""
    if isinstance(error, StoreHandshakeError):
        return error
    if isinstance(error, StoreUnavailableError) and "no connection" in str(error):
        return type(error)(f"{error}; start one with `streamlstm serve MODEL` or name yours with --redis URL")
    return error
