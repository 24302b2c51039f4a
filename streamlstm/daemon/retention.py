"""What of a stream's answered input and predictions is old enough to be trimmed (`--retain`).

What was answered is kept for so long after it was, whatever its ids say: history that was just pushed has old ones, a
wrong clock makes ones of the future, and an idle stream has no new ones to be compared with. So this process remembers
which position it had when. Of what was answered before it came to serve the stream it knows only the ids.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from streamlstm.daemon.streams import Ages, Stream
from streamlstm.store import Commit
from streamlstm.store.resp import EntryId

PARTS = 16  # of the time, that ages are told apart by; also how often a stream is trimmed in it


class Retention:
    """The ages of the streams at work; does nothing where everything is kept."""

    def __init__(self, retain_ms: int | None, *, monotonic: Callable[[], float], wall: Callable[[], float]) -> None:
        self._retain_ms, self._monotonic, self._wall = retain_ms, monotonic, wall

    def open(self, stream: Stream, position: bytes) -> None:
        """The stream is at a position, which may lie before where it was."""
        if self._retain_ms is None:
            return
        here = EntryId.parse(position)
        ages = stream.ages = stream.ages or Ages(here)
        ages.opened = min(ages.opened, here)
        ages.marks = deque(mark for mark in ages.marks if mark[1] <= here)
        ages.marks.append((self._monotonic(), here))
        ages.next_s = 0.0

    def is_due(self, stream: Stream) -> bool:
        """Whether there may be something to trim, should no commit come by."""
        return stream.ages is not None and self._monotonic() >= stream.ages.next_s

    def add_to(self, commit: Commit, stream: Stream) -> None:
        """Have a stream's commit trim what is old enough, now and then."""
        ages = stream.ages
        if ages is None or self._retain_ms is None or not self.is_due(stream):
            return
        now_s = self._monotonic()
        ages.next_s = now_s + self._retain_ms / 1000 / PARTS
        edge_ms = min(ages.opened.time_ms, int(self._wall() * 1000) - self._retain_ms)
        while ages.marks and ages.marks[0][0] <= now_s - self._retain_ms / 1000:
            edge_ms = max(edge_ms, ages.marks.popleft()[1].time_ms)
        commit.trim_before_ms = max(0, edge_ms)
        ages.marks.append((now_s, EntryId.parse(commit.position)))
