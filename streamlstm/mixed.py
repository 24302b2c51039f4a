"""The mixed way through a batch: series with gaps, resets or answers that are not finite, stepped by a plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.arena import Arena
from streamlstm.calibration import BEGINS, LABELLED
from streamlstm.carry import calibrate
from streamlstm.carry_python import chosen_extras
from streamlstm.extras import Extras
from streamlstm.flaw import Flaw
from streamlstm.gaps import NEVER, NO_GAPS, Gaps
from streamlstm.idle import Anew, begin_anew
from streamlstm.pairs import join
from streamlstm.plan import Plan, Repeated, Skipped, Work
from streamlstm.record import RecordFormat, Rows
from streamlstm.rejected import begun_anew
from streamlstm.scoring import COVERED, GIVEN, Before, Labels, Scored, score_labels
from streamlstm.stepping import StepModel, Stepper

Index = NDArray[np.int64]
Mask = NDArray[np.bool_]
Float32 = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]  # float32, or float64 where numbers are pairs
Float64 = NDArray[np.float64]


class Mixed(NamedTuple):
    """What stepping a plan gave; items are numbered through all streams."""

    items: Index  # (m,) items with a prediction
    y: Floats  # (m, columns)
    slots: Index  # (g,) series whose record is to be stored
    stream: Index  # (g,) number of each one's stream
    last_item: Index  # (g,) each one's last item that was stepped
    gone: Index  # (r,) slots of series whose record is to be removed: reset, and nothing after it
    gone_stream: Index  # (r,)
    without_past: Index  # items that are missing, of series with nothing to stand in for them
    rejected: dict[int, Flaw]  # items that the model had no answer to, and why
    anew: Index  # items that a series began anew with, because it had had too many of those


class _Given(NamedTuple):
    """Predictions in series order, those that repeat the one before among them."""

    items: Index  # (m,)
    y: Float32  # (m, O)
    group: Index  # (m,)
    epoch: Index  # (m,) resets of the series before it in this batch
    stepped: Index  # (m,) number of the stepped value among those accepted; -1 for a repeated prediction


class MixedWay:
    """Steps any mixture of items through one model."""

    def __init__(
        self,
        model: StepModel,
        record_format: RecordFormat,
        extras: Extras,
        *,
        missing: str,
        idle_ms: int = NEVER,
        gaps: Gaps = NO_GAPS,
    ) -> None:
        self._format, self._extras, self._idle_ms = record_format, extras, idle_ms
        self._stepper = Stepper(model, record_format, missing=missing, idle_ms=idle_ms, gaps=gaps)
        self._scored, self._exact = Scored.of(model.spec), model.spec.exact
        self._skip = missing == "skip"

    def step(self, works: Sequence[Work], arena: Arena, tally: Float64) -> Mixed:
        """Step the works and carry their rows in the arena; what is scored is added to the streams' tally."""
        plan = Plan.of(works)
        rows = arena.gather(plan.slots)
        before = self._before(rows)
        last_ms = self._format.header(rows)["time_ms"].copy()
        kept_before = self._format.calibration(rows).copy() if self._extras.wanted else None
        skipped = plan.take_missing() if self._skip else None
        sequence, resets = plan.sequence, plan.resets
        stepped, accepted = self._stepper.step(sequence, rows)
        kept = np.flatnonzero(accepted)
        without_past = plan.items[~accepted & sequence.missing]
        repeated = None
        if skipped is not None:
            repeated = skipped.repeat(sequence, stepped, kept, before.output, self._idle_ms)
            recent = skipped.times_ms - last_ms[skipped.group] <= self._idle_ms
            known = repeated.known | (before.has_past[skipped.group] & (skipped.epoch == 0) & recent)
            repeated = Repeated(repeated.y, known)
            without_past = skipped.items[~known]
        for anew in self._beginnings(plan, kept, last_ms, before.has_past):
            if skipped is not None:
                skipped = skipped.after(sequence, kept, anew.epoch)
            plan.sequence = sequence = replace(sequence, epoch=anew.epoch)
            resets = resets + anew.times
        given = _given(plan, kept, stepped, skipped, repeated)
        last = np.full(len(rows), -1)
        last[sequence.group[kept]] = kept
        last_epoch = np.where(last >= 0, sequence.epoch[last], -1) if len(kept) else last
        y: Floats = join(given.y) if self._exact else given.y
        if self._scored.target >= 0:
            labels = Labels.of(sequence, kept, stepped, before=before, scored=self._scored)
            labels.take_filled(kept, self._stepper.filled, scored=self._scored)
            score_labels(labels, last_epoch, self._format.header(rows), tally, plan.stream)
            if kept_before is not None:
                extras = self._calibrate(kept_before, given, labels, plan.stream, tally)
                y = np.concatenate([y, extras.astype(y.dtype)], axis=1)
                self._format.calibration(rows)[:] = kept_before
        arena.scatter(plan.slots, rows)
        written = last_epoch == resets
        removed = ~written & (plan.resets > 0)
        if self._stepper.counted:
            self._write_counted(sequence.group, resets, last, written)
        return Mixed(
            items=given.items,
            y=y,
            slots=plan.slots[written],
            stream=plan.stream[written],
            last_item=plan.items[last[written]],
            gone=plan.slots[removed],
            gone_stream=plan.stream[removed],
            without_past=without_past,
            rejected={
                int(plan.items[index]): flaw
                for index, flaw in self._stepper.rejected.items()
                if not sequence.missing[index]
            },
            anew=plan.items[self._stepper.anew],
        )

    def _beginnings(self, plan: Plan, kept: Index, last_ms: Index, has_past: Mask) -> Iterator[Anew]:
        """How the epochs of the plan's sequence change where series began anew, for one reason and then for another."""
        if self._idle_ms != NEVER and (idle := begin_anew(plan.sequence, kept, last_ms, has_past, self._idle_ms)):
            yield idle
        if self._stepper.anew:
            yield begun_anew(plan.sequence, self._stepper.anew, len(last_ms))

    def _write_counted(self, group: Index, resets: Index, last: Index, written: Mask) -> None:
        """Have records written that count values without an answer, though none was answered; not if they are gone."""
        counted = np.array(self._stepper.counted)
        counted = counted[resets[group[counted]] == 0]
        np.maximum.at(last, group[counted], counted)
        written[group[counted]] = True

    def _before(self, rows: Rows) -> Before:
        header = self._format.header(rows)
        return Before(self._format.last_output(rows).copy(), self._format.last_value(rows).copy(), header["steps"] > 0)

    def _calibrate(
        self, kept: NDArray[np.void], given: _Given, labels: Labels, stream: Index, tally: Float64
    ) -> Float64:
        """The columns after the outputs, (m, columns - O); the calibrations `kept` (g,) are carried."""
        count = len(given.items)
        real = given.stepped >= 0
        at = given.stepped[real]
        x, predicted = np.zeros(count), np.zeros(count)
        x[real], predicted[real] = labels.x[at], labels.predicted[at]
        flags = np.zeros(count, np.uint8)
        flags[real] = np.where(labels.labelled[at], LABELLED, 0)
        same = np.zeros(count, bool)
        same[1:] = given.group[1:] == given.group[:-1]
        epoch_before = np.where(same, np.concatenate([[0], given.epoch[:-1]]), 0)
        flags[given.epoch != epoch_before] |= BEGINS
        y = self._scored.forecast(given.y)
        out, counts = np.empty((count, 3)), np.zeros((len(kept), 2))
        fresh = self._format.calibration(self._format.fresh[None])[0]
        calibrate(
            kept, fresh, self._extras.constants, given.group, flags, x, predicted, y, out, counts, int(self._exact)
        )
        np.add.at(tally[:, COVERED], stream, counts[:, 0])
        np.add.at(tally[:, GIVEN], stream, counts[:, 1])
        return chosen_extras(out, int(self._extras.interval is not None), int(self._extras.score))


def _given(plan: Plan, kept: Index, stepped: Float32, skipped: Skipped | None, repeated: Repeated | None) -> _Given:
    """All predictions in series order: those stepped, and those that answer a skipped value by the one before."""
    sequence = plan.sequence
    number = np.arange(len(kept))
    found = _Given(plan.items[kept], stepped[kept], sequence.group[kept], sequence.epoch[kept], number)
    if skipped is None or repeated is None:
        return found
    known = np.flatnonzero(repeated.known)
    nobody = np.full(len(known), -1)
    more = _Given(skipped.items[known], repeated.y[known], skipped.group[known], skipped.epoch[known], nobody)
    # A skipped value comes before the stepped one whose number is how many were stepped before it.
    order = np.argsort(np.concatenate([2 * kept + 1, 2 * skipped.before[known]]), kind="stable")
    return _Given(
        items=np.concatenate([found.items, more.items])[order],
        y=np.concatenate([found.y, more.y])[order],
        group=np.concatenate([found.group, more.group])[order],
        epoch=np.concatenate([found.epoch, more.epoch])[order],
        stepped=np.concatenate([found.stepped, more.stepped])[order],
    )
