"""What the state of a model that mixes tells: weights and parts whose sum is what was answered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import streamlstm
from streamlstm.models import Model, candidate_shares, candidates_of
from support import models

RNG = np.random.default_rng(3)
WAVY = 50 + np.cumsum(RNG.normal(0, 1, 400)) + 5 * np.sin(np.arange(400) / 4)
SEASON = (25,)
OPTIONS = {"units": 3, "ensemble": 1, "epochs": 1, "season": SEASON, "blend": False}


@pytest.mark.parametrize("scaling", ["standard", "minmax", "log", "series"])
def test_the_weighted_sum_is_the_answer(scaling: str) -> None:
    """Worked out anew from errors and parts, the change answered is in one proportion to the sum at every step."""
    model = streamlstm.fit(WAVY, scaling=scaling, **OPTIONS).model  # type: ignore[arg-type]
    state, proportions = model.initial_state(1), []
    for value in WAVY[:200]:
        y, state = model.step(np.array([[value]]), state)
        answered = float(y[0, 0])
        (rows,) = candidates_of(model.spec, state[0], np.array([value]), np.array([answered]))
        assert [row.weight for row in rows] == sorted((row.weight for row in rows), reverse=True)
        assert sum(row.weight for row in rows) == pytest.approx(1.0)
        known = {row.name: row for row in rows}
        assert set(known) == set(candidate_shares(SEASON))
        if known["last"].forecast is None or answered == np.float32(value):  # no change has been seen
            continue
        assert known["last"].forecast == pytest.approx(value, rel=1e-9)
        changed = {name: np.log(row.forecast) if scaling == "log" else row.forecast for name, row in known.items()}
        base = changed["last"]
        assert changed["model_0.5"] - base == pytest.approx((changed["model"] - base) / 2, abs=1e-6)
        proportions.append(_proportion(model, state[0], value, answered, scaling))
    assert np.nanmax(proportions) - np.nanmin(proportions) <= 1e-3 * abs(np.nanmedian(proportions)), (
        "weights and parts are those of the graph"
    )


def _proportion(model: Model, state: np.ndarray, value: float, answered: float, scaling: str) -> float:
    """The change answered over the weighted sum of the parts, by the rule as `forecaster.mixture` states it."""
    entries, first = {}, 0
    for entry in model.spec.state:
        entries[entry.name] = state[first : first + entry.size].astype(float)
        first += entry.size
    errors, said = entries["errors"], entries["said"]
    weights = np.exp(-24 * (errors / errors.min() - 1))
    total = (weights / weights.sum()) @ (np.array(list(candidate_shares(SEASON).values())) @ said[:-1])
    change = np.log(answered / value) if scaling == "log" else answered - value
    return float(change / (total * (said[-1] if scaling == "series" else 1.0))) if abs(total) > 0.02 else np.nan


def test_models_made_before_there_were_corrected_candidates_are_read() -> None:
    """The packaged one is such a model."""
    model = Model((Path(streamlstm.__file__).parent / "models" / "airline.onnx").read_bytes())
    state = model.initial_state(1)
    for value in (112.0, 118.0, 132.0):
        y, state = model.step(np.array([[value]]), state)
    (rows,) = candidates_of(model.spec, state[0], np.array([132.0]), y[0].astype(float))
    assert {row.name for row in rows} == set(candidate_shares((), corrected=False))


def test_the_universal_models_experts_are_told() -> None:
    """Their weighted sum is what was answered, at any level; each has a name of its own."""
    model, rng = streamlstm.load("universal"), np.random.default_rng(0)
    state, values = model.initial_state(1), 1e6 + 10 * np.sin(np.arange(80) * np.pi / 6) + rng.normal(0, 1, 80)
    for value in values:
        y, state = model.step(np.array([[value]]), state)
        (rows,) = candidates_of(model.spec, state[0], np.array([value]), y[0].astype(float))
        assert sum(row.weight for row in rows) == pytest.approx(1.0)
        mixed = sum(row.weight * (row.forecast - value) for row in rows if row.forecast is not None)
        assert mixed == pytest.approx(float(y[0, 0]) - value, abs=1e-3)
    assert len({row.name for row in rows}) == len(rows) == 101


def test_other_models_mix_nothing() -> None:
    """A model whose state has no such entries, or of other shapes, has no candidates."""
    model = Model(models.lstm(8))
    state = model.initial_state(1)[0]
    assert candidates_of(model.spec, state, np.array([1.0]), np.array([2.0])) == []
    plain = streamlstm.fit(WAVY, adapt=False, **OPTIONS).model  # type: ignore[arg-type]
    assert candidates_of(plain.spec, plain.initial_state(1)[0], np.array([1.0]), np.array([2.0])) == []
