"""Streams that a process holds and does not serve: left alone for what their keys hold, or out of its reach."""

from __future__ import annotations

from typing import NamedTuple

from streamlstm.daemon.left_alone import LeftAlone
from streamlstm.daemon.streams import Status, Stream
from streamlstm.daemon.unreachable import UnreachableStreams


class Unserved(NamedTuple):
    """Both kinds; each is told of a stream whose status changes."""

    alone: LeftAlone
    away: UnreachableStreams

    def left(self, stream: Stream, former: Status) -> None:
        """A stream that had a status may have another."""
        self.away.left(former)
        self.alone.left(stream, former)

    def unready(self) -> str | None:
        """Why nothing can be served just now, or None."""
        return self.away.unready() or self.alone.unready()
