"""Builds the layers of this package from the layers of a Keras file, or says by name why one cannot be carried over.

What an older Keras meant by a name, and what it left out, is decided by the version in the file: `hard_sigmoid` was
`clip(0.2 x + 0.5, 0, 1)` until Keras 3; the gates' default was hard_sigmoid until 2.2; the GRU's `reset_after` was
False by default in standalone Keras 2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from streamlstm import nn
from streamlstm.errors import ModelError, UsageError
from streamlstm.models.importers.keras.affine import AFFINE, affine
from streamlstm.models.importers.keras.around import AROUND, windows
from streamlstm.models.importers.keras.chain import Link, Shape, chain
from streamlstm.models.importers.keras.classes import function_name, is_own_class, own_class
from streamlstm.models.importers.keras.file import KerasFile, Weights
from streamlstm.nn import NAMES

# Layers that do something in training only, or nothing at all.
_TRAINING_ONLY = (
    "ActivityRegularization",
    "AlphaDropout",
    "Dropout",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "SpatialDropout1D",
)
MOST_SHOWN = 60  # characters of a name in the file that an error quotes
_INPUTS = ("InputLayer",)
_RECURRENT = ("LSTM", "GRU", "SimpleRNN", "RNN", "CuDNNLSTM", "CuDNNGRU")
_ACTIVATIONS = ("ReLU", "LeakyReLU", "ELU", "Softmax")  # layers that are activations
_KNOWN = (
    *_RECURRENT[:4],
    "Bidirectional",
    "Dense",
    "TimeDistributed",
    "Activation",
    *_ACTIVATIONS,
    *AFFINE,
    *(kind for kind in AROUND if kind not in _ACTIVATIONS),
)
_ADVICE = {
    "Embedding": "a value is F numbers: train on categories that are numbers, one for each category (one-hot)",
    "Lambda": "what it does is code; do that to the values before the model or to the forecasts after it, or train "
    "with a layer that is one of " + ", ".join(_KNOWN),
}
_UNKNOWN = "layers of this class are not known here; train with " + ", ".join(_KNOWN)
_OWN_CODE = "what it does is not in the file; train with the layer of Keras that does the same, and save that"


class LayerBuilder:
    """Makes layers for one file."""

    def __init__(self, file: KerasFile) -> None:
        self.file = file

    def refuse(self, layer: Mapping[str, Any], why: str) -> ModelError:
        """Word an error about one layer."""
        name = str((layer.get("config") or {}).get("name", "unnamed"))[:MOST_SHOWN]
        kind, why = str(layer["class_name"])[:MOST_SHOWN], " ".join(why.split())[: 10 * MOST_SHOWN]
        return ModelError(f"{self.file.path}: layer {name!r} ({kind}) cannot be carried over: {why}")

    def refuse_unknown(self, layer: Mapping[str, Any]) -> None:
        """Raise ModelError for a layer that no input would make any better."""
        kind = str(layer.get("class_name"))
        if kind not in (*_KNOWN, *_RECURRENT, *_TRAINING_ONLY, *_INPUTS) and not is_own_class(layer):
            raise self.refuse(layer, _ADVICE.get(kind, _UNKNOWN))

    def build(self, layer: Mapping[str, Any], shape: Shape) -> list[nn.RecurrentLayer]:
        """Make the layers that do what one does, with its weights; none for one that does nothing when serving.

        `shape` is that of its inputs; steps are None for any.
        """
        try:
            self._check(layer)
            if layer["class_name"] == "TimeDistributed":
                return self._distributed(layer, shape)
            return self._filled(layer, shape, self._weights(layer))
        except UsageError as error:
            raise self.refuse(layer, str(error)) from None
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise self.refuse(layer, f"its configuration lacks or misstates {error}; save the model again") from None

    def _filled(self, layer: Mapping[str, Any], shape: Shape, weights: Weights) -> list[nn.RecurrentLayer]:
        kind = str(layer["class_name"])
        if kind in _TRAINING_ONLY:
            return []
        if kind in AFFINE:
            made, weights = affine(layer, weights, shape)
        elif kind in AROUND and not (kind == "ReLU" and self._is_plain(layer)):
            made = AROUND[kind](layer["config"], shape, self._activation(layer) if kind == "Conv1D" else None)
        else:
            made = [self.make(layer)]
        if kind == "LayerNormalization":  # over steps too its numbers stand in a row
            weights = [weight.ravel() for weight in weights]
        if made or weights:
            made = made or [nn.Activation(None)]
            fill(made[0] if len(made) == 1 else nn.Stack(made), shape[-1], weights)
        return made

    def _distributed(self, layer: Mapping[str, Any], shape: Shape) -> list[nn.RecurrentLayer]:
        """What a TimeDistributed does to every step: a layer, or all the layers of a model."""
        if len(shape) < 2:
            raise UsageError("it needs every step's input: set return_sequences on the layer before")
        held, model = layer["config"]["layer"], self.file.models.get(layer["config"]["name"])
        if model is not None:
            made = [part.layer for part in parts_of(chain(model), shape[1:])[0]]
        else:
            self._check(held)
            self.refuse_unknown(held)
            made = self._filled(held, shape[1:], self._weights(layer))
        if all(isinstance(one, nn.Pointwise) for one in made):
            return made
        if any(getattr(one, "stateful", False) for one in made):
            raise UsageError("it holds a stateful layer, which would carry its state from step to step; train without")
        known = windows(shape, "")
        return [nn.TimeDistributed(known, made[0] if len(made) == 1 else nn.Stack(made, input_size=known[-1]))]

    def _is_plain(self, layer: Mapping[str, Any]) -> bool:
        """Whether a ReLU layer is one of the activations that have a name."""
        try:
            self._activation_layer(layer)
        except ModelError:
            return False
        return True

    def make(self, layer: Mapping[str, Any]) -> nn.RecurrentLayer:
        """Make one layer without parameters; raises ModelError for a class that is not known."""
        kind, config = str(layer["class_name"]), layer["config"]
        if kind in _RECURRENT:
            return self._recurrent(layer)
        if kind == "Bidirectional":
            return self._bidirectional(layer)
        if kind == "Dense":
            return nn.Dense(
                config["units"], activation=self._activation(layer), use_bias=bool(config.get("use_bias", True))
            )
        if kind in ("Activation", *_ACTIVATIONS):
            return nn.Activation(self._activation(layer))
        raise self.refuse(layer, _ADVICE.get(kind, _UNKNOWN))

    def _check(self, layer: Mapping[str, Any]) -> None:
        if is_own_class(layer):
            raise self.refuse(layer, f"it is of {own_class(layer)}; {_OWN_CODE}")
        config = layer["config"]
        policy = config.get("dtype")
        policy = policy.get("config") if isinstance(policy, Mapping) else policy
        policy = policy.get("name") if isinstance(policy, Mapping) else policy
        if policy not in (None, "float32", "float64"):
            raise self.refuse(layer, f"it computes in {policy}; build the model in float32 and copy the weights")
        if config.get("time_major"):
            raise self.refuse(layer, "time_major=True; build the model with time_major=False and copy the weights")

    def _activation(self, layer: Mapping[str, Any], key: str = "activation", default: str | None = None) -> str | None:
        """Name the activation a layer has under `key`, or is."""
        kind, config = layer["class_name"], layer["config"]
        if kind in _ACTIVATIONS:
            return self._activation_layer(layer)
        value = config.get(key, default)
        if value is None:
            return None
        if isinstance(value, Mapping) and value.get("class_name") in _ACTIVATIONS and not is_own_class(value):
            return self._activation_layer(value)
        name = function_name(value)
        if name is None:
            what = "is code of its author's, such as a lambda, which the file does not say in numbers"
            raise self.refuse(layer, f"its {key} {what}; train with one of {', '.join(NAMES)}")
        if name == "hard_sigmoid" and self.file.major < 3:
            return "hard_sigmoid_keras2"
        if name not in NAMES:
            raise self.refuse(layer, f"its {key} {name[:60]!r} is not known here; train with one of {', '.join(NAMES)}")
        return name

    def _activation_layer(self, layer: Mapping[str, Any]) -> str:
        kind, config = layer["class_name"], layer.get("config") or {}
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
            self._check({**cell, "config": {"name": config.get("name"), **cell["config"]}})
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
        self._check(cell)
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
            if way["class_name"] not in _RECURRENT:
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
        if len(weights) % 3:
            raise UsageError(f"{inner} has three weights, but {len(weights)} were given")
        converted: Weights = []
        for start in range(0, len(weights), 3):
            converted += from_cudnn(str(inner), weights[start : start + 3])
        return converted


@dataclass(frozen=True, kw_only=True)
class ChainPart:
    """A layer of the chain, the shape of its inputs, and how to word an error about it."""

    layer: nn.RecurrentLayer
    shape: Shape
    refuse: Callable[[str], ModelError]


def parts_of(links: Sequence[Link], shape: Shape) -> tuple[list[ChainPart], Shape]:
    """The layers in order with their weights, for inputs of a shape, and the shape of what comes out."""
    parts: list[ChainPart] = []
    for holder, layer in links:
        if layer["class_name"] == "InputLayer":
            continue
        builder = LayerBuilder(holder)
        for one in builder.build(layer, shape):
            if isinstance(one, nn.RNN | nn.Bidirectional) and len(shape) == 1:
                raise builder.refuse(
                    layer, "the layer before gives its last output only; set return_sequences=True there"
                )
            parts.append(ChainPart(layer=one, shape=shape, refuse=partial(builder.refuse, layer)))
            try:
                shape = one.output_shape(shape)
            except UsageError as error:
                raise builder.refuse(layer, str(error)) from None
    return parts, shape


def fill(made: nn.RecurrentLayer, input_size: int, weights: Weights) -> None:
    """Build a layer for values of `input_size` numbers around its weights.

    Raises UsageError where number or shape differ from what it asks for, before anything of that size is allocated,
    and for weights that are not finite.
    """
    try:
        with torch.device("meta"):  # parameters without memory
            made.build(input_size)
    except RuntimeError:  # sizes that overflow when they are multiplied
        raise UsageError(f"{type(made).__name__} cannot have {made.output_size} units") from None
    asked = [tuple(parameter.shape) for parameter in made.parameters()]
    if len(asked) != len(weights):
        raise UsageError(f"{type(made).__name__} has {len(asked)} weights, but {len(weights)} were given")
    for (name, parameter), weight in zip(made.named_parameters(), weights, strict=True):
        if tuple(parameter.shape) != weight.shape:
            raise UsageError(f"{name} has shape {tuple(parameter.shape)}, but was given {weight.shape}")
        if not np.isfinite(weight).all():
            raise UsageError(f"{name} holds numbers that are not finite: its training failed; train it again")
    made.to_empty(device="cpu")
    made.set_weights(weights)


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
