"""The mixed way through a batch: series with gaps, resets or answers that are not finite, stepped by a plan."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.arena import Arena
from streamlstm.plan import Plan, Work
from streamlstm.record import RecordFormat
from streamlstm.scoring import Before, score_sequence, scored_feature
from streamlstm.stepping import StepModel, Stepper

Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]


class Mixed(NamedTuple):
    """What stepping a plan gave; items are numbered through all streams."""

    items: Index  # (m,) items with a prediction
    y: Float32  # (m, O)
    slots: Index  # (g,) series whose record is to be stored
    stream: Index  # (g,) number of each one's stream
    last_item: Index  # (g,) each one's last item that was stepped
    gone: Index  # (r,) slots of series whose record is to be removed: reset, and nothing after it
    gone_stream: Index  # (r,)
    without_past: Index  # items that are missing, of series with nothing to stand in for them
    rejected: Index  # items whose answer is not finite


class MixedWay:
    """Steps any mixture of items through one model."""

    def __init__(self, model: StepModel, record_format: RecordFormat, *, missing: str) -> None:
        self._format = record_format
        self._stepper = Stepper(model, record_format, missing=missing)
        self._scored = scored_feature(model.spec.targets)
        self._skip = missing == "skip"

    def step(self, works: Sequence[Work], arena: Arena, tally: Float64) -> Mixed:
        """Step the works and carry their rows in the arena; what is scored is added to the streams' tally."""
        plan = Plan.of(works)
        rows = arena.gather(plan.slots)
        header = self._format.header(rows)
        has_past = header["steps"] > 0
        before = Before(self._format.last_output(rows).copy(), self._format.last_value(rows).copy(), has_past)
        skipped = plan.take_missing() if self._skip else None
        sequence = plan.sequence
        stepped, accepted = self._stepper.step(sequence, rows)
        kept = np.flatnonzero(accepted)
        items, y = plan.items[kept], stepped[kept]
        without_past = plan.items[~accepted & sequence.missing]
        if skipped is not None:
            repeated = skipped.repeat(sequence, stepped, kept, before.output)
            known = repeated.known | (has_past[skipped.group] & (skipped.epoch == 0))
            items, y = np.concatenate([items, skipped.items[known]]), np.concatenate([y, repeated.y[known]])
            without_past = skipped.items[~known]
        last = np.full(len(rows), -1)
        last[sequence.group[kept]] = kept
        last_epoch = np.where(last >= 0, sequence.epoch[last], -1) if len(kept) else last
        written = last_epoch == plan.resets
        score_sequence(
            sequence,
            kept,
            stepped,
            before=before,
            scored=self._scored,
            last_epoch=last_epoch,
            header=header,
            tally=tally,
            stream=plan.stream,
        )
        arena.scatter(plan.slots, rows)
        removed = ~written & (plan.resets > 0)
        return Mixed(
            items=items,
            y=y,
            slots=plan.slots[written],
            stream=plan.stream[written],
            last_item=plan.items[last[written]] if len(kept) else last[written],
            gone=plan.slots[removed],
            gone_stream=plan.stream[removed],
            without_past=without_past,
            rejected=plan.items[~accepted & ~sequence.missing],
        )
