"""A forecast is never outside of its own interval: of the next value, of further ones, and as `evaluate` tells it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import streamlstm
from streamlstm.common import EngineSettings
from streamlstm.engine import Ahead, Asked, Engine, forecast_records
from streamlstm.models import UNIVERSAL_FILE, Model
from streamlstm.store.memory import MemoryServer, MemoryStore
from streamlstm.store.record import CALIBRATION, LABELLED, Constants, conformal
from support import models
from support.pump import pump

try:
    from streamlstm.engine import _kernels as compiled
except ImportError:
    compiled = None  # type: ignore[assignment]

TWINS = [conformal.calibrate, *([compiled.calibrate] if compiled is not None else [])]
Numbers = np.ndarray[Any, Any]
LARGEST = float(np.finfo(np.float32).max)


def given_for(calibrate: Any, errors: Numbers, said: Numbers, level: float, exact: int) -> tuple[Numbers, Any]:
    """The ends (k, 2) around forecasts said (k,) of one series that erred so (k,) before, and what is kept then."""
    constants, count = Constants(level), len(errors)
    kept, out = np.array([constants.fresh()], CALIBRATION), np.empty((count, 3))
    flags, zeros = np.full(count, LABELLED, np.uint8), np.zeros(count)
    events = (np.zeros(count, np.int64), flags, errors, zeros, said)
    calibrate(kept, constants.fresh(), constants.numbers, events, out, np.zeros((1, 2)), exact)
    return out[:, :2], kept


@given(
    seed=st.integers(0, 2**32 - 1),
    unit=st.sampled_from([0.0, 5e-324, 1e-45, 3.7e-34, 1.0, 1e30, LARGEST]),
    bias=st.sampled_from([-5.0, -1.0, 0.0, 1.0, 5.0]),
    still=st.floats(0, 1),
    level=st.sampled_from([0.01, 0.5, 0.9, 0.999]),
    exact=st.integers(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_the_ends_hold_what_they_are_around(
    seed: int, unit: float, bias: float, still: float, level: float, exact: int
) -> None:
    """In both twins, to the same bits, wherever errors lie and however many are none at all."""
    rng, count = np.random.default_rng(seed), 300
    errors = np.clip((rng.normal(size=count) + bias) * (rng.random(count) >= still) * unit, -LARGEST, LARGEST)
    said = (rng.normal(size=count) * rng.choice([1e-40, 1.0, 1e38 / 8])).astype(np.float32).astype(np.float64)
    found = [given_for(calibrate, errors, said, level, exact) for calibrate in TWINS]
    for ends, kept in found:
        assert np.isnan(ends[:9]).all()
        assert (ends[9:, 0] <= said[9:]).all()
        assert (said[9:] <= ends[9:, 1]).all()
        assert ends.tobytes() == found[0][0].tobytes()
        assert kept.tobytes() == found[0][1].tobytes()


@pytest.mark.parametrize("calibrate", TWINS)
def test_what_is_learned_is_where_the_ends_are(calibrate: Any) -> None:
    """Of forecasts that are too low by ten each time, the lower end is eight above them: told are the forecasts."""
    errors = 10 + np.random.default_rng(1).uniform(-1, 1, 3_000)
    ends, kept = given_for(calibrate, errors, np.zeros(3_000), 0.9, 1)
    low, high = (float(kept[0][name] * kept[0]["scale"]) for name in ("low", "high"))
    assert low < -8.0
    assert high > 10.0
    assert ends[-1].tolist() == [0.0, high]


RNG = np.random.default_rng(3)
SERIES = {
    "zeros": np.zeros(150),
    "zeros after counts": np.concatenate([RNG.poisson(2.0, 60), np.zeros(150)]),
    "two by turns": np.tile([1.1, -0.3], 80),
    "three by turns": np.tile([0.7, 2.2, -1.3], 60),
    "a tenth": np.full(150, 0.1),
    "a line": 0.1 * np.arange(150),
    "a walk": 0.3 * np.cumsum(RNG.normal(size=200)),
    "far off": 50 + RNG.normal(size=400),
}


@pytest.mark.parametrize("model", [Model(UNIVERSAL_FILE.read_bytes()), models.load_lstm(8)], ids=["universal", "lstm"])
def test_forecasts_lie_between_the_ends_that_are_told(model: Model) -> None:
    """Of the next value as `serve` answers, and of further ones, of series that their model hits or never meets."""
    server = MemoryServer()
    for number in range(max(map(len, SERIES.values()))):
        there = [(name, repr(float(one[number]))) for name, one in SERIES.items() if number < len(one)]
        server.add("values", f"{number + 1}-0", *[text for pair in there for text in pair])
    pump(Engine(model, EngineSettings(interval=0.9)), MemoryStore(server), ["values"], most=7)
    held, told, at_an_end = server.stream("values"), 0, 0
    for fields in held.predictions:
        for text in fields[1::2]:
            yhat, low, high = map(float, text.split(b","))
            assert np.isnan(low) or low <= yhat <= high, text
            told, at_an_end = told + (not np.isnan(low)), at_an_end + (yhat in {low, high})
    assert told > 1_400
    assert at_an_end > 100, "some of these series have both ends on one side"
    for level in (0.5, 0.9, 0.99):
        asked = Asked(steps=24, level=level)
        names = {name.decode(): record for name, record in held.state.items()}
        for one in forecast_records(Ahead(model), "values", model.fingerprint, names, asked):
            assert (one["lo"] <= one["yhat"]).all(), (one.series, level)
            assert (one["yhat"] <= one["hi"]).all(), (one.series, level)


@pytest.mark.parametrize("model", [Model(UNIVERSAL_FILE.read_bytes()), models.load_lstm(8)], ids=["universal", "lstm"])
def test_evaluate_tells_the_same(model: Model) -> None:
    """The frame of `Evaluation.forecasts`, of a model whose numbers are float32 too."""
    found = streamlstm.evaluate(model, SERIES, interval=0.9, baselines=()).forecasts
    columns = {name: np.asarray(found[name], float) for name in ("yhat", "lo", "hi")}
    assert (columns["lo"] <= columns["yhat"]).all()
    assert (columns["yhat"] <= columns["hi"]).all()
