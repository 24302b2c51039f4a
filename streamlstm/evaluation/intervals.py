"""The interval of `evaluate`: what the daemon's `--interval` gives with each forecast of a series."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlstm.engine import calibrate
from streamlstm.evaluation.scores import Bounds, as_written
from streamlstm.store.record import CALIBRATION, LABELLED, Constants, Events
from streamlstm.tables import Series


def served_bounds(one: Series, forecasts: NDArray[np.float64], level: float, *, exact: bool) -> Bounds | None:
    """Bounds of the values 1 to N - 1 of a series from its forecasts (N - 1, F), each from the values before it.

    The first forecast feature has them, as in the daemon; NaN in the others, and before ten values were scored. None
    if nothing is forecast. Unless numbers are carried exactly, they are rounded to float32, as the daemon's are, and
    read from its texts.
    """
    low, high = np.full(forecasts.shape, np.nan), np.full(forecasts.shape, np.nan)
    forecast = np.flatnonzero(~np.isnan(forecasts).all(axis=0))
    if not len(forecast):
        return None
    feature = int(forecast[0])
    # A value of which any number is missing scores nothing.
    values = np.where(np.isnan(one.values).any(axis=1), np.nan, one.values[:, feature])
    said = forecasts[:, feature]
    if not exact:
        values, said = values.astype(np.float32).astype(np.float64), said.astype(np.float32).astype(np.float64)
    first = int(np.argmax(~np.isnan(said)))  # a baseline may need some values before it says anything
    ends = _ends(values[first:], said[first:], level, exact)
    low[first:, feature], high[first:, feature] = (as_written(end, exact=exact) for end in ends)
    return Bounds(low, high)


def _ends(
    values: NDArray[np.float64], said: NDArray[np.float64], level: float, exact: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The intervals around forecasts said (n,) of the values 1 to n of (n + 1,)."""
    constants, count = Constants(level), len(said)
    kept = np.zeros(1, CALIBRATION)
    kept[:] = constants.fresh()
    predicted = np.concatenate([[np.nan], said[:-1]])
    labelled = ~np.isnan(values[:-1]) & ~np.isnan(predicted)
    out = np.empty((count, 3))
    flags = np.where(labelled, LABELLED, 0).astype(np.uint8)
    numbers = map(np.nan_to_num, (values[:-1], predicted, said))
    events = Events(np.zeros(count, np.int64), flags, *numbers)
    calibrate(kept, constants.fresh(), constants.numbers, events, out, np.zeros((1, 2)), int(exact))
    out[np.isnan(said)] = np.nan
    return out[:, 0], out[:, 1]
