"""When a challenger is given up: what counts against it, and for how long.

A machine that is busy, a limit of the processor and memory that was swapped out make values of any model late. So it
is the processor's time that counts, and only for a while: a slow value counts for a hundred times as long as its step
took. What is limited so is a share of the loop's time: whoever is always slow is given up at the third value where
they come quickly, and whoever was slow three times in a week is not.
"""

from __future__ import annotations

from collections import deque

SLOW_S = 0.05  # of the processor: a value that takes so long
COUNTS_TIMES = 100.0  # as long as its step took: for how long a slow value counts
MOST_STRIKES = 3  # that count at one time, or corrections one after the other that fail


class Strikes:
    """What counts against the challenger of one stream."""

    def __init__(self) -> None:
        self._until: deque[float] = deque(maxlen=MOST_STRIKES)  # when each slow value is forgotten
        self._failed = 0  # corrections, since it last moved on

    def slow(self, value_s: float, step_s: float, now_s: float) -> str | None:
        """Note that a value took so long, in a step of one or many; why the challenger is given up, if it is."""
        self._until.append(now_s + COUNTS_TIMES * step_s)
        if sum(now_s < until for until in self._until) < MOST_STRIKES:
            return None
        return f"it is too slow: a value takes {value_s:.2f} s of the processor"

    def failed(self, why: str) -> str | None:
        """Note that a correction failed, so that it is tried again; why the challenger is given up, if it is."""
        self._failed += 1
        return why if self._failed >= MOST_STRIKES else None

    def moved_on(self) -> None:
        """Forget what failed: it was another process's commit, or is put right."""
        self._failed = 0
