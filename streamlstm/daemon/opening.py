"""How streams come to be served, and are let go: opened where the store says they are, refused, or left for a while."""

from __future__ import annotations

from collections.abc import Callable

from streamlstm.daemon.model_change import ModelChange, refuse
from streamlstm.daemon.models import Models
from streamlstm.daemon.notices import say_rewound
from streamlstm.daemon.sharing import Sharing
from streamlstm.daemon.streams import Status, Stream, Streams
from streamlstm.daemon.telemetry import Metrics
from streamlstm.daemon.unserved import Unserved
from streamlstm.engine import WINDOW
from streamlstm.errors import ModelChangedError, StoreError, StoreForbidsError, StoreUnavailableError
from streamlstm.models import StepModel
from streamlstm.store import Head, Store
from streamlstm.store.resp import is_before


class Opening:
    """Opens the streams of a process and lets go of them."""

    def __init__(
        self,
        store: Store,
        streams: Streams,
        sharing: Sharing,
        metrics: Metrics,
        models: Models,
        unserved: Unserved,
        *,
        on_change: ModelChange,
        opened: Callable[[Stream, Head], None],
    ) -> None:
        """These are the daemon's own; `opened` is told of each stream that is served from then on.

        `on_change` says what becomes of states that another model made.
        """
        self._store, self._streams, self._sharing, self._metrics = store, streams, sharing, metrics
        self._champions, self._challengers, self._library = models
        self._unserved, self._opened = unserved, opened
        self._on_change, self._own = on_change, models.champions.own
        self.has_begun = False  # the process has been ready once

    def begin(self, stream: Stream) -> None:
        """Open a stream; one that cannot be served is left alone, and tried again in a while."""
        if stream.name not in self._metrics.of:
            self._metrics.begin(stream.name)
        former = stream.status
        try:
            self._open(stream)
        except StoreUnavailableError as error:
            if not self._store.spread:
                raise
            self.forget(stream)
            self._unserved.away.note(stream, error)
        except StoreForbidsError:
            raise  # to one stream as to all
        except StoreError as error:
            self._refuse(stream, error)
        self._unserved.left(stream, former)

    def _refuse(self, stream: Stream, error: StoreError) -> None:
        """Leave a stream alone; raises what is wrong with it where this process should not have begun, or is to end."""
        other_model = isinstance(error, ModelChangedError) and self._sharing.is_named(stream.name)
        if other_model and not self.has_begun:
            raise error
        overtaken = other_model and stream.head is not None
        self.forget(stream)
        self._unserved.alone.note(stream, error)
        self._metrics.owned_streams.set(len(self._streams.open))
        if overtaken:
            self._on_change = refuse  # this process has the older model
            if not self._sharing.has_any():
                raise error

    def forget(self, stream: Stream) -> None:
        """Let go of what is known of a stream."""
        stream.forget()
        self.let_go(stream)
        self._store.release(stream.name)

    def let_go(self, stream: Stream) -> None:
        """Forget its records."""
        self._champions.forget(stream.name)
        self._challengers.forget(stream)

    def _open(self, stream: Stream) -> None:
        name, before = stream.name, stream.head
        head = self._store.open(name)
        while (champion := self._champion(name, head)) is None:  # another may have been faster in between
            change = refuse if before is not None else self._on_change
            change(name, head, self._own, self._own.model.beat)
            head = self._store.open(name)
        if before is not None and is_before(head.position, before.position):
            say_rewound(name, before, head)
        told = self._store.kept(name, [WINDOW])[0] if self._own.checkpoint_every else ()
        self._champions.open(name, head, champion, told)
        self._challengers.open(stream, head)
        stream.head, stream.cursor, stream.seen.position = head, head.position, head.position
        self._streams.set(stream, Status.OPEN)
        self._opened(stream, head)

    def _champion(self, stream: str, head: Head) -> StepModel | None:
        """The model that answers a stream; None if its states are of one that the own file has nothing to do with.

        That of an earlier champion, or of the challenger, is no other model: what has been promoted goes on.
        """
        own = self._own.model.fingerprint
        if head.model is None or head.model == own:
            return self._own.model
        is_tried = head.challenger is not None and head.challenger.model == own
        if own not in head.former and not is_tried:
            return None
        return self._library.champion(stream, head.model, own_is_tried=is_tried)
