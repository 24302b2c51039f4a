"""Training: from series to a checked step model, with one-step errors next to the naive forecasts'."""

from streamlstm.evaluation import Errors
from streamlstm.training.export.gates import LayerGates, gate_values
from streamlstm.training.fitting import Progress
from streamlstm.training.forecaster import WindowConfig
from streamlstm.training.pipeline import TrainingOptions, TrainingResult, train
from streamlstm.training.truncated_bptt import LoopOptions
from streamlstm.training.windowed import WindowOptions, WindowResult, train_windows, tutorial
