"""How errors of one step go back from those of late to the usual ones."""

from __future__ import annotations

import numpy as np
import pytest

from streamlstm.engine import Ahead, bounds_ahead, growth, one_step
from streamlstm.engine.usual_errors import LASTS, back_to_usual, usual_over_late
from streamlstm.evaluation.ahead import records_at
from streamlstm.models import Model
from streamlstm.store.record import Constants
from streamlstm.tables import Series
from support import models, odd_models

FACT = {"levels": [0.9], "calibrated": [[1, 1, 1, 1]], "others": [[1, 1, 1, 1]]}


def test_each_step_s_errors_go_back_by_themselves() -> None:
    """As the sum over the steps on the way has it; nothing where errors are as usual, or nothing goes back."""
    responses = np.random.default_rng(1).normal(size=(3, 9))
    responses[:, 0] = 1.0
    grown, times = np.sqrt(np.cumsum(responses**2, axis=1)), np.array([0.0, 1.0, 7.0])
    for share in (0.2, 1.0):
        expected = np.empty_like(grown)
        for at in range(grown.shape[1]):
            after = np.arange(at, -1, -1)  # steps from the next value to that of each response
            variances = 1 + share * (1 - LASTS**after) * (times[:, None] ** 2 - 1)
            expected[:, at] = np.sqrt((responses[:, : at + 1] ** 2 * variances).sum(axis=1))
        found = back_to_usual(grown, times, share)
        assert found == pytest.approx(expected)
        assert (found[:, 0] == 1.0).all()
        assert found[1] == pytest.approx(grown[1])
    assert back_to_usual(grown, times, 0.0) is grown


def test_what_has_no_finite_answer_is_as_it_was() -> None:
    """Of a response without bound, and of a series that stands still for long."""
    grown = np.array([[1.0, 1e200, np.inf], [1.0, 2.0, 3.0]])
    assert np.array_equal(back_to_usual(grown, np.array([2.0, 1e15]), 0.2)[0], grown[0])
    assert np.isfinite(back_to_usual(grown, np.array([2.0, 1e15]), 0.2)[1]).all()


def test_usual_errors_are_the_mean_of_all() -> None:
    """Over the mean of late; one where either is nothing, or not known."""
    values = np.random.default_rng(2).normal(size=(80, 1))
    model = Model(models.lstm(4))
    ((_, rows),) = records_at(model, [Series("s", None, values)], [[80]], level=0.9)
    rows, record_format = np.repeat(rows, 3, axis=0), Ahead(model).format
    header, kept = record_format.header(rows)[0], record_format.calibration(rows)
    kept["scale"][1] = 0.0
    kept["scale"][2] = 1e-300
    expected = header["absolute_error"] / header["scored"] / kept["scale"][0]
    assert usual_over_late(record_format, rows).tolist() == [expected, 1.0, 1e15]
    kept[:] = Constants().fresh()
    assert usual_over_late(record_format, rows).tolist() == [1.0] * 3


@pytest.mark.parametrize("calm", [True, False])
def test_widths_go_back_where_the_file_was_measured_so(calm: bool) -> None:
    """After a calm stretch they grow faster, after a wild one slower; of files measured without it they do not."""
    values = np.random.default_rng(3).normal(size=(120, 1)).cumsum(axis=0)
    values[60:] = values[60] + (values[60:] - values[60]) * (0.01 if calm else 9.0)
    parts = []
    for fact in (FACT, FACT | {"usual": 0.2}):
        model = Model(odd_models.a_share(1.0, training={"widths_ahead": fact}))
        ((_, rows),) = records_at(model, [Series("s", None, values)], [[120]], level=0.9)
        rows, ahead = rows.copy(), Ahead(model)
        said = ahead.forecast(rows, 4).values[:, :, 0]
        low, high, _ = bounds_ahead(ahead, rows, said, 0.9)
        parts.append((high - low)[0] / (high - low)[0, 0])
    expected = back_to_usual(growth(ahead, rows, said), usual_over_late(ahead.format, rows), 0.2)
    assert parts[1] == pytest.approx(np.maximum.accumulate(expected, axis=1)[0], rel=1e-4)
    assert (parts[1][3] > parts[0][3]) if calm else (parts[1][3] < parts[0][3])
    ahead.format.calibration(rows)[:] = Constants().fresh()  # an interval of the mean error is usual already
    low, high, _ = bounds_ahead(ahead, rows, said, 0.9)
    width, grown = one_step(ahead.format, rows, 0.9), growth(ahead, rows, said)
    assert (high - low)[0] == pytest.approx((width.low + width.high) * grown[0], rel=1e-4)
