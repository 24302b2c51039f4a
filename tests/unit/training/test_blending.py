"""The mean of the trained forecaster, the universal model, that one corrected and ARIMAs, and when there is one."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

import streamlstm
from streamlstm.cli import explain, main
from streamlstm.errors import ModelError
from streamlstm.evaluation.served import serve
from streamlstm.models import ARIMA, PARTS_IN_WORDS, TRAINED, UNIVERSAL, Model, candidates_of, step_by_step
from streamlstm.tables import Series, TableOptions, read_table
from streamlstm.training import TrainingOptions, train
from streamlstm.training.blending import blend
from streamlstm.training.blending.arima import Arima
from streamlstm.training.blending.arimas import Arimas, fit_arimas
from streamlstm.training.blending.blend import UNEXPECTED, _seasons, _shares
from streamlstm.training.blending.graph import check_blended, with_blend
from streamlstm.training.blending.shares import shares_by
from streamlstm.training.panel import make_panel
from streamlstm.training.seasons import Seasons
from tests.unit.training.blended import SMALL, seasonal, trained, trained_anew, trained_part

AIRLINE = Path(streamlstm.__file__).parent / "models" / "airline-passengers.csv"
Float64 = NDArray[np.float64]


def alone(arima: Arima) -> Arimas:
    """The mean of one."""
    return Arimas(members=(arima,), weights=(1.0,))


def test_an_arima_finds_the_numbers_that_made_a_series() -> None:
    """Season and moving averages, of many values; its errors are then little more than the noise."""
    values = seasonal(900)
    found = fit_arimas(values, {4: 1.0, 12: 1.0})
    assert found is not None
    (one,) = found.members
    assert (one.season, one.log) == (12, False)
    np.testing.assert_allclose(one.numbers[2:], (-0.5, -0.6), atol=0.15)
    wrong = values[100:] - found.forecasts(values)[99:-1]
    assert np.sqrt(np.mean(wrong**2)) < 1.06


def test_an_arima_says_what_its_equation_says() -> None:
    """Forecasts are those of the recursion, written out; there are none before a season and a value."""
    values = seasonal(60)
    arima = Arima(season=4, log=False, floor=0.0, unit=2.0, spread=1e3, numbers=(0.3, 0.2, -0.4, -0.7))
    z, w, e, s, said = values / 2.0, np.zeros(60), np.zeros(61), np.zeros(61), np.full(60, np.nan)
    for t in range(5, 60):
        w[t] = z[t] - z[t - 1] - z[t - 4] + z[t - 5]
        e[t] = w[t] - (0.3 * w[t - 1] + 0.2 * w[t - 2] - 0.4 * e[t - 1] + s[t - 4] - 0.4 * s[t - 5])
        seasons = 1 + (t - 5) / 4
        s[t] = -min(0.7, seasons / (seasons + 1)) * e[t]
        ahead = 0.3 * w[t] + 0.2 * w[t - 1] - 0.4 * e[t] + s[t - 3] - 0.4 * s[t - 4]
        said[t] = 2.0 * (z[t] + z[t - 3] - z[t - 4] + ahead)
    np.testing.assert_allclose(alone(arima).forecasts(values), said, rtol=1e-12)


def test_a_season_that_stays_is_known_from_all_its_years() -> None:
    """With Theta near -1 the third year is said to be the mean of the first two, not what the second was."""
    arima = Arima(season=4, log=False, floor=0.0, unit=1.0, spread=1e3, numbers=(0.0, 0.0, 0.0, -0.97))
    values = np.array([0.0, 4.0, 0.0, -4.0, 0.0, 6.0, 0.0, -4.0, 0.0])
    assert alone(arima).forecasts(values)[-1] == pytest.approx(5.0, abs=1e-6)


def test_an_arima_of_logarithms_grows_with_the_series() -> None:
    """A thousand times the values have a thousand times the forecasts; what stands still has no ARIMA."""
    values = np.exp(seasonal(level=0.0) / 30)
    one, other = fit_arimas(values, {12: 1.0}), fit_arimas(1000 * values, {12: 1.0})
    assert one is not None
    assert other is not None
    assert [member.log for member in (*one.members, *other.members)] == [True, True]
    np.testing.assert_allclose(other.forecasts(1000 * values), 1000 * one.forecasts(values), rtol=1e-6)
    assert fit_arimas(np.full(80, 3.0), {4: 1.0}) is None


def test_a_mean_of_arimas_lies_between_them() -> None:
    """Those of logarithms are meant among each other first, as ratios; the weights say how much each counts."""
    values = np.exp(seasonal(level=0.0) / 30) + 2.0
    members = [
        Arima(season=season, log=log, floor=1e-3, unit=1.0, spread=1e3, numbers=(0.2, 0.0, -0.3, -0.5 * (season > 0)))
        for log, season in ((False, 12), (True, 0), (True, 12))
    ]
    mean = Arimas(members=tuple(members), weights=(0.5, 0.3, 0.2))
    plain, *logs = (alone(one).further(values, 3)[20:] for one in members)
    of_logs = np.exp(0.6 * np.log(logs[0]) + 0.4 * np.log(logs[1]))
    np.testing.assert_allclose(mean.further(values, 3)[20:], 0.5 * plain + 0.5 * of_logs, rtol=1e-9)


def test_few_values_are_not_left_to_one_arima() -> None:
    """Where two are as good as each other their mean is taken; what is far worse is left out."""
    found = fit_arimas(np.cumsum(np.random.default_rng(4).normal(size=60)) + 50.0, {4: 1.0, 12: 1.0})
    assert found is not None
    assert len(found.members) > 1
    assert sum(found.weights) == pytest.approx(1, abs=1e-5)
    assert min(found.weights) >= 0.05


def test_a_season_that_is_not_expected_has_to_show() -> None:
    """A cycle of changing length is not taken for a season by its ARIMA's few errors; a steady season of 19 is."""
    random = np.random.default_rng(4)
    noise, cycle = random.normal(size=140), np.zeros(140)
    for t in range(2, 140):
        cycle[t] = 1.6 * np.cos(0.6) * cycle[t - 1] - 0.75 * cycle[t - 2] + noise[t]
    steady = np.sin(np.arange(140) * math.tau / 19) + 0.3 * noise + 10
    for values, least, most in ((np.exp(cycle[40:] / 2 + 3), 0.3, 0.7), (steady, 0.0, 0.01)):
        weights = []
        for likely in (1.0, UNEXPECTED):
            found = fit_arimas(values, {19: likely})
            assert found is not None
            of_season = [one.season == 19 for one in found.members]
            weights.append(1 - float(np.dot(found.weights, of_season)))
        assert weights[0] < 0.01
        assert least <= weights[1] <= most


def test_seasons_of_the_calendar_and_of_habit_are_expected() -> None:
    """So are those that are asked for; one that only the values show is not."""
    steps = np.arange(300)
    values = 10 + np.sin(steps * math.tau / 19) + np.random.default_rng(1).normal(size=300) / 5
    series = [Series("a", None, values[:, None])]
    panel = make_panel(series, 0.2)
    assert _seasons(panel, series, None) == {4: 1.0, 12: 1.0, 19: UNEXPECTED}
    assert _seasons(panel, series, Seasons((19,))) == {19: 1.0}
    hours = [Series("a", steps * 3_600_000, (values + 3 * np.sin(steps * math.tau / 24))[:, None])]
    found = _seasons(make_panel(hours, 0.2), hours, None)
    assert found[24] == 1.0


def test_shares_go_with_errors_that_are_told_apart() -> None:
    """Of few values what is likely beforehand decides, of many the better; an outlier does not."""
    random = np.random.default_rng(5)
    alike = np.ones((4, 20))
    trained, universal, corrected, arima = _shares(alike)
    assert trained < universal < corrected == pytest.approx(arima)
    np.testing.assert_allclose(_shares(0 * alike), _shares(alike))
    better = np.array([[1.0], [2.0], [2.0], [2.0]]) * random.normal(size=(4, 400))
    few, many = _shares(better[:, :5]), _shares(better)
    assert few[0] < many[0]
    assert many[0] == max(many)
    assert sum(few) == pytest.approx(1)
    better[0, 3] = 30.0
    spoilt = _shares(better)
    assert spoilt[0] == max(spoilt) > 0.4, "its square alone would be more than all others"


def test_errors_that_make_up_for_each_other_share() -> None:
    """Two that are as bad as each other, always on opposite sides, are right together."""
    errors = np.random.default_rng(6).normal(size=200)
    np.testing.assert_allclose(shares_by(np.stack([errors, -errors]), (1.0, 1.0)), (0.5, 0.5), atol=0.01)


def test_a_short_table_is_forecast_by_a_mean() -> None:
    """What is answered is the weighted mean of what the parts said, and inspect tells of all of them."""
    values = seasonal()
    result, model = trained(values)
    assert result.blend is not None
    assert result.blend.names == ("trained", "universal", "corrected", "arima")
    heaviest = max(model.spec.training["blend"]["arima"], key=lambda one: one["weight"])
    assert heaviest["season"] == 12
    assert not model.spec.chunking
    assert result.state_size == model.spec.state_size
    state = model.initial_state(1)
    for value in values[:120]:
        y, state = model.step([[value]], state)
        (rows,) = candidates_of(model.spec, state[0], np.array([value]), y[0].astype(np.float64))
        assert sum(row.weight for row in rows) == pytest.approx(1, abs=1e-6)
        known = [row for row in rows if row.forecast is not None]
        left = 1 - sum(row.weight for row in known)
        mean = sum(row.weight * row.forecast for row in known if row.forecast is not None)
        assert left > 1e-3 or y[0, 0] == pytest.approx(mean, rel=1e-4)
    names = {row.name.partition(":")[0] for row in rows}
    assert {"universal", "corrected", "arima", "model", "last"} <= names


def test_parts_are_called_by_words_that_stand_alone(tmp_path: Path) -> None:
    """By `train`, `inspect` and `inspect --live` alike; none is called by the one before it."""
    result, model = trained(seasonal())
    assert result.blend is not None
    path = tmp_path / "model.onnx"
    path.write_bytes(result.model_bytes)
    shown = CliRunner().invoke(main, ["inspect", str(path)], prog_name="streamlstm").stdout
    for part in result.blend.names:
        assert explain.WORDS[part if part == TRAINED else f"{part}: {part}"] == PARTS_IN_WORDS[part]
        assert f"{PARTS_IN_WORDS[part]} 0." in shown
        if part != ARIMA:  # `train` says which they are
            assert (
                f"{PARTS_IN_WORDS[part]} {model.spec.training['blend']['shares'][part]:.0%}" in result.blend.in_words()
            )
    told = [result.blend.in_words(), *PARTS_IN_WORDS.values(), *explain.WORDS.values()]
    assert not {"this", "same", "it", "its"} & set(" ".join(told).split())


def test_parts_that_do_not_say_what_they_say_alone_are_refused() -> None:
    """The check of an export finds an ARIMA with other numbers, and one part too few steps."""
    values = seasonal()
    result, _ = trained(values)
    own = trained(values, adapt=False)[0].model_bytes
    blend = result.blend
    assert blend is not None
    assert blend.arimas is not None
    x = values[-60:, None, None]
    check_blended(with_blend(own, blend), blend, own, x, None)
    other = dataclasses.replace(
        blend,
        arimas=dataclasses.replace(
            blend.arimas,
            members=tuple(dataclasses.replace(one, numbers=(0.5, 0.0, 0.1, -0.2)) for one in blend.arimas.members),
        ),
    )
    with pytest.raises(ModelError, match="arima part differs"):
        check_blended(with_blend(own, other), blend, own, x, None)


@pytest.mark.parametrize("horizon", [1, 5])
def test_the_graph_steps_arimas_of_all_kinds_beside_each_other(horizon: int) -> None:
    """Seasons of other lengths and none, of values and of logarithms: each says what it says alone."""
    values = np.exp(seasonal(level=0.0) / 30) + 1.0
    result, _ = trained(values, horizon=horizon)
    assert result.blend is not None
    own = trained_part(values, horizon=horizon)
    kinds = [(log, season) for log in (False, True) for season in (0, 4, 12)]
    members = tuple(
        Arima(
            season=season,
            log=log,
            floor=1e-3 * log,
            unit=0.1 * (1 + 4 * log),
            spread=1.0,
            numbers=(0.3, 0.2 * (season == 0), -0.5, -0.8 * (season > 0)),
        )
        for log, season in kinds
    )
    blend = dataclasses.replace(result.blend, arimas=Arimas(members=members, weights=(0.1, 0.2, 0.1, 0.3, 0.2, 0.1)))
    assert blend.arimas is not None
    data, x = with_blend(own, blend), values[:, None, None]
    check_blended(data, blend, own, x, None)
    alone_in_it = with_blend(own, dataclasses.replace(blend, shares=(0.0, 0.0, 0.0, 1.0)))
    answered = step_by_step(Model(alone_in_it), x, None)[0][:, 0]
    wrong = (answered - blend.arimas.further(values, horizon))[30:, :1] / np.std(np.diff(values))
    np.testing.assert_allclose(wrong, 0.0, atol=2e-3)


@pytest.mark.parametrize(
    ("values", "changes"),
    [
        (seasonal(), {"adapt": False}),
        (seasonal(), {"blend": False}),
        (np.stack([seasonal(), seasonal()], axis=1), {}),
        (np.where(np.arange(200) % 40 == 3, 5.0, 1.0), {}),
    ],
    ids=["no adaptation", "no blend", "two numbers a value", "stands still"],
)
def test_there_is_no_blend(values: Float64, changes: dict[str, object]) -> None:
    """Such a model is as it was: it has no state besides, and is stepped over time in one call."""
    result, model = trained(values, **changes)
    assert result.blend is None
    assert model.spec.chunking
    assert not [entry.name for entry in model.spec.state if entry.name.startswith(("universal.", "arima.", "blend."))]


def test_where_it_does_not_pay_many_values_are_not_blended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor very many; where it does they are, and a mean is then no worse than the trained one alone."""
    monkeypatch.setattr(blend, "FEW", 200)  # of 2,000 and more a training takes long
    values = seasonal(260)
    result, _ = trained_anew(values)
    alone, _ = trained(values, blend=False)
    assert result.blend is not None
    assert result.errors["model"].rmse < alone.errors["model"].rmse
    for name in ("PAYS", "MOST_STEPS"):
        with monkeypatch.context() as patch:
            patch.setattr(blend, name, 0)
            found, model = trained_anew(values)
            assert found.blend is None
            assert model.spec.chunking
            if name == "PAYS":
                assert trained_anew(seasonal())[0].blend is not None, "few values are blended in any case"


@pytest.mark.parametrize("level", [0.0, 2.5e9])
def test_several_series_are_blended_without_an_arima(level: float) -> None:
    """One that was not trained on has the same bits alone and beside others, and is forecast well."""
    values = [seasonal(length, level=level + 50.0 * number) for number, length in enumerate((90, 120, 160))]
    result = train([Series(str(number), None, one[:, None]) for number, one in enumerate(values)], SMALL)
    assert result.blend is not None
    assert result.blend.names == ("trained", "universal", "corrected")
    model = Model(result.model_bytes)
    assert model.spec.exact == (level > 0)
    other = seasonal(200, theta=-0.3, level=level + 7.0)
    alone = serve(model, [Series("new", None, other[:, None])]).outputs[0]
    beside = serve(model, [Series("new", None, other[:, None]), Series("old", None, values[0][:, None])]).outputs[0]
    np.testing.assert_array_equal(alone, beside)
    wrong = other[100:] - alone[99:-1, 0]
    assert np.sqrt(np.mean(wrong**2)) < 0.7 * np.sqrt(np.mean(np.diff(other)[99:] ** 2))


@pytest.mark.parametrize("season", [0, 1, 4])
def test_further_steps_of_an_arima_are_those_with_its_own_forecasts_as_values(season: int) -> None:
    """Where a forecast comes true, no error is made, so what follows it is what was said two steps ahead."""
    values, steps = seasonal(60), 7
    numbers = (0.3, 0.2 * (season == 0), -0.4, -0.5 * (season > 0))
    arima = Arima(season=season, log=False, floor=0.0, unit=2.0, spread=1e3, numbers=numbers)
    said = alone(arima).further(values, steps)
    np.testing.assert_allclose(said[:, 0], alone(arima).forecasts(values), rtol=1e-9)
    known = list(values[:40])
    for ahead in range(steps):
        known.append(float(alone(arima).forecasts(np.array(known))[-1]))
        assert known[-1] == pytest.approx(said[39, ahead], rel=1e-9)


@pytest.mark.parametrize("scaling", ["auto", "log"])
def test_whatever_comes_the_forecast_is_finite_and_comes_back(scaling: str) -> None:
    """Spikes, zeros and numbers at float32's end; some seasons after them forecasts are as before."""
    values = np.abs(seasonal())
    _, model = trained(values, scaling=scaling)
    wild = np.concatenate([values[:60], [1e12, -1e12, 0.0, 3e38, -3e38, 1e-30], values[60:], values])
    ys = model.run(wild[:, None, None], model.initial_state(1))[0]
    assert np.isfinite(ys).all()
    late = np.abs(ys[-21:-1, 0, 0] - values[-20:])
    assert np.sqrt(np.mean(late**2)) < 5 * np.abs(np.diff(values)).mean()


def test_numbers_that_float32_cannot_hold_are_blended_as_well() -> None:
    """The parts see changes, so a level of billions makes no difference to speak of."""
    low, _ = trained(seasonal(level=1e4))
    high, model = trained(seasonal(level=1e10))
    assert model.spec.exact
    assert high.blend is not None
    assert high.errors["model"].rmse == pytest.approx(low.errors["model"].rmse, rel=0.1)


def test_a_model_of_the_airline_table_is_no_worse_than_the_universal_one() -> None:
    """Which it has in it."""
    series = read_table(AIRLINE, TableOptions())
    result = train(series, TrainingOptions(test_size=36))
    universal = serve(streamlstm.load(UNIVERSAL), series).outputs[0][-37:-1, 0]
    rmse = float(np.sqrt(np.mean((universal - series[0].values[-36:, 0]) ** 2)))
    assert result.errors["model"].rmse < rmse
