"""The settings of a training that makes a model of the kind of another: same columns, same layers, same options."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamlstm.models import ModelSpec
    from streamlstm.training import FitSettings

# Facts that `train` writes into a file, and the settings they were.
_FACTS = {
    "layer": "layer",
    "members": "ensemble",
    "dropout": "dropout",
    "adapt": "adapt",
    "may_blend": "blend",
    "predict": "predict",
}


def same_kind(spec: ModelSpec, settings: FitSettings, given: Collection[str]) -> tuple[FitSettings, dict[str, Any]]:
    """Settings like those of a model, but for what was `given`, and what is to be read of the table.

    Of a model that `train` did not make only its columns are taken, and of one over windows nothing else. Season and
    scaling are found anew.
    """
    targets = tuple(spec.features[place] for place in spec.forecast)
    only_seen = tuple(name for name in spec.features if name not in targets)
    of_table = {"target_col": targets} if only_seen else {}
    if settings.over_windows:
        return settings, {}
    facts = spec.training
    found: dict[str, Any] = {"feature_col": only_seen, "horizon": spec.horizon, "gap_after": spec.gap_after_ms}
    for fact, name in _FACTS.items():
        if isinstance(facts.get(fact), type(getattr(settings, name))):
            found[name] = facts[fact]
    units = facts.get("units")
    if isinstance(units, list) and units and all(isinstance(one, int) and one > 0 for one in units):
        found["units"] = tuple(units)
    if spec.uses_time:
        found["calendar"] = bool(facts.get("calendar"))
        found["gaps"] = not found["calendar"]
    wanted = {name: value for name, value in found.items() if name not in given}
    return dataclasses.replace(settings, **wanted), of_table
