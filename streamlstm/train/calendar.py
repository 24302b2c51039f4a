"""What the times of a training part are good for: which periods of the calendar fit into it, and the usual spacing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlstm.data import Panel
from streamlstm.errors import TableError
from streamlstm.forecaster.timing import CALENDAR

MIN_PERIODS = 2  # a period must fit this often into the training part
MIN_STEPS = 3  # in a period


def usual_spacing(panel: Panel) -> int:
    """The median time from one value to the next, in ms, at least 1."""
    return max(1, round(float(np.median(np.concatenate(_spacings(panel))))))


def calendar_periods(panel: Panel) -> tuple[str, ...]:
    """The periods that have some steps and fit into the training part; TableError if there is none."""
    spacing = usual_spacing(panel)
    span = max(int(gaps.sum()) for gaps in _spacings(panel))
    found = [
        name for name, (length, _) in CALENDAR.items() if MIN_STEPS * spacing <= length and MIN_PERIODS * length <= span
    ]
    if not found:
        raise TableError(
            "no day, week or year fits into the training part twice with three values each, so the calendar says "
            "nothing; leave --calendar out"
        )
    return tuple(found)


def _spacings(panel: Panel) -> list[NDArray[np.int64]]:
    """The times between values, an array a series."""
    assert panel.times is not None, "the panel was made with times"
    return [np.diff(panel.times[:length, number]) for number, length in enumerate(panel.lengths.tolist())]
