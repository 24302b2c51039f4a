"""The further steps of a blended forecast are weighed by their errors of late."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlstm.models import UNIVERSAL, UNIVERSAL_FILE, Model, step_by_step
from streamlstm.tables import Series
from streamlstm.training import train
from streamlstm.training.blending.ahead import Ahead
from streamlstm.training.blending.blend import Blend
from streamlstm.training.blending.graph import with_blend
from streamlstm.training.blending.late import Late
from support.simple_ahead import simple_forecasts
from tests.unit.training.blended import SMALL, seasonal, trained, trained_part

Float64 = NDArray[np.float64]


def changed(blend: Blend, **changes: object) -> Blend:
    """The blend with other further steps."""
    assert blend.ahead is not None
    return dataclasses.replace(blend, ahead=dataclasses.replace(blend.ahead, **changes))  # type: ignore[arg-type]


def broken(length: int = 200, at: int = 165, season: int = 12) -> Float64:
    """A season on a trend that turns around."""
    steps = np.arange(length)
    trend = np.where(steps < at, 0.5 * steps, 0.5 * at - 0.6 * (steps - at))
    noise = np.random.default_rng(4).normal(0, 0.5, length)
    return 100 + trend + 4 * np.sin(2 * np.pi * steps / season) + noise


def scales(values: Float64) -> Float64:
    """The universal model's scale of a series after each of values (N,)."""
    model = Model(UNIVERSAL_FILE.read_bytes())
    names = [entry.name for entry in model.spec.state]
    place = sum(entry.size for entry in model.spec.state[: names.index("scale")])
    state, found = model.initial_state(1), []
    for value in model.as_fed(values[:, None, None]):
        _, state = model.step(value, state, None)
        found.append(float(state[0, place]))
    return np.array(found)


def weighed_parts(parts: Float64, sums: tuple[Float64, Float64, Float64], judged: tuple[int, ...]) -> Float64:
    """What parts (4, H) are weighed to, (H - 1,), by sums of errors (4, J) and the two of which trust is made."""
    errors, along, squared = sums
    lesser = np.minimum(errors[1], errors[2]) + 1e-6
    weights = ((errors.min(axis=0) + lesser) / (errors + lesser)) ** 12 * np.array([1, 0.01, 0.01, 0.01])[:, None]
    weights /= weights.sum(axis=0)
    doubt = (1 - np.clip(along / squared, 0, 1.05)) * np.minimum(1, 2 * errors[0] / lesser)
    weights += np.array([-1, 0.5, 0.5, 0])[:, None] * weights[0] * doubt
    steps = range(2, parts.shape[1] + 1)
    return np.array([np.dot([np.interp(s, judged, row) for row in weights], parts[:, s - 1]) for s in steps])


def weighed_by_hand(values: Float64, means: Float64, season: int, judged: tuple[int, ...]) -> Float64:
    """What the four parts are weighed to, (N, H - 1), from the `means` (N, H - 1) and nothing but the words for it."""
    steps = means.shape[1] + 1
    simple = simple_forecasts(values, season, steps)[[0, 1, 3]]
    parts = np.concatenate([np.concatenate([values[:, None], means], axis=1)[None], simple])  # (4, N, H)
    sums, done, scale = np.full((4, len(judged)), 3.0), np.zeros_like(means), scales(values)
    along, squared, prior = np.zeros(len(judged)), np.zeros(len(judged)), 0.3 * np.sqrt(judged)
    for now, value in enumerate(values):
        errors = np.zeros_like(sums)
        changes = np.diff(np.concatenate([np.full(10, values[0]), values]))[now + 1 : now + 10]
        if changes[-1] == 0 and changes.any():  # the value may be the one before, held
            done[now] = weighed_parts(parts[:, now], (sums, along + prior, squared + prior), judged)
            continue
        for place, step in enumerate(judged):
            said = parts[:, now - step, step - 1] if now >= step else np.full(4, values[0])
            units = (value - said) / (scale[now] * np.sqrt(step))
            errors[:, place] = np.clip(units, -7, 7)
        sums = 0.85 * sums + np.cumsum(errors**2, axis=1) / np.arange(1, len(judged) + 1)
        middle = (errors[1] + errors[2]) / 2
        moved = middle - errors[0]
        cut = np.minimum(1, 1 / np.maximum(np.abs(moved), 1e-9))
        along, squared = 0.99 * along + middle * moved * cut**2, 0.99 * squared + (moved * cut) ** 2
        done[now] = weighed_parts(parts[:, now], (sums, along + prior, squared + prior), judged)
    return done


def standing(values: Float64) -> Float64:
    """The same, eight values at a time held where as many are missing, and stuck for longer once."""
    held = values.copy()
    for first, count in ((60, 8), (76, 8), (120, 25)):
        held[first : first + count] = held[first - 1]
    return held


@pytest.mark.parametrize(("season", "stands"), [(12, False), (4, False), (0, False), (12, True)])
def test_further_steps_are_weighed_as_is_said(season: int, stands: bool) -> None:
    """From the unweighed means and the values alone the same comes out as from the graph, with a trend that breaks."""
    values = standing(broken()) if stands else broken()
    result, _ = trained(values, horizon=7)
    own = trained_part(values, horizon=7)
    assert result.blend is not None
    both = [changed(result.blend, season=season, late_share=share) for share in (0.0, 0.01)]
    means, answered = (step_by_step(Model(with_blend(own, one)), values[:, None, None], None)[0][:, 0] for one in both)
    assert both[1].ahead is not None
    judged = Late(both[1].ahead).judged
    assert judged == (2, 3, 4, 6)
    wanted = weighed_by_hand(values, means[:, 1:].astype(np.float64), season, judged)
    # A season that has not come twice yet is seen by the changes so far, which begin at the first value.
    np.testing.assert_allclose(answered[40:, 1:], wanted[40:], atol=5e-3)
    np.testing.assert_array_equal(answered[:, 0], means[:, 0])
    assert np.abs(wanted - means[:, 1:]).max() > 0.5


def error(values: Float64, said: Float64, step: int, begin: int) -> float:
    """Root mean square of what was said (N, H) so many steps ahead from `begin` on."""
    now = np.arange(begin, len(values) - step)
    return float(np.sqrt(np.mean((values[now + step] - said[now, step - 1]) ** 2)))


def test_a_trend_that_breaks_is_followed_further_ahead() -> None:
    """Some values after it the error falls to half of the unweighed mean's; before it nothing has changed much."""
    values = broken()
    result, model = trained(values, horizon=7)
    own = trained_part(values, horizon=7)
    assert result.blend is not None
    plain = Model(with_blend(own, changed(result.blend, late_share=0.0)))
    late, before = (step_by_step(one, values[:, None, None], None)[0][:, 0] for one in (model, plain))
    for step in (3, 6):
        assert error(values, late, step, 165) < 0.75 * error(values, before, step, 165)
        assert error(values[:165], late, step, 40) < 1.02 * error(values[:165], before, step, 40)


def test_several_series_are_weighed_too() -> None:
    """A series whose trend breaks, by a model of series that go on, is no worse than what needs no model."""
    random = np.random.default_rng(5)
    steady = [100 + 0.5 * np.arange(120) + random.normal(0, 0.5, 120) for _ in range(3)]
    result = train(
        [Series(str(number), None, one[:, None]) for number, one in enumerate(steady)],
        dataclasses.replace(SMALL, horizon=6),
    )
    model, values = Model(result.model_bytes), broken()
    assert {"ahead.said", "ahead.errors", "ahead.trust"} <= {entry.name for entry in model.spec.state}
    said = step_by_step(model, values[:, None, None], None)[0][:, 0]
    last = np.repeat(values[:, None], 6, axis=1)
    for step in (3, 6):
        assert error(values, said, step, 165) < 1.05 * error(values, last, step, 165)


def test_values_held_in_place_of_missing_ones_are_no_proof_for_the_last_one() -> None:
    """Eight at a time missing of a season that goes on: further steps are as near what comes as the mean is."""
    values = 100 + 10 * np.sin(np.pi * np.arange(240) / 24) + np.random.default_rng(6).normal(0, 0.3, 240)
    result = trained(values, horizon=7)[0]
    own = trained_part(values, horizon=7)
    assert result.blend is not None
    missing = (np.arange(240) // 8 % 2 == 1) & (np.arange(240) > 100)
    fed = values[np.maximum.accumulate(np.where(missing, 0, np.arange(240)))]
    plain = with_blend(own, changed(result.blend, late_share=0.0))
    weighed, mean = (step_by_step(Model(one), fed[:, None, None], None)[0][:, 0] for one in (result.model_bytes, plain))
    for step in (2, 3):
        now = np.flatnonzero(~missing[step:] & (np.arange(240 - step) > 100))
        ours, theirs = (np.sqrt(np.mean((values[now + step] - said[now, step - 1]) ** 2)) for said in (weighed, mean))
        assert ours < 1.1 * theirs


def test_a_mean_that_goes_too_far_is_believed_less() -> None:
    """Values that go back to their level, by a mean that goes twice as far: better than the last value all the same."""
    random, many = np.random.default_rng(5), np.zeros((4, 300))
    for step in range(1, 300):
        many[:, step] = 0.7 * many[:, step - 1] + random.normal(0, 1, 4)
    series = [Series(str(number), None, 100 + one[:160, None]) for number, one in enumerate(many[:3])]
    result, alone = (train(series, dataclasses.replace(SMALL, horizon=6, blend=blend)) for blend in (True, False))
    assert result.blend is not None
    twice = changed(result.blend, season=0, shares=((2.0, 0.0, -1.0, 0.0, 0.0, 0.0),) * 5)
    both = [with_blend(alone.model_bytes, changed(twice, late_share=share)) for share in (0.0, 0.01)]
    values = 100 + many[3]
    mean, weighed = (step_by_step(Model(one), values[:, None, None], None)[0][:, 0] for one in both)
    last = np.repeat(values[:, None], 6, axis=1)
    for step in (3, 6):
        assert error(values, mean, step, 100) > error(values, last, step, 100)
        assert error(values, weighed, step, 100) < 0.97 * error(values, last, step, 100)


@pytest.mark.parametrize(
    ("season", "horizon", "judged"),
    [
        (0, 2, (2,)),
        (12, 12, (2, 3, 4, 6, 8, 12)),
        (4, 100, (2, 3, 4, 6, 8, 12, 16, 24, 32, 48)),
        (168, 24, (2, 3, 4, 6, 8)),  # two seasons and the steps have to be among the changes that are carried
        (344, 12, ()),
    ],
)
def test_steps_are_judged_whose_parts_are_known(season: int, horizon: int, judged: tuple[int, ...]) -> None:
    """No more numbers than what is needed for them are carried; where there are none, nothing is."""
    late = Late(Ahead(season=season, shares=((0.2,) * 5,) * (horizon - 1)))
    assert late.judged == judged
    assert sum(entry.size for entry in late.state()) == sum(judged) + 6 * len(judged)
    assert not judged or late.before.kept <= 344


def test_a_season_too_long_to_be_judged_leaves_the_mean() -> None:
    """Nothing is carried, and the further steps are the mean, to the bit."""
    values = seasonal()
    result, _ = trained(values, horizon=3)
    own = trained_part(values, horizon=3)
    assert result.blend is not None
    long = changed(result.blend, season=344)
    assert with_blend(own, long) == with_blend(own, changed(long, late_share=0.0))
    assert UNIVERSAL in {entry.name.split(".")[0] for entry in Model(with_blend(own, long)).spec.state}


@pytest.mark.parametrize("scaling", ["log", "standard"])
def test_values_at_the_end_of_what_is_a_number_have_answers(scaling: str) -> None:
    """What parts say there is cut: without end it would be no number, then of all steps, and be carried on."""
    values = seasonal() * (1.0 if scaling == "log" else 2e33)
    model = trained(values, horizon=6, scaling=scaling)[1]
    assert "ahead.said" in {entry.name for entry in model.spec.state}
    wild = np.where(np.arange(80) % 2, 1e38, -1e38)
    answers, state = step_by_step(model, np.concatenate([wild, values])[:, None, None], None)
    assert np.isfinite(answers).all()
    assert np.isfinite(state).all()
