"""Step series through the missing values of a gap, before the value that ended it: see `gaps`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from streamlstm.finite import finite_answers
from streamlstm.gaps import NO_GAPS, Gaps, filled_time
from streamlstm.record import RecordFormat, Rows, count_on

Float32 = NDArray[np.float32]
Index = NDArray[np.int64]

# x [1, B, F], state [B, D], times [1, B] to y [1, B, O] and the state after it.
Advance = Callable[[Float32, Float32, Index], tuple[Float32, Float32]]

# What series had just before values that ended a gap, by the value's index: prediction (O), value (F).
Filled = dict[int, tuple[Float32, Float32]]


class Filler:
    """Fills gaps in rows that are being stepped, and takes it back where the value after a gap is refused."""

    def __init__(
        self,
        record_format: RecordFormat,
        advance: Advance,
        *,
        gaps: Gaps,
        hold: bool,
        targets: Sequence[int | None],
    ) -> None:
        """`targets` says which output stands in for a feature, unless `hold`."""
        self._format, self._advance, self.gaps = record_format, advance, gaps
        self._targets = (
            [] if hold else [(feature, target) for feature, target in enumerate(targets) if target is not None]
        )
        self._before: dict[int, Rows] = {}  # rows of the rectangle in work that were filled, as they were
        self.last: Filled = {}

    def begin(self) -> None:
        """Forget what was filled in another sequence."""
        self._before.clear()
        self.last = {}

    def fill(self, part: Rows, at: Index, times: Index, state: Float32 | None = None, first: int = 0) -> None:
        """Fill the gaps of rows (n,) before values of index `at` (n,) at these times (n,).

        `state` (n, D) is carried in place, where it is ahead of the part's own; `first` is the number of the part's
        first row in its level.
        """
        if self.gaps is NO_GAPS:
            return
        header = self._format.header(part)
        silence = np.where(header["steps"] > 0, times - header["time_ms"], 0)
        missing = np.zeros(len(part), np.int64)
        for row in np.flatnonzero(silence > self.gaps.after_ms).tolist():
            missing[row] = self.gaps.missing(int(silence[row]))
        chosen = np.flatnonzero(missing)
        if not len(chosen):
            return
        if state is not None:
            self._format.state(part)[chosen] = state[chosen]
        rows = part[chosen]
        for row, before in zip((chosen + first).tolist(), rows.copy(), strict=True):
            self._before.setdefault(row, before)
        self._step(rows, missing[chosen], times[chosen])
        part[chosen] = rows
        if state is not None:
            state[chosen] = self._format.state(rows)
        outputs, values = self._format.last_output(rows), self._format.last_value(rows)
        self.last.update(zip(at[chosen].tolist(), zip(outputs.copy(), values.copy(), strict=True), strict=True))

    def take_back(self, row: int, part: Rows, state: Float32, first: int = 0) -> None:
        """Undo the filling of one row of the level, if there was any since `keep`."""
        before = self._before.pop(row, None)
        if before is not None:
            part[row - first] = before
            state[row - first] = self._format.state(part)[row - first]

    def keep(self) -> None:
        """What was filled so far stays: the values after it were accepted."""
        self._before.clear()

    def _step(self, rows: Rows, missing: Index, end: Index) -> None:
        """Step rows (n,) through so many missing values each (n,), before values at `end` (n,)."""
        begin = self._format.header(rows)["time_ms"].copy()
        for number in range(1, int(missing.max()) + 1):
            chosen = np.flatnonzero(missing >= number)
            mine = rows[chosen]
            x = self._format.last_value(mine).copy()
            for feature, target in self._targets:
                x[:, feature] = self._format.last_output(mine)[:, target]
            silences = zip(begin[chosen].tolist(), end[chosen].tolist(), missing[chosen].tolist(), strict=True)
            times = np.array([filled_time(*silence, number) for silence in silences], np.int64)
            state = np.ascontiguousarray(self._format.state(mine))
            y, after = self._advance(x[None], state, times[None])
            good = finite_answers(y, after)
            mine = mine[good]
            self._format.last_output(mine)[:] = y[0, good]
            self._format.last_value(mine)[:] = x[good]
            self._format.state(mine)[:] = after[good]
            header = self._format.header(mine)
            header["time_ms"] = times[good]
            header["steps"] = count_on(header["steps"], 1)
            rows[chosen[good]] = mine
