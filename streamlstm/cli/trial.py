"""A challenger of several streams at once: added to all, compared on all, promoted or taken away, stream by stream."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from streamlstm.cli.connection import opened_stream
from streamlstm.cli.loading import load_bytes, most_model_bytes
from streamlstm.cli.model_list import scored_place
from streamlstm.cli.options import shown_model
from streamlstm.client import Compared, compared, joined_histories, read_history
from streamlstm.errors import ChallengerStoppedError, NoAnswersError, StoreError
from streamlstm.models import Model
from streamlstm.store import Meta, Roles
from streamlstm.store.resp import BEGINNING, EntryId
from streamlstm.tables import SeriesTable
from streamlstm.training import learnt_until

MOST_ENTRIES = 100_000  # of a stream, the youngest, that models are compared on


@dataclass(frozen=True)
class ModelPair:
    """The models of all streams."""

    champion: str  # fingerprint
    challenger: str | None


class Trial:
    """Some streams that have one champion, and the model that is tried beside it."""

    def __init__(self, streams: Sequence[str], redis_url: str | None, data_dir: Path) -> None:
        self.streams, self._redis_url, self._data_dir = tuple(streams), redis_url, data_dir

    def _opened(self, stream: str) -> Any:
        return opened_stream(stream, self._redis_url, self._data_dir)

    def metas(self) -> dict[str, Meta]:
        """What `base:meta` says, by stream."""
        found = {}
        for stream in self.streams:
            with self._opened(stream) as (connection, keys):
                found[stream] = Roles(connection, keys).meta()
        return found

    def pair(self) -> ModelPair:
        """The models that all streams have; a promotion that was cut short is gone on with first.

        Raises StoreError for a stream that was never served, and for streams with different models.
        """
        metas = self.metas()
        for stream, meta in metas.items():
            if meta.model is None:
                raise StoreError(f"the stream {stream!r} has not been served yet, so it has no model to be better than")
        found = {(str(meta.model), meta.challenger.model if meta.challenger else None) for meta in metas.values()}
        if len(found) == 1:
            return ModelPair(*found.pop())
        promoted = {
            (str(meta.model), str(meta.champions[-2].model)) for meta in metas.values() if len(meta.champions) > 1
        }
        for new, former in promoted:
            if found == {(new, former), (former, new)}:
                self.promote(new)
                return ModelPair(new, former)
        shown = "; ".join(
            f"{stream}: {shown_model(meta.model)}"
            + (f", challenger {shown_model(meta.challenger.model)}" if meta.challenger else "")
            for stream, meta in metas.items()
        )
        raise StoreError(f"the streams have different models ({shown}); retrain those of one model at a time")

    def model(self, fingerprint: str) -> tuple[Model, bytes]:
        """A model of the streams; raises StoreError where its file is not kept."""
        for stream in self.streams:
            with self._opened(stream) as (connection, keys):
                data = Roles(connection, keys).file(fingerprint, most_bytes=most_model_bytes())
                if data is not None:
                    return load_bytes(data, f"the model beside {stream!r}"), data
        raise StoreError(
            f"the file of the model {shown_model(fingerprint)} is not kept beside {self.streams[0]!r} (it is larger "
            "than 4 MB, or `serve` may not); train from a table, and add the model with `streamlstm model add`"
        )

    def history(self, spec: Any, last_ms: int | None, most: int, say: Any) -> SeriesTable:
        """What the streams retain."""
        tables = []
        for stream in self.streams:
            with self._opened(stream) as (connection, keys):
                tables.append(read_history(connection, keys, spec=spec, last_ms=last_ms, most=most, say=say))
        return joined_histories(tables)

    def add(self, model: str, data: bytes) -> None:
        """Make a model the challenger of every stream, from what is retained on; those that have it already keep it."""
        for stream in self.streams:
            with self._opened(stream) as (connection, keys):
                roles = Roles(connection, keys)
                found = roles.meta().challenger
                if found is None or found.model != model:
                    roles.add(model, data, replay=True)

    def live(self, challenger: Model) -> Compared:
        """Errors on what came after the challenger's training, and since it is the challenger; of all streams."""
        parts = []
        for stream in self.streams:
            with self._opened(stream) as (connection, keys):
                roles = Roles(connection, keys)
                meta = roles.meta()
                if meta.challenger is None or meta.challenger.model != challenger.fingerprint:
                    raise StoreError(f"the challenger of {stream!r} is another one by now; retrain ends here")
                if meta.challenger.off is not None:
                    raise ChallengerStoppedError(
                        f"the challenger of {stream!r} is not stepped any more: {meta.challenger.off}"
                    )
                output, feature = scored_place(roles, meta)
                since = _since(meta, challenger, stream)
                with suppress(NoAnswersError):
                    parts.append(
                        compared(connection, keys, meta, most=MOST_ENTRIES, output=output, feature=feature, after=since)
                    )
        return _pooled(parts)

    def promote(self, model: str) -> None:
        """Put a model in the champion's place, stream by stream; those where it is there already are left."""
        for stream in self.streams:
            with self._opened(stream) as (connection, keys):
                roles = Roles(connection, keys)
                if roles.meta().model != model:
                    roles.promote(model)

    def remove(self, model: str) -> None:
        """Take the challenger away from every stream that still has it."""
        for stream in self.streams:
            with self._opened(stream) as (connection, keys):
                roles = Roles(connection, keys)
                found = roles.meta().challenger
                if found is not None and found.model == model:
                    roles.remove()


def _since(meta: Meta, challenger: Model, stream: str) -> bytes:
    """The id after which neither its training nor a time as champion has told the challenger what came."""
    ids = [BEGINNING]
    if meta.challengers:
        ids.append(meta.challengers[-1].after.encode())
    until = learnt_until(challenger.spec, stream)
    if until is not None:
        ids.append(until.encode())
    return max(ids, key=EntryId.parse)


def _pooled(parts: Sequence[Compared]) -> Compared:
    """The errors of several streams as one, an entry of each by its place."""
    first = 0
    entries = []
    for part in parts:
        entries.append(part.entry + first)
        first += int(part.entry.max(initial=-1)) + 1

    def all_of(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts] or [np.empty(0)])

    return Compared(
        champion=all_of("champion"),
        challenger=all_of("challenger"),
        naive=all_of("naive"),
        weights=all_of("weights"),
        entry=np.concatenate(entries or [np.empty(0, np.int64)]),
    )
