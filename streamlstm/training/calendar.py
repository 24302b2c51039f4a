"""What the times of a training part are good for: which periods of the calendar fit into it, and the usual spacing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streamlstm.errors import TableError
from streamlstm.evaluation import training_length
from streamlstm.tables import Series
from streamlstm.training.forecaster.timing import CALENDAR
from streamlstm.training.panel import Panel

MIN_PERIODS = 2  # a period must fit this often into the training part
MIN_STEPS = 3  # in a period


def usual_spacing(series: Sequence[Series], test_size: float) -> int | None:
    """The median time from one value of the training parts to the next, in ms, at least 1; None without times."""
    known = [one.times_ms[: training_length(len(one.values), test_size)] for one in series if one.times_ms is not None]
    spacings = [np.diff(times) for times in known if len(times) > 1]
    return max(1, round(float(np.median(np.concatenate(spacings))))) if spacings else None


def calendar_periods(panel: Panel, spacing: int) -> tuple[str, ...]:
    """The periods that have some steps and fit into the training part; TableError if there is none."""
    assert panel.times is not None, "the panel was made with times"
    span = max(int(panel.times[length - 1, one] - panel.times[0, one]) for one, length in enumerate(panel.lengths))
    found = [
        name for name, (length, _) in CALENDAR.items() if MIN_STEPS * spacing <= length and MIN_PERIODS * length <= span
    ]
    if not found:
        raise TableError(
            "no day, week or year fits into the training part twice with three values each, so the calendar says "
            "nothing; leave --calendar out"
        )
    return tuple(found)
