"""The packaged universal model: what it says of series of every kind, from the first value on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

import streamlstm
from streamlstm.cli import main
from streamlstm.models import UNIVERSAL_FILE, Model, check_bits, join, split
from support.paths import ROOT

Float64 = NDArray[np.float64]


@pytest.fixture(scope="module")
def model() -> Model:
    """The packaged model."""
    return streamlstm.load("universal")


def forecasts(model: Model, values: Float64) -> Float64:
    """What is said after each value of one series (N,); all of it, and the state at the end, is finite."""
    said, state = model.run(np.asarray(values, np.float64)[:, None, None], model.initial_state(1))
    assert np.isfinite(said).all()
    assert np.isfinite(state).all()
    return said[:, 0, 0]


def errors(model: Model, values: Float64) -> Float64:
    """Absolute errors (N - 1,) of the forecasts of all values but the first."""
    return np.abs(forecasts(model, values)[:-1] - values[1:])


def naive(values: Float64) -> Float64:
    """Those of the value before."""
    return np.abs(np.diff(values))


@pytest.mark.parametrize("value", [0.0, 21.5, -3e38, 3.4e38, 1e-40, 2_500_000_123.5])
def test_the_first_forecast_is_the_first_value(model: Model, value: float) -> None:
    """Nothing else is known of a series yet."""
    assert forecasts(model, np.array([value]))[0] == pytest.approx(value, rel=1e-14)


def test_an_answer_is_the_pair_that_its_number_splits_into(model: Model) -> None:
    """Also where the change is larger than the value: fed for a missing value, it is what its text would be read as."""
    values = np.round(np.random.default_rng(7).normal(size=(300, 20, 1)), 3)
    state = model.initial_state(20)
    for step in split(values):
        said, state = model.advance(step[None], state, None)
        # What is beyond the digits of float64 cannot be told from nothing.
        assert np.abs(said[0] - split(join(said[0]))).max() < 1e-30


@pytest.mark.parametrize("value", [0.0, -7.25, 1e30, 123_456_789_012.0])
def test_a_constant_is_forecast_as_such(model: Model, value: float) -> None:
    """A stuck sensor is forecast to stay stuck, to the last digit that a pair of float32 holds."""
    assert forecasts(model, np.full(300, value)) == pytest.approx(np.full(300, value), rel=1e-14)


@pytest.mark.parametrize("walks", [False, True])
def test_a_spike_is_forgotten_within_a_few_steps(model: Model, walks: bool) -> None:
    """One value of 1e12 among ones around 100: after the step that nobody could know, errors are as before."""
    noise = np.random.default_rng(0).normal(size=1000)
    values = 100 + (np.cumsum(noise) if walks else noise)
    values[600] = 1e12
    found = errors(model, values)
    assert found[604:700].mean() < 1.5 * found[400:599].mean()


@pytest.mark.parametrize("size", [1e2, 1e4, 1e9])
@pytest.mark.parametrize("period", [12, 24, 288])
def test_a_spike_is_not_forecast_to_come_again(model: Model, period: int, size: float) -> None:
    """One wrong value in a season of 10 up and down: what is said after each season behind it is near that."""
    values = 50 + 10 * np.sin(np.arange(2000) * 2 * np.pi / period) + np.random.default_rng(1).normal(size=2000) * 0.3
    values[1000] += size
    assert errors(model, values)[1010:].max() < 15


def test_a_shift_of_the_level_is_not_forecast_to_come_again(model: Model) -> None:
    """By a hundred times what the season moves."""
    values = 5 * np.sin(np.arange(1500) * np.pi / 12) + np.random.default_rng(1).normal(size=1500) * 0.3
    found = errors(model, values + 500.0 * (np.arange(1500) >= 1000))
    assert found[1010:].max() < 15


@pytest.mark.parametrize(
    ("period", "begin", "size"), [(24, 0, 1000.0), (24, 960, 50.0), (7, 280, 200.0), (168, 672, 200.0)]
)
def test_a_spike_that_does_come_each_season_is_forecast(model: Model, period: int, begin: int, size: float) -> None:
    """A job that runs once a day, or a week of hours, beside the day's season or alone: from the fourth time on."""
    day = min(period, 24)
    values = 50 + np.random.default_rng(1).normal(size=begin + 9 * period) * 0.3
    values += 10 * np.sin(np.arange(len(values)) * 2 * np.pi / day) * (begin > 0)
    values[begin + 3 :: period] += size
    found = errors(model, values)
    assert found[begin + 2 + 3 * period :: period].max() < 0.1 * size  # what is said of the spike
    assert found[begin + 3 + 3 * period :: period].max() < 0.1 * size  # and of the value after it


def test_a_level_shift_is_followed(model: Model) -> None:
    """After a shift by a million times the noise errors are soon as before it."""
    random = np.random.default_rng(0)
    values = random.normal(size=900) + 1e6 * (np.arange(900) >= 450)
    found = errors(model, values)
    assert found[500:].mean() < 1.2 * found[300:449].mean()


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(lambda r: r.choice([-3.3e38, 3.3e38], 800), id="from end to end of float32"),
        pytest.param(lambda r: r.normal(size=800) * 1e-42, id="too small for float32"),
        pytest.param(lambda r: np.minimum(np.exp(r.normal(size=800) * 30), 3e38), id="all sizes"),
        pytest.param(lambda r: np.cumsum(r.standard_cauchy(size=800)), id="wild jumps"),
        pytest.param(lambda r: np.where(r.random(800) < 0.01, 1e30, 0.0), id="rare and huge"),
        pytest.param(lambda r: np.repeat(r.normal(size=8), 100), id="steps"),
        pytest.param(lambda r: np.exp(np.arange(800) / 10), id="growing without end"),
    ],
)
def test_nothing_gives_a_number_that_is_not_finite(model: Model, values: object) -> None:
    """Forecasts and states of the worst that float32 can hold."""
    assert callable(values)
    forecasts(model, values(np.random.default_rng(1)))


def seasons(start: float) -> Float64:
    """Series (201, 30) with a period of 12 around 1000, each after a value that is so far below its next one."""
    random = np.random.default_rng(8)
    values = 1000 + 3 * random.normal(size=(12, 30))[np.arange(200) % 12] + random.normal(size=(200, 30))
    return np.concatenate([values[:1] - start, values])


@pytest.mark.parametrize("start", [1000.0, 200.0])
def test_a_series_that_begins_far_from_where_it_goes_on_is_soon_forecast_as_others(model: Model, start: float) -> None:
    """Such as a meter that says 0 once: its first change is hundreds of times the others."""
    values = seasons(start)[..., None]
    said = model.run(values, model.initial_state(30))[0]
    found, simple = np.abs(said[:-1] - values[1:]), np.abs(np.diff(values, axis=0))
    assert found[100:].mean() < 0.6 * simple[100:].mean()


@pytest.mark.parametrize(("drift", "most"), [(0.0, 1.1), (1.0, 0.85)])
def test_a_first_change_next_to_nothing_does_no_harm(model: Model, drift: float, most: float) -> None:
    """As rounding makes it: those after it are a million times as large, and walks still hardly worse than naive."""
    moved = np.random.default_rng(9).normal(size=(100, 30, 1)) + 2 * drift
    values = np.concatenate([np.full((1, 30, 1), -1e-6), np.zeros((1, 30, 1)), np.cumsum(moved, axis=0)])
    said = model.run(values, model.initial_state(30))[0]
    found, simple = np.abs(said[:-1] - values[1:])[1:50], np.abs(np.diff(values, axis=0))[1:50]
    assert found.mean() < most * simple.mean()


@pytest.mark.parametrize("level", [0.0, 2_500_000_000.0, 1e13])
def test_a_counter_is_forecast_exactly_at_any_level(model: Model, level: float) -> None:
    """Levels that float32 holds to within hundreds do no harm: the change is what is learnt."""
    values = level + 200.0 * np.arange(400)
    assert errors(model, values)[150:].max() < 4.0


def test_intermittent_counts_sum_to_what_comes(model: Model) -> None:
    """Three of four values are zero; what is forecast is a mean, not the value that comes most often."""
    values = np.random.default_rng(2).poisson(0.3, 3000).astype(np.float64)
    said = forecasts(model, values)[200:-1]
    assert said.sum() == pytest.approx(values[201:].sum(), rel=0.05)
    assert ((said - values[201:]) ** 2).mean() < 0.6 * (np.diff(values)[200:] ** 2).mean()


@pytest.mark.parametrize("period", [4, 7, 12, 24, 37, 96, 288])
def test_a_season_is_found(model: Model, period: int) -> None:
    """Any period up to 64 and those of clocks beyond, by the third time."""
    random = np.random.default_rng(3)
    season = np.tile(random.normal(size=period), 6 + 300 // period)
    values = 50 + 10 * season + random.normal(size=len(season)) * 0.5
    scored = slice(max(3 * period, 60), None)
    assert errors(model, values)[scored].mean() < 0.35 * naive(values)[scored].mean()


def test_random_walks_are_forecast_nearly_as_well_as_by_their_last_value(model: Model) -> None:
    """There is nothing to know: over 50 of them naive is a few percent better at first, and hardly later."""
    walks = np.cumsum(np.random.default_rng(0).normal(size=(400, 50, 1)), axis=0)
    said = model.run(walks, model.initial_state(50))[0]
    found, simple = np.abs(said[:-1] - walks[1:]), np.abs(np.diff(walks, axis=0))
    assert found[:49].mean() < 1.06 * simple[:49].mean()
    assert found[200:].mean() < 1.03 * simple[200:].mean()


def test_a_gap_filled_with_its_own_forecasts_does_no_harm(model: Model) -> None:
    """As `--missing impute` feeds it for 200 steps: after it a series is forecast as before."""
    random = np.random.default_rng(6)
    values = 20 + 5 * np.sin(np.arange(1200) * np.pi / 12) + random.normal(size=1200) * 0.3
    state, said = model.initial_state(1), np.zeros((1, 1))
    found = np.zeros(1200)
    for step, value in enumerate(values):
        found[step] = abs(said[0, 0] - value)
        said, state = model.step(said if 600 <= step < 800 else np.array([[value]]), state)
    assert np.isfinite(found).all()
    assert found[801:1000].mean() < 1.25 * found[400:600].mean()


def test_another_unit_changes_nothing(model: Model) -> None:
    """Values times 1024 have forecasts times 1024, to the bit."""
    values = np.cumsum(np.random.default_rng(4).normal(size=500)).astype(np.float32).astype(np.float64)
    assert np.array_equal(forecasts(model, values) * 1024, forecasts(model, values * 1024))


def test_rows_have_the_same_bits_alone_as_among_others(model: Model) -> None:
    """Series of many kinds in one batch, as in any cut over time."""
    random = np.random.default_rng(5)
    x = np.cumsum(random.normal(size=(150, 9, 1)) * 10.0 ** random.integers(-3, 4, (1, 9, 1)), axis=0)
    x[:, 3], x[70:, 4], x[100, 5] = 0.0, 1.5, 1e12
    x[:, 6] = 10 * np.sin(np.arange(150) * np.pi / 6)[:, None]
    check_bits(model, model.as_fed(x), None)


def test_the_covariance_stays_one(model: Model) -> None:
    """After a long straight line, whose columns are all the same, it is symmetric to the bit and positive."""
    state = model.initial_state(2)
    for step in range(6000):
        state = model.step(np.array([[0.01 * step], [np.sin(step / 20)]]), state)[1]
    first = 0
    for entry in model.spec.state:
        if entry.name == "weights":
            n = entry.shape[1] - 1
            covariance = state[:, first : first + entry.size].reshape(2, n + 1, n + 1)[:, :n, :n].astype(np.float64)
        first += entry.size
    assert np.array_equal(covariance, covariance.transpose(0, 2, 1))
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_the_recipe_gives_the_file_to_the_byte(tmp_path: Path) -> None:
    """`tools/universal/make.py` writes what is packaged."""
    pytest.importorskip("onnx")
    made = tmp_path / "made.onnx"
    subprocess.run([sys.executable, ROOT / "tools" / "universal" / "make.py", made], check=True, cwd=ROOT)
    assert made.read_bytes() == UNIVERSAL_FILE.read_bytes()


def test_a_file_called_universal_is_not_taken_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the word could mean both, it is an error that says how to say which; as a path it is the file."""
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["inspect", "universal"]).exit_code == 0
    (tmp_path / "universal").write_bytes((UNIVERSAL_FILE.with_name("airline.onnx")).read_bytes())
    refused = CliRunner().invoke(main, ["inspect", "universal"])
    assert refused.exit_code == 2
    assert "./universal" in refused.output
    shown = CliRunner().invoke(main, ["inspect", "./universal"])
    assert shown.exit_code == 0
    assert streamlstm.load("./universal").fingerprint[:12] in shown.output
