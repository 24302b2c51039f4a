"""How errors grow over the steps ahead, as the model's response to one of them has it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamlstm.engine import Ahead, Asked, Fed, forecast_rows, growth
from streamlstm.evaluation.ahead import records_at
from streamlstm.models import Model, load
from streamlstm.models.packaged import UNIVERSAL_FILE
from streamlstm.store.record import Constants
from streamlstm.tables import Series
from support import models, odd_models

HOUR_MS = 3_600_000
CASES = {
    "one feature": lambda: models.load_lstm(8),
    "of three features two are forecast": lambda: models.load_lstm(6, features=3, outputs=2),
    "three steps at once": lambda: models.load_lstm(6, outputs=3, training={"horizon": 3}),
    "two targets, two steps at once": lambda: Model(
        models.lstm(6, features=2, outputs=4, training={"horizon": 2}),
    ),
    "pairs": lambda: Model(models.exact_lstm(6)),
    "looks at times": lambda: Model(models.hours()),
}


def records(model: Model, values: Any) -> Any:
    """The record of a series after all of its hourly values (N, F), as rows (1, words)."""
    series = Series("s", HOUR_MS * np.arange(len(values)), values)
    ((_, rows),) = records_at(model, [series], [[len(values)]], level=0.9)
    return rows.copy()


def loop(model: Model, values: Any, added: float, steps: int, *, later: Any = None) -> Any:
    """Forecasts of steps 2 on (steps - 1,), the next value being its forecast and so much more; then fed back."""
    spec, state = model.spec, model.initial_state(1)
    targets = [target for target in spec.targets if target is not None]
    at = 0

    def step(x: Any) -> Any:
        nonlocal state, at
        y, state = model.step(x[None], state, [HOUR_MS * at] if spec.uses_time else None)
        at += 1
        return y

    for value in values:
        said = step(value)
    found, block = [], [said[0, targets]]
    first = True
    while len(found) < steps - 1 + spec.horizon:
        for told in block:
            x = values[-1].copy() if later is None else later[at - len(values)].copy()
            x[list(spec.forecast)] = told
            x[spec.forecast[0]] += added if first else 0.0
            said, first = step(x), False
        block = [said[0, [target + number * len(targets) for target in targets]] for number in range(spec.horizon)]
        found += [one[0] for one in block]
    return np.array(found[: steps - 1], float)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("steps", [2, 3, 9])
def test_growth_is_that_of_a_plain_loop(case: str, steps: int) -> None:
    """Over a loaded model, with the next value off its forecast by the series' mean error; records are only read."""
    model = CASES[case]()
    values = np.random.default_rng(7).normal(size=(40, len(model.spec.features)))
    rows, ahead = records(model, values), Ahead(model)
    before = rows.tobytes()
    said = ahead.forecast(rows, steps, spacing_ms=HOUR_MS).values[:, :, 0]
    added = float(ahead.format.calibration(rows)["scale"][0])
    response = (loop(model, values, added, steps) - loop(model, values, 0.0, steps)) / added
    grown = growth(ahead, rows, said, spacing_ms=HOUR_MS)
    assert grown[0, 1:] == pytest.approx(np.sqrt(1 + np.cumsum(response**2)), rel=1e-4)
    assert grown[0, 0] == 1.0
    assert (rows.tobytes(), growth(ahead, rows, said[:, :1]).tolist()) == (before, [[1.0]])


def test_what_is_only_looked_at_is_what_was_given() -> None:
    """To the response too."""
    model, steps = models.load_lstm(6, features=3, outputs=2), 6
    values, later = (np.random.default_rng(seed).normal(size=(40, 3)) for seed in (1, 2))
    rows, ahead = records(model, values), Ahead(model)
    fed = Fed(later[:steps, None, 2:])
    said = ahead.forecast(rows, steps, fed=fed).values[:, :, 0]
    added = float(ahead.format.calibration(rows)["scale"][0])
    response = (loop(model, values, added, steps, later=later) - loop(model, values, 0, steps, later=later)) / added
    assert growth(ahead, rows, said, fed=fed)[0, 1:] == pytest.approx(np.sqrt(1 + np.cumsum(response**2)), rel=1e-4)


def test_series_beside_each_other_have_the_bits_they_have_alone() -> None:
    """Also those on which the model has no finite answer, and those with records that nobody made."""
    model = Model(odd_models.growing())
    rows = np.concatenate([records(model, np.full((40, 1), start)) for start in (0.0, 0.9, 1.1, 30.0)])
    ahead = Ahead(model)
    ahead.format.calibration(rows)["scale"][0] = 1e39
    together = forecast_rows(ahead, rows, Asked(steps=200), ["a", "b", "c", "d"])
    for place in range(4):
        alone = forecast_rows(ahead, rows[place : place + 1], Asked(steps=200), ["a"])
        assert np.array_equal(alone.numbers[0], together.numbers[place], equal_nan=True)
    said, low, high = (together.numbers[:3, :, column] for column in range(3))
    assert np.array_equal(np.isfinite(said), np.isfinite(low))
    assert (low <= high)[np.isfinite(said)].all()
    assert np.isnan(together.numbers[3, :, 1:]).all()  # too few values were scored


@pytest.mark.parametrize("kind", ["a walk", "around a mean", "a season"])
def test_the_universal_model_knows_how_far_errors_go(kind: str) -> None:
    """Which it finds in each series: with the root of the step, or not at all."""
    random, at = np.random.default_rng(3), np.arange(1_500)
    noise = random.normal(size=len(at))
    values = {
        "a walk": noise.cumsum(),
        "around a mean": 50 + noise,
        "a season": 20 * np.sin(at / 24 * np.pi * 2) + noise,
    }
    model = load(UNIVERSAL_FILE)
    rows, ahead = records(model, values[kind][:, None]), Ahead(model)
    found = forecast_rows(ahead, rows, Asked(steps=24), ["s"])
    width = found.numbers[0, :, 2] - found.numbers[0, :, 1]
    assert found.widths == "response"
    if kind == "a walk":
        assert width[-1] / width[0] == pytest.approx(24**0.5, rel=0.35)
    else:
        assert 1.0 <= width[-1] / width[0] < 1.4


def test_a_series_that_never_erred_has_no_width() -> None:
    """Nothing is divided by nothing, also of a record that was never calibrated."""
    model = Model(odd_models.keeping(1))
    rows, ahead = records(model, np.full((40, 1), 7.0)), Ahead(model)
    for calibrated in (True, False):
        if not calibrated:
            ahead.format.calibration(rows)[:] = Constants().fresh()
        found = forecast_rows(ahead, rows, Asked(steps=5), ["s"])
        assert found.numbers[0].tolist() == [[7.0, 7.0, 7.0]] * 5
