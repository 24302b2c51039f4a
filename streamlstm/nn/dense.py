"""Layers without a state: Keras' Dense, Activation and Dropout, at every step alike."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor

from streamlstm.models import StateEntry
from streamlstm.nn import activations
from streamlstm.nn.cell import checked_rate, checked_units, merge_options
from streamlstm.nn.constraints import ConstraintSpec
from streamlstm.nn.initializers import InitializerSpec
from streamlstm.nn.layer import RecurrentLayer
from streamlstm.nn.operations import State, Value
from streamlstm.nn.regularizers import RegularizerSpec, regularizer
from streamlstm.nn.weights import jsonable


class Pointwise(RecurrentLayer):
    """A layer that maps every step's values on their own, and has no state."""

    takes = (1, 2, 3)

    def __init__(self, settings: Mapping[str, Any], input_size: int | None, seed: int | None = None) -> None:
        super().__init__(seed)
        self.settings = dict(settings)
        self.output_size = 0 if input_size is None else input_size
        if input_size is not None:
            self.build(input_size)

    @abstractmethod
    def apply_to(self, x: Value) -> Value:
        """Map x (…, input_size) to (…, output_size); in a graph nothing is dropped."""

    def build(self, input_size: int) -> None:
        """Remember the size of the values, which is that of the outputs."""
        self.input_size = self.output_size = input_size

    def state_entries(self) -> tuple[StateEntry, ...]:
        return ()

    def forward(self, x: Value) -> Value:
        """Map x (…, input_size) to (…, output_size)."""
        if self.input_size is None:
            self.build(x.shape[-1])
        return self.apply_to(x)

    def scan(self, x: Value, state: State) -> tuple[Value, State]:
        """Map x (T, B, F)."""
        return self(x), state

    def sequence(self, x: Value, live: Value | None = None) -> tuple[Value, Value | None]:
        """Map windows (W, N, F) or what a layer before made of them, (N, F)."""
        return self(x), live

    def config(self) -> dict[str, Any]:
        """Give the class and its options."""
        return {"class": type(self).__name__, **jsonable(self.settings), "input_size": self.input_size}


class DenseOptions(TypedDict, total=False):
    """The options of `Dense`, Keras' names and defaults."""

    activation: str | activations.ActivationFunction | None
    use_bias: bool
    kernel_initializer: InitializerSpec
    bias_initializer: InitializerSpec
    kernel_regularizer: RegularizerSpec
    bias_regularizer: RegularizerSpec
    activity_regularizer: RegularizerSpec
    kernel_constraint: ConstraintSpec
    bias_constraint: ConstraintSpec
    seed: int | None


_DENSE_DEFAULTS: DenseOptions = {
    "activation": None,
    "use_bias": True,
    "kernel_initializer": "glorot_uniform",
    "bias_initializer": "zeros",
    "kernel_regularizer": None,
    "bias_regularizer": None,
    "activity_regularizer": None,
    "kernel_constraint": None,
    "bias_constraint": None,
    "seed": None,
}


class Dense(Pointwise):
    """`a(x K + b)`, K (F, units), as Keras' Dense; over a sequence it is TimeDistributed(Dense)."""

    kernel: Tensor
    bias: Tensor | None

    def __init__(self, units: int, *, input_size: int | None = None, **options: Unpack[DenseOptions]) -> None:
        settings = merge_options("Dense", _DENSE_DEFAULTS, options)
        self.units = checked_units("Dense", units)
        super().__init__({"units": units, **settings}, None, settings["seed"])
        self.output_size = units
        self.activation = activations.activation(settings["activation"])
        self.activity_regularizer = regularizer(settings["activity_regularizer"])
        if input_size is not None:
            self.build(input_size)

    def build(self, input_size: int) -> None:
        self.input_size, options = input_size, self.settings
        for name, shape in (("kernel", (input_size, self.units)), ("bias", (self.units,))):
            if name == "bias" and not options["use_bias"]:
                self.register_parameter("bias", None)
            else:
                initial, penalty, limit = (options[f"{name}_{k}"] for k in ("initializer", "regularizer", "constraint"))
                self.add_weight(name, shape, initial, penalty, limit)

    def apply_to(self, x: Value) -> Value:
        z = x @ self.kernel
        y = self.activation(z if self.bias is None else z + self.bias)
        if self.activity_regularizer is not None and isinstance(y, Tensor):
            self.activity_penalty = self.activity_regularizer(y) / (y.shape[1] if y.dim() == 3 else len(y))
        return y


class Activation(Pointwise):
    """An activation as a layer of its own."""

    def __init__(
        self, activation: str | activations.ActivationFunction | None, *, input_size: int | None = None
    ) -> None:
        function = activations.activation(activation)
        super().__init__({"activation": function}, input_size)
        self.activation = function

    def apply_to(self, x: Value) -> Value:
        return self.activation(x)


class Dropout(Pointwise):
    """Keras' Dropout: in training a fresh mask for every number, scaled by 1 / (1 - rate); otherwise nothing."""

    def __init__(self, rate: float, *, input_size: int | None = None, seed: int | None = None) -> None:
        super().__init__({"rate": checked_rate("Dropout: rate", rate), "seed": seed}, input_size, seed)
        self.rate = rate

    def apply_to(self, x: Value) -> Value:
        if not self.training or self.rate == 0.0 or not isinstance(x, Tensor):
            return x
        device = x.device if self.generator is None else self.generator.device
        kept = torch.rand(x.shape, generator=self.generator, device=device) >= self.rate
        return x * kept.to(x) / (1.0 - self.rate)
