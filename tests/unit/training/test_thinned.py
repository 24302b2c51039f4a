"""Tables larger than a training needs: what is left of them, and that nothing is measured on what was learnt from."""

from __future__ import annotations

import numpy as np
import pytest

from streamlstm.tables import Series
from streamlstm.training import fitting, pipeline
from streamlstm.training.panel import FEWEST_SERIES, LEAST_SERIES, Panel, make_panel, thinned
from streamlstm.training.pipeline import TrainingOptions, train
from streamlstm.training.plan import validation_begins, validation_starts
from streamlstm.training.truncated_bptt import LoopOptions


def panel(*lengths: int) -> Panel:
    """Series of some lengths, whose values say which they are: a million times the series, and the step."""
    values = [1e6 * number + np.arange(float(length))[:, None] for number, length in enumerate(lengths)]
    return make_panel([Series(f"s{number}", None, one) for number, one in enumerate(values)], 0)


def shown(made: Panel) -> dict[int, tuple[int, int]]:
    """Of each series that is left, the first step and how many."""
    return {int(column[0, 0] // 1e6): (int(column[0, 0] % 1e6), int(length)) for column, length in _columns(made)}


def _columns(made: Panel) -> list[tuple[np.ndarray, int]]:
    return [(made.values[:length, number], length) for number, length in enumerate(made.lengths.tolist())]


def test_what_is_no_more_than_that_stays_as_it_is() -> None:
    """The very panel."""
    made = panel(100, 50)
    assert thinned(made, 150) is made


def test_the_end_of_a_long_series_is_kept() -> None:
    """Its last values, all of them there; a shorter one beside it keeps its own."""
    found = thinned(panel(1000, 40), 200)
    assert shown(found) == {0: (840, 160), 1: (0, 40)}
    assert found.observed[:160, 0].all()
    assert found.observed[:40, 1].all()
    assert not found.observed[40:, 1].any()
    assert (found.values[40:, 1] == found.values[39, 1]).all()


def test_of_many_series_some_are_kept_whole() -> None:
    """Evenly over all of them, the first and the last among them."""
    found = thinned(panel(*[40] * 1000), 8_000)
    assert len(found.lengths) == 200
    assert {steps for _, steps in shown(found).values()} == {40}
    assert {0, 999} <= shown(found).keys()
    assert max(np.diff(sorted(shown(found)))) <= 6


def test_so_much_is_left_of_each_as_is_asked_for() -> None:
    """Fewer series then, if there must be."""
    made = panel(*[1000] * 300)
    assert len(thinned(made, 20_000).lengths) == FEWEST_SERIES
    found = thinned(made, 20_000, least=900)
    assert (len(found.lengths), set(found.lengths.tolist())) == (22, {909})
    few = thinned(made, 1_000, least=500)
    assert (len(few.lengths), set(few.lengths.tolist())) == (LEAST_SERIES, {500})


def test_intervals_are_measured_on_what_nothing_was_learnt_from() -> None:
    """The held-out part of what is left is the end of the same series."""
    made = panel(1000, 100)
    left = thinned(made, 300)
    begins = validation_begins(made, left)
    learnt = made.lengths - left.lengths + validation_starts(left)
    assert begins.tolist() == learnt.tolist() == [960, 80]
    assert validation_begins(made, made).tolist() == validation_starts(made).tolist()


def test_validation_goes_on_in_rows_beside_each_other() -> None:
    """A long part in equal pieces, one after the other; a short one whole."""
    assert fitting._pieces(10, 4_010) == [(10, 4_010)]
    assert fitting._pieces(0, 9_000) == [(0, 3_000), (3_000, 6_000), (6_000, 9_000)]


def test_a_large_table_is_trained_on_in_part_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The note has both numbers, the file what was learnt from; the errors are those of the whole test part."""
    rng = np.random.default_rng(1)
    season = np.sin(2 * np.pi * np.arange(600) / 12)
    series = [Series(f"s{n}", None, (season + rng.normal(0, 0.1, 600))[:, None]) for n in range(3)]
    options = TrainingOptions(units=(4,), members=1, loop=LoopOptions(epochs=3))
    whole = train(series, options)
    monkeypatch.setattr(pipeline, "MOST_TRAINED", 900)
    said: list[str] = []
    part = train(series, options, say=said.append)
    assert said == ["trained on the last values: 900 of 1,440"]
    assert part.plan == whole.plan
    assert part.errors["naive"] == whole.errors["naive"]
    assert part.errors["model"].rmse == pytest.approx(whole.errors["model"].rmse, rel=0.1)
