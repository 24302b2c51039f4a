"""Training: from series to a checked step model, with one-step errors next to the naive forecasts'."""

from streamlstm.train.loop import LoopOptions
from streamlstm.train.scores import Errors
from streamlstm.train.training import Progress, TrainingOptions, TrainingResult, train

__all__ = ["Errors", "LoopOptions", "Progress", "TrainingOptions", "TrainingResult", "train"]
