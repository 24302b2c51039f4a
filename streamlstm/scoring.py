"""Score predictions by the values that follow: sums of errors per series, kept in its record.

A value is the label of the prediction before it. Sums are taken one value after the other, in float64 and in order of
arrival, so that they are the same bits however the values were batched. Scored is the first feature that has a
target; a value that was missing, or follows a reset, is no label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from streamlstm.record import SUMS
from streamlstm.stepping import Sequence as ValueSequence

Index = NDArray[np.int64]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Scores:
    """The scored values of a batch: which group (series) each belongs to, its error and the naive forecast's."""

    group: Index  # (k,)
    error: Float64  # (k,) value - prediction before it, in raw units
    naive_error: Float64  # (k,) value - value before it
    current: Mask  # (k,) whether it counts for the record: no reset came after it in the batch
    scaled: Float64 = field(default_factory=lambda: np.empty(0))  # |error| / its series' mean |naive error|

    def add_to(self, header: NDArray[np.void]) -> Scores:
        """Add to the sums in the groups' headers (g,); returns the scores with their scaled errors."""
        group, error, naive = self.group[self.current], self.error[self.current], self.naive_error[self.current]
        terms = (np.abs(error), error**2, np.abs(naive), naive**2)
        for name, values in zip(SUMS, terms, strict=True):
            sums = header[name].copy()
            np.add.at(sums, group, values)  # unbuffered: one after the other, in the order given
            header[name] = sums
        header["scored"] += np.bincount(group, minlength=len(header)).astype(np.uint64)
        sums = header["naive_absolute_error"][self.group]
        usable = self.current & (sums > 0.0)  # a series that never moved has no scale
        scale = sums[usable] / header["scored"][self.group[usable]]
        scaled = np.full(len(self.group), np.nan)
        scaled[usable] = np.abs(self.error[usable]) / scale
        return replace(self, scaled=scaled)

    def only(self, groups: Mask) -> Scores:
        """Those of the groups in a mask (g,)."""
        chosen = groups[self.group]
        scaled = self.scaled[chosen]
        return Scores(
            group=self.group[chosen],
            error=self.error[chosen],
            naive_error=self.naive_error[chosen],
            current=self.current[chosen],
            scaled=scaled[np.isfinite(scaled)],
        )


def score(
    sequence: ValueSequence,
    kept: Index,
    y: Float32,
    *,
    before: tuple[Float32, Float32, Mask],
    targets: Sequence[int | None],
    last_epoch: Index,
) -> Scores:
    """Score the accepted values `kept` of a sequence by their predictions y (m, O).

    `before` is what each group had before the batch: last outputs (g, O), last values (g, F), and whether it had any.
    """
    feature = next((i for i, target in enumerate(targets) if target is not None), None)
    if feature is None or not len(kept):
        empty = np.empty(0)
        return Scores(np.empty(0, np.int64), empty, empty, np.empty(0, bool))
    target = targets[feature]
    group, epoch = sequence.group[kept], sequence.epoch[kept]
    follows = np.zeros(len(kept), bool)  # the value before it in the batch is of the same series
    follows[1:] = (group[1:] == group[:-1]) & (epoch[1:] == epoch[:-1])
    outputs, values, had_past = before
    x = sequence.values[kept, feature].astype(np.float64)
    predicted = outputs[group, target].astype(np.float64)
    naive = values[group, feature].astype(np.float64)
    at = np.flatnonzero(follows)
    predicted[at] = y[kept[at - 1], target]
    naive[at] = x[at - 1]
    labelled = ~sequence.missing[kept] & (follows | (had_past[group] & (epoch == 0)))
    return Scores(
        group=group[labelled],
        error=(x - predicted)[labelled],
        naive_error=(x - naive)[labelled],
        current=(epoch == last_epoch[group])[labelled],
    )
