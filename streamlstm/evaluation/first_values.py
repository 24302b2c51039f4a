"""What forecasts are worth while a series is young: its first values, from a fresh state on, beside naive ones.

Measured on the test part, which training never saw: each series begins cold with the first value of it. What the model
says of the same values when it knows all that came before is what a warm start (`push --warm`) gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine import FIRST_VALUES
from streamlstm.errors import StepError
from streamlstm.evaluation.baselines import naive_forecasts
from streamlstm.evaluation.scores import forecasts_ahead, only_forecast
from streamlstm.evaluation.served import serve
from streamlstm.evaluation.split import from_first_value, training_length
from streamlstm.models import Model
from streamlstm.tables import Series

Float64 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class FirstValues:
    """Mean absolute errors over the first values of all series, in raw units; a series' very first has no forecast."""

    scored: int  # numbers that all three are of
    mae: float  # of the model, begun cold
    naive_mae: float
    warm_mae: float  # of the model that knows what came before

    @property
    def skill(self) -> float | None:
        """1 - mae / naive_mae; None where that is 0."""
        return 1 - self.mae / self.naive_mae if self.naive_mae else None

    def as_json(self) -> dict[str, float | None]:
        """The figures by name."""
        return {
            f"first_{FIRST_VALUES}_scored": self.scored,
            f"first_{FIRST_VALUES}_mae": self.mae,
            f"first_{FIRST_VALUES}_naive_mae": self.naive_mae,
            f"first_{FIRST_VALUES}_skill": self.skill,
            f"first_{FIRST_VALUES}_warm_mae": self.warm_mae,
        }

    def line(self) -> str:
        """What a person reads."""
        skill = "" if self.skill is None else f", skill {self.skill:.3g}"
        return (
            f"the first {FIRST_VALUES} values of a series that begins cold: MAE {self.mae:.5g}, naive "
            f"{self.naive_mae:.5g}{skill}; with its history before them {self.warm_mae:.5g}"
        )


def score_first_values(
    model: Model, series: Sequence[Series], warm: Sequence[Float64], *, test_size: float, missing: str | None
) -> FirstValues | None:
    """Serve the beginning of each test part from a fresh state; None where nothing can be scored.

    `warm` are the model's forecasts (N - 1, F) of values 1 to N - 1 of each series, known all values before.
    """
    begun, known = [], []
    for one, forecast in zip(series, warm, strict=True):
        first = training_length(len(one.values), test_size)
        times = None if one.times_ms is None else one.times_ms[first:]
        young = from_first_value(Series(one.name, times, one.values[first:]))
        if young is None:
            continue
        first = len(one.values) - len(young.values)
        times = None if young.times_ms is None else young.times_ms[:FIRST_VALUES]
        young = Series(young.name, times, young.values[:FIRST_VALUES])
        begun.append(young)
        known.append(forecast[first : first + len(young.values) - 1])
    if not begun:
        return None
    try:
        served = serve(model, begun, missing)
    except StepError:  # it has no answer to a value without those before it; to a daemon that is a dead letter
        return None
    said = only_forecast(model, forecasts_ahead(model, served.outputs))
    errors = [
        np.abs(np.stack([cold, naive, other]) - one.values[1:])  # (3, n, F)
        for one, cold, naive, other in zip(begun, said, naive_forecasts(begun), known, strict=True)
    ]
    pooled = np.concatenate([error.reshape(3, -1) for error in errors], axis=1)
    pooled = pooled[:, ~np.isnan(pooled).any(axis=0)]
    if not pooled.size:
        return None
    mae, naive_mae, warm_mae = pooled.mean(axis=1).tolist()
    return FirstValues(scored=pooled.shape[1], mae=mae, naive_mae=naive_mae, warm_mae=warm_mae)
