"""The forecaster: raw values and a packed state stepped, in torch and as a graph, by one text of small parts."""

from streamlstm.forecaster.lags import LagFeatures
from streamlstm.forecaster.model import Forecaster, ForecasterConfig
from streamlstm.forecaster.scaling import Scaling
from streamlstm.forecaster.skip import LinearSkip
from streamlstm.forecaster.stack import LAYER_KINDS, Ensemble, RecurrentCorrection
from streamlstm.forecaster.windowed import WindowConfig, WindowForecaster

__all__ = [
    "LAYER_KINDS",
    "Ensemble",
    "Forecaster",
    "ForecasterConfig",
    "LagFeatures",
    "LinearSkip",
    "RecurrentCorrection",
    "Scaling",
    "WindowConfig",
    "WindowForecaster",
]
