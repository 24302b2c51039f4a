"""Numbers that float32 cannot hold: trained, exported and scored as they were given, at any level."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from streamlstm.errors import TableError
from streamlstm.evaluation.scores import forecasts_ahead
from streamlstm.evaluation.served import serve
from streamlstm.models.model import Model
from streamlstm.models.pairs import join, split
from streamlstm.tables import Series
from streamlstm.training import LoopOptions, TrainingOptions, TrainingResult, train
from streamlstm.training.exactness import MOST_ROUNDING, rounding_share
from streamlstm.training.forecaster.lags import LagFeatures
from streamlstm.training.forecaster.windowed import WindowConfig
from streamlstm.training.windowed import WindowOptions, train_windows
from support.cut_calls import states_agree

# Of blends `test_blending` has its own tests; with them a training takes twice as long.
SMALL = TrainingOptions(units=(8,), members=1, seasons=(), blend=False, loop=LoopOptions(epochs=1, window=16))


def meter(level: float, length: int = 300, *, slope: float = 0.0, name: str = "meter") -> Series:
    """A number around a level (or a counter from it on) whose changes are some hundreds, written with a decimal."""
    random, value = np.random.default_rng(0), np.zeros(length)
    for t in range(1, length):
        value[t] = 0.7 * value[t - 1] + random.normal(0, 200)
    values = np.round(value + slope * np.arange(length), 1) + level
    return Series(name, None, values[:, None])


def trained(*series: Series, **changes: object) -> tuple[TrainingResult, Model]:
    """A small training."""
    result = train(series, TrainingOptions(**{**vars(SMALL), **changes}))  # type: ignore[arg-type]
    return result, Model(result.model_bytes)


@cache
def trained_at(level: float, slope: float = 0.0, *, blend: bool = False) -> tuple[TrainingResult, Model]:
    """A small training of one meter, once for all tests."""
    return trained(meter(level, slope=slope), blend=blend)


@pytest.mark.parametrize("level", [2.5e9, -1e9, 1e12])
@pytest.mark.parametrize("slope", [0.0, 1000.0])
def test_a_meter_is_forecast_as_well_at_any_level(level: float, slope: float) -> None:
    """Errors against the given values are those of the same series around zero; naive's are, to the digit."""
    blend = level == 1e12
    low, _ = trained_at(0.0, slope, blend=blend)
    high, model = trained_at(level, slope, blend=blend)
    assert model.spec.exact
    assert high.errors["naive"].rmse == pytest.approx(low.errors["naive"].rmse, rel=1e-5)
    assert high.errors["model"].rmse == pytest.approx(low.errors["model"].rmse, rel=0.02)
    forecasts = forecasts_ahead(model, serve(model, high.series).outputs)[0][200:]
    assert np.abs(forecasts - np.round(forecasts / 256) * 256).max() > 50, "there is more in them than float32 holds"


def test_what_float32_holds_is_carried_as_before() -> None:
    """Nothing changes for tables whose rounding is a thousandth of what they move by."""
    result, model = trained(meter(1e5))
    assert not model.spec.exact
    assert rounding_share(result.series, 0.2) < MOST_ROUNDING


def test_one_model_takes_meters_at_unlike_levels() -> None:
    """Each series' origin is its own: also of series that were not trained on, whose forecasts move with them."""
    series = [meter(level, name=str(level)) for level in (1e6, 2.5e9, 1e12)]
    result, model = trained(*series)
    assert (model.spec.exact, result.plan.scaling) == (True, "series")
    other = [forecasts_ahead(model, serve(model, [meter(level)]).outputs)[0] - level for level in (5e9, 7e10)]
    np.testing.assert_allclose(other[1], other[0], atol=0.5)


@pytest.mark.parametrize(("scaling", "slope"), [("standard", 1e6), ("standard", 1e7), ("series", 1e6)])
def test_a_counter_is_forecast_as_well_after_a_billion(scaling: str, slope: float) -> None:
    """What it has moved away from its first value, millions of what is to be forecast, changes nothing."""
    counter = meter(2.5e9, length=1000, slope=slope)
    _, model = trained(counter, scaling=scaling, test_size=700.0)
    errors = forecasts_ahead(model, serve(model, [counter]).outputs)[0] - counter.values[1:]
    assert np.sqrt(np.mean(errors[-200:] ** 2)) < 240, "what there is of it without a slope: 210"


@pytest.mark.parametrize("local", [False, True])
def test_changes_are_exact_however_far_a_series_has_come(local: bool) -> None:
    """A counter of 1,000 a step, ten million steps from its first value: columns as if it had begun there."""
    begun = torch.from_numpy(1000 * np.arange(60.0) + np.random.default_rng(0).normal(size=60))[:, None, None]
    come = torch.cat((torch.zeros(1, 1, 1, dtype=torch.float64), 1e10 + begun))
    lags = LagFeatures(1, recent=5, seasons=(7,), local=local, exact=True)
    (wanted, *_), (found, *_) = (lags(z, lags.initial_state(1)) for z in (begun, come))
    unit = (lags(z, lags.initial_state(1)).unit[-20:] for z in (begun, come)) if local else (1.0, 1.0)
    moved = [part[-20:, :, :-1] * size for part, size in zip((wanted, found), unit, strict=True)]
    torch.testing.assert_close(moved[1], moved[0], rtol=3e-7 if not local else 1e-4, atol=1e-2)


def test_what_a_counter_moves_by_is_what_its_steps_differ_by() -> None:
    """A counter of 1e6 a step, and a few more or less, is rounded by a good part of those."""
    few = meter(0.0)
    counter = Series("counter", None, few.values + 1e6 * np.arange(len(few.values))[:, None])
    assert rounding_share([few], 0.2) < 1e-5
    assert 0.05 < rounding_share([counter], 0.2) < 0.1


@pytest.mark.parametrize(
    ("level", "is_held"),
    [(0.1, True), (21.5, True), (1e12, True), (0.123456789, True), (1e12 + 0.1, False), (123456789.0, False)],
)
def test_a_series_that_stands_still_is_held_if_its_text_is(level: float, is_held: bool) -> None:
    """Of 0.1 the float32 is another number, and yet the same text."""
    still = Series("still", None, np.full((50, 1), level))
    assert (rounding_share([still], 0.2) < MOST_ROUNDING) is is_held


@pytest.mark.parametrize("scaling", ["standard", "minmax"])
def test_a_common_origin_that_is_none_is_refused(scaling: str) -> None:
    """A forecaster of levels has one origin for all; where that is not enough, the message says what is."""
    series = [meter(1e6), meter(1e12)]
    message = "rounds these values by up to .* levels so far apart cannot .*--predict change, without"
    with pytest.raises(TableError, match=message):
        trained(*series, scaling=scaling, predict="level")
    with pytest.raises(TableError, match=message):
        train_windows(series, WindowOptions(config=WindowConfig(lookback=8, units=(4,), scaling=scaling), epochs=1))
    _, model = trained(*series, scaling=scaling)
    assert model.spec.exact


def test_ratios_of_what_float32_cannot_hold_are_refused() -> None:
    """A logarithm needs the values themselves, and is told so with the figure."""
    for make in (
        lambda: trained(meter(1e9), scaling="log"),
        lambda: train_windows([meter(1e9)], WindowOptions(config=WindowConfig(scaling="log"), epochs=1)),
    ):
        with pytest.raises(
            TableError, match=r"rounds these values by up to 0\.\d+ of what they move by, and --scaling"
        ):
            make()


@pytest.mark.parametrize("predict", ["change", "level"])
def test_windows_and_levels_have_a_common_origin(predict: str) -> None:
    """Forecasters over windows, and those of levels, are exact at the level they were trained at."""
    config = WindowConfig(lookback=8, units=(4,), predict=predict)
    options = WindowOptions(config=config, epochs=2)
    low, high = train_windows([meter(0.0)], options), train_windows([meter(2.5e9)], options)
    assert Model(high.model_bytes).spec.exact
    assert high.errors["model"].rmse == pytest.approx(low.errors["model"].rmse, rel=0.02)
    level, model = trained(meter(2.5e9), predict=predict, scaling="standard")
    assert model.spec.exact
    assert level.errors["model"].rmse < 2 * level.errors["naive"].rmse


def test_from_python_numbers_go_in_and_come_out_as_float64() -> None:
    """`step` and `run` take and give plain numbers; cut anywhere, the bits are the same."""
    result, model = trained_at(2.5e9)
    x = result.series[0].values[:40, None]
    ys, after = model.run(x, model.initial_state(1))
    assert ys.dtype == np.float64
    state, stepped = model.initial_state(1), []
    for value in x:
        y, state = model.step(value, state)
        stepped.append(y)
    assert np.stack(stepped).tobytes() == ys.tobytes()
    assert state.tobytes() == after.tobytes()


def test_a_pair_keeps_48_bits() -> None:
    """Numbers survive being split to 15 digits, and a joined pair is split into itself."""
    numbers = np.array([[2_500_000_123.4, -1e12 - 0.1, 0.1, 123456789.123]])
    pairs = split(numbers)
    np.testing.assert_allclose(join(pairs), numbers, rtol=2.0**-48)
    assert split(join(pairs)).tobytes() == pairs.tobytes()
    assert np.isnan(split([np.nan])).all()
    assert np.isinf(split([1e39])[0])


def test_a_forecast_that_hits_has_no_error() -> None:
    """What is scored is what whoever reads the texts has: the float32 next to 0.1 is written 0.1."""
    series = [Series("flat", None, np.where(np.arange(600) % 200 == 0, 1.1, 0.1)[:, None])]
    result, model = trained(*series)
    forecasts = forecasts_ahead(model, serve(model, result.series).outputs)[0]
    written = [float(str(np.float32(number))) for number in forecasts.ravel()]
    assert written == forecasts.ravel().tolist()
    assert 0.1 in written


@pytest.mark.parametrize("options", [{"scaling": "series"}, {"scaling": "series", "adapt": False}])
def test_a_zero_keeps_its_sign_however_calls_are_cut(options: dict[str, object]) -> None:
    """A series that begins with -0.0 has the same state to the bit, in one call or several, alone or beside another."""
    _, model = trained(Series("s", None, meter(0.0).values + 1.0), **options)
    assert states_agree(model, [-0.0, -0.0, 2.5, -1e-42, -0.0, 1.0])
