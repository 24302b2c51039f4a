"""Records that commits have kept aside, read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from streamlstm.errors import StoreError
from streamlstm.store.base import KeptRecord
from streamlstm.store.keys import Keys
from streamlstm.store.resp import Connection, EntryId, listed, pack


def read_kept(connection: Connection, keys: Keys, names: Sequence[bytes]) -> list[list[KeptRecord]]:
    """Of each series the records that are kept aside, the newest first."""
    windows = [keys.checkpoints(window) for window in (0, 1)]
    connection.send(b"".join(pack("HMGET", key, *names) for key in windows))
    found = [connection.receive() for _ in windows]
    each = [listed(reply, len(names), connection.address, "HMGET") for reply in found]
    return [kept_of(enumerate(texts)) for texts in zip(*each, strict=True)]


def kept_of(texts: Iterable[tuple[int, bytes | None]]) -> list[KeptRecord]:
    """Those of one series by hash, the newest first; what nobody of us wrote is passed over."""
    made = list[tuple[EntryId, KeptRecord]]()
    for window, text in texts:
        position, blank, record = (text or b"").partition(b" ")
        try:
            made.append((EntryId.parse(position), KeptRecord(window, position, record))) if blank else None
        except StoreError:
            continue
    return [one for _, one in sorted(made, reverse=True)]
