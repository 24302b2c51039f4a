"""The next H values of series, from records that are only read: a model's own forecasts are fed back to it.

A model that says K steps at once (`ModelSpec.horizon`; mostly 1) has said the next K values with its last answer. They
are fed back one after the other, and its answer to the last of them says the next K, and so on in blocks of K. So every
number is, to the bit, what a plain loop over `Model.step` gives from the same state. Features that are only looked at
are given, or held at their last values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine.finite import finite_answers
from streamlstm.engine.halving import Halving
from streamlstm.engine.scoring import Scored
from streamlstm.engine.target_times import UNKNOWN_MS, Spacing, times_ahead
from streamlstm.errors import UsageError
from streamlstm.models import ModelSpec, StepModel, as_stored, join, split
from streamlstm.store.record import Constants, RecordFormat, Rows

Float64 = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]  # float32, or float64 where numbers are pairs
Index = NDArray[np.int64]

BATCH_BYTES = 32 << 20  # of states stepped beside each other
MOST_BATCH = 16_384  # series stepped beside each other


class ForecastPaths(NamedTuple):
    """What n series are forecast to do in H steps."""

    values: Floats  # (n, H, C) of the C features that are forecast; NaN from where the model has no finite answer
    times_ms: Index | None  # (n, H), ms since the epoch; None where the time between two values is not known


@dataclass(frozen=True)
class Fed:
    """How a model is fed with what it does not forecast."""

    given: Floats | None = None  # (steps, n, L) of the L features only looked at, from the first step on; None: held


HELD = Fed()


def fed_steps(spec: ModelSpec, steps: int) -> int:
    """How many of `steps` steps a model is fed to say all of them: the last block is not."""
    return (steps - 1) // spec.horizon * spec.horizon


def scored_column(spec: ModelSpec) -> int:
    """Which of the columns that are forecast has an interval: that of the first feature with a forecast."""
    return list(spec.forecast).index(Scored.of(spec).feature)


class Ahead:
    """Forecasts series of one model any number of steps ahead."""

    def __init__(self, model: StepModel) -> None:
        """Raises UsageError for a model that forecasts none of its features."""
        spec = model.spec
        if not spec.forecast:
            raise UsageError(
                "none of the model's outputs forecasts one of its features, so nothing can be fed back; import it with "
                "--target FEATURE=OUTPUT"
            )
        self.spec, self._model = spec, Halving(as_stored(model))
        self.only_seen = [feature for feature, target in enumerate(spec.targets) if target is None]
        self.format = RecordFormat.of(
            spec,
            initial_state=model.initial_state(1)[0],
            fingerprint=model.fingerprint,
            calibration=Constants().fresh(),  # records without one get it, and it says that nothing was seen
        )
        self.batch = max(1, min(MOST_BATCH, BATCH_BYTES // (4 * max(1, spec.state_size))))  # series at once

    def names_only_seen(self) -> list[str]:
        """The names of the features that are looked at and not forecast."""
        return [self.spec.features[feature] for feature in self.only_seen]

    def columns(self) -> list[str]:
        """The names of the C columns: the outputs that forecast the features' next values."""
        return [self.spec.outputs[target] for target in self.spec.targets if target is not None]

    def forecast(self, rows: Rows, steps: int, *, spacing_ms: Spacing = None, fed: Fed = HELD) -> ForecastPaths:
        """The next `steps` values of series whose records are rows (n, words), which are not changed.

        `spacing_ms` is the time between two values, of all or (n,) of each series, without it the model's. Raises
        UsageError where a model that looks at times has to be fed and nobody says how far apart its values are.
        """
        times = self._times(rows, steps, spacing_ms, fed_steps(self.spec, steps))
        return ForecastPaths(self._in_batches(rows, steps, fed, times), times)

    def _times(self, rows: Rows, steps: int, spacing_ms: Spacing, needed: int) -> Index | None:
        spacing = self.spec.spacing_ms if spacing_ms is None else spacing_ms
        if self.spec.uses_time and needed and (spacing is None or np.any(np.equal(spacing, 0))):
            raise UsageError(
                "the model looks at the time of each value and does not say how far apart values are; say it with "
                "--spacing (such as 30m)"
            )
        return None if spacing is None else times_ahead(self.format.header(rows)["time_ms"], steps, spacing)

    def if_next(self, rows: Rows, steps: int, value: Float64, *, spacing_ms: Spacing = None, fed: Fed = HELD) -> Floats:
        """What would be said of steps 1 to H if this (n,) came next of the feature that is scored: (n, H, C).

        Step 1 is as it is said now. Everything else, and what is raised, is as of `forecast`; a model that looks at
        times which nobody knows is told that of the last value.
        """
        times = self._times(rows, steps, spacing_ms, 0)
        if self.spec.uses_time:
            last = np.repeat(self.format.header(rows)["time_ms"][:, None], steps, axis=1)
            times = last if times is None else np.where(times == UNKNOWN_MS, last, times)
        return self._in_batches(rows, steps, fed, times, value)

    def _in_batches(
        self, rows: Rows, steps: int, fed: Fed, times: Index | None, value: Float64 | None = None
    ) -> Floats:
        parts = []
        for first in range(0, len(rows), self.batch):
            cut = slice(first, first + self.batch)
            given = None if fed.given is None else fed.given[:, cut]
            when = None if times is None else times[cut]
            parts.append(self._values(rows[cut], steps, given, when, None if value is None else value[cut]))
        return np.concatenate(parts) if parts else np.empty((0, steps, len(self.spec.forecast)), np.float32)

    def _values(
        self, rows: Rows, steps: int, given: Floats | None, times: Index | None, first_value: Float64 | None = None
    ) -> Floats:
        """(n, H, C) of series stepped beside each other; the first of the values fed may be another than was said."""
        block, count = self.spec.horizon, len(self.spec.forecast)
        said = self._numbers(self.format.last_output(rows))
        held = self._numbers(self.format.last_value(rows))
        state = np.ascontiguousarray(self.format.state(rows))
        out = np.full((len(rows), steps, count), np.nan, said.dtype)
        alive, at = np.ones(len(rows), bool), 0  # values fed
        while True:
            told = self._told(said)  # (K, n, C)
            for number in range(min(block, steps - at)):
                out[alive, at + number] = told[number, alive]
            is_other = first_value is not None and at == 0
            fed = 1 if is_other else block
            if at + fed >= steps or not alive.any():
                return out
            x = np.repeat(held[None], fed, axis=0)
            x[:, :, list(self.spec.forecast)] = told[:fed]
            if is_other:
                x[0, :, self.spec.forecast[scored_column(self.spec)]] = first_value
            if given is not None:
                x[:, :, self.only_seen] = given[np.minimum(np.arange(at, at + fed), len(given) - 1)]
            x[:, ~alive] = 0.0
            when = _NO_TIMES if times is None else np.ascontiguousarray(times[:, at : at + fed].T)
            y, state = self._model.advance(self._as_fed(x), state, _for_all(when, x))
            alive &= finite_answers(y, state)
            state = np.where(alive[:, None], state, np.float32(0.0))
            said = self._numbers(np.where(alive[:, None], y[-1], np.float32(0.0)))
            at += fed

    def _told(self, said: Floats) -> Floats:
        """What answers (n, O) say of the targets of each step of a block, (K, n, C)."""
        first = [target for target in self.spec.targets if target is not None]
        count = len(first)
        return np.stack([said[:, [at + step * count for at in first]] for step in range(self.spec.horizon)])

    def _numbers(self, stored: NDArray[np.float32]) -> Floats:
        """Numbers as people have them: float32, or the float64 that pairs stand for."""
        return join(stored) if self.spec.exact else stored

    def _as_fed(self, x: Floats) -> NDArray[np.float32]:
        return np.ascontiguousarray(split(x) if self.spec.exact else x, dtype=np.float32)


_NO_TIMES: Index = np.empty((0, 0), np.int64)


def _for_all(times: Index, x: Floats) -> Index:
    """Times (T, n) to be cut beside x; of a model that does not look at them any will do."""
    return times if times.size else np.zeros(x.shape[:2], np.int64)
