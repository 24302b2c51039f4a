"""The mixture: each series' candidates weighed by their recent errors, without training and whatever comes."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from streamlstm.evaluation.intervals import served_bounds
from streamlstm.evaluation.scores import Bounds, forecasts_ahead, interval_scores
from streamlstm.evaluation.served import serve
from streamlstm.models.mixing import candidate_shares
from streamlstm.models.model import Model
from streamlstm.tables import Series
from streamlstm.training import LoopOptions, TrainingOptions, train
from streamlstm.training.forecaster.decay import Decay, decaying_sums
from streamlstm.training.forecaster.mixture import (
    CORRECTION_LIMIT,
    ERROR_DECAY,
    ERROR_LIMIT,
    MODEL_ERROR_DECAY,
    PREFERENCE,
    SEASONAL_ERROR_DECAY,
    SHARPNESS,
    SMALLEST_SUM,
    Candidates,
    Mixture,
)

# What is mixed here is one stack with the rest: three, the default, show no more.
SMALL = TrainingOptions(units=(8,), members=1, seasons=(), loop=LoopOptions(epochs=5))


def given(
    values: NDArray[np.float64], model: NDArray[np.float64], *, local: bool = False, season: int = 0
) -> Candidates:
    """What a mixture is given over one series (T,) with the model's changes (T,), its short forecast all zero."""
    z = torch.from_numpy(values).float()[:, None, None]
    change = torch.diff(z, dim=0, prepend=z[:1])
    counts = torch.clamp(torch.arange(len(z)), min=1.0)[:, None, None]
    unit = change.abs().cumsum(dim=0) / counts + 1e-3
    median = torch.stack([torch.median(z[max(0, t - 4) : t + 1]) for t in range(len(z))])[:, None, None] - z
    smoothed = torch.stack([z[max(0, t - 9) : t + 1].mean() for t in range(len(z))])[:, None, None] - z
    parts = [torch.from_numpy(model).float()[:, None, None], torch.zeros_like(z), smoothed, median]
    if season:
        parts.append(torch.cat((z[:1].expand(season - 1, 1, 1), z[: len(z) - season + 1])) - z)
    first, seasonal = ([part / unit if local else part for part in some] for some in (parts[:4], parts[4:]))
    return Candidates(*first, change=change, unit=unit, seasonal=seasonal)


def test_a_decaying_sum_is_the_weighted_sum_of_all_that_came() -> None:
    """Numbers that are not negative give sum decay^(t-k) (x(k) W + bias), by float64, from any state, in any cut."""
    x = torch.rand(50, 3, 2, generator=torch.Generator().manual_seed(0))
    rule = Decay(torch.tensor([[1.0, 0.5], [0.0, 2.0]]), torch.tensor([0.9, 0.5]), torch.tensor([0.0, 0.25]))
    sums, after = decaying_sums(x, rule, torch.zeros(3, 2))
    ages = torch.arange(50)[:, None] - torch.arange(50)
    added = x.double() @ rule.weight.double() + rule.bias
    for column, decay in enumerate(rule.decays.tolist()):
        powers = torch.where(ages >= 0, decay ** ages.clamp(min=0).double(), 0.0)
        torch.testing.assert_close(
            sums[..., column], powers @ added[..., column], atol=1e-5, rtol=1e-5, check_dtype=False
        )
    first, carried = decaying_sums(x[:20], rule, torch.zeros(3, 2))
    second, carried = decaying_sums(x[20:], rule, carried)
    assert torch.equal(torch.cat((first, second)), sums)
    assert torch.equal(carried, after)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("season", [0, 6])
@pytest.mark.parametrize("local", [False, True])
def test_the_weights_are_those_of_the_formula(local: bool, season: int, sparse: bool) -> None:
    """The mixed change after 60 values is the mean of the candidates by their sums of errors, in float64."""
    random = np.random.default_rng(0)
    values = np.cumsum(random.normal(0, 1, 60)) + 3 * np.sin(np.arange(60) * np.pi / 3)
    mixture = Mixture(1, local=local, seasons=(season,) if season else (), sparse=sparse)
    now = given(values, 0.5 * random.normal(0, 1, 60), local=local, season=season)
    mixed, _, _ = mixture(now, mixture.initial_state(1))
    unit, change = (part[:, 0, 0].double().numpy() for part in (now.unit, now.change))
    parts = np.stack([part[:, 0, 0].double().numpy() for part in (*now[:4], *now.seasonal)], axis=1)  # (T, 4 or 5)
    before_unit = np.append(1.0, unit[:-1])[:, None]

    def off(said: NDArray[np.float64]) -> NDArray[np.float64]:
        before = np.vstack((np.zeros(said.shape[1]), said[:-1]))
        return change[:, None] / before_unit - before if local else (change[:, None] - before) / before_unit

    for source, decay in ((0, MODEL_ERROR_DECAY), (4, SEASONAL_ERROR_DECAY))[: 2 if season else 1]:
        errors, mean = np.clip(off(parts)[:, source], -CORRECTION_LIMIT, CORRECTION_LIMIT), np.zeros(60)
        for t in range(60):
            mean[t] = decay * (mean[t - 1] if t else 0.0) + (1 - decay) * errors[t]
        parts = np.column_stack((parts, parts[:, source] + (mean if local else mean * unit)))
    shares = np.array(list(candidate_shares((season,) if season else ()).values()))
    said = parts @ shares.T  # (T, K)
    errors = np.minimum(np.abs(off(said)), ERROR_LIMIT) ** (2.0 if sparse else 1.25)
    preferences = np.array([PREFERENCE, *[1.0] * (len(shares) - 1)])
    sums = (ERROR_DECAY ** np.arange(59, -1, -1)) @ errors * preferences + SMALLEST_SUM
    weights = np.exp(-SHARPNESS * (sums / sums.min() - 1))
    assert float(mixed[-1, 0, 0]) == pytest.approx(weights @ said[-1] / weights.sum(), abs=1e-4)


def test_what_a_broken_trend_leaves_is_corrected() -> None:
    """A model that goes on with the trend that was is wrong by a constant: it is taken off within tens of values."""
    values = np.concatenate((0.5 * np.arange(100), 50 - 0.5 * np.arange(1, 101)))
    mixture = Mixture(1, local=False)
    mixed, _, _ = mixture(given(values, np.full(200, 0.5)), mixture.initial_state(1))
    np.testing.assert_allclose(mixed[140:, 0, 0].numpy(), -0.5, atol=0.02)


def test_a_season_alone_is_enough() -> None:
    """With a model that says nothing and a trend, the season before, corrected, forecasts all but the noise."""
    steps = np.arange(200)
    values = 0.3 * steps + 5 * np.sin(steps * np.pi / 6)
    mixture = Mixture(1, local=False, seasons=(12,))
    mixed, _, _ = mixture(given(values, np.zeros(200), season=12), mixture.initial_state(1))
    np.testing.assert_allclose(mixed[100:-1, 0, 0].numpy(), np.diff(values)[100:], atol=0.05)


def test_forecasts_of_sparse_counts_add_up_to_what_comes() -> None:
    """Where most values are zero, the mean is forecast, not the zero in the middle of what may come."""
    random = np.random.default_rng(5)
    values = np.where(random.random(900) < 0.28, 1 + random.poisson(2.0, 900), 0).astype(float)
    options = TrainingOptions(units=(8,), members=1, loop=LoopOptions(epochs=5))
    result = train([Series("parts", None, values[:, None])], options)
    assert result.forecaster.config.sparse
    assert result.forecasts[0][719:, 0].sum() == pytest.approx(values[720:].sum(), rel=0.15)


def test_a_good_model_is_left_alone_and_a_wrong_one_overruled() -> None:
    """A model that knows the next change has nearly all weight; one that says nonsense is left within 30 values."""
    values = np.cumsum(np.random.default_rng(0).normal(0, 1, 300))
    known = np.append(np.diff(values), 0.0)
    mixture = Mixture(1, local=False)
    good, _, _ = mixture(given(values, known), mixture.initial_state(1))
    np.testing.assert_allclose(good[30:, 0, 0].numpy(), known[30:], atol=0.05)
    bad, _, _ = mixture(given(values, known + 7.0), mixture.initial_state(1))
    assert np.abs(bad[30:, 0, 0].numpy()).max() < 1.0


def test_an_error_counts_no_more_than_its_limit() -> None:
    """One spike of a million leaves no larger error than the limit with any candidate."""
    values = np.random.default_rng(0).normal(0, 1, 100)
    values[50] = 1e6
    mixture = Mixture(1, local=False)
    _, wrong, _ = mixture(given(values, np.zeros(100)), mixture.initial_state(1))
    assert float(wrong.max()) == pytest.approx(ERROR_LIMIT**1.25)


def noise_around_levels(seed: int, name: str, shift: float = 0.0, size: float = 1.0, length: int = 900) -> Series:
    """White noise around a level that moves by `shift` at two thirds; the best forecast is the level."""
    random = np.random.default_rng(seed)
    values = 50 + 2 * random.standard_normal(length)
    values[2 * length // 3 :] += shift
    return Series(name, None, size * values[:, None])


def mean_errors(said: NDArray[np.float64], series: Series, first: int, last: int) -> tuple[float, float]:
    """Mean absolute error of the forecasts of values `first` to `last` and of the naive ones."""
    values = series.values[:, 0]
    wrong = np.abs(said[first - 1 : last - 1, 0] - values[first:last]).mean()
    return float(wrong), float(np.abs(np.diff(values))[first - 1 : last - 1].mean())


@pytest.mark.parametrize("scaling", ["standard", "series", "log"])
def test_a_level_shift_never_seen_in_training_is_learnt_within_tens_of_values(scaling: str) -> None:
    """From 40 values after a jump of ten deviations on, errors are as far below the naive ones as before it."""
    options = dataclasses.replace(SMALL, test_size=350, scaling=scaling)
    series = noise_around_levels(0, "shifted", shift=20.0)
    result = train([series], options)
    before = mean_errors(result.forecasts[0], series, 555, 600)
    after = mean_errors(result.forecasts[0], series, 640, 900)
    assert before[0] < 0.85 * before[1]
    assert after[0] < 0.85 * after[1]


def test_one_model_of_some_series_forecasts_others_of_other_sizes() -> None:
    """Trained on four series of different sizes, a model is clearly better than naive on a fifth it never saw."""
    seen = [noise_around_levels(i, f"s{i}", size=10.0**i) for i in range(4)]
    result = train(seen, SMALL)
    assert result.plan.scaling == "series"
    other = noise_around_levels(9, "new", shift=-30.0, size=3e-4)
    model = Model(result.model_bytes)
    y, _ = model.run(other.values[:, None], model.initial_state(1))
    wrong, naive = mean_errors(y[:-1, 0].astype(np.float64), other, 60, 900)
    assert wrong < 0.85 * naive


def test_thousands_of_strange_values_do_no_harm() -> None:
    """Constants, zeros, spikes of a million and noise in turn: all finite, and soon good again after each."""
    result = train([noise_around_levels(0, "s")], dataclasses.replace(SMALL, loop=LoopOptions(epochs=2)))
    random = np.random.default_rng(1)
    parts = [50 + 2 * random.standard_normal(2_000), np.full(2_000, 50.0), np.zeros(2_000)]
    spikes = 50 + 2 * random.standard_normal(2_000)
    spikes[::251] = 1e6
    values = np.concatenate([*parts, spikes, parts[0]])
    model = Model(result.model_bytes)
    y, state = model.run(values[:, None, None], model.initial_state(1))
    assert np.isfinite(y).all()
    assert np.isfinite(state).all()
    wrong = np.abs(y[:-1, 0, 0] - values[1:])
    assert wrong[2_100:3_999].max() < 0.05
    assert wrong[4_100:5_999].max() < 0.05
    assert np.median(wrong[6_100:7_999]) < 3.0
    assert wrong[8_500:].mean() < 0.85 * np.abs(np.diff(parts[0]))[500:].mean()


@cache
def carried_on(seed: int) -> tuple[NDArray[np.float64], Model]:
    """Values that each keep a part of the one before, and a model of the first thousand."""
    random = np.random.default_rng(seed)
    values = np.zeros(4000)
    for t in range(1, 4000):
        values[t] = 0.6 * values[t - 1] + random.normal()
    values = np.round(30 + values, 3)
    options = dataclasses.replace(SMALL, test_size=3000)
    return values, Model(train([Series("s", None, values[:, None])], options).model_bytes)


@pytest.mark.parametrize("kind", ["level", "scale", "noise", "flat"])
def test_intervals_of_a_trained_model_cover_their_share_again_after_a_shift(kind: str) -> None:
    """From 200 values after a jump, a scale or a noise five times as large on, 90 % intervals cover 88 to 92 %."""
    values, model = carried_on(5)
    values = values.copy()
    noise = np.random.default_rng(6).normal(0, 5, 4000)
    shifted = {"level": values + 40, "scale": values * 5, "noise": values + noise}
    values[1500:] = shifted[kind][1500:] if kind in shifted else values[1500]
    one = Series("s", None, values[:, None])
    [said] = forecasts_ahead(model, serve(model, [one]).outputs)
    bounds = served_bounds(one, said, 0.9, exact=model.spec.exact)
    assert bounds is not None
    covered, _ = interval_scores([one], [bounds], 2300) or (0.0, 0.0)
    before, _ = interval_scores([Series("s", None, values[:1500, None])], [cut(bounds, 1499)], 1000) or (0.0, 0.0)
    assert 0.88 <= before <= 0.92
    assert 0.88 <= covered <= (1.0 if kind == "flat" else 0.92)


def cut(bounds: Bounds, count: int) -> Bounds:
    """The first intervals only."""
    return Bounds(bounds.low[:count], bounds.high[:count])
