"""The states of a stream as commands open them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamlstm.store.snapshots import States


@contextmanager
def opened_states(stream: str, redis_url: str | None, data_dir: Path, *, new: bool = False) -> Iterator[States]:
    """The states of a stream, over a connection closed at the end.

    Raises StoreError for keys of other types, and for a stream that is not there unless it may be `new`.
    """
    from streamlstm.cli.connection import opened_stream
    from streamlstm.store.snapshots import States

    with opened_stream(stream, redis_url, data_dir, new=new) as (connection, keys):
        yield States(connection, keys, token=secrets.token_hex(8))
