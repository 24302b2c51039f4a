"""Recurrent layers in torch with the exact semantics of Keras and TensorFlow 1; needs the extra `train`."""

from streamlstm.nn.across_steps import (
    AcrossSteps,
    Cropping1D,
    Permute,
    RepeatVector,
    Reshape,
    StepwisePReLU,
    UpSampling1D,
    ZeroPadding1D,
)
from streamlstm.nn.activations import NAMES
from streamlstm.nn.bidirectional import Bidirectional
from streamlstm.nn.cell import Cell
from streamlstm.nn.cell_stack import StackedCells
from streamlstm.nn.cells import GRUCell, LSTMCell, SimpleRNNCell
from streamlstm.nn.clipping import clip_gradients
from streamlstm.nn.convolution import CausalConv1D, Conv1D
from streamlstm.nn.dense import Activation, Dense, Dropout, Pointwise
from streamlstm.nn.gates import gates
from streamlstm.nn.layer import RecurrentLayer
from streamlstm.nn.layer_stack import Residual, Stack
from streamlstm.nn.masking import Masking
from streamlstm.nn.normalization import LayerNormalization, RMSNormalization, UnitNormalization
from streamlstm.nn.onnx_operators import from_operator
from streamlstm.nn.operations import State, Value, of
from streamlstm.nn.pooling import (
    AveragePooling1D,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    MaxPooling1D,
    RunningPooling1D,
)
from streamlstm.nn.rectifiers import PReLU, ReLU
from streamlstm.nn.recurrent import GRU, LSTM, RNN, SimpleRNN
from streamlstm.nn.registry import from_config
from streamlstm.nn.symbols import OnnxOperations, added, added_pair
from streamlstm.nn.time_distributed import TimeDistributed
from streamlstm.nn.weights import apply_constraints, regularization_loss
from streamlstm.nn.window import Afresh, Window

# What a configuration may name, and who writes layers uses.
__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AcrossSteps",
    "Activation",
    "Afresh",
    "AveragePooling1D",
    "Bidirectional",
    "CausalConv1D",
    "Cell",
    "Conv1D",
    "Cropping1D",
    "Dense",
    "Dropout",
    "GRUCell",
    "GlobalAveragePooling1D",
    "GlobalMaxPooling1D",
    "LSTMCell",
    "LayerNormalization",
    "Masking",
    "MaxPooling1D",
    "PReLU",
    "Permute",
    "Pointwise",
    "RMSNormalization",
    "ReLU",
    "RecurrentLayer",
    "RepeatVector",
    "Reshape",
    "Residual",
    "RunningPooling1D",
    "SimpleRNN",
    "SimpleRNNCell",
    "Stack",
    "StackedCells",
    "State",
    "StepwisePReLU",
    "TimeDistributed",
    "UnitNormalization",
    "UpSampling1D",
    "Window",
    "ZeroPadding1D",
    "apply_constraints",
    "clip_gradients",
    "from_config",
    "gates",
    "regularization_loss",
]
