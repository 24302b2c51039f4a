"""Further steps' intervals of models whose training measured them in units of the mean error of late."""

from __future__ import annotations

import numpy as np
import pytest

from streamlstm.engine import Ahead, bounds_ahead, growth, one_step
from streamlstm.evaluation.ahead import records_at
from streamlstm.models import Model, StepWidths
from streamlstm.store.record import Constants, Rows, tail_at
from streamlstm.tables import Series
from support import models


def walked(model: Model, length: int) -> Rows:
    """The record of a random walk after so many values, with intervals of 90 %, to be changed."""
    values = np.random.default_rng(1).normal(size=(length, 1)).cumsum(axis=0)
    ((_, rows),) = records_at(model, [Series("s", None, values)], [[length]], level=0.9)
    return rows.copy()


@pytest.mark.parametrize(("one", "levels"), [(0.9, "calibrated"), (0.8, "calibrated"), (None, "others")])
def test_further_steps_are_as_wide_as_the_mean_error_of_late(one: float | None, levels: str) -> None:
    """Half as skewed as the interval one step ahead, where training measured it so; that one stays the series' own."""
    fact = {"levels": [0.9], "calibrated": [[1, 1.5, 1.1]], "others": [[1.2, 1.8, 2]], "of_mean": True}
    model = models.load_lstm(8, training={"widths_ahead": fact})
    assert StepWidths.of(model.spec.training).as_fact() == fact  # type: ignore[union-attr]
    rows, ahead = walked(model, 60), Ahead(model)
    kept, header = ahead.format.calibration(rows), ahead.format.header(rows)
    mean = kept["scale"][0] if one else header["absolute_error"][0] / header["scored"][0]
    if one is None:
        kept[:] = Constants().fresh()
    level, ratios = one or 0.9, np.array(fact[levels][0])  # type: ignore[index]
    said = ahead.forecast(rows, 3).values[:, :, 0]
    low, high, grows = bounds_ahead(ahead, rows, said, level)
    own = one_step(ahead.format, rows, level)
    further = (Constants(level).first_end * mean * ratios * growth(ahead, rows, said)[0])[1:]
    lean = 0.5 * float((kept["high"] - kept["low"])[0] / (kept["high"] + kept["low"])[0])
    assert (lean != 0) == (one is not None)
    for end, first, share in ((said - low, own.low, 1 - lean), (high - said, own.high, 1 + lean)):
        assert end[0] == pytest.approx(np.maximum.accumulate([first[0] * ratios[0], *further * share]), rel=1e-4)
    assert grows == "measured"


def test_above_the_levels_that_were_measured_further_steps_have_the_series_own_tails() -> None:
    """A Gaussian's are thinner than those of most series."""
    fact = {"levels": [0.8, 0.9], "calibrated": [[1, 1], [1, 1.5]], "others": [[1, 1], [1, 1]], "of_mean": True}
    model = models.load_lstm(8, training={"widths_ahead": fact})
    rows, ahead = walked(model, 400), Ahead(model)
    tails = tail_at(ahead.format.calibration(rows), 0.01) / tail_at(ahead.format.calibration(rows), 0.1)
    said = ahead.forecast(rows, 2).values[:, :, 0]
    further = [np.subtract(*bounds_ahead(ahead, rows, said, level)[1::-1])[0, 1] for level in (0.9, 0.99)]
    assert further[1] / further[0] == pytest.approx(float(tails[0]), rel=1e-4)


def test_a_series_that_stands_still_has_its_forecasts_between_the_ends_of_further_steps() -> None:
    """Hits move the ends in as long as it does: without the mean of late one of them is at the forecast."""
    fact = {"levels": [0.9], "calibrated": [[1, 1, 1, 1]], "others": [[1, 1, 1, 1]]}
    low, high = [], []
    for more in ({}, {"of_mean": True}):
        model = models.load_lstm(8, training={"widths_ahead": fact | more})
        rows, ahead = walked(model, 60), Ahead(model)
        ahead.format.calibration(rows)["low"] -= 1.5 * Constants(0.9).first_end  # fifteen steps
        said = ahead.forecast(rows, 4).values[:, :, 0]
        for ends, found in zip((low, high), bounds_ahead(ahead, rows, said, 0.9)[:2], strict=True):
            ends.append(found[0] - said[0])
    assert (low[0] == 0).all()
    assert (high[0] > 0).all()
    assert low[1][0] == 0
    assert (low[1][1:] < 0).all()
    assert (high[1][1:] < -4 * low[1][1:]).all()
