"""Training: from series to a checked step model, with one-step errors next to the naive forecasts'."""

from streamlstm.evaluation.scores import Errors
from streamlstm.training.fitting import Progress
from streamlstm.training.pipeline import TrainingOptions, TrainingResult, train
from streamlstm.training.truncated_bptt import LoopOptions

__all__ = ["Errors", "LoopOptions", "Progress", "TrainingOptions", "TrainingResult", "train"]
