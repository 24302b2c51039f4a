"""Training data: the chronological split, series side by side in one panel, and rows cut for truncated training.

Keras' `stateful=True` carries the state of batch row i from one window to the next. So does training here: a row is
a stretch of one series, its windows follow each other, several rows stand side by side in a batch. A long series
alone is cut into several rows; each then begins with a run-in whose errors do not count, so that its state is
warm where it has to answer for its forecasts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamlstm.errors import TableError
from streamlstm.evaluation import fill_gaps, from_first_value, training_length
from streamlstm.tables import Series

MOST_NAMED = 6  # series that a message names
LEAST_COMPLETE = 0.5  # of the values that are there in part are complete, else those count too
LEAST_THERE = 0.25  # of a series' values; what a model makes up between fewer goes astray
FEWEST_AHEAD = 2  # training values a step ahead
LEAST_SERIES = 4
FEWEST_SERIES = 100  # of many that stand for all; each says something of how they differ
MIN_TRAINING_VALUES = 20  # fewer say nothing about how one value follows another
# Of the values are one and the same: see `forecaster.mixture`. Where nearly all are, the few others are spikes, which
# no forecast should give way to all the time.
SPARSE_SHARES = (0.4, 0.9)


@dataclass(frozen=True)
class Panel:
    """Several series side by side, each from its first value on, shorter ones padded with their last value."""

    values: NDArray[np.float64]  # (N, S, F), gaps filled with the value before
    observed: NDArray[np.bool_]  # (N, S, F), False in gaps and padding
    lengths: NDArray[np.int64]  # (S,)
    times: NDArray[np.int64] | None = None  # (N, S) in ms, if they matter

    def until(self, ends: NDArray[np.int64]) -> Panel:
        """Only the first `ends` (S,) values of each series."""
        longest = int(ends.max())
        inside = np.arange(longest)[:, None, None] < ends[None, :, None]
        times = None if self.times is None else self.times[:longest]
        return Panel(self.values[:longest], self.observed[:longest] & inside, ends, times)

    @property
    def has_gaps(self) -> bool:
        """Whether anything is missing between the first and the last value of a series."""
        inside = np.arange(len(self.values))[:, None] < self.lengths  # (N, S)
        return not self.observed[inside].all()

    def observed_rows(self) -> NDArray[np.float64]:
        """All values that are there and complete, (n, F); if those are few, all that are there in part."""
        every, some = self.observed.all(axis=2), self.observed.any(axis=2)
        return self.values[every if every.sum() >= LEAST_COMPLETE * some.sum() else some]


def long_enough(
    series: Sequence[Series], test_size: float, horizon: int, say: Callable[[str], None], *, window: int | None = None
) -> tuple[list[Series], list[str]]:
    """The series that can be trained on, each from its first value on, and the names of those that are too short.

    `window` values are looked at, and the one after them forecast, by a model over windows. `say` is told of those left
    out. Raises TableError where none is left.
    """
    if not series:
        raise TableError("there is no series to train on")
    needed = max(MIN_TRAINING_VALUES, FEWEST_AHEAD * horizon) if window is None else window + 1
    kept, short, sparse = [], [], []
    for one in series:
        begun = from_first_value(one)
        length = 0 if begun is None else training_length(len(begun.values), test_size)
        if begun is None or length < needed:
            short.append((one, max(length, 0)))
        elif (there := int((~np.isnan(begun.values[:length])).any(axis=1).sum())) < max(needed, LEAST_THERE * length):
            sparse.append((one, f"{there:,} of {length:,}"))
        else:
            kept.append(begun)
    why = f"at least {needed} are needed"
    if window is not None:
        why += f", one window of {window} and what comes after it"
    if horizon > 1:
        why = f"too few to learn {horizon} steps ahead (--horizon): {why}"
    if not kept and sparse:
        one, found = sparse[0]
        raise TableError(
            f"too many values are missing: series {one.name!r} has {found} in its training part, and at least {needed} "
            f"and {LEAST_THERE:.0%} are needed"
        )
    if not kept:
        one, length = max(short, key=lambda found: found[1])
        if from_first_value(one) is None:
            raise TableError(f"series {one.name!r} has no value at all; leave it out")
        raise TableError(
            f"series {one.name!r} is too short: {len(one.values)} values leave {length} to train on with test size "
            f"{test_size:g}, {why}" + ("; use a smaller --lookback or more values" if window is not None else "")
        )
    if short:
        names = ", ".join(f"{one.name!r} ({length})" for one, length in short[:MOST_NAMED])
        more = f" and {len(short) - MOST_NAMED:,} more" if len(short) > MOST_NAMED else ""
        say(f"left out as too short: {names}{more}; {why}")
    if sparse:
        names = ", ".join(f"{one.name!r} ({found})" for one, found in sparse[:MOST_NAMED])
        more = f" and {len(sparse) - MOST_NAMED:,} more" if len(sparse) > MOST_NAMED else ""
        say(f"left out as too few values are there: {names}{more}")
    return kept, [one.name for one, _ in (*short, *sparse)]


def make_panel(series: Sequence[Series], test_size: float, *, with_times: bool = False) -> Panel:
    """The training parts of some series (each beginning with a value) as a panel.

    Raises TableError where a training part is too short, or has no times and they matter.
    """
    ends = []
    for one in series:
        end = training_length(len(one.values), test_size)
        if end < MIN_TRAINING_VALUES:
            raise TableError(
                f"series {one.name!r} is too short: {len(one.values)} values leave {max(end, 0)} to train on with "
                f"test size {test_size:g}, and at least {MIN_TRAINING_VALUES} are needed"
            )
        ends.append(end)
    shape = (max(ends), len(series), series[0].values.shape[1])
    values, observed = np.empty(shape), np.zeros(shape, np.bool_)
    times = np.zeros(shape[:2], np.int64) if with_times else None
    for column, (one, end) in enumerate(zip(series, ends, strict=True)):
        filled = fill_gaps(one.values[:end])
        values[:end, column], values[end:, column] = filled, filled[-1]
        observed[:end, column] = ~np.isnan(one.values[:end])
        if times is not None:
            if one.times_ms is None:
                raise TableError(f"series {one.name!r} has no times, and what was asked for looks at them")
            times[:end, column], times[end:, column] = one.times_ms[:end], one.times_ms[end - 1]
    return Panel(values, observed, np.asarray(ends), times)


def is_sparse(panel: Panel) -> bool:
    """Whether so many values are one and the same that their mean is not near any of them."""
    columns = panel.observed_rows().T
    shares = [np.unique(column, return_counts=True)[1].max() / len(column) for column in columns]
    return SPARSE_SHARES[0] < float(np.mean(shares)) <= SPARSE_SHARES[1]


def thinned(panel: Panel, most: int, *, least: int = MIN_TRAINING_VALUES) -> Panel:
    """At most about so many values of a panel; the same where there are fewer.

    Series are left out first, evenly over all of them, down to FEWEST_SERIES, or to LEAST_SERIES so that `least` values
    of each are left; then what came first of those that stay.
    """
    total = int(panel.lengths.sum())
    if total <= most:
        return panel
    count = len(panel.lengths)
    kept = min(count, max(FEWEST_SERIES, count * most // total), max(LEAST_SERIES, most // least))
    chosen = np.unique(np.linspace(0, count - 1, kept).round().astype(np.int64))
    lengths = panel.lengths[chosen]
    longest = max(least, _longest_within(lengths, most))
    first = np.maximum(lengths - longest, 0)
    steps = np.minimum(first + np.arange(min(int(lengths.max()), longest))[:, None], lengths - 1)  # (N', S')
    values, observed = panel.values[steps, chosen], panel.observed[steps, chosen]
    left = lengths - first
    observed &= np.arange(len(steps))[:, None, None] < left[:, None]
    times = None if panel.times is None else panel.times[steps, chosen]
    return Panel(values, observed, left, times)


def _longest_within(lengths: NDArray[np.int64], most: int) -> int:
    """To how many values each series has to be cut so that all together have about so many."""
    rest, left = most, len(lengths)
    for length in np.sort(lengths).tolist():
        if length * left >= rest:
            return rest // left
        rest, left = rest - length, left - 1
    return int(lengths.max())


@dataclass(frozen=True)
class Row:
    """A stretch of one series: steps start <= t < stop, of which those from `counts_from` on count."""

    series: int
    start: int
    stop: int
    counts_from: int


def cut_rows(starts: NDArray[np.int64], stops: NDArray[np.int64], *, rows: int, window: int) -> list[Row]:
    """Cut series (steps starts <= t < stops of each) into rows until there are about `rows` of them.

    No row gets shorter than four windows; all but the first of a series begin one window early, as a run-in.
    """
    pieces_wanted = max(1, round(rows / len(starts)))
    result = []
    for series, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
        if stop <= start:
            continue
        pieces = max(1, min(pieces_wanted, (stop - start) // (4 * window)))
        edges = [start + (stop - start) * piece // pieces for piece in range(pieces + 1)]
        for first, last in pairwise(edges):
            result.append(Row(series, max(start, first - window) if first > start else start, last, first))
    return result


@dataclass(frozen=True)
class Batch:
    """Rows side by side, padded to the longest: what truncated back-propagation walks through window by window."""

    inputs: Tensor  # (T, R, I)
    targets: Tensor  # (T, R, O)
    weights: Tensor  # (T, R, O), 0 where the target is missing, is a run-in's, or past the row's end; else 1

    def windows(self, window: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Inputs, targets and weights of one window after the other."""
        for first in range(0, len(self.inputs), window):
            part = slice(first, first + window)
            yield self.inputs[part], self.targets[part], self.weights[part]


def make_batches(
    rows: Sequence[Row], inputs: Tensor, targets: Tensor, usable: Tensor, *, most_rows: int = 64
) -> list[Batch]:
    """Batches of rows of like length from inputs (N, S, I), targets (N, S, O) and usable (N, S, O) of bool."""
    ordered = sorted(rows, key=lambda row: row.stop - row.start, reverse=True)
    batches = []
    for first in range(0, len(ordered), most_rows):
        group = ordered[first : first + most_rows]
        order = torch.arange(group[0].stop - group[0].start)[:, None]  # (T, 1)
        start, stop, counts, series = (
            torch.tensor([getattr(row, name) for row in group]) for name in ("start", "stop", "counts_from", "series")
        )
        time = start + order  # (T, R)
        counted = (time < stop) & (time >= counts)
        time = torch.minimum(time, stop - 1)
        weights = (usable[time, series] & counted[..., None]).float()
        batches.append(Batch(inputs[time, series], targets[time, series], weights))
    return batches
