"""Which server a command talks to, and what to do when none answers.

Commands use the store's own connection rather than redis-py's client: that would send an XADD again whose reply was
lost, so that a value is in the stream twice, and loses a field that an entry holds twice.
"""

from __future__ import annotations

from pathlib import Path

from streamlstm.errors import StoreError, StoreUnavailableError
from streamlstm.wire import Address, Connection

DEFAULT_URL = "redis://127.0.0.1:6379/0"
CLIENT_NAME = "streamlstm-cli"


def resolve_redis(url: str | None, data_dir: Path) -> str:
    """Say which server is meant: the one named, else the embedded one of `data_dir` if it runs, else the usual port."""
    if url:
        return url
    from streamlstm import embedded  # not needed when a server is named

    return embedded.running_url(data_dir) or DEFAULT_URL


def connect(url: str) -> Connection:
    """Connect and check with PING that the server answers.

    Raises UsageError for a URL that is none, StoreUnavailableError for a server that cannot be reached, StoreError for
    one that refuses the password; each says what to do.
    """
    address = Address.parse(url)
    try:
        connection = Connection(address, name=CLIENT_NAME)
    except StoreUnavailableError as error:
        raise StoreUnavailableError(
            f"{error}; start one with `streamlstm serve MODEL` or name yours with --redis URL"
        ) from None
    except StoreError as error:
        raise _advised(error) from None
    try:
        connection.call("PING")
    except StoreError as error:
        connection.close()
        raise _advised(error) from None
    return connection


def _advised(error: StoreError) -> StoreError:
    """Add what to do about a server that wants a password."""
    if any(code in str(error) for code in ("NOAUTH", "WRONGPASS", "NOPERM", "invalid password")):
        return type(error)(f"{error} Put user and password in the URL: redis://user:password@host:port/0")
    return error
