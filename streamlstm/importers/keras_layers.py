"""Builds the layers of this package from the layers of a Keras file, or says by name why one cannot be carried over.

What an older Keras meant by a name, and what it left out, is decided by the version in the file: `hard_sigmoid` was
`clip(0.2 x + 0.5, 0, 1)` until Keras 3; the gates' default was hard_sigmoid until 2.2; the GRU's `reset_after` was
False by default in standalone Keras 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from streamlstm import nn
from streamlstm.errors import ModelError, UsageError
from streamlstm.importers.keras_file import KerasFile, Weights
from streamlstm.nn.activations import NAMES

# Layers that do something in training only.
_TRAINING_ONLY = (
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout1D",
)
_ADVICE = {
    "BatchNormalization": "fold it into the layer before it, or train without it",
    "Masking": "leave it out: a missing value is handled outside the model (serve --missing)",
    "Embedding": "a value is F numbers; encode categories before the model",
    "Lambda": "its code is not in the file; write the step with a layer that is",
}


class LayerBuilder:
    """Makes layers for one file."""

    def __init__(self, file: KerasFile) -> None:
        self.file = file

    def refuse(self, layer: Mapping[str, Any], why: str) -> ModelError:
        """Word an error about one layer."""
        name = layer.get("config", {}).get("name", "unnamed")
        return ModelError(f"{self.file.path}: layer {name!r} ({layer['class_name']}) cannot be carried over: {why}")

    def build(self, layer: Mapping[str, Any], input_size: int) -> nn.RecurrentLayer | None:
        """Make one layer with its weights; None for a layer that does nothing when serving."""
        kind = str(layer["class_name"])
        self._check(layer)
        if kind in _TRAINING_ONLY:
            return None
        try:
            made = self.make(layer)
            made.build(input_size)
            made.set_weights(self._weights(layer))
        except UsageError as error:
            raise self.refuse(layer, str(error)) from None
        return made

    def make(self, layer: Mapping[str, Any]) -> nn.RecurrentLayer:
        """Make one layer without parameters; raises ModelError for a class that is not known."""
        kind, config = str(layer["class_name"]), layer["config"]
        if kind in ("LSTM", "GRU", "SimpleRNN", "RNN", "CuDNNLSTM", "CuDNNGRU"):
            return self._recurrent(layer)
        if kind == "Bidirectional":
            return self._bidirectional(layer)
        if kind == "Dense":
            return nn.Dense(
                config["units"], activation=self._activation(layer), use_bias=bool(config.get("use_bias", True))
            )
        if kind == "TimeDistributed":
            inner = config["layer"]
            if inner["class_name"] not in ("Dense", "Activation"):
                raise self.refuse(layer, f"it holds a {inner['class_name']}; only Dense and Activation can stand in it")
            return self.make(inner)
        if kind in ("Activation", "ReLU", "LeakyReLU", "ELU", "Softmax"):
            return nn.Activation(self._activation(layer))
        raise self.refuse(layer, _ADVICE.get(kind, "layers of this class are not known here"))

    def _check(self, layer: Mapping[str, Any]) -> None:
        config = layer["config"]
        policy = config.get("dtype")
        policy = policy.get("config", {}).get("name") if isinstance(policy, Mapping) else policy
        if policy not in (None, "float32", "float64"):
            raise self.refuse(layer, f"it computes in {policy}; build the model in float32 and copy the weights")
        if config.get("time_major"):
            raise self.refuse(layer, "time_major=True; build the model with time_major=False and copy the weights")

    def _activation(self, layer: Mapping[str, Any], key: str = "activation", default: str | None = None) -> str | None:
        """Name the activation a layer has under `key`, or is."""
        kind, config = layer["class_name"], layer["config"]
        if kind in ("ReLU", "LeakyReLU", "ELU", "Softmax"):
            return self._activation_layer(layer)
        value = config.get(key, default)
        if isinstance(value, Mapping):
            if value.get("class_name") in ("ReLU", "LeakyReLU", "ELU", "Softmax"):
                return self._activation_layer(value)
            value = value.get("config") if value.get("class_name") == "function" else value.get("class_name")
        if value is None:
            return None
        if value == "hard_sigmoid" and self.file.major < 3:
            return "hard_sigmoid_keras2"
        if not isinstance(value, str) or value not in NAMES:
            raise self.refuse(layer, f"its {key} {value!r} is not known here; use one of {', '.join(NAMES)}")
        return value

    def _activation_layer(self, layer: Mapping[str, Any]) -> str:
        kind, config = layer["class_name"], layer["config"]
        if kind == "Softmax":
            if config.get("axis", -1) not in (-1, [-1]):
                raise self.refuse(layer, "its axis is not the last")
            return "softmax"
        if kind == "ELU":
            return f"elu({float(config.get('alpha', 1.0))!r})"
        if kind == "LeakyReLU":
            return f"leaky_relu({float(config.get('negative_slope', config.get('alpha', 0.3)))!r})"
        limit, slope = config.get("max_value"), float(config.get("negative_slope") or 0.0)
        if config.get("threshold") or (limit is not None and (slope or limit != 6)):
            raise self.refuse(layer, "only ReLU with max_value None or 6 and threshold 0 is known here")
        return f"leaky_relu({slope!r})" if slope else "relu" if limit is None else "relu6"

    def _recurrent(self, layer: Mapping[str, Any]) -> nn.RNN:
        kind, config = str(layer["class_name"]), layer["config"]
        call: dict[str, Any] = {
            key: bool(config.get(key, False)) for key in ("return_sequences", "go_backwards", "stateful")
        }
        if kind == "RNN":
            cell = config["cell"]
            cells = cell["config"]["cells"] if cell["class_name"] == "StackedRNNCells" else [cell]
            made = [self._cell({**one, "config": {"name": config.get("name"), **one["config"]}}) for one in cells]
            return nn.RNN(made if cell["class_name"] == "StackedRNNCells" else made[0], **call)
        options = self._cell_options(layer)
        units = options.pop("units")
        if kind in ("LSTM", "CuDNNLSTM"):
            return nn.LSTM(units, **options, **call)
        return (nn.SimpleRNN if kind == "SimpleRNN" else nn.GRU)(units, **options, **call)

    def _cell(self, cell: Mapping[str, Any]) -> nn.Cell:
        kinds: dict[str, Any] = {"LSTMCell": nn.LSTMCell, "GRUCell": nn.GRUCell, "SimpleRNNCell": nn.SimpleRNNCell}
        kind = str(cell["class_name"])
        if kind not in kinds:
            raise self.refuse(cell, f"cells of this class are not known here, only {', '.join(kinds)}")
        options = self._cell_options(cell)
        made: nn.Cell = kinds[kind](options.pop("units"), **options)
        return made

    def _cell_options(self, layer: Mapping[str, Any]) -> dict[str, Any]:
        """What decides the numbers when serving; the options of training stay behind."""
        kind, config = str(layer["class_name"]).removesuffix("Cell"), layer["config"]
        options: dict[str, Any] = {"units": config["units"]}
        if kind.startswith("CuDNN"):
            return options
        options["activation"] = self._activation(layer, "activation", "tanh")
        options["use_bias"] = bool(config.get("use_bias", True))
        if kind in ("LSTM", "GRU"):
            options["recurrent_activation"] = self._activation(layer, "recurrent_activation", self._default_gate())
        if kind == "GRU":
            options["reset_after"] = bool(config.get("reset_after", self._default_reset_after()))
        return options

    def _numbers(self) -> tuple[int, int]:
        first, second = self.file.version.split(".")[:2]
        return int(first), int("".join(c for c in second if c.isdigit()) or 0)

    def _default_gate(self) -> str:
        """Standalone Keras 2 turned to sigmoid with 2.3; tf.keras (2.x-tf, later 2.4 and up) and Keras 3 have it."""
        if self._numbers() <= (2, 2) and not self.file.version.endswith("-tf"):
            return "hard_sigmoid"
        return "sigmoid"

    def _default_reset_after(self) -> bool:
        """Standalone Keras ended with 2.3; from 2.4 on the number is that of tf.keras, whose default is True."""
        return self._numbers() >= (2, 4) or self.file.version.endswith("-tf")

    def _bidirectional(self, layer: Mapping[str, Any]) -> nn.Bidirectional:
        config = layer["config"]
        if config.get("merge_mode", "concat") is None:
            raise self.refuse(layer, "merge_mode None gives two outputs; merge them by concat, sum, ave or mul")
        made: list[nn.RNN] = []
        for way in (config["layer"], config.get("backward_layer")):
            if way is None:  # files of older Keras name one layer for both ways
                continue
            self._check(way)
            if way["class_name"] not in ("LSTM", "GRU", "SimpleRNN", "RNN", "CuDNNLSTM", "CuDNNGRU"):
                raise self.refuse(layer, f"it holds a {way['class_name']}; only recurrent layers can stand in it")
            made.append(self._recurrent(way))
        back = made[1] if len(made) > 1 else None
        return nn.Bidirectional(made[0], config.get("merge_mode", "concat"), backward_layer=back)

    def _weights(self, layer: Mapping[str, Any]) -> Weights:
        weights = list(self.file.weights.get(str(layer["config"].get("name")), []))
        kind, config = str(layer["class_name"]), layer["config"]
        inner = config["layer"]["class_name"] if kind == "Bidirectional" else kind
        if not str(inner).startswith("CuDNN"):
            return weights
        converted: Weights = []
        for start in range(0, len(weights), 3):
            converted += from_cudnn(str(inner), weights[start : start + 3])
        return converted


def from_cudnn(kind: str, weights: Sequence[np.ndarray[Any, Any]]) -> Weights:
    """Turn the weights of CuDNNLSTM or CuDNNGRU into those of LSTM or GRU (reset_after).

    cuDNN keeps, gate by gate, a matrix (u, F) or (u, u) to multiply from the left; Keras stored its numbers in that
    order under the shape (F, gates·u). It adds two biases; the LSTM's are summed, the GRU's kept apart.
    """
    kernel, recurrent, bias = (np.asarray(weight, dtype=np.float32) for weight in weights)
    gates = 4 if kind == "CuDNNLSTM" else 3

    def turned(matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        rows = matrix.shape[0]
        parts = np.split(matrix, gates, axis=1)
        return np.concatenate([part.reshape(part.shape[1], rows).T for part in parts], axis=1)

    halves = bias.reshape(2, -1)
    return [turned(kernel), turned(recurrent), halves.sum(axis=0) if gates == 4 else halves]
