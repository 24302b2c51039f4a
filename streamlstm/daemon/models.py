"""The models that a process has to do with: those that answer, those that are tried beside them, and where they lie."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from streamlstm.daemon.challengers import Challengers
from streamlstm.daemon.champions import Champions
from streamlstm.daemon.clock import Clock
from streamlstm.daemon.model_library import ModelLibrary
from streamlstm.daemon.streams import Streams
from streamlstm.engine import Engine
from streamlstm.store import Store


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
        clock: Clock,
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
            clock=clock,
        )
        return cls(Champions(own, beat_and_send), challengers, library)
