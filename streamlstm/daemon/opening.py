"""How streams come to be served, and are let go: opened where the store says they are, refused, or left for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from streamlstm.daemon.challengers import Challengers
from streamlstm.daemon.champions import Champions
from streamlstm.daemon.left_alone import LeftAlone
from streamlstm.daemon.model_change import ModelChange, refuse
from streamlstm.daemon.model_library import ModelLibrary
from streamlstm.daemon.notices import say_rewound
from streamlstm.daemon.sharing import Sharing
from streamlstm.daemon.streams import Status, Stream, Streams
from streamlstm.daemon.telemetry import Metrics
from streamlstm.daemon.unreachable import UnreachableStreams
from streamlstm.engine import WINDOW, Engine
from streamlstm.errors import ModelChangedError, StoreError, StoreForbidsError, StoreUnavailableError
from streamlstm.models import StepModel
from streamlstm.store import Head, Store
from streamlstm.store.resp import is_before


class Models(NamedTuple):
    """What a process has of models."""

    champions: Champions
    challengers: Challengers
    library: ModelLibrary

    @classmethod
    def of(
        cls,
        own: Engine,
        library: ModelLibrary,
        streams: Streams,
        store: Store,
        beat: Callable[[], bool],
        monotonic: Callable[[], float],
    ) -> Models:
        """`own` has the model of the file that is served; `beat` is called by engines while they work.

        So is the store, which has part of the last commit left to send as often as not.
        """

        def beat_and_send() -> bool:
            store.go_on_sending()
            return beat()

        challengers = Challengers(
            settings=own.settings,
            library=library,
            streams=streams,
            store=store,
            beat=beat_and_send,
            monotonic=monotonic,
        )
        return cls(Champions(own, beat_and_send), challengers, library)


class Opening:
    """Opens the streams of a process and lets go of them."""

    def __init__(
        self,
        store: Store,
        streams: Streams,
        sharing: Sharing,
        metrics: Metrics,
        models: Models,
        alone: LeftAlone,
        away: UnreachableStreams,
        on_model_change: ModelChange,
        opened: Callable[[Stream, Head], None],
    ) -> None:
        """These are the daemon's own; `opened` is told of each stream that is served from then on.

        `on_model_change` says what becomes of states that another model made.
        """
        self._store, self._streams, self._sharing, self._metrics = store, streams, sharing, metrics
        self._champions, self._challengers, self._library = models
        self._alone, self._away, self._opened = alone, away, opened
        self._on_model_change, self._own = on_model_change, models.champions.own
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
            self._away.note(stream, error)
        except StoreForbidsError:
            raise  # to one stream as to all
        except StoreError as error:
            self._refuse(stream, error)
        self.note_left(stream, former)

    def _refuse(self, stream: Stream, error: StoreError) -> None:
        """Leave a stream alone; raises what is wrong with it where this process should not have begun, or is to end."""
        other_model = isinstance(error, ModelChangedError) and self._sharing.is_named(stream.name)
        if other_model and not self.has_begun:
            raise error
        overtaken = other_model and stream.head is not None
        self.forget(stream)
        self._alone.note(stream, error)
        self._metrics.owned_streams.set(len(self._streams.open))
        if overtaken:
            self._on_model_change = refuse  # this process has the older model
            if not self._sharing.has_any():
                raise error

    def note_left(self, stream: Stream, former: Status) -> None:
        self._away.left(former)
        self._alone.left(stream, former)

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
            change = refuse if before is not None else self._on_model_change
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
