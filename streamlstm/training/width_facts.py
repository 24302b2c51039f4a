"""The fact in a model file that says how intervals grow over the steps ahead, measured on what it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamlstm.evaluation import measured_widths
from streamlstm.models import STEP_WIDTHS, Model
from streamlstm.tables import Series


def width_facts(
    model: Model,
    series: Sequence[Series],
    lengths: Sequence[int],
    begins: Sequence[int],
    *,
    season: int | None,
    missing: str | None = None,
    served: Model | None = None,
) -> dict[str, Any]:
    """Of series whose training parts are their first `lengths` values, held out of the model's from `begins` on.

    For the file of another model that is `served`, if there is one. Nothing where what is held out is too little to say
    anything.
    """
    cut = [one.first(length) for one, length in zip(series, lengths, strict=True)]
    found = measured_widths(model, cut, begins, season=season, missing=missing, served=served)
    return {} if found is None else {STEP_WIDTHS: found.as_fact()}
