"""What a series' calibration comes to, in both twins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamlstm.store.record import conformal
from streamlstm.store.record.conformal import CALIBRATION, LABELLED, Constants

try:
    from streamlstm.engine import _kernels as compiled
except ImportError:
    compiled = None  # type: ignore[assignment]

TWINS = [conformal.calibrate, *([compiled.calibrate] if compiled is not None else [])]


@pytest.mark.parametrize("calibrate", TWINS)
def test_scores_come_back_after_a_series_stood_still(calibrate: Any) -> None:
    """However long it did: edges that were as small as numbers can be would never grow again."""
    level, count = Constants(0.9), 1_500
    kept = np.array([level.fresh()], CALIBRATION)
    kept["seen"], kept["scale"], kept["tails"] = 40_000.0, 1.0, 5e-324
    flags = np.full(count, LABELLED, np.uint8)
    group, errors, zeros = np.zeros(count, np.int64), np.ones(count), np.zeros(count)
    out, counts = np.empty((count, 3)), np.zeros((1, 2))
    for first, still in ((0, True), (1, False)):
        part = slice(first, first + 1) if still else slice(first, count)
        given = (group[part], flags[part], zeros[part] if still else errors[part], zeros[part], zeros[part])
        calibrate(kept, level.fresh(), level.numbers, given, out[part], counts, 0)
        if still:
            assert (kept["tails"] == 1e-9).all()
    assert (kept["tails"] > 0.5).all()
    assert (out[-1, 2] < 0.9, out[0, 2]) == (True, 0.0)


def scores(calibrate: Any, x: Any, predicted: Any) -> tuple[Any, Any]:
    """The scores of values (k,) by the forecasts of them, and the calibration after the last."""
    level, kept, count = Constants(0.9), np.array([Constants(0.9).fresh()], CALIBRATION), len(x)
    out, flags = np.empty((count, 3)), np.full(count, LABELLED, np.uint8)
    given = (np.zeros(count, np.int64), flags, np.asarray(x, float), np.asarray(predicted, float), np.zeros(count))
    calibrate(kept, level.fresh(), level.numbers, given, out, np.zeros((1, 2)), 0)
    return out[:, 2], kept[0]


def calm_then(*after: tuple[float, float]) -> tuple[list[float], list[float]]:
    """Two hundred values near 100 and their forecasts, then these values with theirs."""
    noise = np.random.default_rng(5).normal(0, 1, 200)
    return [*(100 + noise), *(x for x, _ in after)], [*[100.0] * 200, *(said for _, said in after)]


@pytest.mark.parametrize("calibrate", TWINS)
def test_a_value_back_where_it_was_expected_is_no_alarm(calibrate: Any) -> None:
    """Its forecast was thrown off by the spike before it; a second spike, elsewhere, is an alarm again."""
    back, _ = scores(calibrate, *calm_then((200, 100), (100.5, 200), (99, 150), (320, 100)))
    assert (back[200] >= 0.999, back[201] < 0.9, back[202] < 0.9, back[203] >= 0.99) == (True, True, True, True)
    still, _ = scores(calibrate, *calm_then((200, 100), (200.5, 120), (199, 160)))
    assert (still[200] >= 0.999, still[201] < 0.9, still[202] < 0.9) == (True, True, True)
    elsewhere, _ = scores(calibrate, *calm_then((200, 100), (1_000, 200)))
    assert elsewhere[201] >= 0.999


@pytest.mark.parametrize("calibrate", TWINS)
def test_what_was_odd_is_forgotten_after_ten_values(calibrate: Any) -> None:
    """What a series makes of a value depends on nothing older; what it learns, on its forecasts alone."""
    near = [(100.0, 100.0)] * 9
    _, kept = scores(calibrate, *calm_then((200, 100), *near))
    assert kept["aftermath"] == 1
    found, kept = scores(calibrate, *calm_then((200, 100), *near, (100.0, 100.0), (200.0, 100.0)))
    assert (found[-1] >= 0.99, kept["aftermath"], kept["expected"], kept["odd"]) == (True, 10, 100, 200)


@pytest.mark.parametrize("calibrate", TWINS)
def test_alarms_stay_as_rare_as_promised_where_a_series_shifts(calibrate: Any) -> None:
    """On a level that jumps every five hundred values and errors that grow and shrink, forecast by the last value."""
    rng = np.random.default_rng(11)
    level = np.repeat(rng.normal(0, 50, 40), 500)
    x = level + rng.standard_t(3, len(level)) * np.repeat(rng.choice([0.5, 1.0, 4.0], 40), 500)
    found, _ = scores(calibrate, x, np.concatenate([[0.0], x[:-1]]))
    for least, share in ((0.9, 0.1), (0.99, 0.01), (0.999, 0.001)):
        assert 0.4 * share < (found[1_000:] >= least).mean() < 1.3 * share, least


@pytest.mark.parametrize("calibrate", TWINS)
def test_young_series_make_no_more_alarms_than_promised(calibrate: Any) -> None:
    """Of a thousand values each, with errors whose tails are as long as those of real series, from the eleventh on."""
    rng, level, (series, count) = np.random.default_rng(12), Constants(0.9), (200, 1_000)
    x = rng.standard_t(3, (series, count))
    kept, out = np.repeat(np.array([level.fresh()], CALIBRATION), series), np.empty((series * count, 3))
    group, flags, zeros = (
        np.repeat(np.arange(series), count),
        np.full(series * count, LABELLED, np.uint8),
        x.ravel() * 0,
    )
    calibrate(
        kept, level.fresh(), level.numbers, (group, flags, x.ravel(), zeros, zeros), out, np.zeros((series, 2)), 0
    )
    found = out[:, 2].reshape(series, count)[:, 10:]
    for least, share in ((0.9, 0.1), (0.99, 0.01), (0.999, 0.001)):
        assert 0.5 * share < (found >= least).mean() < 1.1 * share, least
