"""Training: from series to a checked step model, with one-step errors next to the naive forecasts'."""

from streamlstm.evaluation.scores import Errors
from streamlstm.train.fitting import Progress
from streamlstm.train.loop import LoopOptions
from streamlstm.train.training import TrainingOptions, TrainingResult, train

__all__ = ["Errors", "LoopOptions", "Progress", "TrainingOptions", "TrainingResult", "train"]
