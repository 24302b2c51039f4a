"""Which server a command talks to: as `client.connection`, with the password file of the command under way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click

from streamlstm import client
from streamlstm.cli.options import PASSWORD_FILE, note
from streamlstm.client import connect, connect_all
from streamlstm.store import Keys, check_stream, check_types
from streamlstm.store.resp import Connection

__all__ = ["connect", "connect_all", "find_redis", "opened_stream", "resolve_redis", "with_password"]


def find_redis(url: str | None, data_dir: Path) -> str:
    """`client.find_redis`, with the password of --password-file."""
    return client.find_redis(url, data_dir, _password_file())


def resolve_redis(url: str | None, data_dir: Path) -> str:
    """`client.resolve_redis`, with the password of --password-file; a wait is said on stderr."""
    return client.resolve_redis(url, data_dir, _password_file(), say=note)


@contextmanager
def opened_stream(
    stream: str, redis_url: str | None, data_dir: Path, *, new: bool = False
) -> Iterator[tuple[Connection, Keys]]:
    """A connection to where a stream is, closed at the end, and its keys.

    Raises StoreError for keys of other types, and for a stream that is not there unless it may be `new`.
    """
    keys = Keys(stream)
    with closing(connect(resolve_redis(redis_url, data_dir), keys.input)) as connection:
        (check_types if new else check_stream)(connection, keys)
        yield connection, keys


def with_password(url: str) -> str:
    """`client.with_password`, with the password of --password-file."""
    return client.with_password(url, _password_file())


def _password_file() -> Path | None:
    context = click.get_current_context(silent=True)
    found: Path | None = context.meta.get(PASSWORD_FILE) if context else None
    return found
