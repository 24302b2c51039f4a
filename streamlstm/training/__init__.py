"""Training: from a table to a checked step model, with one-step errors next to the naive forecasts'."""

import importlib
from typing import TYPE_CHECKING, Any

from streamlstm.training.settings import FitArguments, FitSettings, fit_settings

if TYPE_CHECKING:
    from streamlstm.evaluation import Errors
    from streamlstm.training.export.gates import LayerGates, gate_values
    from streamlstm.training.fitted import Fitted, fit, fit_with
    from streamlstm.training.fitting import Progress
    from streamlstm.training.forecaster import WindowConfig
    from streamlstm.training.pipeline import TrainingOptions, TrainingResult, train
    from streamlstm.training.progress import Stage, showing
    from streamlstm.training.truncated_bptt import LoopOptions
    from streamlstm.training.windowed import WindowOptions, WindowResult, train_windows, tutorial

# What loads torch is imported when it is asked for: whoever has none is told so by name.
_LATER = {
    "LayerGates": "export.gates",
    "gate_values": "export.gates",
    "Fitted": "fitted",
    "fit": "fitted",
    "fit_with": "fitted",
    "Progress": "fitting",
    "WindowConfig": "forecaster",
    "TrainingOptions": "pipeline",
    "TrainingResult": "pipeline",
    "train": "pipeline",
    "Stage": "progress",
    "showing": "progress",
    "LoopOptions": "truncated_bptt",
    "WindowOptions": "windowed",
    "WindowResult": "windowed",
    "train_windows": "windowed",
    "tutorial": "windowed",
}


def __getattr__(name: str) -> Any:
    if name == "Errors":
        from streamlstm.evaluation import Errors

        return Errors
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
