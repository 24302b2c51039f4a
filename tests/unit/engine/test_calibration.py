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
