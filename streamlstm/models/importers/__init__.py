"""Models made elsewhere to step models, one folder an origin; what they share: columns, and scaling outside a model."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamlstm.models.importers.columns import feature_names, output_columns
    from streamlstm.models.importers.outer_scaling import OuterScaling

# The process of its own that takes a file apart has little memory, and imports this folder too.
_LATER = {"feature_names": "columns", "output_columns": "columns", "OuterScaling": "outer_scaling"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
