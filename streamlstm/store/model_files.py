"""The file of the model that serves a stream, kept beside the stream: whoever reads its states has the model for them.

It is put there when a process opens the stream, outside of every commit, and nothing that is answered rests on it: a
server that has no room for it, or rights that do not allow it, cost nobody anything else.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from streamlstm.errors import ModelError, StoreError
from streamlstm.models import provider_of
from streamlstm.store.keys import Keys
from streamlstm.store.resp import Connection

MOST_KEPT_BYTES = 4 << 20  # of a file; one a stream


class ModelFiles:
    """Keeps one model's file beside the streams that are opened."""

    def __init__(self, model: str, data: bytes) -> None:
        """`model` is the fingerprint; a file that is another by now, or too large, is not kept."""
        self._model = model
        self._data = data if len(data) <= MOST_KEPT_BYTES and provider_of(data, model) else b""

    @classmethod
    def of(cls, path: Path, model: str) -> ModelFiles:
        """Those of a file that was loaded: read again, unless it is a pipe or too large."""
        small = path.is_file() and path.stat().st_size <= MOST_KEPT_BYTES
        return cls(model, path.read_bytes() if small else b"")

    def keep(self, connection: Connection, keys: Keys, model: str | None) -> None:
        """Put the file beside a stream whose states are of this `model`, unless that is another."""
        if self._data and model in {None, self._model}:
            with suppress(StoreError):
                connection.call("SET", keys.model(self._model), self._data, "NX")


def kept_model(connection: Connection, keys: Keys, model: str) -> bytes | None:
    """The file with this fingerprint, if it is kept beside a stream; raises ModelError if what is there is another."""
    data: bytes | None = connection.call("GET", keys.model(model))
    if data is not None and provider_of(data, model) is None:
        key = keys.model(model)
        raise ModelError(f"the key {key!r} holds another model than it says; delete it, and give that model's own file")
    return data
