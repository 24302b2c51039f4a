"""Wait until a daemon has answered what was pushed, and hear what of it was refused."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from streamlstm.client.producer.refusals import Refusals
from streamlstm.client.producer.sending import Sender
from streamlstm.common import counted
from streamlstm.errors import StoreError, StoreUnavailableError
from streamlstm.store import Keys, read_position
from streamlstm.store.resp import is_before

LOOK_S = 0.1


class Wait:
    """What one run waits for in the end, if it waits."""

    def __init__(self, streams: Sequence[str], sender: Sender, within_ms: int | None, *, asks: bool) -> None:
        """Before anything is sent; `asks`: corrections, or late values, are among it, which may be refused.

        Raises StoreError if that could not be heard of, as dead letters cannot be read.
        """
        self._sender, self._within_ms = sender, within_ms
        self._refusals = Refusals(sender, streams) if asks and within_ms is not None else None
        if self._refusals is not None:
            sender.take = self._refusals.take

    def end(self, last: Mapping[str, bytes]) -> None:
        """Wait until each stream is answered up to its `last` entry.

        Raises StoreError if one is not in time, or if something that was asked for was refused.
        """
        if self._within_ms is not None:
            _wait_until_answered(self._sender, last, self._within_ms / 1000)
        if self._refusals is not None:
            self._refusals.check()


def _wait_until_answered(sender: Sender, last: Mapping[str, bytes], within_s: float) -> None:
    """Wait until each stream's position has reached its `last` entry; raises StoreError if one has not in time.

    A server that goes away meanwhile is waited for as it is while values are sent.
    """
    ends_s = time.monotonic() + within_s

    def position(keys: Keys) -> bytes:
        left_s = max(0.0, ends_s - time.monotonic())
        try:
            found = sender.call(keys.input, "HGET", keys.meta, "position", within_s=left_s)
        except StoreUnavailableError as error:
            raise StoreUnavailableError(
                f"what was pushed to {keys.input!r} is in, but whether it is answered is not known: {error}"
            ) from None
        return read_position(keys, found)

    for stream, entry_id in last.items():
        while is_before(position(Keys(stream)), entry_id):
            if time.monotonic() > ends_s:
                raise StoreError(
                    f"what was pushed to {stream!r} is in, but not answered up to {entry_id.decode()} after "
                    f"{counted(round(within_s), 'second')}; `streamlstm status` shows who serves it"
                )
            time.sleep(LOOK_S)
