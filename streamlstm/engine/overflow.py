"""Values that a model has no answer to, and series that begin anew because they have had too many of them in a row.

A series goes on from the state before a value that is not answered. A state that has grown without bound gives no
finite answer to any value, and the series would stay dead for good. So its record counts such values in a row; once
there were MOST_REJECTED, the next one that is not answered is tried as a first value, and if that works the series
begins anew with it. It depends on nothing but the input and the record, so stepping the input again gives the same.
"""

from __future__ import annotations

from streamlstm.engine import rejection
from streamlstm.engine.rejection import Flaw

# Enough that a burst of absurd values costs a series nothing but these, few enough that nobody waits long for a series
# whose state is lost: at a value a minute, ten minutes.
MOST_REJECTED = 10

NOT_FINITE = Flaw(
    rejection.NOT_FINITE, "the model's answer is not finite; the series goes on from the state before this value"
)


def why_rejected(failure: str | None) -> Flaw:
    """The flaw of a value that the model failed on, with its words, or (None) answered with what is not finite."""
    if failure is None:
        return NOT_FINITE
    return Flaw(
        rejection.MODEL_FAILED, f"the model failed on this value: {failure}; the series goes on from the state before"
    )
