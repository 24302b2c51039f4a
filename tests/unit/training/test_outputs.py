"""What is forecast: several steps ahead, some of several features, and what gaps in training are filled with."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from streamlstm.common.settings import EngineSettings
from streamlstm.engine import Engine
from streamlstm.errors import UsageError
from streamlstm.evaluation.comparison import compare
from streamlstm.evaluation.served import serve
from streamlstm.models.model import Model
from streamlstm.tables import Series
from streamlstm.training import LoopOptions, TrainingOptions, pipeline, train
from streamlstm.training.closed_form import fit_linear, later
from streamlstm.training.fitting import _CorrectionData
from streamlstm.training.forecaster import Forecaster, ForecasterConfig
from streamlstm.training.forecaster.outputs import Outputs
from streamlstm.training.gap_filling import with_gaps_forecast
from streamlstm.training.panel import make_panel
from streamlstm.training.plan import naive_scale
from support.models import lstm

SMALL = TrainingOptions(units=(8,), members=1, seasons=(12,), loop=LoopOptions(epochs=6, window=16))


def seasonal(length: int = 400, seed: int = 0) -> np.ndarray:
    """A season of twelve steps with noise, (N,)."""
    random = np.random.default_rng(seed)
    return 100 + 10 * np.sin(2 * np.pi * np.arange(length) / 12) + random.normal(0, 1, length)


def test_columns_are_named_by_step_and_target() -> None:
    """One feature gives yhat, yhat2; several give one column a target and step, the next step's first."""
    assert Outputs(("y",), (0,), 3).names == ("yhat", "yhat2", "yhat3")
    two = Outputs(("a", "b", "c"), (2, 0), 2)
    assert two.names == ("yhat_c", "yhat_a", "yhat2_c", "yhat2_a")
    assert two.of_features == (1, None, 0)
    x = torch.tensor([1.0, 2.0, 3.0])
    assert two.every(x).tolist() == [3, 1, 3, 1]


def test_what_lies_past_the_end_is_its_last_value_and_does_not_count() -> None:
    """Three steps later the last two of a sequence have nothing, whatever its length."""
    x = torch.arange(6.0)[:, None, None]
    assert later(x, 1).flatten().tolist() == [1, 2, 3, 4, 5]
    assert later(x, 3).flatten().tolist() == [3, 4, 5, 5, 5]
    there = torch.ones(6, 1, 1, dtype=torch.bool)
    assert later(there, 3, filler=False).flatten().tolist() == [True, True, True, False, False]
    assert later(x[:2], 5).flatten().tolist() == [1]


@pytest.mark.parametrize("scaling", ["series", "log"])
def test_every_step_ahead_is_forecast_far_better_than_by_the_last_value(scaling: str) -> None:
    """With a horizon of six the column of every step is good at that step, and the first stands in for gaps."""
    values = seasonal()
    options = dataclasses.replace(SMALL, horizon=6, scaling=scaling)
    result = train([Series("s", None, values[:, None])], options)
    model = Model(result.model_bytes)
    assert model.spec.outputs == ("yhat", *(f"yhat{step}" for step in range(2, 7)))
    assert model.spec.targets == (0,)
    said = serve(model, [Series("s", None, values[:, None])]).outputs[0]
    for step in range(1, 7):
        wrong = said[320 : 400 - step, step - 1] - values[320 + step :]
        naive = values[320 : 400 - step] - values[320 + step :]
        assert np.abs(wrong).mean() < (0.9 if step == 1 else 0.4) * np.abs(naive).mean()


def test_a_long_season_is_seen_at_every_step_ahead() -> None:
    """Of a season longer than the recent changes each step is forecast from the values a season before it."""
    profile = np.random.default_rng(5).normal(0, 10, 40)
    values = np.tile(profile, 12) + np.random.default_rng(6).normal(0, 0.5, 480)
    options = dataclasses.replace(SMALL, seasons=(40,), horizon=12, blend=False)
    model = Model(train([Series("s", None, values[:, None])], options).model_bytes)
    said = serve(model, [Series("s", None, values[:, None])]).outputs[0]
    for step in range(1, 13):
        assert np.abs(said[384 : 480 - step, step - 1] - values[384 + step :]).mean() < 2  # of a mean change of 11


def test_each_step_ahead_is_scored_beside_the_last_value_then_known() -> None:
    """What is said two and three steps ahead is compared with the value it was said of, as the naive forecast is."""
    values = seasonal()
    series = [Series("s", None, values[:, None])]
    model = Model(train(series, dataclasses.replace(SMALL, horizon=3)).model_bytes)
    found = compare(model, series, test_size=0.2, seasons=(), baselines=("naive",), interval=lambda one, said: None)
    assert list(found) == ["model", "naive", *(f"{m}_ahead_{h}" for h in (2, 3) for m in ("model", "naive"))]
    said = serve(model, series).outputs[0]
    for ahead in (2, 3):
        wrong = said[320 - ahead : 400 - ahead, ahead - 1] - values[320:]
        assert found[f"model_ahead_{ahead}"].errors.rmse == pytest.approx(float(np.sqrt(np.mean(wrong**2))))
        naive = values[320 - ahead : 400 - ahead] - values[320:]
        assert found[f"naive_ahead_{ahead}"].errors.rmse == pytest.approx(float(np.sqrt(np.mean(naive**2))))


def test_a_feature_may_be_seen_without_being_forecast() -> None:
    """A leading feature makes its follower's forecast nearly exact, and has no column and no error of its own."""
    lead = np.cumsum(np.random.default_rng(0).normal(0, 1, 400))
    values = np.stack([lead, 5 * np.roll(lead, 1)], axis=1)[1:]
    options = dataclasses.replace(SMALL, seasons=(), features=("lead", "load"), targets=("load",))
    result = train([Series("s", None, values)], options)
    spec = Model(result.model_bytes).spec
    assert (spec.features, spec.outputs, spec.targets) == (("lead", "load"), ("yhat_load",), (None, 0))
    assert np.isnan(result.forecasts[0][:, 0]).all()
    assert result.errors["model"].rmse < 0.3 * result.errors["naive"].rmse
    changes = np.diff(values[:, 1])[-79:]
    assert result.errors["naive"].rmse == pytest.approx(float(np.sqrt(np.mean(changes**2))))


def test_a_target_that_is_no_feature_is_refused() -> None:
    """Naming a target that the values do not have is a usage error, as is a horizon of nothing."""
    with pytest.raises(UsageError, match="'heat' is to be forecast"):
        train([Series("s", None, seasonal()[:, None])], dataclasses.replace(SMALL, targets=("heat",)))
    with pytest.raises(UsageError, match="horizon"):
        ForecasterConfig(horizon=0)


def test_gaps_in_training_are_filled_with_forecasts() -> None:
    """A missing stretch of a seasonal series goes on with the season instead of lying flat, observed values stay."""
    values = seasonal()
    gappy = values.copy()
    gappy[200:212] = np.nan
    one = Series("s", None, gappy[:, None])
    panel = make_panel([one], 0.2)
    assert np.ptp(panel.values[200:212, 0, 0]) == 0.0
    filled = with_gaps_forecast(ForecasterConfig(scaling="series", seasons=(12,)), panel, [one], 1.0)
    assert np.abs(filled.values[200:212, 0, 0] - values[200:212]).max() < 5.0
    there = panel.observed[:, 0, 0]
    assert np.array_equal(filled.values[there], panel.values[there])
    whole = make_panel([Series("s", None, values[:, None])], 0.2)
    assert with_gaps_forecast(ForecasterConfig(), whole, [one], 1.0) is whole


def halves(seed: int) -> Series:
    """A random walk every second value of which is missing."""
    values = np.cumsum(np.random.default_rng(seed).normal(size=600)) + 100
    values[1::2] = np.nan
    return Series(f"s{seed}", None, values[:, None])


def test_where_half_of_the_values_are_missing_the_last_one_stands_in_for_them() -> None:
    """The model would do far worse with its own forecasts: its file says so, and serving and scoring heed that."""
    series, said = [halves(0), halves(1)], list[str]()
    options = dataclasses.replace(SMALL, seasons=(), scaling="standard", blend=False)
    result = train(series, options, say=said.append)
    model = Model(result.model_bytes)
    assert any("--missing hold" in line for line in said)
    assert model.spec.training["missing"] == "hold"
    assert result.errors["model"].mae < 1.1 * result.errors["naive"].mae
    as_trained, held, own = (serve(model, series, missing).outputs[0] for missing in (None, "hold", "impute"))
    np.testing.assert_array_equal(as_trained, held)
    assert np.abs(own - held).max() > 1.0


def test_a_blend_bears_that_half_of_the_values_are_missing() -> None:
    """With its own forecasts in their place it is as good as with the last value."""
    result = train([halves(0)], dataclasses.replace(SMALL, seasons=(), scaling="standard"))
    assert result.blend is not None
    assert "missing" not in Model(result.model_bytes).spec.training
    assert result.errors["model"].mae < 1.1 * result.errors["naive"].mae


def test_a_way_to_treat_missing_values_that_there_is_not_is_refused() -> None:
    """It was taken for the usual one."""
    with pytest.raises(UsageError, match="no way 'zero'"):
        Engine(Model(lstm()), EngineSettings(missing="zero"))


def test_intervals_are_measured_of_the_forecasts_that_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several steps at once, at their times, by the model's own facts; the one served is asked how far errors go on."""
    measured: list[Model] = []

    def noted(model: Model, *given: object, served: Model, **options: object) -> dict[str, object]:
        measured.extend((model, served))
        return {}

    monkeypatch.setattr(pipeline, "width_facts", noted)
    times = np.arange(400) * 3_600_000 + 1_700_000_000_000
    options = dataclasses.replace(SMALL, horizon=3, calendar=("hour",))
    made = train([Series("a", times, seasonal()[:, None])], options)
    (model, responds), served = measured, Model(made.model_bytes)
    assert model.spec.horizon == served.spec.horizon == 3
    assert model.spec.training["spacing_ms"] == served.spec.training["spacing_ms"] == 3_600_000
    said = []
    for one in (model, responds, served):
        state = one.initial_state(1)
        for value, time in zip(seasonal()[:60], times, strict=False):
            y, state = one.step([[value]], state, [time])
        said.append(y)
    assert np.array_equal(said[1], said[2])
    assert not np.array_equal(said[0], said[2])


def test_the_next_step_counts_as_much_as_all_further_ones_and_is_validated_alone() -> None:
    """Of two targets four steps ahead; a model of one step is trained as it was."""
    series = [Series("s", None, np.stack([seasonal(), seasonal(seed=1)], axis=1))]
    panel = make_panel(series, 0.2)
    for horizon, next_step in ((4, 3.0), (1, 1.0)):
        forecaster = Forecaster(ForecasterConfig(features=("a", "b"), horizon=horizon, units=(4,)))
        fit_linear(forecaster, panel, 1.0)
        data = _CorrectionData(forecaster, panel, naive_scale(panel))
        (trained,) = data.training_batches(np.array([300]), 16)
        (tested,), _ = data.validation_batches(np.array([250]), 16)
        assert trained.weights[..., :2].max() == next_step
        assert trained.weights[..., 2:].sum() == (trained.weights[..., :2].sum() if horizon > 1 else 0)
        assert tested.weights[..., :2].max() == 1
        assert tested.weights[..., 2:].sum() == 0
