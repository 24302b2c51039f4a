"""Keras' cells: LSTM, GRU and SimpleRNN, with every option of theirs, and cells stacked upon each other.

Parameters are laid out and ordered as in Keras (`kernel` (F, gates·u), `recurrent_kernel` (u, gates·u), `bias`), so
weights move over as they are, and penalties, constraints and clipping by norm see the matrices Keras sees.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from streamlstm.errors import UsageError
from streamlstm.models import StateEntry
from streamlstm.nn.activation_function import ActivationFunction
from streamlstm.nn.activations import activation
from streamlstm.nn.cell import Cell, Masks, checked_rate, checked_units, draw_mask, merge_options
from streamlstm.nn.operations import State, Value, of
from streamlstm.nn.options import (
    GRU_DEFAULTS,
    LSTM_DEFAULTS,
    SIMPLE_RNN_DEFAULTS,
    GRUOptions,
    LSTMOptions,
    SimpleRNNOptions,
)
from streamlstm.nn.recurrence import Recurrence


class KerasCell(Cell):
    """What the three cells share: options, parameters, dropout masks."""

    gate_count: int
    kernel: Tensor
    recurrent_kernel: Tensor
    bias: Tensor | None

    def __init__(self, units: int, options: Mapping[str, Any]) -> None:
        super().__init__(options["seed"])
        name = type(self).__name__
        self.units = self.output_size = checked_units(name, units)
        self.settings = {"units": units, **options}
        self.activation = activation(options["activation"])
        self.dropout = checked_rate(f"{name}: dropout", options["dropout"])
        self.recurrent_dropout = checked_rate(f"{name}: recurrent_dropout", options["recurrent_dropout"])
        implementation = options.get("implementation", 2)
        if implementation not in (1, 2):
            raise UsageError(f"{name}: implementation must be 1 or 2, not {implementation!r}")
        # Keras draws a mask a gate with implementation 1, to which it also turns for recurrent dropout; its SimpleRNN
        # has but one gate.
        self.mask_count = self.gate_count if implementation == 1 or self.recurrent_dropout else 1

    def make(self, input_size: int) -> None:
        """Make kernel (F, gates·u), recurrent kernel (u, gates·u) and bias."""
        width, options = self.gate_count * self.units, self.settings
        for name, key, rows in (("kernel", "kernel", input_size), ("recurrent_kernel", "recurrent", self.units)):
            self.add_weight(
                name,
                (rows, width),
                options[f"{key}_initializer"],
                options[f"{key}_regularizer"],
                options[f"{key}_constraint"],
            )
        if options["use_bias"]:
            initial, penalty, limit = (options[f"bias_{k}"] for k in ("initializer", "regularizer", "constraint"))
            self.add_weight("bias", self.bias_shape(), initial, penalty, limit)
        else:
            self.register_parameter("bias", None)

    def bias_shape(self) -> tuple[int, ...]:
        """One bias for each gate's unit; the GRU with reset_after has two."""
        return (self.gate_count * self.units,)

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The output `h`, of `units` numbers."""
        return (StateEntry(name="h", shape=(self.units,)),)

    def draw(self, x: Tensor) -> Masks | None:
        """Masks of the inputs and of h, while training."""
        if not self.training or not (self.dropout or self.recurrent_dropout):
            return None

        def masks(width: int, rate: float) -> tuple[Tensor, ...]:
            return tuple(draw_mask(x, width, rate, self.generator) for _ in range(self.mask_count if rate else 0))

        return Masks(masks(x.shape[-1], self.dropout), masks(self.units, self.recurrent_dropout))

    def scan(
        self, x: Value, state: State, masks: Masks | None = None, live: Value | None = None
    ) -> tuple[Value, State]:
        """Step through x (T, B, F), with the side's own operator where it computes the same thing."""
        per_gate = masks is not None and (len(masks.input) > 1 or masks.recurrent)
        loop = None if per_gate else of(x).kernel(self.recurrence(), live)
        if loop is None:
            return super().scan(x, state, masks, live)
        return loop(x * masks.input[0] if masks is not None and masks.input else x, state)

    @abstractmethod
    def recurrence(self) -> Recurrence:
        """The whole loop, for those who do all steps at once."""

    def _recurrence(self, kind: str, *functions: ActivationFunction, **options: Any) -> Recurrence:
        return Recurrence(
            kind=kind,
            functions=functions,
            kernel=self.kernel,
            recurrent=self.recurrent_kernel,
            bias=self.bias,
            training=self.training,
            **options,
        )


def product(x: Value, masks: Sequence[Tensor], matrix: Tensor, gates: int) -> Value:
    """Multiply x (B, n) by a matrix (n, gates·u), x masked for all gates alike or for each gate by its own mask."""
    if len(masks) > 1:
        parts = zip(masks, matrix.chunk(gates, dim=1), strict=True)
        return torch.cat([(x * mask) @ part for mask, part in parts], dim=1)
    return (x * masks[0] if masks else x) @ matrix


def gate_sums(x: Value, h: Value, masks: Masks | None, cell: Any, bias: Tensor | None) -> Value:
    """`x K + h R + b` of all gates, (B, gates·u): the bias is added last, but in a graph before `h R`.

    The order is that of the models that are there: another would give them other bits.
    """

    def recurrent() -> Value:
        return product(h, masks.recurrent if masks else (), cell.recurrent_kernel, cell.gate_count)

    alone = recurrent() if cell.gate_count == 1 else None  # a single gate's product is the first node of its step
    z = product(x, masks.input if masks else (), cell.kernel, cell.gate_count)
    if bias is not None and of(x).folds:
        z = z + bias
    z = z + (recurrent() if alone is None else alone)
    return z if bias is None or of(x).folds else z + bias


class LSTMCell(KerasCell):
    """`c' = r(z_f) c + r(z_i) a(z_c)`, `h' = r(z_o) a(c')` with `z = x K + h R + b`; state (h, c).

    `units` and the options are Keras'; see `LSTMOptions`.
    """

    gate_count = 4

    def __init__(self, units: int, **options: Unpack[LSTMOptions]) -> None:
        super().__init__(units, merge_options("LSTM", LSTM_DEFAULTS, options))
        self.recurrent_activation = activation(self.settings["recurrent_activation"])

    def make(self, input_size: int) -> None:
        """Make the parameters; the forget gate's bias starts at 1 if `unit_forget_bias`."""
        super().make(input_size)
        if self.bias is not None and self.settings["unit_forget_bias"]:
            nn.init.ones_(self.bias.data[self.units : 2 * self.units])

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The output `h` and the cell `c`, each of `units` numbers."""
        return StateEntry(name="h", shape=(self.units,)), StateEntry(name="c", shape=(self.units,))

    def gates(self, x: Value, state: State, masks: Masks | None = None) -> dict[str, Value]:
        """Compute one step and keep all its parts: the gates, the candidate, the new cell and output, each (B, u)."""
        h, c = state
        gate, bend = self.recurrent_activation, self.activation
        z_i, z_f, z_c, z_o = gate_sums(x, h, masks, self, self.bias).chunk(4, dim=1)
        f = gate(z_f)
        kept = f * c
        i, candidate = gate(z_i), bend(z_c)
        cell = kept + i * candidate
        o = gate(z_o)
        return {"forget": f, "input": i, "output": o, "candidate": candidate, "cell": cell, "hidden": o * bend(cell)}

    def step(self, x: Value, state: State, masks: Masks | None = None) -> tuple[Value, State]:
        """Do one step from x (B, F) and (h, c)."""
        parts = self.gates(x, state, masks)
        return parts["hidden"], (parts["hidden"], parts["cell"])

    def recurrence(self) -> Recurrence:
        """An LSTM."""
        return self._recurrence("LSTM", self.recurrent_activation, self.activation, self.activation)


class GRUCell(KerasCell):
    """`h' = z h + (1 - z) hh` with gates z, r; state (h,).

    `hh = a(x_h + r (h R_h + b))` if `reset_after`, else `a(x_h + (r h) R_h)`. `units` and the options are Keras'; see
    `GRUOptions`. The default of `reset_after` is Keras 3's; standalone Keras 2 had False.
    """

    gate_count = 3

    def __init__(self, units: int, **options: Unpack[GRUOptions]) -> None:
        super().__init__(units, merge_options("GRU", GRU_DEFAULTS, options))
        self.recurrent_activation = activation(self.settings["recurrent_activation"])
        self.reset_after = bool(self.settings["reset_after"])

    def bias_shape(self) -> tuple[int, ...]:
        """(2, 3u) if `reset_after`: the second row is added to h R."""
        return (2, 3 * self.units) if self.reset_after else (3 * self.units,)

    def biases(self) -> tuple[Tensor | None, Tensor | None]:
        """What is added to x K and to h R."""
        if self.bias is None or not self.reset_after:
            return self.bias, None
        return self.bias[0], self.bias[1]

    def gates(self, x: Value, state: State, masks: Masks | None = None) -> dict[str, Value]:
        """Compute one step and keep all its parts: the gates, the candidate and the new output, each (B, u)."""
        (h,), u = state, self.units
        outer, inner = self.biases()
        x_part = product(x, masks.input if masks else (), self.kernel, 3)
        x_z, x_r, x_h = (x_part if outer is None else x_part + outer).chunk(3, dim=1)
        masked = masks.recurrent if masks else ()
        h_part = product(h, masked[:2], self.recurrent_kernel[:, : 2 * u], 2)
        h_z, h_r = (h_part if inner is None else h_part + inner[: 2 * u]).chunk(2, dim=1)
        z, r = self.recurrent_activation(x_z + h_z), self.recurrent_activation(x_r + h_r)
        dropped = h * masked[2] if masked else h
        last = self.recurrent_kernel[:, 2 * u :]
        if self.reset_after:
            recurrent = dropped @ last
            recurrent = r * (recurrent if inner is None else recurrent + inner[2 * u :])
        else:
            recurrent = (r * dropped) @ last
        candidate = self.activation(x_h + recurrent)
        new = (1.0 - z) * candidate
        return {"update": z, "reset": r, "candidate": candidate, "hidden": z * h + new}

    def step(self, x: Value, state: State, masks: Masks | None = None) -> tuple[Value, State]:
        """Do one step from x (B, F) and (h,)."""
        hidden = self.gates(x, state, masks)["hidden"]
        return hidden, (hidden,)

    def recurrence(self) -> Recurrence:
        return self._recurrence("GRU", self.recurrent_activation, self.activation, reset_after=self.reset_after)


class SimpleRNNCell(KerasCell):
    """`h' = a(x K + h R + b)`; state (h,). `units` and the options are Keras'; see `SimpleRNNOptions`.

    Exported as a loop of primitive nodes: the ONNX operator RNN is not the same for every batch size (see `operator`).
    """

    gate_count = 1

    def __init__(self, units: int, **options: Unpack[SimpleRNNOptions]) -> None:
        super().__init__(units, merge_options("SimpleRNN", SIMPLE_RNN_DEFAULTS, options))

    def step(self, x: Value, state: State, masks: Masks | None = None) -> tuple[Value, State]:
        """Do one step from x (B, F) and (h,)."""
        hidden = self.activation(gate_sums(x, state[0], masks, self, self.bias))
        return hidden, (hidden,)

    def recurrence(self) -> Recurrence:
        """A plain recurrent network."""
        return self._recurrence("RNN", self.activation)
