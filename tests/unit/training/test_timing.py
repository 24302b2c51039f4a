"""Features of time: the place in day, week and year, and the gap to the value before, whatever the time."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import torch

from streamlstm.engine.engine import Engine
from streamlstm.errors import TableError, UsageError
from streamlstm.models.model import Model
from streamlstm.store.memory import MemoryServer, MemoryStore
from streamlstm.tables import Series
from streamlstm.training import LoopOptions, TrainingOptions, train
from streamlstm.training.calendar import calendar_periods, usual_spacing
from streamlstm.training.forecaster.timing import DAY_MS, HOUR_MS, TimeFeatures
from streamlstm.training.panel import make_panel
from support.pump import pump

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SMALL = TrainingOptions(units=(8,), members=1, loop=LoopOptions(epochs=5, window=16))


def ms(*when: int) -> int:
    """A date and time as ms since the epoch."""
    return (datetime(*when, tzinfo=UTC) - EPOCH) // timedelta(milliseconds=1)  # type: ignore[misc, arg-type]


def columns(features: TimeFeatures, *times: int, moving: bool = True) -> np.ndarray:
    """The columns at some times of one series, (T, E)."""
    time = torch.tensor(times)[:, None]
    there = torch.full((len(times), 1, 1), moving)
    return features(time, there, features.initial_state(1))[0][:, 0].numpy()


def test_the_first_harmonic_turns_once_a_day() -> None:
    """At midnight, six, noon and eighteen o'clock, before 1970 too, the hand stands where a clock's would."""
    features = TimeFeatures(("day",))
    for year in (1949, 2024):
        hands = columns(features, *(ms(year, 3, 1, hour) for hour in (0, 6, 12, 18)))
        np.testing.assert_allclose(hands[:, 0], [0, 1, 0, -1], atol=1e-6)
        np.testing.assert_allclose(hands[:, 4], [1, 0, -1, 0], atol=1e-6)


def test_weeks_and_years_come_round() -> None:
    """A week later the week's columns are the same, a year later the year's nearly, half a year later opposite."""
    week, year = TimeFeatures(("week",)), TimeFeatures(("year",))
    when = ms(2024, 5, 6, 7)
    assert np.array_equal(columns(week, when), columns(week, when + 7 * DAY_MS))
    np.testing.assert_allclose(columns(year, when), columns(year, ms(2025, 5, 6, 7)), atol=0.05)
    np.testing.assert_allclose(columns(year, when)[:, 0], -columns(year, when + 183 * DAY_MS)[:, 0], atol=0.05)


def test_the_gap_is_measured_in_usual_spacings_and_carried() -> None:
    """The usual gap is 0, three times it 1/2, none at all -1; the state carries a time to the ms."""
    features = TimeFeatures((), spacing_ms=1000)
    start = ms(2024, 1, 1)
    gaps = columns(features, start, start + 1000, start + 4000, start + 4000)
    np.testing.assert_allclose(gaps[1:, 0], [0.0, 0.5, -1.0], atol=1e-6)
    assert columns(features, start, moving=False)[0, 0] == 0.0
    one, state = features(torch.tensor([[start + 7]]), torch.ones(1, 1, 1, dtype=torch.bool), features.initial_state(1))
    del one
    two, _ = features(torch.tensor([[start + 7 + 3000]]), torch.ones(1, 1, 1, dtype=torch.bool), state)
    assert float(two) == pytest.approx(0.5)


def test_a_period_must_fit_into_the_training_part() -> None:
    """Ten days of hours have days but no two weeks; three values a year fit no calendar."""
    hours = Series("h", np.arange(240) * HOUR_MS, np.random.default_rng(0).normal(0, 1, (240, 1)))
    panel = make_panel([hours], 0, with_times=True)
    assert usual_spacing([hours], 0.2) == HOUR_MS
    assert calendar_periods(panel, HOUR_MS) == ("day",)
    rare = Series("r", np.arange(30) * 200 * DAY_MS, np.random.default_rng(0).normal(0, 1, (30, 1)))
    with pytest.raises(TableError, match="leave --calendar out"):
        calendar_periods(make_panel([rare], 0, with_times=True), 200 * DAY_MS)
    with pytest.raises(UsageError, match="no period 'month'"):
        TimeFeatures(("month",))


def test_the_calendar_helps_where_lags_do_not_show_the_hour() -> None:
    """A daily wave seen at irregular times is forecast better by a model that is told the time."""
    random = np.random.default_rng(0)
    times = ms(2024, 1, 1) + np.cumsum(random.integers(1, 12, 900)) * HOUR_MS
    values = 10 * np.sin(times / DAY_MS * 2 * np.pi) + random.normal(0, 3, 900)
    series = Series("s", times, values[:, None])
    options = dataclasses.replace(SMALL, blend=False)  # the models beside it are told no times
    without = train([series], options)
    told = train([series], dataclasses.replace(options, calendar=True, gaps=True))
    spec = Model(told.model_bytes).spec
    assert spec.uses_time
    assert spec.training["calendar"] == ["day", "week"]
    assert told.errors["model"].rmse < 0.97 * without.errors["model"].rmse


def test_a_table_without_times_has_no_calendar() -> None:
    """Asking for the calendar or the gaps where there are no times is refused by name."""
    series = Series("s", None, np.random.default_rng(0).normal(0, 1, (60, 1)))
    for wanted in ("calendar", "gaps"):
        with pytest.raises(TableError, match="'s' has no times"):
            train([series], dataclasses.replace(SMALL, **{wanted: True}))


def test_a_season_stays_in_phase_over_values_left_out() -> None:
    """Told that long times stand for missing values, a model of a wave with holes errs less, live as in training."""
    random = np.random.default_rng(0)
    values = 10 * np.sin(np.arange(1200) / 24 * 2 * np.pi) ** 3 + random.normal(0, 0.5, 1200)
    there = np.ones(1200, bool)
    for first in range(50, 1150, 80):
        there[first : first + int(random.integers(3, 15))] = False
    series = Series("s", np.flatnonzero(there) * HOUR_MS + ms(2024, 1, 1), values[there][:, None])
    options = dataclasses.replace(SMALL, seasons=(24,))
    without = train([series], dataclasses.replace(options, gap_after_ms=0))
    said: list[str] = []
    told = train([series], options, say=said.append)  # the holes are found
    assert told.holes is not None
    assert said[0].startswith(f"14 holes of {1200 - there.sum()} values in the times, the longest ")
    assert told.errors["model"].rmse < 0.8 * without.errors["model"].rmse
    model = Model(told.model_bytes)
    assert (model.spec.spacing_ms, model.spec.gap_after_ms) == (HOUR_MS, HOUR_MS * 3 // 2)
    server = MemoryServer()
    assert series.times_ms is not None
    for time, value in zip(series.times_ms.tolist(), series.values[:, 0].tolist(), strict=True):
        server.add("values", f"{time}-0", "s", repr(value))
    pump(Engine(model), MemoryStore(server), ["values"])
    answers = [float(fields[1]) for fields in server.stream("values").predictions]
    [filled], [forecasts] = told.series, told.forecasts
    ended = np.flatnonzero(~np.isnan(filled.values[1:-1, 0]))  # values that are there, and have a forecast after them
    np.testing.assert_array_equal(np.float32(answers[1:-1]), np.float32(forecasts[ended + 1, 0]))
