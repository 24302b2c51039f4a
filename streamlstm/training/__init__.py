"""Training: from a table to a checked step model, with one-step errors next to the naive forecasts'."""

from typing import TYPE_CHECKING

from streamlstm.common import imported_later
from streamlstm.training.settings import FitArguments, FitSettings, fit_settings

if TYPE_CHECKING:
    from streamlstm.training.export.gates import LayerGates, NoGatesError, gate_values
    from streamlstm.training.fitted import Fitted, fit, fit_with
    from streamlstm.training.fitting import Progress
    from streamlstm.training.forecaster import WindowConfig
    from streamlstm.training.learnt_from import learnt_until, with_streams
    from streamlstm.training.pipeline import TrainingOptions, TrainingResult, train
    from streamlstm.training.progress import EPOCHS, Stage, showing
    from streamlstm.training.truncated_bptt import LoopOptions
    from streamlstm.training.windowed import WindowOptions, WindowResult, train_windows, tutorial

# What loads torch is imported when it is asked for: whoever has none is told so by name.
__getattr__ = imported_later(
    __name__,
    {
        "LayerGates": "export.gates",
        "NoGatesError": "export.gates",
        "gate_values": "export.gates",
        "Fitted": "fitted",
        "fit": "fitted",
        "fit_with": "fitted",
        "Progress": "fitting",
        "WindowConfig": "forecaster",
        "learnt_until": "learnt_from",
        "with_streams": "learnt_from",
        "TrainingOptions": "pipeline",
        "TrainingResult": "pipeline",
        "train": "pipeline",
        "EPOCHS": "progress",
        "Stage": "progress",
        "showing": "progress",
        "LoopOptions": "truncated_bptt",
        "WindowOptions": "windowed",
        "WindowResult": "windowed",
        "train_windows": "windowed",
        "tutorial": "windowed",
    },
)
