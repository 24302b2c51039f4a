"""Late values that are missing: whether their series has a value before them that could stand in.

One that has none would have been a dead letter at its time, and is one when it comes late. That rests on what the
corrections before it have made, so nothing else is looked at with its entry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streamlstm.daemon.replay.events import Series
from streamlstm.engine import Again, Correction, SeriesCourse
from streamlstm.store.resp import EntryId

WHY = "the value is missing, and the series has none before it that could stand in for it"

_FIRST = EntryId(0, 0)


def without_past(asked: Sequence[Correction], series: Mapping[bytes, Series], again: Again) -> list[Correction]:
    """Of the corrections of one entry, in order, those of late values that nothing could stand in for."""
    found = list[Correction]()
    for number, one in enumerate(asked):
        if one.is_late and one.is_missing and one.series in series:
            before = [other for other in asked[:number] if other.series == one.series and other not in found]
            if _is_without(one, before, series[one.series], again):
                found.append(one)
    return found


def _is_without(one: Correction, before: Sequence[Correction], series: Series, again: Again) -> bool:
    """Whether the series, once it is corrected as is asked before, takes no missing value there."""
    end = series.known[-1][0]
    course = SeriesCourse(one.series, series.course.between(_FIRST, end))
    for other in before:
        course.put(other.place, other.value)
    place = EntryId.parse(one.id)
    if course.has(one.id):
        return False
    first = min([place, *(EntryId.parse(other.id) for other in before)])
    after, record = [known for known in series.known if known[0] < first][-1]
    [way] = again.after([(record, course.between(after, place))])  # a reset in the same entry too
    return again.rejects(way[-1][1], (one.id, [one.series, one.value]))
