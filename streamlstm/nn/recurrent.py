"""The loop over time around any cell, with all of Keras' ways to call it: RNN, LSTM, GRU and SimpleRNN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import numpy as np
import torch
from torch import Tensor

from streamlstm.errors import UsageError
from streamlstm.nn.cell import Cell, Masks, merge_options
from streamlstm.nn.cells import GRUCell, LSTMCell, SimpleRNNCell
from streamlstm.nn.layer import RecurrentLayer, State
from streamlstm.nn.options import GRUOptions, LSTMOptions, SimpleRNNOptions
from streamlstm.nn.regularizers import RegularizerSpec, regularizer
from streamlstm.nn.stacked import StackedCells
from streamlstm.nn.weights import jsonable
from streamlstm.spec import StateEntry

if TYPE_CHECKING:
    from streamlstm.export.graph import Graph


class CallOptions(TypedDict, total=False):
    """How a layer is called; the defaults are `CALL_DEFAULTS`."""

    input_size: int | None  # makes the parameters at once; None makes them at the first call
    return_sequences: bool  # all outputs, or the last
    return_state: bool  # the last state as well
    go_backwards: bool  # newest value first; the outputs stay in the order they were made
    stateful: bool  # start from where the last call ended, row by row
    unroll: bool  # makes no difference to the numbers, nor here to anything else
    zero_output_for_mask: bool  # a masked step gives zeros, not the output before it
    activity_regularizer: RegularizerSpec  # penalty on the outputs, divided by the batch size


_CALL_DEFAULTS: CallOptions = {
    "input_size": None,
    "return_sequences": False,
    "return_state": False,
    "go_backwards": False,
    "stateful": False,
    "unroll": False,
    "zero_output_for_mask": False,
    "activity_regularizer": None,
}


class LSTMLayerOptions(LSTMOptions, CallOptions, total=False):
    """All options of `LSTM`."""


class GRULayerOptions(GRUOptions, CallOptions, total=False):
    """All options of `GRU`."""


class SimpleRNNLayerOptions(SimpleRNNOptions, CallOptions, total=False):
    """All options of `SimpleRNN`."""


class RNN(RecurrentLayer):
    """A cell, or cells one upon another, looped over time.

    `layer(x)` does as Keras: x is (B, T, F), the result (B, u), or (B, T, u) with `return_sequences`, followed by the
    last state with `return_state`. `scan` is the time-major core, which looks at none of the call options but
    `go_backwards`: a value read backwards must wait for those after it, so such a layer steps only if it is `stateful`
    (every step is then a call of one value), and is otherwise served inside a `Window`.
    """

    def __init__(self, cell: Cell | Sequence[Cell], **options: Unpack[CallOptions]) -> None:
        super().__init__()
        call = merge_options(type(self).__name__, _CALL_DEFAULTS, options)
        self.cell = cell if isinstance(cell, Cell) else StackedCells(cell)
        self.call_options = {key: value for key, value in call.items() if key != "input_size"}
        self.return_sequences = bool(call["return_sequences"])
        self.return_state = bool(call["return_state"])
        self.go_backwards = bool(call["go_backwards"])
        self.stateful = bool(call["stateful"])
        self.zero_output_for_mask = bool(call["zero_output_for_mask"])
        self.activity_regularizer = regularizer(call["activity_regularizer"])
        self.carried: State | None = None  # of a stateful layer, between calls
        self.output_size = self.cell.output_size
        if call["input_size"] is not None:
            self.build(call["input_size"])

    def build(self, input_size: int) -> None:
        """Make the cell's parameters for values of `input_size` numbers."""
        self.cell.build(input_size)
        self.input_size, self.output_size = input_size, self.cell.output_size

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The cell's."""
        return self.cell.state_entries()

    def scan(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Step through x (T, B, F) from `state`, dropping out while training."""
        self._check_steppable()
        return self._loop(x, state, None)

    def _check_steppable(self) -> None:
        if self.go_backwards and not self.stateful:
            raise UsageError(
                f"{type(self).__name__} with go_backwards reads a window from its newest value and cannot carry its "
                "state from value to value; put it in Window(layer, length)"
            )

    def _loop(self, x: Tensor, state: State, mask: Tensor | None) -> tuple[Tensor, State]:
        """Loop over x (T, B, F) in the order given; where mask (T, B) is False, output and state stay as they were."""
        self.build(x.shape[-1])
        masks = self.cell.draw(x[0]) if len(x) else None
        if mask is None:
            y, state = self.cell.scan(x, state, masks)
        else:
            y, state = self._masked_loop(x, state, mask.bool().unsqueeze(-1), masks)
        if self.activity_regularizer is not None:
            seen = y if self.return_sequences else y[-1]
            self.activity_penalty = self.activity_regularizer(seen) / y.shape[1]
        return y, state

    def _masked_loop(self, x: Tensor, state: State, live: Tensor, masks: Masks | None) -> tuple[Tensor, State]:
        outputs: list[Tensor] = []
        before = x.new_zeros(x.shape[1], self.output_size)
        for now, lives in zip(x, live, strict=True):
            y, new = self.cell.step(now, state, masks)
            state = tuple(torch.where(lives, a, b) for a, b in zip(new, state, strict=True))
            before = torch.where(lives, y, torch.zeros_like(y) if self.zero_output_for_mask else before)
            outputs.append(before)
        return torch.stack(outputs), state

    def forward(
        self, x: Tensor, mask: Tensor | None = None, initial_state: Sequence[Tensor] | None = None
    ) -> Tensor | list[Tensor]:
        """Call the layer as Keras does, x (B, T, F) batch first.

        `mask` (B, T) is False at steps to skip. `initial_state` holds one (B, size) a state entry, here and in
        `reset_states`: [h, c] of the LSTM, h alone or [h] of the others. Returns y, or [y, state…] with
        `return_state`. Raises UsageError if a stateful layer is given another batch size than the call before.
        """
        if x.dim() != 3:
            raise UsageError(f"{type(self).__name__} takes (batch, time, features), not shape {tuple(x.shape)}")
        self.build(x.shape[-1])
        ordered = x.transpose(0, 1)
        state = self._start(ordered, initial_state)
        live = None if mask is None else mask.t()
        if self.go_backwards:
            ordered, live = ordered.flip(0), None if live is None else live.flip(0)
        y, state = self._loop(ordered, state, live)
        if self.stateful:
            self.carried = tuple(part.detach() for part in state)  # the gradient stops at the batch's edge
        output = y.transpose(0, 1) if self.return_sequences else y[-1]
        return [output, *state] if self.return_state else output

    def _start(self, x: Tensor, initial_state: Sequence[Tensor] | None) -> State:
        if self.stateful and self.carried is not None and len(self.carried[0]) != x.shape[1]:
            raise UsageError(
                f"{type(self).__name__} is stateful and carries {len(self.carried[0])} rows, but this batch has "
                f"{x.shape[1]}; keep the batch size, or call reset_states() first"
            )
        if initial_state is not None:
            return self._checked(initial_state)
        if self.stateful and self.carried is not None:
            return self.carried
        return self.cell.initial_state(x)

    def _checked(self, values: Any) -> State:
        entries = self.state_entries()
        if isinstance(values, Tensor | np.ndarray) and len(entries) == 1:
            values = [values]  # Keras takes a single state bare
        if len(values) != len(entries):
            names = ", ".join(entry.name for entry in entries)
            raise UsageError(f"{type(self).__name__} has {len(entries)} states ({names}), not {len(values)}")
        like = next(self.parameters(), torch.zeros(()))
        state = tuple(torch.as_tensor(value, dtype=like.dtype, device=like.device) for value in values)
        for entry, part in zip(entries, state, strict=True):
            if part.dim() != 2 or part.shape[1] != entry.size:
                raise UsageError(
                    f"{type(self).__name__}: state {entry.name} must be (batch, {entry.size}), not {tuple(part.shape)}"
                )
        return state

    def reset_states(self, values: Sequence[Tensor | np.ndarray[Any, Any]] | None = None) -> None:
        """Forget the carried state, or set it to `values`, one (B, size) a state entry, as Keras 2 does."""
        if not self.stateful:
            raise UsageError(f"{type(self).__name__} is not stateful: it has no state to reset")
        self.carried = None if values is None else self._checked(values)

    reset_state = reset_states  # Keras 3's name for it

    def emit(self, graph: Graph, x: str, state: Sequence[str]) -> tuple[str, list[str]]:
        """Add the cell's loop."""
        self._check_steppable()
        return self.cell.emit(graph, x, state)

    def sequence(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Run windows x (W, N, F) from the initial state."""
        if x.dim() != 3:
            raise UsageError(
                f"{type(self).__name__} needs every step's input: set return_sequences on the layer before"
            )
        self.build(x.shape[-1])
        if self.go_backwards:
            x, mask = x.flip(0), None if mask is None else mask.flip(0)
        y, _ = self._loop(x, self.cell.initial_state(x), mask)
        return (y, mask) if self.return_sequences else (y[-1], None)

    def emit_sequence(self, graph: Graph, x: str, lengths: str) -> tuple[str, bool]:
        """Add the loop over windows from the initial state."""
        rows = graph.slice(graph.node("Shape", x), 1, 2, 0)
        state = []
        for entry in self.state_entries():
            initial = np.broadcast_to(np.asarray(entry.initial, dtype=np.float32), (1, entry.size))
            shape = graph.concat([rows, graph.ints(entry.size)], axis=0)
            state.append(graph.node("Expand", graph.constant(initial), shape))
        if self.go_backwards:
            x = graph.node("ReverseSequence", x, lengths, batch_axis=1, time_axis=0)
        y, _ = self.cell.emit(graph, x, state, lengths)
        return (y, True) if self.return_sequences else (emit_last(graph, y, lengths), False)

    def config(self) -> dict[str, Any]:
        """Give the cell's configuration and the call options."""
        options = {"input_size": self.input_size, **jsonable(self.call_options)}
        if type(self) is RNN:
            return {"class": "RNN", "cell": self.cell.config(), **options}
        return {**self.cell.config(), "class": type(self).__name__, **options}


def emit_last(graph: Graph, y: str, lengths: str) -> str:
    """Add the nodes that pick from y [W, N, O] each row's output at its last step, `lengths[n] - 1`."""
    one = graph.constant(1, dtype="int64")
    index = graph.reshape(graph.node("Sub", lengths, one), 1, -1, 1)
    width = graph.slice(graph.node("Shape", y), 1, 3, 0)
    shape = graph.concat([graph.ints(1), width], axis=0)
    picked = graph.node("GatherElements", y, graph.node("Expand", index, shape), axis=0)
    return graph.node("Squeeze", picked, graph.ints(0))


def _split_options(options: Any) -> tuple[dict[str, Any], CallOptions]:
    """Separate what the cell takes from how the layer is called."""
    cell = {key: value for key, value in options.items() if key not in _CALL_DEFAULTS}
    call: Any = {key: value for key, value in options.items() if key in _CALL_DEFAULTS}
    return cell, call


class LSTM(RNN):
    """Keras' LSTM: `LSTM(50, input_size=1)`; see `LSTMLayerOptions` for everything it takes.

    `c' = r(z_f) c + r(z_i) a(z_c)`, `h' = r(z_o) a(c')`; the state is (h, c).
    """

    def __init__(self, units: int, **options: Unpack[LSTMLayerOptions]) -> None:
        cell, call = _split_options(options)
        super().__init__(LSTMCell(units, **cell), **call)
        self.units = units


class GRU(RNN):
    """Keras' GRU: `GRU(50, input_size=1)`; see `GRULayerOptions` for everything it takes. The state is (h,)."""

    def __init__(self, units: int, **options: Unpack[GRULayerOptions]) -> None:
        cell, call = _split_options(options)
        super().__init__(GRUCell(units, **cell), **call)
        self.units = units


class SimpleRNN(RNN):
    """Keras' SimpleRNN: `SimpleRNN(50, input_size=1)`; see `SimpleRNNLayerOptions`. The state is (h,)."""

    def __init__(self, units: int, **options: Unpack[SimpleRNNLayerOptions]) -> None:
        cell, call = _split_options(options)
        super().__init__(SimpleRNNCell(units, **cell), **call)
        self.units = units
