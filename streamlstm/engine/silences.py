"""What a series does before a value that comes after a long silence: nothing but input and record decide.

After more than `--idle-after` or `--reset-after` (or more than a gap can stand for) it begins anew. So when an old
record is physically removed makes no difference to any answer, and stepping the input again gives the same bits;
removing records (`daemon.idle_sweeper`) is mere housekeeping. A shorter silence may be a gap: its missing values are
stepped through one by one (see `gaps`). Both act on a copy of the record: if the value is refused, they have not been.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.finite import finite_answers
from streamlstm.engine.halving import Advance
from streamlstm.models import NEVER, NO_GAPS, Gaps, as_told, filled_time
from streamlstm.store.record import RecordFormat, Rows, count_on

Float32 = NDArray[np.float32]
Index = NDArray[np.int64]


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


class SilenceRules(NamedTuple):
    """What is made of values that do not come."""

    hold: bool = False  # the last one stands in for missing ones, not the model's own forecasts
    idle_ms: int = NEVER  # a series that was silent for longer begins anew
    gaps: Gaps = NO_GAPS


class Silences:
    """Brings records to just before a value."""

    def __init__(
        self,
        record_format: RecordFormat,
        advance: Advance,
        rules: SilenceRules,
        *,
        targets: Sequence[int | None] = (),
        exact: bool = False,
    ) -> None:
        """`targets` says which output stands in for a feature, unless the rules `hold`; others hold their last value.

        `exact`: outputs are pairs, which are fed as whoever reads and feeds them would.
        """
        self._format, self._advance = record_format, advance
        self._idle_ms, self._gaps = rules.idle_ms, rules.gaps
        self._exact = exact
        self._targets = (
            [] if rules.hold else [(feature, target) for feature, target in enumerate(targets) if target is not None]
        )

    def by(self, advance: Advance) -> Silences:
        """The same with another way to step the model."""
        made = copy(self)
        made._advance = advance
        return made

    def act(self, rows: Rows, times_ms: Index) -> None:
        """Bring rows (n, words) to just before values at these times (n,)."""
        header = self._format.header(rows)
        silence = np.where(header["steps"] > 0, times_ms - header["time_ms"], 0)
        if silence.max(initial=0) <= min(self._idle_ms, self._gaps.after_ms):
            return
        rows[silence > self._idle_ms] = self._format.fresh
        silence[silence > self._idle_ms] = 0
        missing = np.array([self._gaps.missing(one) for one in silence.tolist()], np.int64)
        chosen = np.flatnonzero(missing)
        if len(chosen):
            filled = rows[chosen]
            self._fill(filled, missing[chosen], times_ms[chosen])
            rows[chosen] = filled

    def stand_in(self, rows: Rows) -> Float32:
        """What stands in for a missing value after records (n, words) that have a past, (n, F)."""
        x, said = self._format.last_value(rows).copy(), self._format.last_output(rows)
        if self._exact:
            said = as_told(said)
        for feature, target in self._targets:
            x[:, feature] = said[:, target]
        return x

    def _fill(self, rows: Rows, missing: Index, end_ms: Index) -> None:
        """Step rows (n, words) through so many missing values each (n,), before values at `end_ms` (n,)."""
        begin_ms = self._format.header(rows)["time_ms"].copy()
        for number in range(1, int(missing.max()) + 1):
            chosen = np.flatnonzero(missing >= number)
            mine = rows[chosen]
            x = self.stand_in(mine)
            silences = zip(begin_ms[chosen].tolist(), end_ms[chosen].tolist(), missing[chosen].tolist(), strict=True)
            times = np.array([filled_time(*silence, number) for silence in silences], np.int64)
            y, after = self._advance(x[None], np.ascontiguousarray(self._format.state(mine)), times[None])
            good = finite_answers(y, after)
            mine = mine[good]
            self._format.last_output(mine)[:] = y[0, good]
            self._format.last_value(mine)[:] = x[good]
            self._format.state(mine)[:] = after[good]
            header = self._format.header(mine)
            header["time_ms"] = times[good]
            header["steps"] = count_on(header["steps"], 1)
            rows[chosen[good]] = mine
