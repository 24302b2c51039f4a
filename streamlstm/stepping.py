"""Step the values of a batch through the model: segments of series, laid out as rectangles, one model call each.

A *segment* is a run of values of one series that can be stepped in one call. A missing value begins a new one, because
what stands in for it is known only once the step before it is done. Segments of the same ordinal (their *level*) are
independent of each other, so each level is one staircase. A reset makes what follows independent of what was before:
the values between two resets are a *chain*, and chains of one series are stepped beside each other like series.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streamlstm.batch import Rectangle, staircase
from streamlstm.filling import Filled, Filler
from streamlstm.finite import finite_answers
from streamlstm.flaw import Flaw
from streamlstm.gaps import NEVER, NO_GAPS, Gaps
from streamlstm.halving import Halving
from streamlstm.record import RecordFormat, Rows, count_on
from streamlstm.rejected import MOST_REJECTED, why_rejected
from streamlstm.spec import ModelSpec

Float32 = NDArray[np.float32]
Index = NDArray[np.int64]
Mask = NDArray[np.bool_]

CHAINS_BYTES = 64 << 20  # of rows that chains stepped beside each other may take


class OneStep(Protocol):
    """One step of one series: what `x`, `state` and `time` hold is stepped to `y` and `next_state`, all in place."""

    x: Float32  # (1, 1, F)
    state: Float32  # (1, D)
    time: Index  # (1, 1), not read unless the model uses time
    y: Float32  # (1, 1, O)
    next_state: Float32  # (1, D)

    def step(self) -> None:
        """Step it; what is written is finite."""


class StepModel(Protocol):
    """What the engine needs of a model; `streamlstm.model.Model` is one."""

    spec: ModelSpec
    fingerprint: str

    def initial_state(self, batch: int = 1) -> Float32:
        """State before the first value, [batch, D]."""

    def one_step(self) -> OneStep:
        """One step of one series through arrays of its own, for one thread."""

    def advance(self, x: Float32, state: Float32, time: Index | None) -> tuple[Float32, Float32]:
        """T steps of B series whose x [T, B, F] and state [B, D] are known to be finite."""


@dataclass(frozen=True, kw_only=True)
class Segments:
    """Segments of one level over values in series order, longest first."""

    group: Index  # (s,) which row each belongs to
    first: Index  # (s,) index of its first value
    length: Index  # (s,)
    missing: Mask  # (s,) whether its first value is missing


class Chains(NamedTuple):
    """A run of chains, which are the values of a series between two resets: none needs another's state."""

    first: int  # index of the run's first value
    end: int
    group: Index  # (c,) which group each is of
    fresh: Mask  # (c,) whether it begins after a reset
    chain: Index  # (end - first,) which one each value is in


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """The values of a batch in series order; see `batch.Order`."""

    values: Float32  # (m, F); what stands in for missing ones is written here
    times_ms: Index  # (m,)
    group: Index  # (m,) which row
    epoch: Index  # (m,) resets of the series before it in this batch
    missing: Mask  # (m,)

    def chains(self, most: int) -> Iterator[Chains]:
        """All chains, in runs of at most so many."""
        begin = np.ones(len(self.group), bool)
        begin[1:] = (self.group[1:] != self.group[:-1]) | (self.epoch[1:] != self.epoch[:-1])
        firsts = np.flatnonzero(begin)
        for at in range(0, len(firsts), most):
            mine = firsts[at : at + most]
            first, end = int(mine[0]), int(firsts[at + most]) if at + most < len(firsts) else len(begin)
            chain = np.cumsum(begin[first:end]) - 1
            yield Chains(first, end, self.group[mine], self.epoch[mine] > 0, chain)

    def of(self, chains: Chains) -> Sequence:
        """A run of chains as a sequence of its own, each a group; its values are the same memory."""
        cut = slice(chains.first, chains.end)
        return Sequence(
            values=self.values[cut],
            times_ms=self.times_ms[cut],
            group=chains.chain,
            epoch=np.zeros(len(chains.chain), np.int64),
            missing=self.missing[cut],
        )

    def levels(self, silence_ms: int = NEVER) -> Iterator[Segments]:
        """All segments, level by level, of a sequence without resets.

        A value that comes so much later than the one before it begins a segment too.
        """
        if not len(self.group):
            return
        begin = np.ones(len(self.group), bool)
        begin[1:] = self.group[1:] != self.group[:-1]
        starts = begin | self.missing
        starts[1:] |= np.diff(self.times_ms) > silence_ms
        first = np.flatnonzero(starts)
        length = np.diff(np.append(first, len(starts)))
        ordinal = np.arange(len(first))
        group = self.group[first]
        level = ordinal - np.maximum.accumulate(np.where(begin[first], ordinal, 0))
        order = np.lexsort((-length, level))  # stable: by level, the longest first, then as they came
        for chosen in np.split(order, np.cumsum(np.bincount(level))[:-1]):
            at = first[chosen]
            yield Segments(
                group=group[chosen],
                first=at,
                length=length[chosen],
                missing=self.missing[at],
            )


class Stepper:
    """Steps sequences through one model, carrying records."""

    def __init__(
        self,
        model: StepModel,
        record_format: RecordFormat,
        *,
        missing: str,
        idle_ms: int = NEVER,
        gaps: Gaps = NO_GAPS,
    ) -> None:
        self._outputs = model.spec.y_width
        self._ask = Halving(model)
        self._format = record_format
        self._idle_ms = idle_ms
        self._renewed: dict[int, Rows] = {}  # rows of the level in work that began anew, as they were before
        self._hold = missing == "hold"
        # Which output stands in for a missing feature; features no output forecasts hold their last value.
        self.targets = model.spec.stand_ins
        self.filler = Filler(record_format, self._ask.advance, gaps=gaps, hold=self._hold, targets=self.targets)
        self._silence_ms = min(idle_ms, gaps.after_ms)
        # Of the sequence stepped last, by index: values the model had no answer to, those of them that are counted in
        # their series' record, and values that a series began anew with because it had had too many of them.
        self.rejected: dict[int, Flaw] = {}
        self.counted: list[int] = []
        self.anew: list[int] = []
        self.filled: Filled = {}  # what the filler had before values that ended a gap

    def step(self, sequence: Sequence, rows: Rows) -> tuple[Float32, Mask]:
        """Step all values; rows (g, words) are carried in place. Returns y (m, O) and which values were accepted.

        A value is not accepted if the model fails on it or answers it with something that is not finite, or if it is
        missing and its series has no past that could stand in for it; the series goes on from the state before it. See
        `rejected`.
        """
        y = np.empty((len(sequence.values), self._outputs), np.float32)
        accepted = np.ones(len(y), bool)
        rejected, counted, anew, filled = dict[int, Flaw](), list[int](), list[int](), Filled()
        if not sequence.epoch.any():
            self._step_chains(sequence, rows, y, accepted)
            self.filled = self.filler.last
            return y, accepted
        for chains in sequence.chains(max(1, CHAINS_BYTES // self._format.size)):
            first, cut = chains.first, slice(chains.first, chains.end)
            part = rows[chains.group]
            part[chains.fresh] = self._format.fresh
            self._step_chains(sequence.of(chains), part, y[cut], accepted[cut])
            last = np.append(np.flatnonzero(np.diff(chains.group)), len(chains.group) - 1)
            rows[chains.group[last]] = part[last]
            rejected.update((first + index, flaw) for index, flaw in self.rejected.items())
            counted += (first + index for index in self.counted)
            anew += (first + index for index in self.anew)
            filled.update((first + index, before) for index, before in self.filler.last.items())
        self.rejected, self.counted, self.anew, self.filled = rejected, counted, anew, filled
        return y, accepted

    def _step_chains(self, sequence: Sequence, rows: Rows, y: Float32, accepted: Mask) -> None:
        """Step a sequence without resets, level by level; its answers go into `y` and `accepted`."""
        self.filler.begin()
        self.rejected, self.counted, self.anew = {}, [], []
        for segments in sequence.levels(self._silence_ms):
            # Without gaps there is one level of all rows in their order, and nothing to copy.
            if len(segments.group) == len(rows) and np.array_equal(segments.group, np.arange(len(rows))):
                part = rows
            else:
                part = rows[segments.group]
            self._renew(part, sequence.times_ms[segments.first])
            self.filler.fill(part, segments.first, sequence.times_ms[segments.first])
            self._fill_missing(sequence, segments, part)
            self._step_level(sequence, segments, part, y, accepted)
            self._restore(part)
            if part is not rows:
                rows[segments.group] = part

    def _renew(self, part: Rows, times: Index, state: Float32 | None = None, first: int = 0) -> None:
        """Let series that were idle for too long before these times (n,) begin anew.

        What they were is kept until a value is accepted. `state` (n, D) is carried in place, where it is ahead of the
        part's own; `first` is the number of the part's first row in its level.
        """
        if self._idle_ms == NEVER:
            return
        header = self._format.header(part)
        idle = np.flatnonzero((header["steps"] > 0) & (times - header["time_ms"] > self._idle_ms))
        if state is not None:
            self._format.state(part)[idle] = state[idle]
        self._renewed.update(zip((idle + first).tolist(), part[idle], strict=True))
        part[idle] = self._format.fresh
        if state is not None:
            state[idle] = self._format.state(part)[idle]

    def _restore(self, part: Rows) -> None:
        """Give series that were let begin anew, and of which no value was accepted since, their rows back."""
        for row, before in self._renewed.items():
            if self._format.header(part)["steps"][row] == 0:
                part[row] = before
        self._renewed.clear()

    def _fill_missing(self, sequence: Sequence, segments: Segments, part: Rows) -> None:
        chosen = np.flatnonzero(segments.missing)
        if not len(chosen):
            return
        at = segments.first[chosen]
        stand_in = self._format.last_value(part)[chosen]
        no_past = self._format.header(part)["steps"][chosen] == 0
        if not self._hold:
            outputs = self._format.last_output(part)[chosen]
            for feature, target in enumerate(self.targets):
                if target is not None:
                    stand_in[:, feature] = outputs[:, target]
        stand_in[no_past] = np.nan
        x = sequence.values[at]
        sequence.values[at] = np.where(np.isnan(x), stand_in, x)

    def _step_level(self, sequence: Sequence, segments: Segments, part: Rows, y: Float32, accepted: Mask) -> None:
        state = np.ascontiguousarray(self._format.state(part))
        for rectangle in staircase(segments.length):
            batch = rectangle.batch
            at = _indices(segments, rectangle)
            x = sequence.values[at]
            times = sequence.times_ms[at]
            if rectangle.first:  # the value before may not have been accepted
                self._renew(part[:batch], times[0], state[:batch])
                self.filler.fill(part[:batch], at[0], times[0], state[:batch])
            unknown = np.flatnonzero(np.isnan(x).any(axis=(0, 2)))
            outputs, next_state = self._ask.advance(np.nan_to_num(x) if len(unknown) else x, state[:batch], times)
            y[at] = outputs
            bad = _not_finite(outputs, next_state)
            if len(unknown):
                bad = np.union1d(bad, unknown)
            before = part[bad]
            self._note(part[:batch], x, times, outputs)
            part[bad] = before
            for column in bad.tolist():
                self.filler.take_back(column, part, state)
            self.filler.keep()
            for column in bad.tolist():
                kept = self._step_one_by_one(column, x, state, times, y, at, part, sequence.missing)
                accepted[at[:, column]] = kept
                next_state[column] = state[column]
            state[:batch] = next_state
        self._format.state(part)[:] = state

    def _note(self, part: Rows, x: Float32, times: Index, outputs: Float32) -> None:
        """Carry over what a record keeps besides the state."""
        self._format.last_output(part)[:] = outputs[-1]
        self._format.last_value(part)[:] = x[-1]
        header = self._format.header(part)
        header["time_ms"] = times[-1]
        header["steps"] = count_on(header["steps"], len(x))
        header["rejected"] = 0

    def _step_one_by_one(
        self, column: int, x: Float32, state: Float32, times: Index, y: Float32, at: Index, part: Rows, missing: Mask
    ) -> Mask:
        """Find the values that cannot be answered and step the others; `state[column]` is carried in place."""
        steps = len(x)
        kept = np.zeros(steps, bool)
        row, carried = part[column : column + 1], state[column : column + 1]
        for step in range(steps):
            cut = slice(step, step + 1), slice(column, column + 1)
            if np.isnan(x[cut]).any():
                continue
            self._renew(row, times[step, column : column + 1], carried, column)
            now = at[step, column : column + 1], times[step, column : column + 1]
            self.filler.fill(row, *now, carried, column)
            outputs, next_state = self._ask.advance(x[cut], carried, times[cut])
            if len(_not_finite(outputs, next_state)):
                flaw = why_rejected(self._ask.failure)
                self.filler.take_back(column, row, carried, column)
                index = int(at[step, column])
                found = None if missing[index] else self._first_step(row, x[cut], times[cut])
                if found is None:
                    self._reject(index, row, flaw)
                    continue
                outputs, next_state = found
                row[:] = self._format.fresh
                self.anew.append(index)
            self.filler.keep()
            kept[step] = True
            state[column] = next_state[0]
            y[at[step, column]] = outputs[0, 0]
            self._note(row, x[cut], times[cut], outputs)
        return kept

    def _first_step(self, row: Rows, x: Float32, time: Index) -> tuple[Float32, Float32] | None:
        """A value stepped as a first one, where the series has had too many rejected; None if that gives no answer."""
        if self._format.header(row)["rejected"][0] < MOST_REJECTED:
            return None
        outputs, next_state = self._ask.advance(x, self._format.state(self._format.fresh[None]), time)
        return None if len(_not_finite(outputs, next_state)) else (outputs, next_state)

    def _reject(self, index: int, row: Rows, flaw: Flaw) -> None:
        """Note a value that is not answered, in the series' record too if there is one."""
        self.rejected[index] = flaw
        header = self._format.header(row)
        if header["steps"][0]:
            header["rejected"] = np.minimum(header["rejected"], MOST_REJECTED - 1) + 1
            self.counted.append(index)


def _indices(segments: Segments, rectangle: Rectangle) -> Index:
    """Where the values of a rectangle stand, (T, B)."""
    return segments.first[: rectangle.batch] + rectangle.first + np.arange(rectangle.steps)[:, None]


def _not_finite(outputs: Float32, next_state: Float32) -> Index:
    """Columns (series) with any output or state element that is not finite."""
    # A sum is finite only if all its terms are; it may overflow without a bad term, and then each is looked at.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(outputs.sum()) and np.isfinite(next_state.sum()):
            return np.empty(0, np.int64)
    return np.flatnonzero(~finite_answers(outputs, next_state))
