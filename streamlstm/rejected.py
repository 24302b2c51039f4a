"""Values that a model has no answer to, and series that begin anew because they have had too many of them in a row.

A series goes on from the state before a value that is not answered. A state that has grown without bound gives no
finite answer to any value, and the series would stay dead for good. So its record counts such values in a row; once
there were MOST_REJECTED, the next one that is not answered is tried as a first value, and if that works the series
begins anew with it. It depends on nothing but the input and the record, so stepping the input again gives the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from streamlstm import flaw
from streamlstm.flaw import Flaw
from streamlstm.idle import Anew

if TYPE_CHECKING:
    from collections.abc import Sequence as Several

    from streamlstm.stepping import Sequence

Index = NDArray[np.int64]

# Enough that a burst of absurd values costs a series nothing but these, few enough that nobody waits long for a series
# whose state is lost: at a value a minute, ten minutes.
MOST_REJECTED = 10

NOT_FINITE = Flaw(
    flaw.NOT_FINITE, "the model's answer is not finite; the series goes on from the state before this value"
)


def why_rejected(failure: str | None) -> Flaw:
    """The flaw of a value that the model failed on, with its words, or (None) answered with what is not finite."""
    if failure is None:
        return NOT_FINITE
    return Flaw(
        flaw.MODEL_FAILED, f"the model failed on this value: {failure}; the series goes on from the state before"
    )


def begun_anew(sequence: Sequence, anew: Several[int], groups: int) -> Anew:
    """How a sequence's epochs are once the values `anew` (indices) count as fresh beginnings of their series."""
    marked = np.zeros(len(sequence.group), np.int64)
    marked[anew] = 1
    total = np.cumsum(marked)
    first = np.ones(len(marked), bool)
    first[1:] = sequence.group[1:] != sequence.group[:-1]
    before_group = np.maximum.accumulate(np.where(first, total - marked, 0))
    return Anew(sequence.epoch + total - before_group, np.bincount(sequence.group[anew], minlength=groups))
