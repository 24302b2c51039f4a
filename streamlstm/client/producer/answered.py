"""Wait until a daemon has answered what was pushed."""

from __future__ import annotations

import time
from collections.abc import Mapping

from streamlstm.common import counted
from streamlstm.errors import StoreError
from streamlstm.store import Keys, read_position
from streamlstm.store.resp import Nodes, is_before

LOOK_S = 0.1


def wait_until_answered(nodes: Nodes, last: Mapping[str, bytes], within_s: float) -> None:
    """Wait until each stream's position has reached its `last` entry; raises StoreError if one has not in time."""
    ends_s = time.monotonic() + within_s
    for stream, entry_id in last.items():
        keys = Keys(stream)
        while is_before(read_position(keys, nodes.call(keys.input, "HGET", keys.meta, "position")), entry_id):
            if time.monotonic() > ends_s:
                raise StoreError(
                    f"what was pushed to {stream!r} is in, but not answered up to {entry_id.decode()} after "
                    f"{counted(round(within_s), 'second')}; `streamlstm status` shows who serves it"
                )
            time.sleep(LOOK_S)
