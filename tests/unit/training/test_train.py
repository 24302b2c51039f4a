"""Training: carried state, truncated gradient, seeds, Ctrl-C, no look at the test part, errors that are true."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

import streamlstm
from streamlstm.errors import TableError, UsageError
from streamlstm.models.model import Model
from streamlstm.nn import LSTM
from streamlstm.tables import Series
from streamlstm.training import LoopOptions, Progress, TrainingOptions, train
from streamlstm.training.fitting import drop_silent
from streamlstm.training.forecaster import Ensemble, Forecaster, ForecasterConfig, RecurrentCorrection
from streamlstm.training.panel import Batch
from streamlstm.training.truncated_bptt import Trainer, reproducible
from support.paths import ROOT

# Blends have tests of their own; with one a training takes twice as long.
SMALL = TrainingOptions(units=(8,), members=1, seasons=(7,), blend=False, loop=LoopOptions(epochs=15, window=16))
BLENDED = dataclasses.replace(SMALL, blend=True)


def wave(length: int, *, season: int = 7, seed: int = 0, name: str = "wave") -> Series:
    """A repeated pattern and a logistic map, which no linear model forecasts, without times."""
    random = np.random.default_rng(seed)
    chaos = np.empty(length)
    chaos[0] = random.uniform(0.2, 0.8)
    for t in range(1, length):
        chaos[t] = 3.8 * chaos[t - 1] * (1 - chaos[t - 1])
    return Series(name, None, (50 + 5 * random.random(season)[np.arange(length) % season] + 5 * chaos)[:, None])


def correction(outputs: int = 1) -> RecurrentCorrection:
    """A correction of two layers with a head that is not zero, without dropout."""
    with reproducible(0):
        made = RecurrentCorrection([LSTM(6, input_size=3), LSTM(5, input_size=6)], outputs, dropout=0.0)
        torch.nn.init.normal_(made.head.weight)
    return made


def sequence(steps: int, rows: int, size: int, seed: int = 0) -> Tensor:
    """Random numbers (T, R, size)."""
    return torch.randn(steps, rows, size, generator=torch.Generator().manual_seed(seed))


def test_the_first_forecast_of_a_series_is_its_first_value() -> None:
    """Under the scaling `series` there is no unit before a change has been seen, at whatever level the series lies."""
    grown = {f"s{n}": 1000 * (n + 1) * 1.01 ** np.arange(60) for n in range(4)}
    model = streamlstm.fit(grown, scaling="series", season="none", epochs=1, units=3, ensemble=1).model
    first = np.array([[1000.0], [0.001], [-3e6], [0.0]], np.float32)
    y, state = model.step(first, model.initial_state(4))
    np.testing.assert_array_equal(y, first)
    y, _ = model.step(first * 1.01, state)
    assert np.all(np.abs(y - first * 1.01) <= 0.03 * np.abs(first) + 1e-12)


def test_the_state_at_a_windows_edge_is_that_of_one_long_pass() -> None:
    """Windows walked one after the other carry exactly the state of one pass over all their steps."""
    made, x = correction(), sequence(50, 3, 3)
    whole, state = made(x, made.initial_state(3))
    carried, parts = made.initial_state(3), []
    for inputs, _, _ in Batch(x, x[..., :1], x[..., :1]).windows(16):
        y, carried = made(inputs, carried)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts), whole)
    for found, wanted in zip(carried, state, strict=True):
        torch.testing.assert_close(found, wanted)


def test_an_epoch_carries_the_state_from_window_to_window() -> None:
    """Each window of an epoch is entered with the state the one before left, row by row, and no gradient with it."""
    made = correction()
    trainer = Trainer(made, LoopOptions(window=10, learning_rate=1e-12))  # the weights stay, so states can be compared
    entered: list[tuple[Tensor, ...]] = []
    forward = made.forward

    def watched(x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        entered.append(tuple(state))
        return forward(x, state)

    made.forward = watched  # type: ignore[method-assign, assignment]
    x = sequence(35, 4, 3)
    trainer.epoch([Batch(x, sequence(35, 4, 1, seed=1), torch.ones(35, 4, 1))])
    assert len(entered) == 4
    for window, state in enumerate(entered):
        _, wanted = forward(x[: 10 * window], made.initial_state(4)) if window else (None, made.initial_state(4))
        for found, part in zip(state, wanted, strict=True):
            assert not found.requires_grad
            torch.testing.assert_close(found, part, atol=1e-6, rtol=1e-6)


def test_the_gradient_stops_at_a_windows_edge() -> None:
    """What a window's loss changes does not depend on how the state before it came about."""
    x, y, ones = sequence(20, 2, 3), sequence(20, 2, 1, seed=1), torch.ones(20, 2, 1)
    made = correction()
    with torch.no_grad():
        _, state = made(x[:10], made.initial_state(2))
    gradients = []
    for begin in (state, tuple(part.clone().requires_grad_() for part in state)):
        fresh = correction()
        after = Trainer(fresh, LoopOptions(window=10)).update(x[10:], y[10:], ones[10:], begin)
        assert all(not part.requires_grad for part in after)
        gradients.append([parameter.grad for parameter in fresh.parameters()])
    for one, other in zip(*gradients, strict=True):
        assert one is not None
        assert other is not None
        assert torch.equal(one, other)


def test_steps_of_no_weight_change_nothing() -> None:
    """A window in which nothing counts moves the state on and leaves the weights alone."""
    made = correction()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    state = Trainer(made, LoopOptions()).update(
        sequence(5, 2, 3), sequence(5, 2, 1), torch.zeros(5, 2, 1), made.initial_state(2)
    )
    assert any(bool(part.any()) for part in state)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


def test_the_same_seed_gives_the_same_bytes() -> None:
    """Equal series, options and seed make an equal file; another seed makes another."""
    series = [wave(150)]
    one, other = train(series, BLENDED), train(series, BLENDED)
    assert one.model_bytes == other.model_bytes
    assert one.epochs[0] > 0
    assert train(series, dataclasses.replace(BLENDED, seed=1)).model_bytes != one.model_bytes


def test_training_leaves_torchs_generator_and_threads_alone() -> None:
    """Whoever draws random numbers around a training draws the ones they would have drawn."""
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    train([wave(120)], dataclasses.replace(SMALL, loop=LoopOptions(epochs=1)))
    assert torch.equal(torch.rand(3), wanted)
    assert torch.get_num_threads() == threads


def test_the_test_part_is_never_looked_at() -> None:
    """Other values in the test part change the errors, and not one bit of the weights or the choices."""
    series = wave(200)
    changed = Series(series.name, None, series.values.copy())
    changed.values[160:] = 1e4
    options = dataclasses.replace(BLENDED, seasons=None)
    one, other = train([series], options), train([changed], options)
    assert one.plan == other.plan
    assert one.epochs == other.epochs
    weights, others = one.forecaster.state_dict(), other.forecaster.state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert one.errors["model"] != other.errors["model"]


@pytest.mark.parametrize(("phase", "epoch"), [("search", 1), ("search", 3), ("retrain", 1)])
def test_ctrl_c_keeps_the_best_weights_so_far(phase: str, epoch: int) -> None:
    """A training that is interrupted in either phase still gives a whole, checked, scored model."""

    def interrupt(progress: Progress) -> None:
        if (progress.phase, progress.epoch) == (phase, epoch):
            raise KeyboardInterrupt

    result = train([wave(300)], SMALL, report=interrupt)
    assert result.interrupted
    assert Model(result.model_bytes).spec.training["interrupted"] is True
    assert result.epochs[0] >= (1 if phase == "retrain" else 0)
    assert result.errors["model"].rmse < result.errors["naive"].rmse


def test_an_interrupted_search_has_the_weights_of_its_best_epoch() -> None:
    """The model of a search stopped after an epoch is that of a search which had no more epochs."""
    seen: list[float] = []

    def interrupt(progress: Progress) -> None:
        if progress.validation_error is not None:
            seen.append(progress.validation_error)
        if progress.epoch == 3:
            raise KeyboardInterrupt

    options = dataclasses.replace(SMALL, loop=LoopOptions(epochs=9, window=16))
    result = train([wave(300)], options, report=interrupt)
    best = min([1.0, *seen])
    assert result.validation_gain == pytest.approx(1 - best)
    assert result.epochs == (seen.index(best) + 1 if best in seen else 0,)


def test_progress_is_told_after_every_epoch() -> None:
    """The callback hears of each epoch of the search and of the retraining, in order."""
    heard: list[Progress] = []
    result = train([wave(300)], SMALL, report=heard.append)
    search = [p.epoch for p in heard if p.phase == "search"]
    assert search == list(range(1, len(search) + 1))
    assert [p.epoch for p in heard if p.phase == "retrain"] == list(range(1, result.epochs[0] + 1))


def test_an_ensemble_is_the_mean_of_its_members() -> None:
    """The correction of three members is the mean of what each says of the same inputs, from its own state."""
    made = Ensemble([correction() for _ in range(3)])
    for seed, member in enumerate(made.corrections):
        with reproducible(seed):
            torch.nn.init.normal_(member.head.weight)
    x = sequence(20, 2, 3)
    y, state = made(x, made.initial_state(2))
    each = [member(x, member.initial_state(2)) for member in made.corrections]
    torch.testing.assert_close(y, sum(said for said, _ in each) / 3)
    assert len(state) == len(made.state_entries()) == 12
    assert len({entry.name for entry in made.state_entries()}) == 12
    for found, wanted in zip(state, [part for _, after in each for part in after], strict=True):
        assert torch.equal(found, wanted)


def test_stacks_that_do_not_help_are_left_out() -> None:
    """Where no epoch is better than none, the model has one silent stack, and forecasts as the linear part does."""
    options = dataclasses.replace(SMALL, members=3, loop=LoopOptions(epochs=0))
    result = train([wave(300)], options)
    assert result.epochs == (0, 0, 0)
    [left] = result.forecaster.correction.corrections
    assert not bool(left.head.weight.any())
    assert result.forecaster.config.members == 1


@pytest.mark.parametrize("epochs", [(2, 0, 3), (1, 1, 1), (0, 0, 4)])
def test_leaving_silent_stacks_out_changes_no_forecast(epochs: tuple[int, ...]) -> None:
    """An ensemble without its silent members says what it said with them."""
    with reproducible(0):
        forecaster = Forecaster(ForecasterConfig(units=(6,), members=3))
        for member, seen in zip(forecaster.correction.corrections, epochs, strict=True):
            if seen:
                torch.nn.init.normal_(member.head.weight)
    forecaster.eval()
    x = sequence(60, 2, 1)
    with torch.no_grad():
        before, _ = forecaster(x, forecaster.initial_state(2))
        drop_silent(forecaster, epochs)
        after, _ = forecaster(x, forecaster.initial_state(2))
    assert len(forecaster.correction.corrections) == sum(map(bool, epochs))
    torch.testing.assert_close(after, before)


@pytest.mark.parametrize(("phase", "member"), [("search", 1), ("search", 2), ("retrain", 2)])
def test_ctrl_c_keeps_the_members_there_are(phase: str, member: int) -> None:
    """An ensemble interrupted anywhere forecasts with the members that were searched, none of them silent."""

    def interrupt(progress: Progress) -> None:
        if (progress.phase, progress.member, progress.epoch) == (phase, member, 3):
            raise KeyboardInterrupt

    result = train([wave(300)], dataclasses.replace(SMALL, members=3), report=interrupt)
    assert result.interrupted
    assert all(bool(each.head.weight.any()) for each in result.forecaster.correction.corrections)
    assert result.errors["model"].rmse < result.errors["naive"].rmse


def test_the_errors_are_those_of_stepping_the_exported_model() -> None:
    """RMSE, MAE and MASE of ragged series with gaps equal a recomputation value by value."""
    series = [wave(300, name="long"), wave(140, seed=1, name="short")]
    series[0].values[[50, 100, 101, 290]] = np.nan
    result = train(series, BLENDED)
    model = Model(result.model_bytes)
    errors, scaled = [], []
    for one in series:
        values = one.values[:, 0]
        end = len(values) - int(len(values) * 0.2)
        state, forecast = model.initial_state(1), np.float32(0)
        own = []
        for t, value in enumerate(values):
            if t >= end and not np.isnan(value):
                own.append(float(str(forecast)) - value)  # as it is written
            y, state = model.step([[forecast if np.isnan(value) else value]], state)
            forecast = y[0, 0]
        change = np.abs(values[7:end] - values[: end - 7])
        errors += own
        scaled += (np.abs(own) / np.nanmean(change)).tolist()
    found = result.errors["model"]
    assert found.rmse == pytest.approx(float(np.sqrt(np.mean(np.square(errors)))), rel=1e-12)
    assert found.mae == pytest.approx(float(np.mean(np.abs(errors))), rel=1e-12)
    assert found.mase == pytest.approx(float(np.mean(scaled)), rel=1e-12)
    assert model.spec.training["errors"]["model"]["rmse"] == found.rmse


def test_series_of_very_different_sizes_are_forecast_together() -> None:
    """One model over series a million times larger than others is better than naive on every one of them."""
    series = [wave(300, seed=i, name=f"s{i}") for i in range(4)]
    series = [Series(one.name, None, one.values * 1000.0**i) for i, one in enumerate(series)]
    result = train(series, dataclasses.replace(SMALL, seasons=None))
    assert result.plan.scaling == "series"
    for one, said in zip(result.series, result.forecasts, strict=True):
        error = np.abs(said - one.values[1:])[240:].mean()
        assert error < np.abs(np.diff(one.values, axis=0))[240:].mean()


def test_several_numbers_a_value_are_forecast_together() -> None:
    """A series of two numbers a value gives a model of two features and two outputs that beats the naive forecast."""
    values = np.concatenate([wave(300).values, 100 * wave(300, seed=3).values], axis=1)
    options = dataclasses.replace(SMALL, features=("load", "heat"))
    result = train([Series("plant", None, values)], options)
    spec = Model(result.model_bytes).spec
    assert (spec.features, spec.outputs, spec.targets) == (("load", "heat"), ("yhat_load", "yhat_heat"), (0, 1))
    assert result.errors["model"].rmse < result.errors["naive"].rmse


def test_a_season_is_found_and_used() -> None:
    """Without being told, training finds the period of a seasonal series and beats both naive forecasts with it."""
    result = train([wave(600, season=40)], dataclasses.replace(SMALL, seasons=None))
    assert 40 in result.plan.seasons.all
    assert result.errors["model"].rmse < min(result.errors["naive"].rmse, result.errors["seasonal_naive_40"].rmse)


def test_a_random_walk_is_given_no_season() -> None:
    """Where there is nothing to find, nothing is found, and the model is hardly worse than the naive forecast."""
    steps = np.random.default_rng(0).normal(0, 1, 600)
    result = train([Series("walk", None, 100 + np.cumsum(steps)[:, None])], dataclasses.replace(SMALL, seasons=None))
    assert result.plan.seasons.all == ()
    assert result.errors["model"].rmse < 1.1 * result.errors["naive"].rmse


def test_the_shipped_model_is_the_one_its_command_makes() -> None:
    """The airline model of the package was trained on the packaged table by the defaults, and is as good as it says."""
    folder = ROOT / "streamlstm" / "models"
    model = Model((folder / "airline.onnx").read_bytes())
    values = np.loadtxt(folder / "airline-passengers.csv", delimiter=",", skiprows=1, usecols=1)
    y, _ = model.run(values[:, None, None], model.initial_state(1))
    rmse = float(np.sqrt(np.mean((y[107:-1, 0, 0] - values[108:]) ** 2)))
    assert rmse == pytest.approx(model.spec.training["errors"]["model"]["rmse"], rel=1e-6)
    assert rmse < 15.4
    assert (folder / "airline.onnx").stat().st_size < 100_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seasons": (180,)}, "too short for a history of 182"),
        ({"test_size": 295}, "'wave' is too short"),
        ({"scaling": "log"}, "needs positive values"),
        ({"scaling": "square"}, "no scaling 'square'"),
        ({"dropout": 1.0}, "dropout"),
        ({"layer": "mlp"}, "no layer 'mlp'"),
    ],
)
def test_what_cannot_be_trained_is_refused(options: dict[str, object], message: str) -> None:
    """Data too short and options that make no sense are each one clear error."""
    series = wave(300)
    series.values[3] = -1.0
    with pytest.raises((TableError, UsageError), match=message):
        train([series], dataclasses.replace(SMALL, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [
        np.full(100, 5.0),
        np.zeros(100),
        np.repeat([0.0, 1000.0], 50),
        np.arange(25.0),
        1e-12 * np.sin(np.arange(100.0)),
        1e30 * np.cos(np.arange(100.0) ** 2),
        np.where(np.arange(100) % 3 == 1, np.nan, np.sin(np.arange(100.0))),
        np.exp(0.1 * np.arange(100.0)),
    ],
    ids=["constant", "zero", "step", "short", "tiny", "huge", "gaps", "exponential"],
)
@pytest.mark.parametrize("scaling", ["auto", "standard", "series"])
def test_strange_series_give_finite_forecasts(values: np.ndarray, scaling: str) -> None:
    """Series without change, with one jump or with gaps, very short, tiny, huge: all give finite numbers."""
    blend = scaling == "auto"  # the parts beside the trained one are made of the values as they are
    options = TrainingOptions(units=(4,), members=1, scaling=scaling, blend=blend, loop=LoopOptions(epochs=2))
    result = train([Series("strange", None, values[:, None].copy())], options)
    assert np.isfinite(result.forecasts[0]).all()
    assert np.isfinite(result.errors["model"].rmse)


def test_no_series_and_empty_series_are_refused() -> None:
    """There must be something to train on."""
    with pytest.raises(TableError, match="no series"):
        train([], SMALL)
    with pytest.raises(TableError, match="'none' has no value"):
        train([Series("none", None, np.full((30, 1), np.nan))], SMALL)
