"""Forecasts several steps ahead: to the bit a plain loop over a loaded model, with times and intervals of their own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import streamlstm
from streamlstm.engine import Ahead, Asked, Fed, bounds_ahead, forecast_records, forecast_rows, growth, one_step
from streamlstm.engine.target_times import UNKNOWN_MS, times_ahead
from streamlstm.errors import ModelError, NoSeriesError, RecordError, UsageError
from streamlstm.evaluation.ahead import records_at
from streamlstm.models import Model, StepWidths, split
from streamlstm.store.record import Constants, is_level
from streamlstm.tables import Series
from support import models, odd_models

HOUR_MS = 3_600_000
START_MS = 1_700_000_000_000 // HOUR_MS * HOUR_MS


def made_up(features: int, length: int = 30, *, level: float = 0.0) -> np.ndarray[Any, Any]:
    """Values (N, F) without a missing one."""
    return level + np.random.default_rng(features).normal(size=(length, features))


def records(model: Model, values: np.ndarray[Any, Any], *, missing: str | None = None) -> Any:
    """The record of a series after all of its hourly values, as the engine leaves it, as rows (1, words)."""
    series = Series("s", START_MS + HOUR_MS * np.arange(len(values)), values)
    ((_, rows),) = records_at(model, [series], [[len(values)]], level=0.9, missing=missing)
    return rows.copy()


def plain_loop(
    model: Model, values: np.ndarray[Any, Any], steps: int, *, held: np.ndarray[Any, Any] | None = None
) -> np.ndarray[Any, Any]:
    """What a program does with `streamlstm.load`: forecasts (steps, C), each fed back as the next value."""
    spec, state, said, time_ms = model.spec, model.initial_state(1), None, START_MS
    targets = [target for target in spec.targets if target is not None]
    found: list[Any] = []
    for number in range(len(values) + steps):
        if number < len(values):
            x = values[number].copy()
            for feature in np.flatnonzero(np.isnan(x)):
                x[feature] = said[0, spec.targets[feature]]  # type: ignore[index]
        else:
            block = (number - len(values)) % spec.horizon
            if block == 0:
                told = said
            x = values[-1].copy() if held is None else held[number - len(values)].copy()
            x[list(spec.forecast)] = told[0, [at + block * len(targets) for at in targets]]  # type: ignore[index]
            found.append(x[list(spec.forecast)])
        time = [time_ms + HOUR_MS * number] if spec.uses_time else None
        said, state = model.step(x[None], state, time)
    return np.array(found)


def exported_window(folder: Path) -> Model:
    """A convolution over the last four values."""
    torch.manual_seed(0)

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3), torch.nn.Tanh())
            self.out = torch.nn.Linear(3, 1)

        def forward(self, window: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.out(self.inner(window))
            return found

    streamlstm.export(Network().eval(), folder / "window.onnx", window=4)
    return streamlstm.load(folder / "window.onnx")


CASES = {
    "one feature": lambda: models.load_lstm(8),
    "three features": lambda: models.load_lstm(6, features=3),
    "of three features two are forecast": lambda: models.load_lstm(6, features=3, outputs=2),
    "three steps at once": lambda: models.load_lstm(6, outputs=3, training={"horizon": 3}),
    "two targets, two steps at once": lambda: Model(two_by_two()),
    "one step a call": lambda: models.load_lstm(6, chunking=False),
    "pairs": lambda: Model(models.exact_lstm(6)),
    "pairs of two features": lambda: Model(models.exact_lstm(6, features=2)),
    "looks at times": lambda: Model(models.hours()),
}


def two_by_two() -> bytes:
    """Two features, both forecast two steps ahead: four outputs."""
    return models.lstm(6, features=2, outputs=4, training={"horizon": 2})


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 40])
def test_forecasts_are_a_plain_loop(case: str, steps: int) -> None:
    """From the state after the last value, bit for bit, and the record is not touched."""
    model = CASES[case]()
    values = made_up(len(model.spec.features), level=2.5e9 if model.spec.exact else 0.0)
    rows = records(model, values)
    before, ahead = rows.copy(), Ahead(model)
    course = ahead.forecast(rows, steps, spacing_ms=HOUR_MS)
    loop = plain_loop(model, values, steps)
    assert course.values.dtype == (np.float64 if model.spec.exact else np.float32)
    assert np.array_equal(course.values[0], loop.astype(course.values.dtype))
    assert course.times_ms is not None
    assert course.times_ms[0].tolist() == [START_MS + HOUR_MS * (len(values) + step) for step in range(steps)]
    assert rows.tobytes() == before.tobytes()


def test_a_model_over_a_window_is_a_plain_loop(tmp_path: Path) -> None:
    """Its state holds the last values, among them what was fed back."""
    model = exported_window(tmp_path)
    values = made_up(1)
    course = Ahead(model).forecast(records(model, values), 12)
    assert np.array_equal(course.values[0], plain_loop(model, values, 12).astype(np.float32))
    assert course.times_ms is None  # nobody says how far apart its values are


def test_missing_values_before_are_as_they_were_stepped() -> None:
    """The last value too: the model was fed its own forecast then."""
    model = models.load_lstm(8)
    values = made_up(1)
    values[[7, 8, -1]] = np.nan
    course = Ahead(model).forecast(records(model, values), 5)
    assert np.array_equal(course.values[0], plain_loop(model, values, 5).astype(np.float32))


def test_what_is_only_looked_at_is_given_held_or_refused() -> None:
    """And given values count from the first step on."""
    model = models.load_lstm(6, features=3, outputs=2)
    values, steps = made_up(3), 6
    rows, ahead = records(model, values), Ahead(model)
    to_come = np.random.default_rng(9).normal(size=(steps, 3))
    given = ahead.forecast(rows, steps, fed=Fed(to_come[:, None, 2:])).values[0]
    assert np.array_equal(given, plain_loop(model, values, steps, held=to_come).astype(np.float32))
    held = forecast_rows(ahead, rows, Asked(steps=steps, future="hold"), ["s"]).numbers[0, :, :2]
    assert np.array_equal(held, plain_loop(model, values, steps).astype(np.float32))
    with pytest.raises(UsageError, match=r"looks at 'value2'.*--future hold"):
        forecast_rows(ahead, rows, Asked(steps=steps), ["s"])
    with pytest.raises(UsageError, match="has to have the 5 values after"):
        forecast_rows(ahead, rows, Asked(steps=steps, future={"s": to_come[:3, 2:]}), ["s"])
    assert forecast_rows(ahead, rows, Asked(steps=1), ["s"]).numbers.shape == (1, 1, 4)  # nothing has to be fed


def test_series_beside_each_other_have_the_bits_they_have_alone() -> None:
    """Whichever others there are, and one whose numbers leave float32 costs the others nothing."""
    model = Model(odd_models.growing())
    series = [np.full((4, 1), start) for start in (0.9, 1.1, 30.0)]
    rows = np.concatenate([records(model, values) for values in series])
    together = Ahead(model).forecast(rows, 400).values
    for place in range(3):
        alone = Ahead(model).forecast(rows[place : place + 1], 400).values
        assert np.array_equal(alone[0], together[place], equal_nan=True)
    ends = [int(np.isnan(one).argmax()) if np.isnan(one).any() else 400 for one in together[:, :, 0]]
    assert ends[2] < ends[1] <= 400
    assert all(
        np.isnan(one[end:]).all() and np.isfinite(one[:end]).all() for one, end in zip(together, ends, strict=True)
    )


@pytest.mark.parametrize(
    ("last", "spacing", "due"),
    [
        ("1960-12-01", "31D", ["1961-01-01", "1961-02-01", "1961-03-01", "1961-04-01"]),
        ("2023-12-31T06:00", "30D", ["2024-01-31T06:00", "2024-02-29T06:00", "2024-03-31T06:00", "2024-04-30T06:00"]),
        ("2023-01-30", "31D", ["2023-02-28", "2023-03-30", "2023-04-30", "2023-05-30"]),
        ("2023-10-01", "92D", ["2024-01-01", "2024-04-01"]),
        ("2024-02-29", "366D", ["2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]),
        ("2023-12-31T23:00", "1h", ["2024-01-01T00:00", "2024-01-01T01:00"]),
        ("2024-01-31", "7D", ["2024-02-07", "2024-02-14"]),
    ],
)
def test_times_are_even_and_months_are_months(last: str, spacing: str, due: list[str]) -> None:
    """On the same day of the month, or on its last; anything else is as far apart as values are."""
    number, unit = int(spacing[:-1]), spacing[-1]
    found = times_ahead(
        np.array([np.datetime64(last, "ms")]).astype(np.int64),
        len(due),
        int(np.timedelta64(number, unit) / np.timedelta64(1, "ms")),
    )
    assert found[0].tolist() == [int(np.datetime64(one, "ms").astype(np.int64)) for one in due]


def test_series_that_are_each_as_far_apart_as_they_are() -> None:
    """Each has its own times; where nobody knows them there are none, and a model that looks at them says so."""
    last = np.array([5, 7, 9])
    assert times_ahead(last, 2, np.array([10, 0, 1])).tolist() == [[15, 25], [UNKNOWN_MS] * 2, [10, 11]]
    asked = Asked(steps=2, spacing_ms={"a": 10, "c": 1})
    assert np.asarray(asked.spacing_of(["a", "b", "c"])).tolist() == [10, 0, 1]
    model = models.load_lstm(4)
    record = records(model, made_up(1))[0].tobytes()
    one, other = forecast_records(Ahead(model), "values", model.fingerprint, {"a": record, "b": record}, asked)
    assert one.times_ms is not None
    assert one.times_ms.tolist() == [one.time_ms + 10, one.time_ms + 20]
    assert (other.times_ms, other.times) == (None, None)
    looks = Model(models.hours(), threads=1)
    record = records(looks, made_up(1))[0].tobytes()
    alone = [
        forecast_records(Ahead(looks), "values", looks.fingerprint, {"a": record}, replace(asked, spacing_ms=spacing))
        for spacing in (10, {"a": 10})
    ]
    assert alone[0][0].as_json() == alone[1][0].as_json()
    with pytest.raises(UsageError, match="--spacing"):
        forecast_records(Ahead(looks), "values", looks.fingerprint, {"a": record, "b": record}, asked)


def test_times_that_no_calendar_has_do_not_wrap() -> None:
    """Ids may be anything below 2^63."""
    last = np.array([(1 << 63) - 10_000])
    for spacing in (31 * 86_400_000, 3_000):
        times = times_ahead(last, 5, spacing)[0]
        assert (np.diff(times) >= 0).all()
        assert times[0] >= last[0]


def test_one_step_ahead_the_interval_is_the_one_that_is_tracked() -> None:
    """At the level it was tracked for; a record does not say which, but shows it."""
    model = models.load_lstm(8)
    values = np.cumsum(made_up(1, 400), axis=0)
    rows, ahead = records(model, values), Ahead(model)
    kept = ahead.format.calibration(rows)
    levels = (0.5, 0.8, 0.899, 0.9, 0.901, 0.95, 0.99)
    assert [bool(is_level(kept, Constants(level))[0]) for level in levels] == [level == 0.9 for level in levels]
    said = ahead.forecast(rows, 4).values[:, :, 0]
    low, high, grows = bounds_ahead(ahead, rows, said, 0.9)
    assert grows == "response"
    half = float(kept["low"][0] * kept["scale"][0]), float(kept["high"][0] * kept["scale"][0])
    assert low[0, 0] == np.float32(np.float64(said[0, 0]) - half[0])
    assert low[0, 3] == np.float32(np.float64(said[0, 3]) - half[0] * growth(ahead, rows, said)[0, 3])
    assert half[1] < 0.0, "the walk has gone down, where the model does not follow it"
    assert (high == said).all()
    widths = [one_step(ahead.format, rows, level) for level in (0.5, 0.8, 0.95, 0.99)]
    assert np.all(np.diff([float((width.low + width.high)[0]) for width in widths]) > 0)


def test_widths_that_an_earlier_training_measured_are_taken_from_the_file() -> None:
    """Of the nearest levels on a line; beyond the last step they grow as they did, at most with the root."""
    fact = {"levels": [0.8, 0.9], "calibrated": [[1, 2, 2, 2], [1, 3, 3, 4]], "others": [[1.5] * 4, [2.5] * 4]}
    widths = StepWidths.of({"ahead": fact})
    assert widths is not None
    assert widths.ratios(0.85, 3, calibrated=True) == pytest.approx([1.0, 2.5, 2.5])
    assert widths.ratios(0.99, 2, calibrated=False).tolist() == [2.5, 2.5]
    beyond = widths.ratios(0.9, 16, calibrated=True)
    assert beyond[15] == pytest.approx(4 * 4 ** np.log2(4 / 3))
    assert StepWidths.of({"ahead": widths.as_fact()}).as_fact() == widths.as_fact()  # type: ignore[union-attr]
    assert StepWidths.of({}) is None
    model = models.load_lstm(8, training={"ahead": json.loads(json.dumps(fact))})
    rows, ahead = records(model, made_up(1, 60)), Ahead(model)
    said = ahead.forecast(rows, 4).values[:, :, 0]
    low, high, grows = bounds_ahead(ahead, rows, said, 0.9)
    assert grows == "measured"
    assert np.allclose((high - low)[0] / (high - low)[0, 0], [1, 3, 3, 4], rtol=1e-4)


def test_measured_widths_correct_the_model_s_response() -> None:
    """Never narrower than a step before, and beyond the last step as they were there."""
    fact = {"levels": [0.9], "calibrated": [[1, 1.5, 0.001]], "others": [[1.2, 1.8, 2]]}
    model = models.load_lstm(8, training={"widths_ahead": fact, "ahead": 7})
    rows, ahead = records(model, np.cumsum(made_up(1, 60), axis=0)), Ahead(model)
    said = ahead.forecast(rows, 6).values[:, :, 0]
    low, high, grows = bounds_ahead(ahead, rows, said, 0.9)
    grown = growth(ahead, rows, said)[0]
    assert (grows, grown[0]) == ("measured", 1.0)
    assert (np.diff(grown) > 0).any()
    expected = np.maximum.accumulate(grown * [1, 1.5, *[0.001] * 4])
    assert np.allclose((high - low)[0] / (high - low)[0, 0], expected, rtol=1e-4)
    widths = StepWidths.of(model.spec.training)
    assert widths is not None
    assert widths.ratios(0.9, 6, calibrated=False).tolist() == [1.2, 1.8, 2, 2, 2, 2]


@pytest.mark.parametrize(
    "fact",
    [
        7,
        {},
        {"levels": [], "calibrated": [], "others": []},
        {"levels": [0.9, 0.8], "calibrated": [[1]] * 2, "others": [[1]] * 2},
        {"levels": [0.9], "calibrated": [[1, 2], [1]], "others": [[1]]},
        {"levels": [0.9], "calibrated": [[0]], "others": [[1]]},
        {"levels": [0.9], "calibrated": [[1e300]], "others": [[1]]},
        {"levels": [0.9], "calibrated": [["x"]], "others": [[1]]},
        {"levels": [0.9], "calibrated": [[1] * 5000], "others": [[1]]},
        {"levels": [True], "calibrated": [[1]], "others": [[1]]},
        {"levels": [0.9], "calibrated": [[1]], "others": [[1]], "usual": 1.5},
        {"levels": [0.9], "calibrated": [[1]], "others": [[1]], "usual": float("nan")},
        {"levels": [0.9], "calibrated": [[1]], "others": [[1]], "usual": "x"},
        {"levels": [0.9], "calibrated": [[1]], "others": [[1]], "of_mean": 1},
    ],
)
def test_widths_that_cannot_be_meant_are_refused(fact: Any) -> None:
    """In one line, when they are asked for."""
    for name in ("ahead", "widths_ahead"):
        with pytest.raises(ModelError, match="cannot be meant"):
            StepWidths.of({name: fact})


def test_a_series_without_a_calibration_has_its_mean_error() -> None:
    """As from `serve` without --interval; with fewer than ten values scored it has no interval."""
    model = models.load_lstm(8)
    long, short = records(model, made_up(1, 60)), records(model, made_up(1, 9))
    ahead = Ahead(model)
    for rows in (long, short):
        ahead.format.calibration(rows)[:] = Constants().fresh()
    found = forecast_rows(ahead, np.concatenate([long, short]), Asked(steps=3), ["long", "short"])
    assert found.columns == ("yhat", "lo", "hi")
    assert not found.calibrated.any()
    header = ahead.format.header(long)[0]
    half = Constants(0.9).first_end * header["absolute_error"] / header["scored"]
    assert found.numbers[0, 0, 2] - found.numbers[0, 0, 0] == pytest.approx(half, rel=1e-4)
    assert np.isnan(found.numbers[1, :, 1:]).all()
    assert np.isfinite(found.numbers[1, :, 0]).all()


def test_what_cannot_be_forecast_is_named() -> None:
    """A series that is not there, a damaged record, another model's, a model that forecasts nothing of itself."""
    model = models.load_lstm(8)
    good = records(model, made_up(1, 60))[0].tobytes()
    ahead = Ahead(model)
    with pytest.raises(NoSeriesError, match="no series 'b'"):
        forecast_records(ahead, "values", model.fingerprint, {"a": good, "b": None}, Asked())
    with pytest.raises(RecordError, match="'a' of 'values' has a record of 7 bytes"):
        forecast_records(ahead, "values", model.fingerprint, {"a": good[:7]}, Asked())
    other = records(models.load_lstm(8, seed=1), made_up(1, 60))[0].tobytes()
    with pytest.raises(RecordError, match="made by another model"):
        forecast_records(ahead, "values", model.fingerprint, {"a": other}, Asked())
    fresh = ahead.format.fresh.tobytes()
    with pytest.raises(RecordError, match="no value yet"):
        forecast_records(ahead, "values", model.fingerprint, {"a": fresh}, Asked())
    blind = models.load_lstm(4)
    blind.spec = replace(blind.spec, targets=(None,))
    with pytest.raises(UsageError, match="nothing can be fed back"):
        Ahead(blind)
    with pytest.raises(UsageError, match="--spacing"):
        Ahead(Model(models.hours())).forecast(records(Model(models.hours()), made_up(1)), 2)
    for wrong in ({"steps": 0}, {"steps": 10**6}, {"level": 1.0}, {"spacing_ms": 0}):
        with pytest.raises(UsageError):
            Asked(**wrong)  # type: ignore[arg-type]


def test_numbers_as_json_are_the_model_s_to_the_bit() -> None:
    """Of float32 the shortest texts that parse back; of pairs the float64; null where there is none."""
    for model in (models.load_lstm(8), Model(models.exact_lstm(6))):
        values = made_up(1, level=2.5e9 if model.spec.exact else 0.0)
        rows, ahead = records(model, values), Ahead(model)
        (found,) = forecast_records(ahead, "values", model.fingerprint, {"ü": rows[0].tobytes()}, Asked(steps=5))
        told = json.loads(json.dumps(found.as_json()))
        numbers = np.array([step["yhat"] for step in told["forecast"]])
        loop = plain_loop(model, values, 5)[:, 0]
        assert (
            np.array_equal(split(numbers[:, None]), split(loop[:, None]))
            if model.spec.exact
            else np.array_equal(numbers.astype(np.float32), loop.astype(np.float32))
        )
        assert (told["series"], told["forecast"][0]["time"], len(found)) == ("ü", None, 5)
