"""Two models on the part of a table that the younger one has not seen in its training."""

from __future__ import annotations

from typing import Any

import numpy as np

from streamlstm.client import Compared, weights_of
from streamlstm.engine import scored_feature
from streamlstm.errors import UsageError
from streamlstm.evaluation import EvaluateSettings, evaluate_with
from streamlstm.models import Model
from streamlstm.tables import SeriesTable


def compared_unseen(champion: Model, challenger: Model, table: SeriesTable, test_size: float) -> Compared:
    """Errors of both on the test part, one step ahead, each served as its file says; of the first target.

    Raises TableError where there is nothing to score, UsageError for models that forecast other columns.
    """
    ours, theirs = (_forecasts(model, table, test_size) for model in (champion, challenger))
    both = sorted(ours.keys() & theirs.keys())
    rows, names = [], []
    before: dict[str, float] = {}
    for name, when in both:
        value, forecast = ours[name, when]
        last = before.get(name, np.nan)
        before[name] = value
        errors = (abs(value - theirs[name, when][1]), abs(value - forecast), abs(value - last))
        if np.isfinite(errors).all():
            rows.append((*errors, when))
            names.append(name.encode())
    found = np.array(rows, np.float64).reshape(-1, 4)
    order = np.argsort(found[:, 3], kind="stable")
    return Compared(
        champion=found[order, 1],
        challenger=found[order, 0],
        naive=found[order, 2],
        weights=weights_of(names, found[:, 2])[order],
        entry=found[order, 3].astype(np.int64),
    )


def _forecasts(model: Model, table: SeriesTable, test_size: float) -> dict[tuple[str, int], tuple[float, float]]:
    """Value and forecast by series and time, or by place where there are no times."""
    output, feature = scored_feature(model.spec.targets)
    if output < 0:
        raise UsageError("a model that forecasts none of the numbers it is given cannot be compared")
    settings = EvaluateSettings(test_size=test_size, baselines=())
    found: Any = evaluate_with(model, table, settings, {}, name="the model", say=lambda _: None).forecasts
    names, values, said = found["unique_id"], found[_column(model, feature)], found[model.spec.outputs[output]]
    times = found["ds"].astype("datetime64[ms]").astype(np.int64) if "ds" in found else np.arange(len(names))
    return {
        (str(name), when): (value, forecast)
        for name, when, value, forecast in zip(names, times.tolist(), values.tolist(), said.tolist(), strict=True)
    }


def _column(model: Model, feature: int) -> str:
    return "y" if len(model.spec.features) == 1 else model.spec.features[feature]
