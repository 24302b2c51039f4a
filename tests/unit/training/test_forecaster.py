"""The forecaster and its export: parity with torch, chunks and batches bit for bit, finite answers, refusals."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlstm.errors import ModelError, UsageError
from streamlstm.models.bits import step_by_step
from streamlstm.models.model import Model
from streamlstm.nn import LSTM
from streamlstm.nn.operations import State, Value
from streamlstm.training.export import model_writer
from streamlstm.training.export.model_writer import TOLERANCE, check_export, export_model, write_model
from streamlstm.training.forecaster import Forecaster, ForecasterConfig, LagFeatures, Scaling
from streamlstm.training.forecaster.spread import MIN_MEMORY, VALUE_SHARE

CONFIGS = [
    ForecasterConfig(units=(8,)),
    ForecasterConfig(units=(8,), seasons=(12,), scaling="log"),
    ForecasterConfig(units=(16, 8), seasons=(7, 30), scaling="minmax", neighbours=1),
    ForecasterConfig(units=(8,), predict="level", scaling="log", recent=3),
    ForecasterConfig(units=(5,), features=("a", "b", "c"), seasons=(6,), recent=4),
    ForecasterConfig(units=(8,), scaling="series", seasons=(12,)),
    ForecasterConfig(units=(8,), scaling="series", features=("a", "b"), recent=5),
    ForecasterConfig(units=(8,), scaling="series", features=("a", "b"), wide_seasons=(60,)),
    ForecasterConfig(units=(64,), seasons=(48, 336)),
    ForecasterConfig(units=(8,), wide_seasons=(50,), adapt=False),
    ForecasterConfig(units=(8,), layer="gru", members=3),
    ForecasterConfig(units=(8,), layer="rnn", predict="level"),
    ForecasterConfig(
        units=(8,), features=("a", "b", "c"), targets=("c", "a"), scaling="series", seasons=(6,), recent=5
    ),
    ForecasterConfig(units=(8,), features=("a", "b", "c"), targets=("b",), horizon=3, scaling="log", recent=5),
    ForecasterConfig(units=(8,), horizon=4, predict="level", adapt=False),
    ForecasterConfig(units=(8,), horizon=2, predict="level", scaling="minmax"),
    ForecasterConfig(units=(8,), calendar=("day", "week", "year")),
    ForecasterConfig(units=(8,), calendar=("week",), spacing_ms=3_600_000, sees_gaps=True, scaling="series"),
    ForecasterConfig(units=(8,), spacing_ms=60_000, sees_gaps=True, features=("a", "b"), targets=("b",), adapt=False),
]


def made(config: ForecasterConfig, seed: int = 0) -> Forecaster:
    """A forecaster with random weights everywhere, none of them zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        forecaster = Forecaster(config)
        with torch.no_grad():
            forecaster.skip.weight.normal_(0, 0.05)
            forecaster.skip.bias.normal_(0, 0.05)
            forecaster.skip.residual_std.fill_(0.5)
            for member in forecaster.correction.corrections:
                member.head.weight.normal_(0, 0.3)
                member.head.bias.normal_(0, 0.3)
            forecaster.lags.mean.normal_(0, 0.1)
            forecaster.lags.std.uniform_(0.5, 1.5)
            values = np.exp(np.random.default_rng(seed).normal(3, 1, (50, len(config.features))))
            forecaster.scaling.fit(values)
    return forecaster


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_the_exported_model_does_what_the_forecaster_does(config: ForecasterConfig) -> None:
    """Forecasts and state agree with torch to 1e-5, chunks and batches bit for bit, for every kind of forecaster."""
    forecaster = made(config)
    model_bytes = export_model(forecaster)  # raises if not
    random = np.random.default_rng(1)
    x = np.exp(random.normal(3, 1, (forecaster.lags.length + 25, 11, len(config.features)))).astype(np.float32)
    assert check_export(forecaster, model_bytes, x) <= TOLERANCE
    model = Model(model_bytes)
    assert model.spec.state_size == forecaster.state_size
    assert model.spec.season == min((*config.seasons, *config.wide_seasons), default=None)


def test_zeros_among_large_values_are_no_broken_layer() -> None:
    """What is rounded at a zero is measured by what is usual in the series: most values of counts are zeros."""
    forecaster = made(CONFIGS[0])
    model_bytes = write_model(forecaster)
    x = np.zeros((forecaster.lags.length + 200, 2, len(CONFIGS[0].features)), np.float32)
    x[::48], x[1::48] = 500, 470
    assert 0 < check_export(forecaster, model_bytes, x) <= TOLERANCE
    with torch.no_grad():
        forecaster.skip.weight[0, 0] += 0.001
    with pytest.raises(ModelError, match="one of its layers is broken"):
        check_export(forecaster, model_bytes, x)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_series_that_hardly_moves_has_the_same_bits_alone_as_among_others(config: ForecasterConfig) -> None:
    """Where changes are as small as what is added to them, their sum's rounding shows in which order it was made."""
    forecaster = made(config)
    model = Model(write_model(forecaster))
    random, steps, batch, features = np.random.default_rng(1), 8, 128, len(config.features)
    levels = np.exp(random.normal(3, 1, (1, batch, features)))
    x = (levels * (1 + 1e-4 * random.standard_normal((steps, batch, features)))).astype(np.float32)
    times = np.repeat(3_600_000 * np.arange(steps)[:, None], batch, axis=1)
    together, state = model.run(x, model.initial_state(batch), times)
    for row in range(batch):
        alone, carried = [], model.initial_state(1)
        for step in range(steps):
            cut = slice(row, row + 1)
            y, carried = model.step(x[step, cut], carried, times[step, cut])
            alone.append(y[0])
        np.testing.assert_array_equal(np.array(alone), together[:, row])
        np.testing.assert_array_equal(carried[0], state[row])


@pytest.mark.parametrize("config", CONFIGS[:8], ids=str)
@settings(max_examples=15)
@given(cuts=st.lists(st.integers(1, 20), min_size=1, max_size=6), batch=st.integers(1, 300), seed=st.integers(0, 99))
def test_any_cut_and_any_batch_give_the_same_bits(
    config: ForecasterConfig, cuts: list[int], batch: int, seed: int
) -> None:
    """However a sequence is cut into calls, and whoever else is in the batch, a series' bits are its own."""
    model = exported(config)
    x = np.random.default_rng(seed).lognormal(3, 1, (sum(cuts), batch, len(config.features))).astype(np.float32)
    whole, state = model.run(x, model.initial_state(batch))
    parts, carried, done = [], model.initial_state(batch), 0
    for cut in cuts:
        part, carried = model.run(x[done : done + cut], carried)
        parts.append(part)
        done += cut
    assert np.array_equal(np.concatenate(parts), whole)
    assert np.array_equal(carried, state)
    row = seed % batch
    alone, carried = model.run(x[:, row : row + 1], model.initial_state(1))
    assert np.array_equal(alone[:, 0], whole[:, row])
    assert np.array_equal(carried[0], state[row])


@cache
def exported(config: ForecasterConfig) -> Model:
    """A loaded model of a configuration, made once."""
    return Model(export_model(made(config)))


@pytest.mark.parametrize("config", CONFIGS[:8], ids=str)
@settings(max_examples=20)
@given(
    values=st.lists(
        st.one_of(st.floats(width=32, allow_nan=False, allow_infinity=False), st.just(0.0), st.just(-1.0)),
        min_size=1,
        max_size=50,
    )
)
def test_finite_values_never_give_anything_else(config: ForecasterConfig, values: list[float]) -> None:
    """Zeros, negatives under log, the largest and the smallest float32: forecasts and state stay finite."""
    model = exported(config)
    x = np.repeat(np.asarray(values, np.float32)[:, None, None], len(config.features), axis=2)
    y, state = model.run(x, model.initial_state(1))
    assert np.isfinite(y).all()
    assert np.isfinite(state).all()


def test_equal_weights_give_equal_bytes() -> None:
    """Two exports of one forecaster, and of two made alike, are the same file."""
    one = made(CONFIGS[1])
    assert write_model(one) == write_model(one) == write_model(made(CONFIGS[1]))
    assert write_model(one) != write_model(made(CONFIGS[1], seed=1))


def test_an_export_with_a_broken_layer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer whose nodes compute something else than its torch module stops the export."""
    right = LSTM.scan

    def wrong(self: LSTM, x: Value, state: State) -> tuple[Value, State]:
        y, after = right(self, x, state)
        return y if isinstance(y, torch.Tensor) else y * 1.001, after

    monkeypatch.setattr(LSTM, "scan", wrong)
    with pytest.raises(ModelError, match="differs from the trained one"):
        export_model(made(CONFIGS[0]))


def test_an_export_whose_state_is_another_is_refused() -> None:
    """Also where nothing that is forecast shows it."""
    forecaster = made(CONFIGS[0])
    parameters = dict(forecaster.correction.named_parameters())
    with torch.no_grad():
        for name, parameter in parameters.items():
            if ".head." in name:
                parameter.zero_()
        model_bytes = write_model(forecaster)
        check_export(forecaster, model_bytes)
        for name, parameter in parameters.items():
            if ".head." not in name:
                parameter.mul_(1.1)
    with pytest.raises(ModelError, match="differs from the trained one"):
        check_export(forecaster, model_bytes)


def test_what_cells_make_of_roundings_is_no_broken_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """States may drift apart over hundreds of steps; one step after the same state they are the same."""

    def drifted(*given: Any) -> tuple[Any, Any]:
        forecasts, state = step_by_step(*given)
        return forecasts, state * 1.002

    monkeypatch.setattr(model_writer, "step_by_step", drifted)
    assert export_model(made(CONFIGS[0]))


def test_an_export_that_depends_on_the_call_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that looks at how many steps a call has stops the export, though torch agrees step by step."""
    right = LSTM.scan

    def wrong(self: LSTM, x: Value, state: State) -> tuple[Value, State]:
        y, after = right(self, x, state)
        return y if isinstance(y, torch.Tensor) else y + (x.sizes()[0:1].float() - 1.0), after

    monkeypatch.setattr(LSTM, "scan", wrong)
    with pytest.raises(ModelError, match="other bits"):
        export_model(made(CONFIGS[0]))


def test_features_of_a_full_history_are_the_lags_of_the_definition() -> None:
    """Every column is the difference its definition says, computed here by indexing a long sequence."""
    lags = LagFeatures(1, recent=3, seasons=(5,), neighbours=1)
    z = torch.randn(40, 1, 1, generator=torch.Generator().manual_seed(0))
    features, full, *_ = lags(z, lags.initial_state(1))
    v = z[:, 0, 0]
    for t in range(lags.length, 40):
        wanted = [v[t - 2] - v[t - 3], v[t - 1] - v[t - 2], v[t] - v[t - 1]]
        shares = torch.tensor([0.85**age for age in (3, 2, 1, 0)])
        smoothed = (shares * v[t - 3 : t + 1]).sum() / shares.sum()
        wanted += [v[t + 1 - 5 + j] - v[t] for j in (-1, 0, 1)] + [smoothed - v[t], v[t]]
        torch.testing.assert_close(features[t, 0], torch.stack(wanted))
    assert full[:, 0, 0].tolist() == [t >= lags.length for t in range(40)]


def test_further_steps_see_the_values_a_season_before_each() -> None:
    """Those that are not among the recent changes, each step its own; the next step and the stack what they saw."""
    lags = LagFeatures(1, recent=3, seasons=(9,), neighbours=1, horizon=3)
    plain = LagFeatures(1, recent=3, seasons=(9,), neighbours=1)
    z = torch.randn(40, 1, 1, generator=torch.Generator().manual_seed(0))
    features, others = (one(z, one.initial_state(1)).features[:, 0] for one in (lags, plain))
    v = z[:, 0, 0]
    for t in range(lags.length, 40):
        torch.testing.assert_close(features[t, 6:8], torch.stack([v[t - 5] - v[t], v[t - 6] - v[t]]))
    assert lags.unseen == [[6, 7], [6], []]  # two ahead v[t - 6] to v[t - 8], three ahead v[t - 5] to v[t - 7]
    assert lags.length == plain.length
    torch.testing.assert_close(features[:, lags.recurrent], others[:, plain.recurrent])
    assert set(range(lags.columns)) - {*lags.seasonal} == {0, 1, 2, lags.columns - 2, lags.columns - 1}
    assert LagFeatures(1, recent=9, seasons=(9,), neighbours=1, horizon=3).unseen == [[], [], []]


def test_a_wide_season_is_three_means_around_a_season_ago() -> None:
    """The columns between the single lags and the level are window means less the latest value, by float64."""
    lags = LagFeatures(1, recent=2, wide_seasons=(72,))
    z = torch.randn(100, 1, 1, generator=torch.Generator().manual_seed(0))
    features, full, *_ = lags(z, lags.initial_state(1))
    v = z[:, 0, 0].double()
    assert lags.length == 72 - 1 + 2 + 3
    for t in range(lags.length, 100):
        around = [v[t + 1 - 72 + j - 3 : t + 1 - 72 + j + 4].mean() - v[t] for j in (-2, 0, 2)]
        torch.testing.assert_close(features[t, 0, 2:5].double(), torch.stack(around), atol=1e-6, rtol=1e-5)
    assert full[:, 0, 0].tolist() == [t >= lags.length for t in range(100)]


def test_a_history_that_is_not_full_begins_with_the_first_value() -> None:
    """Features that reach before a series' first value are as if it had always been that, however it is cut."""
    lags = LagFeatures(1, recent=2, seasons=(6,), neighbours=0)
    z = torch.arange(1.0, 11.0).reshape(10, 1, 1) ** 2
    features, *_, state = lags(z[:2], lags.initial_state(1))
    later, *_ = lags(z[2:], state)
    shown = torch.cat((features, later))[:, 0, [0, 1, 2, 4]].tolist()
    assert shown[0] == [0, 0, 0, 1]  # only the level
    assert shown[1] == [0, 3, 1 - 4, 4]
    assert shown[2] == [3, 5, 1 - 9, 9]
    assert shown[6] == [11, 13, 4 - 49, 49]  # the second value is five back, a season before the target


def test_a_series_unit_is_the_weighted_mean_of_its_absolute_changes() -> None:
    """The unit after each value is the weighted mean of all changes and shares of medians up to it, by float64."""
    lags = LagFeatures(1, recent=2, local=True)
    z = torch.randn(30, 1, 1, generator=torch.Generator().manual_seed(0))
    unit = lags(z, lags.initial_state(1)).unit
    values = z[:, 0, 0].double().numpy()
    around = np.concatenate([values[:1].repeat(2), values])
    middle = np.median([around[:-2], around[1:-1], around[2:]], axis=0)
    changes = np.abs(np.diff(values, prepend=values[0])) + VALUE_SHARE * np.abs(middle)
    for t in range(1, 30):
        weights = (1 - 1 / MIN_MEMORY) ** np.arange(t, -1, -1)
        wanted = (weights * changes[: t + 1]).sum() / weights[1:].sum()
        assert float(unit[t, 0, 0]) == pytest.approx(wanted, rel=1e-5)


def test_a_series_1024_times_as_large_is_forecast_1024_times_as_large() -> None:
    """With the scaling `series` the size of a series does not matter: scaled by a power of two, not one bit changes."""
    model = exported(ForecasterConfig(units=(8,), scaling="series", seasons=(12,)))
    x = np.random.default_rng(0).normal(50, 5, (60, 1, 1)).astype(np.float32)
    y, _ = model.run(x, model.initial_state(1))
    larger, _ = model.run(1024 * x, model.initial_state(1))
    assert np.array_equal(larger, 1024 * y)


@pytest.mark.parametrize("kind", ["standard", "minmax", "log"])
def test_scaling_goes_there_and_back(kind: str) -> None:
    """`inverse` undoes `forward`, and a change of zero is the value itself."""
    scaling = Scaling(kind, 2)
    values = np.random.default_rng(0).lognormal(2, 1, (100, 2))
    scaling.fit(values)
    x = torch.from_numpy(values).float()
    torch.testing.assert_close(scaling.inverse(scaling(x)), x, rtol=1e-5, atol=1e-5)
    assert torch.equal(scaling.change(x, torch.zeros(())), x)


def test_a_constant_series_is_scaled_without_dividing_by_zero() -> None:
    """A series that never changes has z = 0."""
    for kind in ("standard", "minmax", "log"):
        scaling = Scaling(kind, 1)
        scaling.fit(np.full((10, 1), 5.0))
        assert scaling(torch.full((1, 1), 5.0)).tolist() == [[0.0]]


def test_log_of_values_that_are_not_positive_is_refused() -> None:
    """Fitting log to a zero says what to do instead."""
    with pytest.raises(UsageError, match=r"log needs positive values.*--scaling standard"):
        Scaling("log", 1).fit(np.array([[1.0], [0.0]]))


@pytest.mark.parametrize(
    "wrong",
    [
        {"scaling": "series", "predict": "level"},
        {"units": ()},
        {"units": (0,)},
        {"predict": "both"},
        {"scaling": "none"},
        {"layer": "mlp"},
        {"seasons": (1,)},
    ],
)
def test_a_forecaster_that_makes_no_sense_is_refused(wrong: dict[str, object]) -> None:
    """Each wrong setting is a usage error."""
    with pytest.raises(UsageError):
        Forecaster(ForecasterConfig(**wrong))  # type: ignore[arg-type]
