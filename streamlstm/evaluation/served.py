"""What `serve` answers and counts of the values of a table: they are stepped by the daemon's own engine.

Every series is a stream of its own with one series in it, so a batch steps many of them beside each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamlstm.common import EngineSettings
from streamlstm.engine import (
    ABSOLUTE,
    COVERED,
    GIVEN,
    MODEL_FAILED,
    NAIVE,
    SCORED,
    Engine,
    Parsed,
    new_tally,
)
from streamlstm.errors import ArrayError, StepError, TableError
from streamlstm.evaluation.split import training_length
from streamlstm.models import Model, split
from streamlstm.store import BEFORE_ANYTHING, Commit, as_number
from streamlstm.store.record import Extras
from streamlstm.store.resp import Texts
from streamlstm.tables import Series

Float64 = NDArray[np.float64]
BESIDE = 256  # series stepped beside each other


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Figures of the test values, as `status --series` and the metrics have them of all values."""

    mae: float
    skill: float | None  # 1 - mae / that of the naive forecast; None where that is 0
    coverage: float | None  # of the interval; None without one

    @classmethod
    def of(cls, tally: Float64) -> Figures | None:
        """Of what was scored; None if nothing was."""
        scored, absolute, naive, given = tally[[SCORED, ABSOLUTE, NAIVE, GIVEN]].tolist()
        if not scored:
            return None
        coverage = float(tally[COVERED]) / given if given else None
        return cls(mae=absolute / scored, skill=1 - absolute / naive if naive else None, coverage=coverage)

    def as_json(self) -> dict[str, float | None]:
        return {"served_mae": self.mae, "served_skill": self.skill, "served_coverage": self.coverage}


@dataclass(frozen=True)
class Served:
    """Some series, served from their beginnings."""

    # A series: all outputs after each value, (N, O), as whoever reads their texts has them.
    outputs: tuple[Float64, ...]
    figures: Figures | None  # of the test values


def serve(
    model: Model,
    series: Sequence[Series],
    missing: str | None = None,
    *,
    level: float | None = None,
    test_size: float | None = None,
) -> Served:
    """Step series from their beginnings with what is `missing` treated as `serve --missing` does; None: as trained.

    Row t of the outputs forecasts what follows value t; it is NaN where there is no answer. The figures are of the last
    `test_size` of each series (None: of no value) with intervals of this `level`. Raises TableError if the model looks
    at times and a series has none, ArrayError for a number beyond float32, StepError if the model fails on a value.
    """
    interval = level if set(Extras(level).columns).isdisjoint(model.spec.outputs) else None
    interval = interval if any(target is not None for target in model.spec.targets) else None
    engine = Engine(model, EngineSettings(missing=missing, gap_after_ms=0, interval=interval))
    outputs, tally = [], new_tally(1)[0]
    for first in range(0, len(series), BESIDE):
        beside = series[first : first + BESIDE]
        lengths = [len(one.values) for one in beside]
        heads = lengths if test_size is None else [training_length(length, test_size) for length in lengths]
        walks = [Walk(engine, f"series {number}", one) for number, one in enumerate(beside)]
        step_walks(engine, walks, [1] * len(walks))  # begins the series, so that the others' values find it at once
        step_walks(engine, walks, heads)
        tally += step_walks(engine, walks, lengths)
        outputs += [walk.outputs for walk in walks]
    return Served(tuple(outputs), Figures.of(tally) if test_size is not None else None)


def step_walks(engine: Engine, walks: Sequence[Walk], ends: Sequence[int]) -> Float64:
    """Step every series up to a row; returns the tally of all."""
    tally: Float64 = new_tally(1)[0]
    known = {walk.stream: walk for walk in walks}
    while True:
        batch = [walk.parsed(end) for walk, end in zip(walks, ends, strict=True) if walk.done < end]
        if not batch:
            return tally
        for stream, names in engine.begin(batch).items():
            engine.admit(stream, names, [None] * len(names))
        for result in engine.step(batch):
            tally += result.tally
            known[result.commit.stream].take(result.commit, result.entries)


class Walk:
    """One series on its way through the engine."""

    def __init__(self, engine: Engine, stream: str, one: Series) -> None:
        spec = engine.model.spec
        if spec.uses_time and one.times_ms is None:
            raise TableError(f"the model looks at the time of each value, and series {one.name!r} has no times")
        self.stream = stream
        self._values = np.ascontiguousarray(split(one.values) if spec.exact else one.values, dtype=np.float32)
        if np.isinf(self._values).any():
            raise ArrayError(f"series {one.name!r} holds a number beyond float32; leave it out")
        self._missing = np.logical_or.reduce(np.isnan(self._values), axis=1)
        self._times_ms = np.zeros(len(self._values), np.int64) if one.times_ms is None else one.times_ms
        self.done = 0  # rows
        self.outputs = np.full((len(self._values), len(spec.outputs)), np.nan)
        engine.open(stream, BEFORE_ANYTHING)
        self._engine = engine

    def parsed(self, end: int) -> Parsed:
        """The rows that are still to be stepped before `end`, each an entry."""
        rows = np.arange(self.done, end)
        nothing, missing = np.zeros(len(rows), np.int64), self._missing[rows]
        # Ids are only handed through: a place in a text that is not there says which row it is.
        return Parsed(
            stream=self.stream,
            ids=Texts(b"", rows, nothing),
            times_ms=self._times_ms[rows],
            names=Texts(NAME, nothing, nothing + len(NAME)),
            texts=Texts(b"", nothing, nothing),
            counts=nothing + 1,
            slots=np.full(len(rows), self._engine.arena.find(self.stream, NAME)),
            values=self._values[rows],
            odd=missing,
            plain=not missing.any(),
            wrong={},
        )

    def take(self, commit: Commit, rows: int) -> None:
        """Keep what was answered to the next so many rows."""
        failed = next((letter for letter in commit.dead if letter.kind == MODEL_FAILED), None)
        if failed is not None:
            raise StepError(failed.error)
        columns = len(commit.columns.split(","))
        numbers = np.array(list(map(as_number, b",".join(commit.texts).split(b",")))) if len(commit.texts) else _NONE
        self.outputs[commit.ids.at] = numbers.reshape(-1, columns)[:, : self.outputs.shape[1]]
        self.done += rows


NAME = b"series"
_NONE = np.empty(0)
