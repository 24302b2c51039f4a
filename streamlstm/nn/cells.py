"""Keras' cells: LSTM, GRU and SimpleRNN, with every option of theirs, and cells stacked upon each other.

Parameters are laid out and ordered as in Keras (`kernel` (F, gates·u), `recurrent_kernel` (u, gates·u), `bias`), so
weights move over as they are, and penalties, constraints and clipping by norm see the matrices Keras sees.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

import torch
from torch import Tensor, nn

from streamlstm.errors import UsageError
from streamlstm.nn import operator
from streamlstm.nn.activations import activation
from streamlstm.nn.cell import Cell, Masks, checked_rate, checked_units, draw_mask, merge_options
from streamlstm.nn.layer import State
from streamlstm.nn.options import (
    GRU_DEFAULTS,
    LSTM_DEFAULTS,
    SIMPLE_RNN_DEFAULTS,
    GRUOptions,
    LSTMOptions,
    SimpleRNNOptions,
)
from streamlstm.spec import StateEntry

if TYPE_CHECKING:
    from streamlstm.export.graph import Graph


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

    def scan(self, x: Tensor, state: State, masks: Masks | None = None) -> tuple[Tensor, State]:
        """Step through x (T, B, F), with torch's fused kernel where it computes the same thing."""
        per_gate = masks is not None and (len(masks.input) > 1 or masks.recurrent)
        if not self.fusible() or per_gate:
            return super().scan(x, state, masks)
        if masks is not None and masks.input:
            x = x * masks.input[0]
        return self.fused(x, state)

    @abstractmethod
    def fusible(self) -> bool:
        """Whether torch has a kernel for these activations."""

    @abstractmethod
    def fused(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Step through x (T, B, F) with torch's kernel."""

    def arrays(self) -> dict[str, Any]:
        """The parameters as the emitters of `operator` take them."""
        return {
            "kernel": operator.array(self.kernel),
            "recurrent": operator.array(self.recurrent_kernel),
            "bias": None if self.bias is None else operator.array(self.bias),
        }


def product(x: Tensor, masks: Sequence[Tensor], matrix: Tensor, gates: int) -> Tensor:
    """Multiply x (B, n) by a matrix (n, gates·u), x masked for all gates alike or for each gate by its own mask."""
    if len(masks) > 1:
        parts = zip(masks, matrix.chunk(gates, dim=1), strict=True)
        return torch.cat([(x * mask) @ part for mask, part in parts], dim=1)
    return (x * masks[0] if masks else x) @ matrix


def emit_product(graph: Graph, x: str, matrix: Tensor, bias: Tensor | None = None) -> str:
    """Add x [..., n] times a matrix (n, m), plus a bias (m)."""
    z = graph.node("MatMul", x, graph.constant(operator.array(matrix)))
    return z if bias is None else graph.node("Add", z, graph.constant(operator.array(bias)))


def torch_weights(cell: KerasCell, order: Sequence[int], biases: Sequence[Tensor | None]) -> list[Tensor]:
    """The parameters as torch's kernels take them: gates as rows, in `order`, and two biases; views of one buffer.

    In one buffer, because cuDNN would otherwise copy them together at every call, and torch warns of that.
    """

    def turned(matrix: Tensor) -> Tensor:
        if len(order) > 1:
            blocks = matrix.chunk(len(order), dim=-1)
            matrix = torch.cat([blocks[gate] for gate in order], dim=-1)
        return matrix.t() if matrix.dim() == 2 else matrix

    parts = [turned(matrix) for matrix in (cell.kernel, cell.recurrent_kernel)]
    if cell.bias is not None:
        width = cell.recurrent_kernel.shape[1]
        parts += [cell.bias.new_zeros(width) if bias is None else turned(bias) for bias in biases]
    buffer = torch.cat([part.reshape(-1) for part in parts])
    sizes = [part.numel() for part in parts]
    return [piece.view(part.shape) for piece, part in zip(torch.split(buffer, sizes), parts, strict=True)]


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

    def gates(self, x: Tensor, state: State, masks: Masks | None = None) -> dict[str, Tensor]:
        """Compute one step and keep all its parts: the gates, the candidate, the new cell and output, each (B, u)."""
        h, c = state
        z = product(x, masks.input if masks else (), self.kernel, 4)
        z = z + product(h, masks.recurrent if masks else (), self.recurrent_kernel, 4)
        if self.bias is not None:
            z = z + self.bias
        z_i, z_f, z_c, z_o = z.chunk(4, dim=1)
        gate, bend = self.recurrent_activation, self.activation
        i, f, candidate, o = gate(z_i), gate(z_f), bend(z_c), gate(z_o)
        cell = f * c + i * candidate
        return {"forget": f, "input": i, "output": o, "candidate": candidate, "cell": cell, "hidden": o * bend(cell)}

    def step(self, x: Tensor, state: State, masks: Masks | None = None) -> tuple[Tensor, State]:
        """Do one step from x (B, F) and (h, c)."""
        parts = self.gates(x, state, masks)
        return parts["hidden"], (parts["hidden"], parts["cell"])

    def fusible(self) -> bool:
        """Whether the activations are tanh and sigmoid."""
        return (self.activation.name, self.recurrent_activation.name) == ("tanh", "sigmoid")

    def fused(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Step through x (T, B, F) with torch's LSTM kernel, whose gates are ordered as Keras'."""
        weights = torch_weights(self, (0,), (self.bias, None))
        h, c = (part.unsqueeze(0).contiguous() for part in state)
        y, h, c = torch.lstm(x, (h, c), weights, self.bias is not None, 1, 0.0, self.training, False, False)
        return y, (h[0], c[0])

    def emit_step(self, graph: Graph, x: str, state: Sequence[str]) -> tuple[str, list[str]]:
        """Add one step from primitive nodes."""
        h, c = state
        z = graph.node(
            "Add", emit_product(graph, x, self.kernel, self.bias), emit_product(graph, h, self.recurrent_kernel)
        )
        z_i, z_f, z_c, z_o = graph.nodes("Split", z, outputs=4, axis=1, num_outputs=4)
        gate, bend = self.recurrent_activation.emit, self.activation.emit
        kept = graph.node("Mul", gate(graph, z_f), c)
        cell = graph.node("Add", kept, graph.node("Mul", gate(graph, z_i), bend(graph, z_c)))
        hidden = graph.node("Mul", gate(graph, z_o), bend(graph, cell))
        return hidden, [hidden, cell]

    def emit(self, graph: Graph, x: str, state: Sequence[str], lengths: str | None = None) -> tuple[str, list[str]]:
        """Add one LSTM operator, or a loop if it lacks an activation."""
        functions = (self.recurrent_activation, self.activation, self.activation)
        if not operator.supported(*functions):
            return super().emit(graph, x, state, lengths)
        return operator.emit_lstm(graph, x, state, lengths, functions=functions, **self.arrays())


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

    def gates(self, x: Tensor, state: State, masks: Masks | None = None) -> dict[str, Tensor]:
        """Compute one step and keep all its parts: the gates, the candidate and the new output, each (B, u)."""
        (h,), u = state, self.units
        outer, inner = self.biases()
        x_part = product(x, masks.input if masks else (), self.kernel, 3)
        if outer is not None:
            x_part = x_part + outer
        x_z, x_r, x_h = x_part.chunk(3, dim=1)
        masked = masks.recurrent if masks else ()
        h_part = product(h, masked[:2], self.recurrent_kernel[:, : 2 * u], 2)
        if inner is not None:
            h_part = h_part + inner[: 2 * u]
        h_z, h_r = h_part.chunk(2, dim=1)
        z, r = self.recurrent_activation(x_z + h_z), self.recurrent_activation(x_r + h_r)
        dropped = h * masked[2] if masked else h
        if self.reset_after:
            recurrent = dropped @ self.recurrent_kernel[:, 2 * u :]
            recurrent = r * (recurrent if inner is None else recurrent + inner[2 * u :])
        else:
            recurrent = (r * dropped) @ self.recurrent_kernel[:, 2 * u :]
        candidate = self.activation(x_h + recurrent)
        return {"update": z, "reset": r, "candidate": candidate, "hidden": z * h + (1.0 - z) * candidate}

    def step(self, x: Tensor, state: State, masks: Masks | None = None) -> tuple[Tensor, State]:
        """Do one step from x (B, F) and (h,)."""
        hidden = self.gates(x, state, masks)["hidden"]
        return hidden, (hidden,)

    def fusible(self) -> bool:
        """Whether the activations are tanh and sigmoid and the reset comes after the product."""
        names = (self.activation.name, self.recurrent_activation.name)
        return self.reset_after and names == ("tanh", "sigmoid")

    def fused(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Step through x (T, B, F) with torch's GRU kernel, whose gates are ordered r, z, n."""
        weights = torch_weights(self, (1, 0, 2), self.biases())
        h = state[0].unsqueeze(0).contiguous()
        y, h = torch.gru(x, h, weights, self.bias is not None, 1, 0.0, self.training, False, False)
        return y, (h[0],)

    def emit_step(self, graph: Graph, x: str, state: Sequence[str]) -> tuple[str, list[str]]:
        """Add one step from primitive nodes."""
        (h,), u = state, self.units
        outer, inner = self.biases()
        x_z, x_r, x_h = graph.nodes(
            "Split", emit_product(graph, x, self.kernel, outer), outputs=3, axis=1, num_outputs=3
        )
        gates = self.recurrent_kernel[:, : 2 * u]
        h_part = emit_product(graph, h, gates, None if inner is None else inner[: 2 * u])
        h_z, h_r = graph.nodes("Split", h_part, outputs=2, axis=1, num_outputs=2)
        z = self.recurrent_activation.emit(graph, graph.node("Add", x_z, h_z))
        r = self.recurrent_activation.emit(graph, graph.node("Add", x_r, h_r))
        last = self.recurrent_kernel[:, 2 * u :]
        if self.reset_after:
            recurrent = emit_product(graph, h, last, None if inner is None else inner[2 * u :])
            recurrent = graph.node("Mul", r, recurrent)
        else:
            recurrent = emit_product(graph, graph.node("Mul", r, h), last)
        candidate = self.activation.emit(graph, graph.node("Add", x_h, recurrent))
        new = graph.node("Mul", graph.node("Sub", graph.constant(1.0), z), candidate)
        hidden = graph.node("Add", graph.node("Mul", z, h), new)
        return hidden, [hidden]

    def emit(self, graph: Graph, x: str, state: Sequence[str], lengths: str | None = None) -> tuple[str, list[str]]:
        """Add one GRU operator, or a loop if it lacks an activation."""
        functions = (self.recurrent_activation, self.activation)
        if not operator.supported(*functions):
            return super().emit(graph, x, state, lengths)
        return operator.emit_gru(
            graph, x, state, lengths, functions=functions, reset_after=self.reset_after, **self.arrays()
        )


class SimpleRNNCell(KerasCell):
    """`h' = a(x K + h R + b)`; state (h,). `units` and the options are Keras'; see `SimpleRNNOptions`.

    Emitted as a loop of primitive nodes: the ONNX operator RNN is not the same for every batch size (see `operator`).
    """

    gate_count = 1

    def __init__(self, units: int, **options: Unpack[SimpleRNNOptions]) -> None:
        super().__init__(units, merge_options("SimpleRNN", SIMPLE_RNN_DEFAULTS, options))

    def step(self, x: Tensor, state: State, masks: Masks | None = None) -> tuple[Tensor, State]:
        """Do one step from x (B, F) and (h,)."""
        z = product(x, masks.input if masks else (), self.kernel, 1)
        z = z + product(state[0], masks.recurrent if masks else (), self.recurrent_kernel, 1)
        hidden = self.activation(z if self.bias is None else z + self.bias)
        return hidden, (hidden,)

    def fusible(self) -> bool:
        """Whether the activation is tanh or relu."""
        return self.activation.name in ("tanh", "relu")

    def fused(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Step through x (T, B, F) with torch's kernel."""
        weights = torch_weights(self, (0,), (self.bias, None))
        kernel = torch.rnn_tanh if self.activation.name == "tanh" else torch.rnn_relu
        h = state[0].unsqueeze(0).contiguous()
        y, h = kernel(x, h, weights, self.bias is not None, 1, 0.0, self.training, False, False)
        return y, (h[0],)

    def emit_step(self, graph: Graph, x: str, state: Sequence[str]) -> tuple[str, list[str]]:
        """Add one step from primitive nodes."""
        recurrent = emit_product(graph, state[0], self.recurrent_kernel)
        z = graph.node("Add", emit_product(graph, x, self.kernel, self.bias), recurrent)
        hidden = self.activation.emit(graph, z)
        return hidden, [hidden]
