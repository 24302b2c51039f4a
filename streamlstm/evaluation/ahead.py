"""Forecasts several steps ahead through a table: from the records that a daemon would hold at many moments of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamlstm.common import EngineSettings
from streamlstm.engine import (
    Ahead,
    Asked,
    Engine,
    Fed,
    Forecast,
    bounds_ahead,
    fed_steps,
    forecast_records,
    growth,
    scored_column,
)
from streamlstm.evaluation.served import BESIDE, NAME, Walk, step_walks
from streamlstm.models import Model
from streamlstm.store.record import DEFAULT_LEVEL, Rows
from streamlstm.tables import Series

Float64 = NDArray[np.float64]
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Moment:
    """Where a series stands after so many of its values."""

    series: int  # which of some
    after: int  # values


def spread(begin: int, end: int, most: int) -> list[int]:
    """At most so many whole numbers from `begin` to `end`, evenly spread."""
    if end < begin:
        return []
    places = np.linspace(begin, end, min(most, end - begin + 1)).round()
    return [int(place) for place in np.unique(places)]


def records_at(
    model: Model,
    series: Sequence[Series],
    moments: Sequence[Sequence[int]],
    *,
    level: float,
    missing: str | None = None,
) -> Iterator[tuple[list[Moment], Rows]]:
    """The records of series after so many values each (rising), as `serve --interval` keeps them; a few at a time.

    Raises as `serve` of this folder.
    """
    engine = Engine(model, EngineSettings(missing=missing, gap_after_ms=0, interval=level))
    for first in range(0, len(series), BESIDE):
        chosen = [number for number in range(first, min(first + BESIDE, len(series))) if moments[number]]
        walks = {number: Walk(engine, f"series {number}", series[number]) for number in chosen}
        if walks:
            step_walks(engine, list(walks.values()), [1] * len(walks))
        for turn in range(max((len(moments[number]) for number in chosen), default=0)):
            there = [number for number in chosen if turn < len(moments[number])]
            step_walks(engine, [walks[number] for number in there], [moments[number][turn] for number in there])
            slots = [engine.arena.find(walks[number].stream, NAME) for number in there]
            yield [Moment(number, moments[number][turn]) for number in there], engine.arena.rows[slots]
        for walk in walks.values():
            engine.forget(walk.stream)


@dataclass(frozen=True)
class Said:
    """Forecasts from some moments (m), H steps ahead, of the feature that is scored, beside what came."""

    moments: tuple[Moment, ...]
    rows: Rows  # (m, words)
    forecasts: Float64  # (m, H)
    came: Float64  # (m, H); NaN where it is missing, or beyond the end
    low: Float64  # (m, H)
    high: Float64  # (m, H)
    grown: Float64  # (m, H) how many times as large as one step ahead errors are, as the model alone has it


def say_ahead(
    model: Model,
    series: Sequence[Series],
    moments: Sequence[Sequence[int]],
    steps: int,
    *,
    level: float,
    missing: str | None = None,
) -> Said:
    """Forecast series from some moments of theirs; what is only looked at is given, since it is in the table."""
    ahead = Ahead(model)
    column, feature = scored_column(model.spec), model.spec.forecast[scored_column(model.spec)]
    where, parts = list[Moment](), [np.empty((0, ahead.format.words), np.float32)]
    for some, found in records_at(model, series, moments, level=level, missing=missing):
        where += some
        parts.append(found)
    rows = np.concatenate(parts)
    fed = Fed(_given(ahead, series, where, fed_steps(model.spec, steps)))
    said = ahead.forecast(rows, steps, fed=fed).values[:, :, column]
    grown = growth(ahead, rows, said, fed=fed)
    low, high, _ = bounds_ahead(ahead, rows, said, level, fed=fed, grown=grown)
    came = [_after(series[one.series].values[:, feature], one.after, steps) for one in where]
    return Said(tuple(where), rows, said.astype(np.float64), np.array(came).reshape(-1, steps), low, high, grown)


def forecast_after(
    model: Model, series: Sequence[Series], asked: Asked, *, missing: str | None = None
) -> list[Forecast]:
    """Forecast what comes after the end of each series, as `streamlstm forecast` does once all of it was served.

    Raises as `serve` of this folder, and UsageError for what makes no sense.
    """
    ahead, records = Ahead(model), dict[str, bytes | None]()
    moments = [[len(one.values)] for one in series]
    for where, rows in records_at(model, series, moments, level=asked.level or DEFAULT_LEVEL, missing=missing):
        records |= {series[one.series].name: row.tobytes() for one, row in zip(where, rows, strict=True)}
    return forecast_records(ahead, "", model.fingerprint, records, asked)


def _given(ahead: Ahead, series: Sequence[Series], where: Sequence[Moment], steps: int) -> Float64 | None:
    """What features only looked at are in the steps fed, (steps, m, L): the last known where it is missing."""
    if not ahead.only_seen or not steps:
        return None
    found = np.empty((steps, len(where), len(ahead.only_seen)))
    for place, one in enumerate(where):
        for number, feature in enumerate(ahead.only_seen):
            column = series[one.series].values[: one.after + steps, feature]
            last = np.maximum.accumulate(np.where(np.isnan(column), 0, np.arange(len(column))))
            filled = np.nan_to_num(column[last])
            found[:, place, number] = filled[np.minimum(np.arange(one.after, one.after + steps), len(filled) - 1)]
    return found


def _after(values: Float64, first: int, steps: int) -> Float64:
    """The values from `first` on, (H,), NaN beyond the end."""
    found = np.full(steps, np.nan)
    cut = values[first : first + steps]
    found[: len(cut)] = cut
    return found
