"""How much of what series move by is lost where their values are rounded to float32."""

from __future__ import annotations

import numpy as np

from streamlstm.engine.scoring import scored_feature
from streamlstm.models import MOST_ROUNDED, ModelSpec
from streamlstm.store.record import RecordFormat, Rows


def rounding_share(spec: ModelSpec, record_format: RecordFormat, rows: Rows) -> float:
    """By how much float32 rounds the values of some records (n, words), as a share of their series' mean change.

    The largest of them; 0 where nothing was scored yet, or where the model carries numbers exactly.
    """
    header = record_format.header(rows)
    moved = header["naive_absolute_error"] > 0
    if spec.exact or not moved.any():
        return 0.0
    _, feature = scored_feature(spec.targets)
    change = header["naive_absolute_error"][moved] / header["scored"][moved]
    size = np.abs(record_format.last_value(rows)[moved, feature]).astype(np.float64)
    return float((MOST_ROUNDED * size / change).max())
