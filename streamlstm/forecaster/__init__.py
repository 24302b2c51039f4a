"""The forecaster: a torch module that steps raw values and a packed state, made of small parts that also emit ONNX."""

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
