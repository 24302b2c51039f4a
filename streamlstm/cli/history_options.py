"""The options of commands that read a stream's retained input where they may be given a table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from streamlstm.cli.options import data_dir_option, option, redis_option
from streamlstm.cli.quantities import DURATION
from streamlstm.errors import UsageError

if TYPE_CHECKING:
    from streamlstm.models import ModelSpec
    from streamlstm.store import Keys
    from streamlstm.store.resp import Connection
    from streamlstm.tables import SeriesTable

Function = TypeVar("Function", bound=Callable[..., Any])

# Passed as `last: int | None`, ms.
last_option = option(
    "--last",
    type=DURATION,
    setting=False,
    metavar="DURATION",
    help="Read only so much of the stream, such as 30d, counted back from its last entry. Default: all it retains.",
)
_stream = option(
    "--stream",
    setting=False,
    metavar="KEY",
    help="Read the input that this stream retains, instead of a table; a value's time is that of its entry.",
)


def history_options(function: Function) -> Function:
    """Declare --stream (`stream: str | None`), --last, and the server."""
    return _stream(last_option(redis_option(data_dir_option(function))))


def table_or_history(
    table: Path | None,
    *,
    stream: str | None,
    last: int | None,
    redis_url: str | None,
    data_dir: Path,
    most: int,
    say: Callable[[str], None],
    spec: ModelSpec | None = None,
) -> Path | SeriesTable:
    """What a command reads: the table named, or what a stream retains, of at most `most` numbers.

    Raises UsageError unless it is one of the two.
    """
    if table is not None:
        if stream is not None:
            raise UsageError(f"{table} and --stream {stream} are two sources of values; give one of them")
        if last is not None:
            raise UsageError("--last says how much of a stream is read; give --stream KEY instead of a table")
        return table
    if stream is None:
        raise UsageError("name a TABLE, or a stream whose retained input is read: --stream KEY")
    from streamlstm.cli.connection import opened_stream
    from streamlstm.client import read_history

    with opened_stream(stream, redis_url, data_dir) as (connection, keys):
        known = spec if spec is not None else champion_spec(connection, keys)
        return read_history(connection, keys, spec=known, last_ms=last, most=most, say=say)


def champion_spec(connection: Connection, keys: Keys) -> ModelSpec | None:
    """What the model that serves a stream says of itself, where its file is kept there and can be read."""
    from streamlstm.cli.loading import load_bytes
    from streamlstm.client import stream_spec

    return stream_spec(connection, keys, lambda data: load_bytes(data, f"the model beside {keys.input!r}"))
