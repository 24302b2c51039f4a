"""The forecaster: raw values and a packed state stepped, in torch and as a graph, by one text of small parts."""

from streamlstm.training.forecaster.lags import LagFeatures
from streamlstm.training.forecaster.model import Forecaster, ForecasterConfig
from streamlstm.training.forecaster.scaling import Scaling
from streamlstm.training.forecaster.skip import LinearSkip
from streamlstm.training.forecaster.stack import LAYER_KINDS, Ensemble, RecurrentCorrection
from streamlstm.training.forecaster.windowed import WindowConfig, WindowForecaster
