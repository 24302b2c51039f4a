"""Change what `base:meta` stands for between two commits of whoever serves the stream."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from streamlstm.errors import StoreError
from streamlstm.store.keys import Keys
from streamlstm.store.resp import Connection
from streamlstm.store.stream_meta import Meta
from streamlstm.store.transaction import Command, carry_out_whole, watch

MOST_TRIES_S = 30.0  # to get in between two commits of a daemon at work
PAUSE_S = 0.005  # between two tries, at most at first


def change_meta(
    connection: Connection,
    keys: Keys,
    commands: Callable[[Meta], Sequence[Command] | None],
    *,
    read: Callable[[], Meta],
    vain: Callable[[bool], str],
    sleep: Callable[[float], object] = time.sleep,
) -> Meta:
    """Carry out commands that `base:meta` leads to, as one; again if it changes meanwhile, or if they are None.

    `read` asks for it. Returns what it said before. Raises StoreError in the end, with what `vain` makes of whether
    they were None.
    """
    until_s, pause_s = time.monotonic() + MOST_TRIES_S, PAUSE_S
    while True:
        watch(connection, keys.meta)
        meta = read()
        wanted = commands(meta)
        if wanted is not None and not wanted:
            connection.call("UNWATCH")
            return meta
        if wanted is not None and carry_out_whole(connection, wanted) is not None:
            return meta
        if time.monotonic() > until_s:
            raise StoreError(vain(wanted is None))
        sleep(random.uniform(0, pause_s))  # noqa: S311  (no secret: not to meet every commit of a busy stream)
        pause_s = min(0.1, 2 * pause_s) if wanted is None else PAUSE_S
