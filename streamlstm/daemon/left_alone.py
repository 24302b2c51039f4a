"""Streams that this process leaves alone because of what their keys hold: said in the log, in metrics, to who asks."""

from __future__ import annotations

import logging

from streamlstm.daemon.others import Others
from streamlstm.daemon.standby import Standby
from streamlstm.daemon.streams import Status, Stream, Streams
from streamlstm.daemon.telemetry import Metrics
from streamlstm.errors import ModelChangedError, StoreError

log = logging.getLogger(__name__)


class LeftAlone:
    """Which they are, and why; a stream is tried again when `sharing` offers it again."""

    def __init__(self, streams: Streams, others: Others, metrics: Metrics) -> None:
        self._streams, self._metrics = streams, metrics
        self._sharing, self._standby = others.sharing, others.standby
        self._foreign: set[str] = set()  # streams of another model, as `standby` saw them last
        self._refusal: str | None = None  # of a command that `standby` was told of last
        self._begun = False
        self._first: StoreError | None = None  # what was wrong with the first of them

    def note(self, stream: Stream, error: StoreError) -> None:
        """Leave a stream alone for a while."""
        name = stream.name
        self._first = self._first or error
        log.error("%s; %r is not served", error, name, extra={"stream": name})
        self._streams.set(stream, Status.REFUSED, str(error))
        self._metrics.refuse(name)
        self._sharing.refuse(name)
        if isinstance(error, ModelChangedError) and self._standby is not None and self._standby.refuses_models:
            self._standby.foreign[name] = str(error)  # so that it is seen when that is over
            self._foreign.add(name)

    def left(self, stream: Stream, former: Status) -> None:
        """A stream that had a status may have another."""
        if former is Status.REFUSED and stream.status is not Status.REFUSED:
            self._metrics.refused.labels(stream.name).set(0)

    def begin(self) -> None:
        """Before the first stream is taken: raises ModelChangedError if another model made one that was named.

        Raises StoreForbidsError, each time that nothing is held, if the server refuses a command that will be needed.
        """
        if self._standby is None:
            return
        if not self._sharing.held:
            self._standby.hold_rights(self._sharing.selection)
        if not self._begun:
            self._standby.look_at_models(self._sharing.selection, self._sharing.held)
            self._standby.hold(self._sharing.selection)

    def forbidden(self) -> None:
        """The server refuses a command to this process, maybe not to others: they may have the streams."""
        if self._standby is not None:
            self._sharing.yield_all()

    def begun(self) -> None:
        """The first streams were opened: raises StoreError if none of them can be served."""
        if self._first is not None and not self._begun and self._is_all():
            raise self._first
        self._begun = True

    def look(self) -> None:
        """Forget those whose time is over, and see which of the others' this process could not take."""
        if self._standby is not None:
            self._look_at_others(self._standby)
        for stream in list(self._streams.refused.values()):
            if not self._sharing.is_refused(stream.name):
                self._streams.close(stream)
                self.left(stream, Status.REFUSED)

    def unready(self) -> str | None:
        """Why nothing can be served, or could be if it were its turn; None if it can. Asked by other threads."""
        if self._is_all():
            return self.said()
        return None if self._standby is None else self._standby.unready()

    def _is_all(self) -> bool:
        """Whether no stream is left to be served."""
        return bool(self._streams.refused) and not self._sharing.has_any()

    def _look_at_others(self, standby: Standby) -> None:
        standby.look(self._sharing.selection, self._sharing.held)
        if standby.refusal != self._refusal:
            if standby.refusal is None:
                log.info("every command that will be needed may be used again")
            else:
                log.error("%s; not ready", standby.refusal)
            self._refusal = standby.refusal
        foreign = set(standby.foreign)
        for stream in sorted(foreign - self._foreign):
            log.error("%s; not ready", standby.foreign[stream], extra={"stream": stream})
        for stream in sorted(self._foreign - foreign):
            log.info("the states of %r are this model's again", stream, extra={"stream": stream})
            self._sharing.allow(stream)
        for stream in foreign:
            self._sharing.pass_over(stream)
        self._foreign = foreign

    def said(self) -> str | None:
        """What is wrong with each, or None; asked by other threads."""
        refused = list(self._streams.refused.values())
        return "; ".join(f"{stream.name!r} is not served: {stream.reason}" for stream in refused) or None
