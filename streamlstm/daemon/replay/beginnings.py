"""Series that began anew: any past leads to the record of now, so that record does not prove what there was before.

Where a value is put right in that past, the series goes on as it is. But a value that comes late may lie in the silence
that the series began anew after, which is none any more then: so what was before that has to be known. And it may lie
before a reset, which has to be known too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property

from streamlstm.daemon.replay.corrections import Source, first_entry
from streamlstm.engine import Again, Correction, Engine, Past, SeriesCourse
from streamlstm.models import NEVER
from streamlstm.store.record import idle_edge, time_of
from streamlstm.store.resp import BEGINNING, EntryId


def silences_count(engine: Engine) -> bool:
    """Whether series begin anew after a long silence."""
    limits = (engine.settings.idle_after_ms, engine.settings.reset_after_ms, engine.gaps.longest_ms)
    return any(limit not in {None, NEVER} for limit in limits)


def may_join(engine: Engine, *, is_late: bool) -> bool:
    """Whether a correction may leave a silence too short for its series to begin anew."""
    return (is_late or not engine.restarts) and silences_count(engine)


def is_idle(engine: Engine, record: bytes, position: bytes) -> bool:
    """Whether a record is of a series that has been idle for too long by an entry, so that it is removed some time."""
    idle_ms = engine.settings.idle_after_ms
    edge = None if idle_ms is None else idle_edge(position, idle_ms)
    return edge is not None and time_of(record, edge) < edge


def agree(engine: Engine, stored: bytes | None, was: bytes | None, position: bytes) -> bool:
    """Whether a series is where its values lead by an entry; the record of one that is idle may be there or not."""
    return stored == was or (stored is None and was is not None and is_idle(engine, was, position))


class RetainedInput:
    """What of a stream may be gone."""

    def __init__(self, engine: Engine, stream: str, source: Source) -> None:
        self._engine, self._stream, self._source = engine, stream, source

    @cached_property
    def first(self) -> EntryId | None:
        """The first entry that is there."""
        return first_entry(self._engine, self._stream, self._source, BEGINNING)

    def may_lack(self, asked: Sequence[Correction], after: EntryId, *, is_sure: bool) -> bool:
        """Whether entries may be gone that matter to a series, from a record after an id, which it is sure to have had.

        All behind what is corrected matter, as they may reset it; and where that may join, all behind the record.
        """
        if self.first is None or any(EntryId.parse(one.id) < self.first for one in asked):
            return True
        may_any_join = any(may_join(self._engine, is_late=one.is_late) for one in asked)
        return may_any_join and not (is_sure and after >= self.first)


def is_whole(past: Past, after: Collection[bytes], answered: int) -> bool:
    """Whether what was read behind some ids is all that the stream ever had, so many entries."""
    return past.entries == answered and set(after) == {BEGINNING}


def begun_anew(
    again: Again, courses: Mapping[bytes, SeriesCourse], edges: Mapping[bytes, EntryId], stored: Mapping[bytes, bytes]
) -> set[bytes]:
    """The series that come to be where they are without what was before these entries."""
    end = EntryId.parse(b"%d-0" % NEVER)
    ways = again.after([(None, courses[name].between(edge, end)) for name, edge in edges.items()])
    return {name for name, way in zip(edges, ways, strict=True) if way[-1][1] == stored.get(name)}
