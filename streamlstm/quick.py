"""The short way through a batch that has one plain value a series: what a daemon that keeps up with its input sees.

The general way sorts, plans and scores for any mixture of backlogs, gaps and resets, which takes some 600 us however
few the values are; a live value pays that as latency. Here the same is done without a plan. Both give the same bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.arena import NO_SLOT
from streamlstm.batch import Parsed
from streamlstm.record import SUMS, RecordFormat, Rows
from streamlstm.scoring import Scores
from streamlstm.stepping import StepModel

Float32 = NDArray[np.float32]


class Quick(NamedTuple):
    """What the short way gives: predictions (n, O) and what they scored; the rows are carried in place."""

    y: Float32
    scores: Scores


def is_quick(parsed: Parsed) -> bool:
    """Whether every item is a plain value of a series that is in memory and occurs once."""
    slots = parsed.slots
    if parsed.wrong or slots.min(initial=0) == NO_SLOT or np.isnan(parsed.values).any():
        return False
    return len(slots) == 1 or len(np.unique(slots)) == len(slots)


def step_quick(parsed: Parsed, rows: Rows, model: StepModel, record_format: RecordFormat) -> Quick | None:
    """Step n values, one for each of the rows (n, words); None, and nothing done, if any answer is not finite."""
    values = parsed.values
    times = parsed.times_ms[parsed.entry]
    state = np.ascontiguousarray(record_format.state(rows))
    outputs, next_state = model.advance(values[None], state, times[None] if model.spec.uses_time else None)
    y = outputs[0]
    if not (np.isfinite(y).all() and np.isfinite(next_state).all()):
        return None
    header = record_format.header(rows)
    scores = _score(header, record_format, rows, values, model)
    header["time_ms"] = times
    header["steps"] += 1
    record_format.last_output(rows)[:] = y
    record_format.last_value(rows)[:] = values
    record_format.state(rows)[:] = next_state
    return Quick(y, scores)


def _score(
    header: NDArray[np.void], record_format: RecordFormat, rows: Rows, values: Float32, model: StepModel
) -> Scores:
    """Score the predictions of the rows by the values that follow them; adds to the rows' sums."""
    feature = next((i for i, target in enumerate(model.spec.targets) if target is not None), None)
    group = np.flatnonzero(header["steps"])
    if feature is None or not len(group):
        nothing = np.empty(0)
        return Scores(np.empty(0, np.int64), nothing, nothing, np.empty(0, bool))
    x = values[group, feature].astype(np.float64)
    error = x - record_format.last_output(rows)[group, model.spec.targets[feature]]
    naive_error = x - record_format.last_value(rows)[group, feature]
    absolute, naive = np.abs(error), np.abs(naive_error)
    for name, terms in zip(SUMS, (absolute, error**2, naive, naive_error**2), strict=True):
        header[name][group] += terms
    header["scored"][group] += 1
    total = header["naive_absolute_error"][group]
    usable = total > 0.0
    scaled = absolute[usable] / (total[usable] / header["scored"][group[usable]])
    return Scores(group, error, naive_error, np.ones(len(group), bool), scaled)
