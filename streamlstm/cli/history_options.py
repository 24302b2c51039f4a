"""The options of commands that read a stream's retained input where they may be given a table."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streamlstm.cli.options import data_dir_option, option, redis_option
from streamlstm.cli.quantities import DURATION
from streamlstm.errors import UsageError

if TYPE_CHECKING:
    from streamlstm.models import ModelSpec
    from streamlstm.store import Keys
    from streamlstm.store.resp import Connection
    from streamlstm.tables import SeriesTable

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


@dataclass(frozen=True, kw_only=True)
class Retained:
    """The stream whose retained input is to be read, if one was named, and where it is."""

    stream: str | None
    last_ms: int | None  # only what is at most so much older than its last entry
    redis_url: str | None
    data_dir: Path

    def or_table(
        self, table: Path | None, *, most: int, say: Callable[[str], None], spec: ModelSpec | None = None
    ) -> Path | SeriesTable:
        """What a command reads: the table named, or what the stream retains, of at most `most` numbers.

        `spec` is that of the model that is to read it; None: that of the stream's own. Raises UsageError unless it is
        one of the two, StoreError and TableError for a stream that cannot be read.
        """
        if table is not None:
            if self.stream is not None:
                raise UsageError(f"{table} and --stream {self.stream} are two sources of values; give one of them")
            if self.last_ms is not None:
                raise UsageError("--last says how much of a stream is read; give --stream KEY instead of a table")
            return table
        if self.stream is None:
            raise UsageError("name a TABLE, or a stream whose retained input is read: --stream KEY")
        from streamlstm.cli.connection import opened_stream
        from streamlstm.client import read_history

        with opened_stream(self.stream, self.redis_url, self.data_dir) as (connection, keys):
            known = spec if spec is not None else champion_spec(connection, keys)
            return read_history(connection, keys, spec=known, last_ms=self.last_ms, most=most, say=say)


def history_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Declare --stream, --last, and the server; the command is given them as one, `retained: Retained`."""

    @functools.wraps(function)
    def with_retained(
        *, stream: str | None, last: int | None, redis_url: str | None, data_dir: Path, **given: Any
    ) -> Any:
        chosen = Retained(stream=stream, last_ms=last, redis_url=redis_url, data_dir=data_dir)
        return function(retained=chosen, **given)

    return _stream(last_option(redis_option(data_dir_option(with_retained))))


def champion_spec(connection: Connection, keys: Keys) -> ModelSpec | None:
    """What the model that serves a stream says of itself, where its file is kept there and can be read."""
    from streamlstm.cli.loading import load_bytes
    from streamlstm.client import stream_spec

    return stream_spec(connection, keys, lambda data: load_bytes(data, f"the model beside {keys.input!r}"))
