"""Which tables float32 cannot hold, and what is taken off their values so that it can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import TableError
from streamlstm.evaluation.split import training_length
from streamlstm.pairs import MOST_ROUNDED
from streamlstm.tables import Series

# Rounding to float32 may be this share of a series' mean absolute change. Noise of a thousandth of what is to be
# forecast can't be seen in an error; from here on numbers are carried exactly, which costs a longer text and state.
MOST_ROUNDING = 1e-3


@dataclass(frozen=True)
class Origins:
    """What is taken off the values of some series before anything is computed."""

    of_series: NDArray[np.float64]  # (S, F)
    common: NDArray[np.float64] | None  # (F,) of every series, also those to come; None: each series' first value

    def less(self, series: Sequence[Series]) -> list[Series]:
        """The series, less their origins."""
        return [replace(one, values=one.values - origin) for one, origin in zip(series, self.of_series, strict=True)]


def rounding_share(series: Sequence[Series], test_size: float) -> float:
    """The largest rounding to float32 in the training parts, as a share of the mean absolute change of its series."""
    worst = 0.0
    for one in series:
        values = one.values[: max(2, training_length(len(one.values), test_size))]
        changes = np.abs(np.diff(values, axis=0))
        for column, change in zip(values.T, changes.T, strict=True):
            known = change[~np.isnan(change)]
            if known.size and (mean := float(known.mean())) > 0:
                worst = max(worst, MOST_ROUNDED * float(np.nanmax(np.abs(column))) / mean)
    return worst


def find_origins(series: Sequence[Series], test_size: float, *, own: bool) -> Origins | None:
    """The origins of series that float32 cannot hold as they are; None where it can hold all of them.

    `own` says whether each series may have its own, as forecasters allow that look at nothing but changes; else it is
    one for all. Raises TableError where one is not enough.
    """
    share = rounding_share(series, test_size)
    if share <= MOST_ROUNDING:
        return None
    first = np.stack([one.values[0] for one in series])
    if own:
        return Origins(first, None)
    common = first.mean(axis=0)
    origins = Origins(np.broadcast_to(common, first.shape), common)
    if rounding_share(origins.less(series), test_size) > MOST_ROUNDING:
        raise TableError(
            f"float32, which models compute in, rounds these values by up to {share:.2g} of their mean change, and "
            "series at such different levels have no common origin; train with --scaling series, which gives each its "
            "own (without --lookback), or train them one by one"
        )
    return origins
