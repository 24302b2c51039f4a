"""What a daemon shows of the same values: error, skill and coverage, counted as serving counts them.

They are those of `evaluate` but for two things. Serving scores one number of a value, the first that is forecast, and
only of values of which no number is missing. And its naive forecast repeats what the model was fed before, which after
a missing value is what stood in for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamlstm.evaluation.scores import Bounds, step_through
from streamlstm.evaluation.split import training_length
from streamlstm.model import Model
from streamlstm.tables import Series


@dataclass(frozen=True, kw_only=True)
class Served:
    """Figures of the test values, as `status --series` and the metrics have them of all values."""

    mae: float
    skill: float | None  # 1 - mae / that of the naive forecast; None where that is 0
    coverage: float | None  # of the interval; None without one

    def as_json(self) -> dict[str, float | None]:
        """The figures by name."""
        return {"served_mae": self.mae, "served_skill": self.skill, "served_coverage": self.coverage}


def served_figures(
    model: Model, series: Sequence[Series], bounds: Sequence[Bounds] | None, test_size: float, missing: str
) -> Served | None:
    """Of some series, pooled as a stream's metrics are; `bounds` (None: no interval) are their intervals.

    None if the model forecasts nothing or no value is there.
    """
    feature = next((number for number, target in enumerate(model.spec.targets) if target is not None), None)
    if feature is None:
        return None
    target = model.spec.targets[feature]
    errors, naive, inside = [], [], []
    for number, one in enumerate(series):
        first = max(training_length(len(one.values), test_size), 1)
        outputs, fed = step_through(model, one, missing)
        known = ~np.isnan(one.values[first:]).any(axis=1)
        value = fed[first:, feature]
        errors.append(np.abs(value - outputs[first - 1 : -1, target])[known])
        naive.append(np.abs(value - fed[first - 1 : -1, feature])[known])
        if bounds is not None:
            low, high = bounds[number].low[first - 1 :, feature], bounds[number].high[first - 1 :, feature]
            if not model.spec.exact:  # the numbers that their texts stand for, as the fed ones are
                low, high = low.astype(np.float32).astype(np.float64), high.astype(np.float32).astype(np.float64)
            given = known & ~np.isnan(low + high)
            inside.append(((low <= value) & (value <= high))[given])
    total, total_naive = np.concatenate(errors), float(np.concatenate(naive).sum())
    if not len(total):
        return None
    covered = np.concatenate(inside) if inside else np.empty(0)
    return Served(
        mae=float(total.mean()),
        skill=1 - float(total.sum()) / total_naive if total_naive else None,
        coverage=float(covered.mean()) if len(covered) else None,
    )
