"""Numbers that float32 cannot hold: trained, exported and scored as they were given, at any level."""

from __future__ import annotations

import numpy as np
import pytest

from streamlstm.errors import TableError
from streamlstm.evaluation.scores import model_forecasts
from streamlstm.forecaster.windowed import WindowConfig
from streamlstm.model import Model
from streamlstm.pairs import join, split
from streamlstm.tables import Series
from streamlstm.train import LoopOptions, TrainingOptions, TrainingResult, train
from streamlstm.train.exactness import MOST_ROUNDING, rounding_share
from streamlstm.train.windows import WindowOptions, train_windows

SMALL = TrainingOptions(units=(8,), members=1, seasons=(), loop=LoopOptions(epochs=1, window=16))


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


@pytest.mark.parametrize("level", [2.5e9, -1e9, 1e12])
@pytest.mark.parametrize("slope", [0.0, 1000.0])
def test_a_meter_is_forecast_as_well_at_any_level(level: float, slope: float) -> None:
    """Errors against the given values are those of the same series around zero; naive's are, to the digit."""
    low, _ = trained(meter(0.0, slope=slope))
    high, model = trained(meter(level, slope=slope))
    assert model.spec.exact
    assert high.errors["naive"].rmse == pytest.approx(low.errors["naive"].rmse, rel=1e-5)
    assert high.errors["model"].rmse == pytest.approx(low.errors["model"].rmse, rel=0.02)
    forecasts = model_forecasts(model, high.series)[0][200:]
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
    other = [model_forecasts(model, [meter(level)])[0] - level for level in (0.0, 7e10)]
    np.testing.assert_allclose(other[1], other[0], atol=0.5)


@pytest.mark.parametrize("scaling", ["standard", "minmax"])
def test_a_common_origin_that_is_none_is_refused(scaling: str) -> None:
    """A forecaster that looks at levels has one origin for all; where that is not enough, the message says what is."""
    with pytest.raises(TableError, match=r"rounds these values by up to .* --scaling series"):
        trained(meter(1e6), meter(1e12), scaling=scaling)


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
    result, model = trained(meter(2.5e9))
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
    series = [Series("flat", None, np.where(np.arange(200) % 50 == 0, 1.1, 0.1)[:, None])]
    result, model = trained(*series)
    forecasts = model_forecasts(model, result.series)[0]
    written = [float(str(np.float32(number))) for number in forecasts.ravel()]
    assert written == forecasts.ravel().tolist()
    assert 0.1 in written
