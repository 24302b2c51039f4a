"""Score predictions by the values that follow: sums of errors per series, kept in its record, and a tally per stream.

A value is the label of the prediction before it. Sums are taken one value after the other, in float64 and in order of
arrival, so that they are the same bits however the values were batched. Scored is the first feature that has a
target; a value that was missing, or follows a reset, is no label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.models import ModelSpec
from streamlstm.store.record import SUMS, count_on

Index = NDArray[np.int64]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

# A stream's tally of a batch: how many predictions were scored, sums of |error|, of |error of the naive forecast| and
# of scaled errors, values inside their interval and values that had one; the first three again of values that are among
# the FIRST_VALUES of their series; then how many scaled errors fell under each edge and beyond the last.
SCORED, ABSOLUTE, NAIVE, SCALED, COVERED, GIVEN, FIRST_SCORED, FIRST_ABSOLUTE, FIRST_NAIVE, BUCKETS = range(10)
# A series' first value has no forecast, so of so many one less is scored; missing ones do not count.
FIRST_VALUES = 50
# Of |error| / mean |error of the naive forecast|: 1 is as good as naive. An edge belongs to its bucket.
SCALED_ERROR_EDGES = np.array([0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0])
FIRST_COLUMNS = (FIRST_SCORED, FIRST_ABSOLUTE, FIRST_NAIVE)
TALLY_COLUMNS = BUCKETS + len(SCALED_ERROR_EDGES) + 1


def new_tally(streams: int) -> Float64:
    """Nothing scored: zeros (streams, TALLY_COLUMNS)."""
    return np.zeros((streams, TALLY_COLUMNS))


class Scored(NamedTuple):
    """Which number is scored, and where it stands in values and outputs."""

    target: int  # the output that forecasts it; -1 if none is scored
    feature: int
    low_target: int | None = None  # where numbers are pairs: of their low parts
    low_feature: int | None = None

    @classmethod
    def of(cls, spec: ModelSpec) -> Scored:
        """The first feature of a model that has a target."""
        target, feature = scored_feature(spec.targets)
        if not spec.exact:
            return cls(target, feature)
        return cls(target, feature, target + len(spec.outputs), feature + len(spec.features))

    def value(self, values: Float32) -> Float64:
        """The number itself, of values (…, F)."""
        return _joined(values, self.feature, self.low_feature)

    def forecast(self, outputs: Float32) -> Float64:
        """What forecasts it, of outputs (…, O)."""
        return _joined(outputs, self.target, self.low_target)


def _joined(numbers: Float32, high: int, low: int | None) -> Float64:
    whole = numbers[..., high].astype(np.float64)
    return whole if low is None else whole + numbers[..., low]


def scored_feature(targets: Sequence[int | None]) -> tuple[int, int]:
    """The output that is scored and the feature it forecasts; (-1, 0) if there is none."""
    for feature, target in enumerate(targets):
        if target is not None:
            return target, feature
    return -1, 0


def add_scores(
    header: NDArray[Any], group: Index, error: Float64, naive_error: Float64
) -> tuple[Float64, NDArray[np.bool_]]:
    """Add errors (k,), those of a group side by side, to the sums of the groups' headers (g,), one after the other.

    Returns the scaled errors (k,): |error| over the series' mean |naive error| up to then; NaN before it ever moved.
    And which are of the FIRST_VALUES of their series (k,).
    """
    terms = (np.abs(error), error**2, np.abs(naive_error), naive_error**2)
    counts = np.bincount(group, minlength=len(header))
    starts = np.zeros(len(header), np.int64)
    begins = np.flatnonzero(np.diff(group, prepend=-1))
    starts[group[begins]] = begins
    naive_sum, scored = np.empty(len(group)), np.empty(len(group))
    # Either all groups' first errors, then all seconds …, or group by group: whichever takes fewer turns.
    if counts.max(initial=0) <= np.count_nonzero(counts):
        for rank in range(int(counts.max(initial=0))):
            chosen = np.flatnonzero(counts > rank)
            at = starts[chosen] + rank
            for name, values in zip(SUMS, terms, strict=True):
                header[name][chosen] += values[at]
            header["scored"][chosen] = count_on(header["scored"][chosen], 1)
            naive_sum[at], scored[at] = header["naive_absolute_error"][chosen], header["scored"][chosen]
    else:
        for one in np.flatnonzero(counts).tolist():
            cut = slice(starts[one], starts[one] + counts[one])
            for name, values in zip(SUMS, terms, strict=True):
                # A cumulative sum goes from left to right, so these are the bits of one addition after the other.
                sums = np.cumsum(np.concatenate([[header[name][one]], values[cut]]))[1:]
                header[name][one] = sums[-1]
                if name == "naive_absolute_error":
                    naive_sum[cut] = sums
            counted = count_on(header["scored"][one], np.arange(1, counts[one] + 1))
            scored[cut], header["scored"][one] = counted, counted[-1]
    scaled = np.full(len(group), np.nan)
    moved = naive_sum > 0.0
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # by a mean too small for a number
        scaled[moved] = terms[0][moved] / (naive_sum[moved] / scored[moved])
    scaled[~np.isfinite(scaled)] = np.nan
    return scaled, scored < FIRST_VALUES


def take_scores(
    tally: Float64,
    stream: Index,
    errors: tuple[Float64, Float64],
    scores: tuple[Float64, NDArray[np.bool_]],
    edges: Float64,
) -> None:
    """Add errors, of forecasts and of naive ones (k,), of some streams (k,) to the tally (streams, TALLY_COLUMNS).

    `scores` are those that `add_scores` gave.
    """
    scaled, is_first = scores
    for chosen, columns in ((slice(None), (SCORED, ABSOLUTE, NAIVE)), (is_first, FIRST_COLUMNS)):
        for column, terms in zip(columns, (np.ones(len(stream)), *map(np.abs, errors)), strict=True):
            np.add.at(tally[:, column], stream[chosen], terms[chosen])
    known = ~np.isnan(scaled)
    np.add.at(tally[:, SCALED], stream[known], scaled[known])
    np.add.at(tally, (stream[known], BUCKETS + np.searchsorted(edges, scaled[known], side="left")), 1.0)
