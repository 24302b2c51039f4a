"""Training data: the chronological split, panels of ragged series, and rows cut for truncated training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from streamlstm.errors import TableError, UsageError
from streamlstm.evaluation.split import drop_leading_gap, fill_gaps, training_length
from streamlstm.tables import Series
from streamlstm.training.panel import Row, cut_rows, make_batches, make_panel

NAN = float("nan")


def series_of(values: list[float], name: str = "s") -> Series:
    """A series without times."""
    return Series(name, None, np.asarray(values, float)[:, None])


@pytest.mark.parametrize(("size", "expected"), [(0.2, 80), (0.999, 1), (0, 100), (36, 64), (1, 99), (0.255, 75)])
def test_the_test_part_is_a_share_or_a_number_of_last_values(size: float, expected: int) -> None:
    """Below 1 it is a share, from 1 up a number."""
    assert training_length(100, size) == expected


@pytest.mark.parametrize("size", [-0.1, 1.5, NAN, float("inf")])
def test_a_senseless_test_size_is_refused(size: float) -> None:
    """Negative, broken above 1, or not finite: a usage error."""
    with pytest.raises(UsageError, match="test size"):
        training_length(100, size)


def test_gaps_are_filled_with_the_value_before_and_not_observed() -> None:
    """A gap repeats the value before it, padding repeats the last value, and neither counts as observed."""
    long = [float(i) for i in range(25)]
    long[3] = NAN
    panel = make_panel([series_of(long), series_of([1.0] * 20)], 0)
    assert panel.values[3, 0, 0] == 2.0
    assert panel.values[20:, 1, 0].tolist() == [1.0] * 5
    assert not panel.observed[3, 0, 0]
    assert not panel.observed[20:, 1].any()
    assert panel.observed.sum() == 24 + 20


def test_a_panel_cut_short_holds_nothing_later() -> None:
    """`until` marks everything from the given ends on as not observed."""
    panel = make_panel([series_of([1.0] * 30), series_of([2.0] * 40)], 0).until(np.array([10, 20]))
    assert len(panel.values) == 20
    assert panel.observed[:, 0].sum() == 10
    assert panel.observed[:, 1].sum() == 20


def test_missing_values_at_the_beginning_are_cut_off() -> None:
    """A series begins with its first value; one without any is refused by name."""
    assert drop_leading_gap(series_of([NAN, NAN, 3.0, NAN])).values[0, 0] == 3.0
    with pytest.raises(TableError, match="'empty'"):
        drop_leading_gap(series_of([NAN, NAN], "empty"))


def test_a_series_too_short_to_train_on_is_refused_by_name() -> None:
    """The error names the series, its length and what is left of it."""
    with pytest.raises(TableError, match=r"'short'.*24 values leave 19"):
        make_panel([series_of([1.0] * 24, "short")], 5)


@given(st.lists(st.one_of(st.just(NAN), st.floats(-10, 10)), min_size=1, max_size=30))
def test_filling_changes_no_value_that_is_there(values: list[float]) -> None:
    """Values that are there stay, and what is filled in equals the last one there."""
    column = np.asarray([0.5, *values])[:, None]
    filled = fill_gaps(column)[:, 0]
    last = 0.5
    for value, found in zip(column[:, 0], filled, strict=True):
        last = last if np.isnan(value) else value
        assert found == last


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3000)), min_size=1, max_size=12),
    st.integers(1, 16),
    st.sampled_from([4, 16, 64]),
)
def test_every_step_counts_in_exactly_one_row(spans: list[tuple[int, int]], rows: int, window: int) -> None:
    """Rows cover each step of each series once, whatever the run-ins repeat, and stay inside the series."""
    starts, stops = (np.array(part) for part in zip(*spans, strict=True))
    found = cut_rows(starts, stops, rows=rows, window=window)
    for series, (start, stop) in enumerate(spans):
        own = [row for row in found if row.series == series]
        assert [t for row in own for t in range(row.counts_from, row.stop)] == list(range(start, stop))
        for row in own:
            assert start <= row.start <= row.counts_from < row.stop
            assert row.counts_from - row.start <= window


def test_batches_hold_the_rows_values_and_weigh_only_what_counts() -> None:
    """Each row of a batch is its stretch of its series; run-ins, padding and unusable targets weigh nothing."""
    time, series = torch.meshgrid(torch.arange(30.0), torch.arange(2.0), indexing="ij")
    inputs = (100 * series + time)[..., None]
    usable = torch.ones(30, 2, 1, dtype=torch.bool)
    usable[12, 1] = False
    (batch,) = make_batches([Row(0, 2, 8, 4), Row(1, 5, 20, 5)], inputs, inputs + 0.5, usable)
    assert batch.inputs.shape == (15, 2, 1)
    assert batch.inputs[:, 0, 0].tolist() == list(range(105, 120))  # the longer row comes first
    assert batch.inputs[:6, 1, 0].tolist() == list(range(2, 8))
    assert batch.weights[:, 1, 0].tolist() == [0, 0, 1, 1, 1, 1] + [0] * 9
    assert batch.weights[:, 0, 0].tolist() == [1.0] * 7 + [0.0] + [1.0] * 7
    assert torch.equal(batch.targets, batch.inputs + 0.5)
