"""What becomes of a stream whose states were made by another model: refused, begun anew, or made again from its input.

The states and the model in `base:meta` are replaced together, at the position they belong to, by one fenced transaction
(`States.replace`); so no state of one model is ever stepped with another, and a daemon that still serves the old model
finds its next commit refused. It happens only when a process opens a stream for the first time: of two daemons with
different models, each told to begin anew, the one that was started last wins, and the other ends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from typing import Protocol

from streamlstm.daemon.replay import Replay
from streamlstm.daemon.standby import says_other_model
from streamlstm.engine import Engine
from streamlstm.errors import ModelChangedError, StoreError
from streamlstm.store import BEFORE_ANYTHING, Commit, Head, Keys, Meta
from streamlstm.store.resp import Connection
from streamlstm.store.snapshots import PAGE, Draft, SnapshotHead, States

log = logging.getLogger(__name__)

MOST_TRIES = 1_000  # to get in between two commits of a daemon that still serves the old model
LOG_EVERY = 1_000_000  # entries

Stopping = Callable[[], bool]


class ModelChange(Protocol):
    """A policy; returns once the stream's states are those of the engine's model, or raises."""

    def __call__(self, stream: str, head: Head, engine: Engine, stopping: Stopping) -> None:
        """Deal with a stream whose head names another model than the engine's."""


def refuse(stream: str, head: Head, engine: Engine, stopping: Stopping) -> None:  # noqa: ARG001  (a policy)
    """Raise ModelChangedError."""
    raise ModelChangedError(says_other_model(stream, head.model or "", engine.model.fingerprint))


class Rebuild:
    """Replaces the states of the other model: by none (`reset`), or by what the retained input gives (`replay`)."""

    def __init__(self, connect: Callable[[str], Connection], *, replay: bool, token: str) -> None:
        """`connect` opens a connection to where a stream is; `token` makes names of drafts unlike those of others."""
        self._connect, self._replay, self._token = connect, replay, token

    def __call__(self, stream: str, head: Head, engine: Engine, stopping: Stopping) -> None:
        """Replace the states; raises StoreError if told to stop, or if a daemon of the old model is always faster."""
        log.warning(
            "the states of %r were made by another model (%s); %s",
            stream,
            (head.model or "")[:12],
            "its retained values are stepped again" if self._replay else "all its series begin anew",
        )
        connection = self._connect(stream)
        try:
            states = States(connection, Keys(stream), token=self._token)
            with states.draft() as draft, closing(_Work(states, connection, draft, engine, stopping)) as work:
                work.run(replay=self._replay)
        finally:
            connection.close()


class _Work:
    """One stream being given states of another model."""

    def __init__(
        self, states: States, connection: Connection, draft: Draft, engine: Engine, stopping: Stopping
    ) -> None:
        self._states, self._connection, self._draft = states, connection, draft
        self._model, self._columns, self._stopping = engine.model.fingerprint, engine.columns, stopping
        self._stream = states.keys.input
        self._again = Replay(Engine(engine.model, engine.settings), self._stream, start=BEFORE_ANYTHING)
        self._changed: set[bytes] = set()  # series whose record in the draft is not that of the replay

    def run(self, *, replay: bool) -> None:
        """Try until the states are replaced, by this process or another one with the same model."""
        for _ in range(MOST_TRIES):
            meta = self._states.meta()
            if meta.model == self._model:
                return
            if replay:
                self._step_to(meta)
                self._fill()
            if self._states.replace(self._draft, expected=meta, head=self._head(meta)):
                log.info(
                    "the states of %r are this model's from %s on",
                    self._stream,
                    meta.position.decode(),
                    extra={"entries": self._again.entries, "series": len(self._again.records)},
                )
                return
        raise StoreError(f"another daemon still serves {self._stream!r} with the model before; stop it first")

    def close(self) -> None:
        self._again.close()

    def _head(self, meta: Meta) -> SnapshotHead:
        return SnapshotHead(
            stream=self._stream,
            position=meta.position,
            model=self._model,
            columns=self._columns,
            answered=meta.answered,
        )

    def _step_to(self, meta: Meta) -> None:
        said = self._again.entries
        for result in self._again.run(self._connection, meta.position):
            self._note(result.commit)
            self._draft.keep()
            self._go_on()
            if self._again.entries - said >= LOG_EVERY:
                said = self._again.entries
                log.info("%d entries of %r stepped again", said, self._stream)

    def _go_on(self) -> None:
        """Beat, and end if that is asked for."""
        if self._stopping():
            raise StoreError(f"stopped before the states of {self._stream!r} were made again; nothing is changed")

    def _note(self, commit: Commit) -> None:
        self._changed.update(commit.names)
        self._changed.update(commit.removed)
        if commit.reset_all:
            self._draft.discard()
            self._changed = set(self._again.records.names())

    def _fill(self) -> None:
        """Bring the draft up to the replay."""
        names = list(self._changed)
        for first in range(0, len(names), PAGE):
            page = names[first : first + PAGE]
            found = list(zip(page, self._again.records.get(page), strict=True))
            self._draft.put([(name, record) for name, record in found if record is not None])
            self._draft.remove([name for name, record in found if record is None])
            self._go_on()
        self._changed.clear()
