"""Series that were idle for too long begin anew: the rule, which depends on nothing but the input.

A value is stepped from a fresh state if more time than `--idle-after` lies between its entry's id and that of its
series' last stepped value. So when the old record is physically removed makes no difference to any answer, and stepping
the input again gives the same bits; removing records (`streamlstm.sweep`) is mere housekeeping.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.gaps import NEVER

if TYPE_CHECKING:
    from streamlstm.stepping import Sequence

Index = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Anew(NamedTuple):
    """Fresh beginnings in a sequence."""

    epoch: Index  # (m,) resets and fresh beginnings of the series before each value in the batch
    times: Index  # (g,) fresh beginnings of each group


def silences_in_batch(
    slots: Index, times_ms: Index, last_ms: Index, steps: NDArray[np.uint64], most_ms: int
) -> Index | None:
    """How long the series of items (n,) were silent before them, in the batch or by their records, 0 where not known.

    None if none was for longer than `most_ms`. `last_ms` and `steps` (rows,) are those of all records, by slot; a slot
    below 0 is no series.
    """
    items = np.flatnonzero(slots >= 0)
    if not len(items):
        return None
    used = slots[items]
    known = steps[used] > 0
    # Nothing is further apart than the newest item and the oldest record or item: nearly always within the limit.
    oldest = min(times_ms[items].min(), last_ms[used][known].min(initial=NEVER))
    if times_ms[items].max() - oldest <= most_ms:
        return None
    order = items[np.argsort(used, kind="stable")]
    slot, time = slots[order], times_ms[order]
    before = np.where(steps[slot] > 0, last_ms[slot], time)
    same = slot[1:] == slot[:-1]
    before[1:][same] = time[:-1][same]
    if not (time - before > most_ms).any():
        return None
    found = np.zeros(len(slots), np.int64)
    found[order] = time - before
    return found


def begin_anew(sequence: Sequence, kept: Index, last_ms: Index, has_past: Mask, idle_ms: int) -> Anew | None:
    """How a sequence's epochs are with its fresh beginnings counted as resets.

    `kept` are the accepted values, `last_ms` and `has_past` (g,) what the groups' records said before. None if no
    series began anew.
    """
    group, epoch, times = sequence.group[kept], sequence.epoch[kept], sequence.times_ms[kept]
    before = last_ms[group]
    follows = has_past[group] & (epoch == 0)
    same = group[1:] == group[:-1]
    before[1:][same] = times[:-1][same]
    follows[1:][same] = (epoch[1:] == epoch[:-1])[same]
    anew = follows & (times - before > idle_ms)
    if not anew.any():
        return None
    total = np.cumsum(anew)
    begin = np.ones(len(group), bool)
    begin[1:] = ~same
    before_group = np.maximum.accumulate(np.where(begin, total - anew, 0))
    epochs = sequence.epoch.copy()
    epochs[kept] += total - before_group
    return Anew(epochs, np.bincount(group[anew], minlength=len(last_ms)))
