"""The options of Keras' recurrent layers, with their types and Keras 3's defaults, as cells and layers take them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypedDict

from streamlstm.nn.activations import ActivationFunction
from streamlstm.nn.constraints import ConstraintSpec
from streamlstm.nn.initializers import InitializerSpec
from streamlstm.nn.regularizers import RegularizerSpec


class SimpleRNNOptions(TypedDict, total=False):
    """What all of Keras' recurrent layers take, with Keras 3's defaults in `SIMPLE_RNN_DEFAULTS`."""

    activation: str | ActivationFunction | None  # of the candidate and, in the LSTM, of the output; None is linear
    use_bias: bool
    kernel_initializer: InitializerSpec
    recurrent_initializer: InitializerSpec
    bias_initializer: InitializerSpec
    kernel_regularizer: RegularizerSpec
    recurrent_regularizer: RegularizerSpec
    bias_regularizer: RegularizerSpec
    kernel_constraint: ConstraintSpec
    recurrent_constraint: ConstraintSpec
    bias_constraint: ConstraintSpec
    dropout: float  # the share of the inputs dropped in training
    recurrent_dropout: float  # the share of h dropped inside the matrix product in training; c never is
    seed: int | None  # of the initial weights and of the masks; None draws from torch's default generator


class LSTMOptions(SimpleRNNOptions, total=False):
    """What the LSTM takes besides."""

    recurrent_activation: str | ActivationFunction | None  # of the gates
    unit_forget_bias: bool  # the forget gate's bias starts at 1
    implementation: int  # 1 draws one mask a gate, 2 one for all; the numbers are the same otherwise


class GRUOptions(SimpleRNNOptions, total=False):
    """What the GRU takes besides."""

    recurrent_activation: str | ActivationFunction | None  # of the gates
    reset_after: bool  # whether the reset gate acts after the matrix product
    implementation: int


SIMPLE_RNN_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "activation": "tanh",
        "use_bias": True,
        "kernel_initializer": "glorot_uniform",
        "recurrent_initializer": "orthogonal",
        "bias_initializer": "zeros",
        "kernel_regularizer": None,
        "recurrent_regularizer": None,
        "bias_regularizer": None,
        "kernel_constraint": None,
        "recurrent_constraint": None,
        "bias_constraint": None,
        "dropout": 0.0,
        "recurrent_dropout": 0.0,
        "seed": None,
    }
)
LSTM_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {**SIMPLE_RNN_DEFAULTS, "recurrent_activation": "sigmoid", "unit_forget_bias": True, "implementation": 2}
)
GRU_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {**SIMPLE_RNN_DEFAULTS, "recurrent_activation": "sigmoid", "reset_after": True, "implementation": 2}
)
