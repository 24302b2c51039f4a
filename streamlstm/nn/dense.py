"""Layers without a state: Keras' Dense, Activation and Dropout, at every step alike."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import torch
from torch import Tensor

from streamlstm.nn import activations
from streamlstm.nn.cell import checked_rate, checked_units, merge_options
from streamlstm.nn.cells import emit_product
from streamlstm.nn.constraints import ConstraintSpec
from streamlstm.nn.initializers import InitializerSpec
from streamlstm.nn.layer import RecurrentLayer, State
from streamlstm.nn.regularizers import RegularizerSpec, regularizer
from streamlstm.nn.weights import jsonable
from streamlstm.spec import StateEntry

if TYPE_CHECKING:
    from streamlstm.export.graph import Graph


class Pointwise(RecurrentLayer):
    """A layer that maps every step's values on their own, and has no state."""

    def __init__(self, settings: Mapping[str, Any], input_size: int | None, seed: int | None = None) -> None:
        super().__init__(seed)
        self.settings = dict(settings)
        self.output_size = 0 if input_size is None else input_size
        if input_size is not None:
            self.build(input_size)

    @abstractmethod
    def apply_to(self, x: Tensor) -> Tensor:
        """Map x (…, input_size) to (…, output_size)."""

    @abstractmethod
    def emit_map(self, graph: Graph, x: str) -> str:
        """Add the nodes of `apply_to`, without dropout."""

    def build(self, input_size: int) -> None:
        """Remember the size of the values, which is that of the outputs."""
        self.input_size = self.output_size = input_size

    def state_entries(self) -> tuple[StateEntry, ...]:
        """None."""
        return ()

    def forward(self, x: Tensor) -> Tensor:
        """Map x (…, input_size) to (…, output_size)."""
        if self.input_size is None:
            self.build(x.shape[-1])
        return self.apply_to(x)

    def scan(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Map x (T, B, F)."""
        return self(x), state

    def emit(self, graph: Graph, x: str, state: Sequence[str]) -> tuple[str, list[str]]:
        """Add the nodes of `scan`."""
        return self.emit_map(graph, x), list(state)

    def sequence(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Map windows (W, N, F) or what a layer before made of them, (N, F)."""
        return self(x), mask

    def emit_sequence(self, graph: Graph, x: str, lengths: str) -> tuple[str, bool]:
        """Add the nodes of `sequence`; a Stack knows whether the axis W is still there."""
        del lengths
        return self.emit_map(graph, x), True

    def config(self) -> dict[str, Any]:
        """Give the class and its options."""
        return {"class": type(self).__name__, **jsonable(self.settings), "input_size": self.input_size}


class DenseOptions(TypedDict, total=False):
    """The options of `Dense`, Keras' names and defaults."""

    activation: str | activations.Activation | None
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
        """Make kernel and bias."""
        self.input_size, options = input_size, self.settings
        for name, shape in (("kernel", (input_size, self.units)), ("bias", (self.units,))):
            if name == "bias" and not options["use_bias"]:
                self.register_parameter("bias", None)
            else:
                initial, penalty, limit = (options[f"{name}_{k}"] for k in ("initializer", "regularizer", "constraint"))
                self.add_weight(name, shape, initial, penalty, limit)

    def apply_to(self, x: Tensor) -> Tensor:
        """Multiply, add, bend."""
        z = x @ self.kernel
        y = self.activation(z if self.bias is None else z + self.bias)
        if self.activity_regularizer is not None:
            self.activity_penalty = self.activity_regularizer(y) / (y.shape[1] if y.dim() == 3 else len(y))
        return y

    def emit_map(self, graph: Graph, x: str) -> str:
        """Add MatMul, Add and the activation."""
        return self.activation.emit(graph, emit_product(graph, x, self.kernel, self.bias))


class Activation(Pointwise):
    """An activation as a layer of its own."""

    def __init__(self, activation: str | activations.Activation | None, *, input_size: int | None = None) -> None:
        function = activations.activation(activation)
        super().__init__({"activation": function}, input_size)
        self.activation = function

    def apply_to(self, x: Tensor) -> Tensor:
        """Bend."""
        return self.activation(x)

    def emit_map(self, graph: Graph, x: str) -> str:
        """Add the activation."""
        return self.activation.emit(graph, x)


class Dropout(Pointwise):
    """Keras' Dropout: in training a fresh mask for every number, scaled by 1 / (1 - rate); otherwise nothing."""

    def __init__(self, rate: float, *, input_size: int | None = None, seed: int | None = None) -> None:
        super().__init__({"rate": checked_rate("Dropout: rate", rate), "seed": seed}, input_size, seed)
        self.rate = rate

    def apply_to(self, x: Tensor) -> Tensor:
        """Drop while training."""
        if not self.training or self.rate == 0.0:
            return x
        device = x.device if self.generator is None else self.generator.device
        kept = torch.rand(x.shape, generator=self.generator, device=device) >= self.rate
        return x * kept.to(x) / (1.0 - self.rate)

    def emit_map(self, graph: Graph, x: str) -> str:
        """Add nothing: serving drops nothing."""
        del graph
        return x
