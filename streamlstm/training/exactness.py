"""Which tables float32 cannot hold, and what is taken off their values before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import TableError
from streamlstm.evaluation import training_length
from streamlstm.models import MOST_ROUNDED
from streamlstm.tables import Series

# Rounding to float32 may be this share of what a series moves by. Noise of a thousandth of what is to be
# forecast can't be seen in an error; from here on numbers are carried exactly, which costs a longer text and state.
MOST_ROUNDING = 1e-3
MOST_BORNE = 1e-2  # the same where they cannot be: more is refused


@dataclass(frozen=True)
class Origin:
    """What is taken off the values of all series, also those to come."""

    values: NDArray[np.float64]  # (F,)

    def less(self, series: Sequence[Series]) -> list[Series]:
        return [replace(one, values=one.values - self.values) for one in series]


def rounding_share(series: Sequence[Series], test_size: float) -> float:
    """The largest rounding to float32 in the training parts, as a share of what its series moves by.

    That is its mean absolute change; or the mean by which that changes, if it is less: of a counter that is how much it
    counts more or less than before, and the only thing in it to be forecast. One that stands still counts
    as moving by 1, and is rounded as its text is.
    """
    worst = 0.0
    for one in series:
        values = one.values[: max(2, training_length(len(one.values), test_size))]
        for column in values.T:
            known = column[~np.isnan(column)]
            means = [float(np.abs(np.diff(known, order)).mean()) for order in (1, 2) if len(known) > order]
            if moved := [mean for mean in means if mean > 0]:
                worst = max(worst, MOST_ROUNDED * float(np.abs(known).max()) / min(moved))
            elif len(known):
                worst = max(worst, abs(float(str(np.float32(known[0]))) - float(known[0])))
    return worst


def find_origin(series: Sequence[Series], test_size: float, *, levels: bool) -> Origin | None:
    """The origin of series that float32 cannot hold as they are; None where it can hold all of them.

    Forecasters that look at `levels` see them in float32 less the origin: raises TableError where that is too coarse.
    """
    if rounding_share(series, test_size) <= MOST_ROUNDING:
        return None
    origin = Origin(np.stack([_first(one.values) for one in series]).mean(axis=0))
    if levels and (left := rounding_share(origin.less(series), test_size)) > MOST_BORNE:
        many = len(series) > 1
        why = "series at levels so far apart" if many else "a series that goes so far from its first value"
        raise TableError(
            f"float32 rounds these values by up to {left:.2g} of what they move by, whatever is taken off them: {why} "
            "cannot be seen by a model that looks at levels; train one that looks at changes (--predict change, "
            "without --lookback and --preset), which holds at any level"
        )
    return origin


def refuse_ratios(series: Sequence[Series], test_size: float) -> None:
    """TableError where float32 cannot hold some series, which are to be looked at by ratios."""
    if (share := rounding_share(series, test_size)) > MOST_BORNE:
        raise TableError(
            f"float32 rounds these values by up to {share:.2g} of what they move by, and --scaling log needs them as "
            "they are; leave it out: of so high values changes are as good as ratios"
        )


def _first(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The first value of each feature that is there, (F,); 0 where none is."""
    known = [column[~np.isnan(column)] for column in values.T]
    return np.array([column[0] if len(column) else 0.0 for column in known])
