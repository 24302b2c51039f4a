"""What `evaluate` says of young series: what stepping the model from a fresh state on errs, beside naive."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import streamlstm
from streamlstm.evaluation.first_values import FirstValues
from streamlstm.models.model import Model
from support.models import lstm


def first_of(model: Model, table: object, **options: object) -> FirstValues | None:
    """The figure of an evaluation."""
    found: FirstValues | None = streamlstm.evaluate(model, table, baselines="none", **options)["model"].first
    return found


def cold_errors(model: Model, values: list[float]) -> list[float]:
    """Errors of a model that has seen nothing before these values."""
    state, errors = model.initial_state(1), []
    for value, following in itertools.pairwise(values):
        y, state = model.step(np.array([[value]], np.float32), state)
        errors.append(abs(float(str(y[0, 0])) - following))
    return errors


@pytest.mark.parametrize("tested", [20, 50, 120])
def test_series_begin_cold_with_their_test_parts(tested: int) -> None:
    """At most 50 values of each, pooled; naive on the same; warm is the model that has seen the training part."""
    model, rng = Model(lstm(8)), np.random.default_rng(3)
    table = {name: rng.normal(5, 2, 200).round(3) for name in ("a", "b")}
    found = first_of(model, table, test_size=tested)
    assert found is not None
    parts = [values[200 - tested :][:50].tolist() for values in table.values()]
    cold = [error for part in parts for error in cold_errors(model, part)]
    naive = [abs(one - other) for part in parts for one, other in itertools.pairwise(part)]
    warm = [
        error
        for values in table.values()
        for error in cold_errors(model, values.tolist())[200 - tested :][: len(parts[0]) - 1]
    ]
    assert found.scored == len(cold) == 2 * (min(tested, 50) - 1)
    assert found.mae == pytest.approx(np.mean(cold), rel=1e-6)
    assert found.naive_mae == pytest.approx(np.mean(naive), rel=1e-6)
    assert found.warm_mae == pytest.approx(np.mean(warm), rel=1e-6)
    assert found.skill == pytest.approx(1 - np.mean(cold) / np.mean(naive), rel=1e-6)
    assert "the first 50 values" in found.line()


def test_a_test_part_may_begin_with_missing_values_and_hold_some() -> None:
    """A series begins with its first value; what has no forecast from all three counts for none."""
    values = np.random.default_rng(4).normal(size=100)
    values[[60, 61, 70]] = np.nan
    found = first_of(Model(lstm(8)), {"a": values}, test_size=40)
    assert found is not None
    assert found.scored == 38 - 1 - 1


def test_a_test_part_of_one_value_says_nothing() -> None:
    """No value of it is one that a young series has forecast; the figure is left out, also of --json."""
    values = np.random.default_rng(4).normal(size=30)
    found = streamlstm.evaluate(Model(lstm(8)), {"a": values}, test_size=1)
    assert found["model"].first is None
    assert not any(name.startswith("first") for name in found.as_json()["model"])
    assert "the first 50" not in found.report
