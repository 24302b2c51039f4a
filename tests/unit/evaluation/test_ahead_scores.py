"""Errors over the steps ahead, and how intervals are measured to grow."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from statsmodels.tsa.exponential_smoothing.ets import ETSModel

import streamlstm
from streamlstm.cli import main
from streamlstm.evaluation.ahead import say_ahead, spread
from streamlstm.evaluation.classics import ets_ahead
from streamlstm.evaluation.widths import LEVELS, measured_widths
from streamlstm.models import Model, StepWidths
from streamlstm.tables import Series, read_table
from support import models, odd_models
from support.paths import ROOT

AIRLINE = ROOT / "streamlstm" / "models" / "airline-passengers.csv"
MODEL = AIRLINE.with_name("airline.onnx")


def last_value() -> Model:
    """y is x: each step ahead is the last value."""
    from support.odd_models import keeping

    return Model(keeping(1))


def test_forecasts_from_many_moments_are_a_loop_each() -> None:
    """The records at each moment are those of the values up to it."""
    model, (series,) = streamlstm.load(MODEL), read_table(AIRLINE)
    said = say_ahead(model, [series], [[50, 108, 143]], 3, level=0.9)
    for place, after in enumerate((50, 108, 143)):
        state = model.initial_state(1)
        for value in series.values[:after]:
            y, state = model.step(value[None], state)
        loop = []
        for _ in range(3):
            loop.append(y[0, 0])
            y, state = model.step(y, state)
        assert said.forecasts[place].tolist() == loop
        came = series.values[after : after + 3, 0]
        assert said.came[place, : len(came)].tolist() == came.tolist()
    assert np.isnan(said.came[2, 1:]).all()
    assert spread(0, 10, 3) == [0, 5, 10]
    assert spread(5, 4, 3) == []


def test_evaluate_scores_the_steps_ahead() -> None:
    """Beside the classics, with coverage, from the command and from Python; without --steps nothing is added."""
    told = [
        "evaluate",
        str(MODEL),
        str(AIRLINE),
        "--test-size",
        "36",
        "--baselines",
        "naive,seasonal_naive,ets",
        "--json",
    ]
    done = CliRunner().invoke(main, [*told, "--steps", "14"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {name: len(one["ahead"]) for name, one in found.items()} == dict.fromkeys(
        ("model", "naive", "seasonal_naive_12", "ets"), 14
    )
    assert found["model"]["ahead"][0]["rmse"] == pytest.approx(found["model"]["rmse"], rel=1e-6)
    assert found["model"]["ahead"][0]["coverage"] == pytest.approx(found["model"]["coverage"])
    assert found["seasonal_naive_12"]["ahead"][0]["rmse"] == pytest.approx(found["seasonal_naive_12"]["rmse"])
    assert found["ets"]["ahead"][0]["rmse"] == pytest.approx(found["ets"]["rmse"])
    (series,) = read_table(AIRLINE)
    values = series.values[:, 0]
    naive = np.sqrt(np.mean([(values[at + 2] - values[at - 1]) ** 2 for at in range(108, 142)]))
    assert found["naive"]["ahead"][2] | {"count": 34} == found["naive"]["ahead"][2]
    assert found["naive"]["ahead"][2]["rmse"] == pytest.approx(naive)
    seasonal = np.sqrt(np.mean([(values[at + 12] - values[at - 12]) ** 2 for at in range(108, 132)]))
    assert found["seasonal_naive_12"]["ahead"][12]["rmse"] == pytest.approx(seasonal)
    assert found["model"]["ahead"][11]["rmse"] < found["ets"]["ahead"][11]["rmse"] < 40
    again = streamlstm.evaluate(MODEL, AIRLINE, test_size=36, steps=3)
    assert [score.step for score in again["model"].ahead] == [1, 2, 3]
    assert "RMSE so many steps ahead" in again.report
    assert again.scores["rmse"][0] == found["model"]["rmse"]
    assert "ahead" not in streamlstm.evaluate(MODEL, AIRLINE, test_size=36).as_json()["model"]


def test_exponential_smoothing_ahead_is_statsmodels_own() -> None:
    """From any moment: level, damped trend and season as they are there."""
    values = read_table(AIRLINE)[0].values[:, 0]
    said = ets_ahead(values, 108, [12], 30)
    assert said is not None
    options = {"error": "add", "seasonal": "add", "seasonal_periods": 12}
    fits = [ETSModel(values[:108], **options).fit(disp=False)]
    fits.append(ETSModel(values[:108], **options, trend="add", damped_trend=True).fit(disp=False))
    best = min(fits, key=lambda fit: fit.aic)
    trend = {"trend": "add", "damped_trend": True} if best is fits[1] else {}
    for after in (60, 108, 144):
        own = ETSModel(values[:after], **options, **trend).smooth(best.params).forecast(30)
        assert said(after) == pytest.approx(np.asarray(own), rel=1e-9)
    assert ets_ahead(values[:3], 2, [], 5) is None or np.isfinite(ets_ahead(values[:3], 2, [], 5)(3)).all()  # type: ignore[misc]


def test_what_is_measured_corrects_the_model_s_response() -> None:
    """Of a random walk, whose last value is forecast, nothing: errors grow with the root of the step, as it says."""
    steps = np.random.default_rng(3).normal(size=(8, 2_000))
    walks = [Series(str(n), None, one.cumsum()[:, None]) for n, one in enumerate(steps)]
    said = say_ahead(last_value(), walks, [[500]] * 8, 25, level=0.9)
    assert said.grown == pytest.approx(np.tile(np.sqrt(np.arange(1, 26)), (8, 1)), rel=1e-3)
    widths = measured_widths(last_value(), walks, [1_000] * 8, season=None)
    assert widths is not None
    assert widths.levels == LEVELS
    for table in (widths.calibrated, widths.others):
        assert table[2, 24] == pytest.approx(1.0, rel=0.2)
    assert (widths.calibrated[:, 0] == 1).all()
    assert StepWidths.of({"widths_ahead": widths.as_fact()}) is not None
    assert measured_widths(last_value(), [walks[0].first(30)], [25], season=None) is None
    assert measured_widths(models.load_lstm(4), walks[:1], [1_900], season=None) is not None


def test_errors_that_the_model_does_not_foresee_to_grow_are_measured() -> None:
    """Of independent values, whose last one is forecast, they do not; with few of them the model's word counts more."""
    values = np.random.default_rng(4).normal(size=(4, 2_000))
    series = [Series(str(n), None, one[:, None]) for n, one in enumerate(values)]
    many = measured_widths(last_value(), series, [1_000] * 4, season=None)
    few = measured_widths(last_value(), [series[0].first(40)], [20], season=None)
    assert many is not None
    assert few is not None
    last = [float(found.ratios(0.9, 8, calibrated=True)[-1]) for found in (many, few)]
    assert 8**-0.5 < last[0] < 0.45 < last[1] < 1


def test_errors_with_long_tails_have_wide_intervals_at_all_steps() -> None:
    """Of few values one step ahead says it, which has more independent errors than further steps have."""
    values = np.random.default_rng(8).standard_t(3, size=(1_200, 1))
    nothing = Model(odd_models.a_share(0.0))
    many = measured_widths(nothing, [Series("a", None, values)], [900], season=None)
    few = measured_widths(nothing, [Series("a", None, values[:120])], [90], season=None)
    assert many is not None
    assert few is not None
    assert many.of_mean
    expected = 4.541 / 1.103 / (2.326 * np.sqrt(np.pi / 2))  # of 98 % of them, over a Gaussian's of the same mean
    assert many.ratios(0.98, 24, calibrated=True)[1:] == pytest.approx(expected, rel=0.3)
    assert few.ratios(0.98, 24, calibrated=True)[1:].mean() > 1.03


def test_what_was_learnt_from_is_measured_too() -> None:
    """Of few values held out, those before say much more; what these say, and how much, is weighed by their counts."""
    values = np.random.default_rng(4).normal(size=(1, 1_040, 1))
    long = measured_widths(last_value(), [Series("a", None, values[0])], [1_000], season=None)
    short = measured_widths(last_value(), [Series("a", None, values[0, 960:])], [40], season=None)
    assert long is not None
    assert short is not None
    last = [float(found.ratios(0.9, 8, calibrated=True)[-1]) for found in (long, short)]
    assert 8**-0.5 < last[0] < 0.45 < last[1] < 1


def test_what_is_measured_is_for_the_model_that_is_served() -> None:
    """Another one's forecasts of a walk hardly respond to an error: intervals are as wide as errors are even so."""
    walk = [Series("a", None, np.random.default_rng(5).normal(size=(2_000, 1)).cumsum(axis=0))]
    other = Model(odd_models.a_share(0.5))
    own, found = (measured_widths(last_value(), walk, [1_000], season=None, served=served) for served in (None, other))
    assert own is not None
    assert found is not None
    responses = [np.sqrt(np.cumsum(share ** (2 * np.arange(8)))) for share in (1.0, 0.5)]
    expected = own.ratios(0.9, 8, calibrated=True) * responses[0] / responses[1]
    assert found.ratios(0.9, 8, calibrated=True) == pytest.approx(expected, rel=0.15)
    assert found.ratios(0.9, 8, calibrated=True)[-1] > 2


def test_a_series_that_stands_still_for_a_while_is_covered_when_it_goes_on() -> None:
    """Its errors of late are nothing then: the same ratios without what is usual cover far fewer of these values."""
    random, values = np.random.default_rng(7), list[float]()
    while len(values) < 6_000:
        free = random.normal(size=random.geometric(1 / 60))
        values += [*free, *[free[-1]] * int(random.geometric(1 / 30))]
    series, moments = Series("a", None, np.array(values)[:6_000, None]), spread(4_000, 5_970, 1_000)
    still = np.array([values[after - 1] == values[after - 21] for after in moments])
    widths = measured_widths(last_value(), [series.first(4_000)], [3_000], season=None)
    assert widths is not None
    covered = []
    for fact in (widths.as_fact(), widths.as_fact() | {"usual": 0.0}):
        model = Model(odd_models.a_share(1.0, training={"widths_ahead": fact}))
        said = say_ahead(model, [series], [moments], 24, level=0.9)
        inside = ((said.low <= said.came) & (said.came <= said.high))[:, 23]
        covered.append((float(inside.mean()), float(inside[still].mean())))
    assert 0.87 < covered[0][0] < 0.95
    assert covered[0][1] > 0.62
    assert covered[1][1] < 0.55


def test_a_coverage_comes_with_its_standard_error() -> None:
    """More than a binomial's, where forecasts made one after the other err alike."""
    walk = np.random.default_rng(6).normal(size=3_000).cumsum()
    (first, *_, last) = streamlstm.evaluate(last_value(), walk, steps=24, baselines="none")["model"].ahead
    for score, most in ((first, 1.6), (last, 8.0)):
        binomial = np.sqrt(score.coverage * (1 - score.coverage) / score.count)
        assert 0.7 * binomial < score.coverage_error < most * binomial
    assert last.coverage_error > 1.8 * first.coverage_error


def test_train_writes_how_intervals_grow_into_the_file() -> None:
    """Of both kinds of training; the same training gives the same file."""
    table = np.sin(np.arange(400) / 5) + np.random.default_rng(0).normal(size=400) / 10
    options = {"epochs": 1, "ensemble": 1, "units": 4, "season": "none", "progress": False}
    found = streamlstm.fit(table, **options)  # type: ignore[arg-type]
    widths = StepWidths.of(found.model.spec.training)
    assert widths is not None
    assert widths.calibrated.shape == (len(LEVELS), 48)
    assert widths.on_response
    assert streamlstm.fit(table, **options).model_bytes == found.model_bytes  # type: ignore[arg-type]
    (ahead,) = found.forecast(5, interval=0.8)
    state = found.model.initial_state(1)
    for value in table:
        y, state = found.model.step([[value]], state)
    for number in ahead["yhat"]:
        assert np.float32(number) == y[0, 0]
        y, state = found.model.step(y, state)
    assert (ahead.interval, ahead.widths, len(ahead["lo"])) == (0.8, "measured", 5)
    over = streamlstm.fit(table, lookback=8, epochs=2, units=4, progress=False)
    assert StepWidths.of(over.model.spec.training) is not None
    shown = CliRunner().invoke(main, ["inspect", str(MODEL)])
    assert "intervals: measured to 13 steps ahead" in shown.output
    assert "[" not in shown.output.partition("training")[2]
