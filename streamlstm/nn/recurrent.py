"""The loop over time around any cell, with all of Keras' ways to call it: RNN, LSTM, GRU and SimpleRNN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

import numpy as np
import torch
from torch import Tensor

from streamlstm.errors import UsageError
from streamlstm.models import StateEntry
from streamlstm.nn.cell import Cell, merge_options
from streamlstm.nn.cell_stack import StackedCells
from streamlstm.nn.cells import GRUCell, LSTMCell, SimpleRNNCell
from streamlstm.nn.layer import RecurrentLayer
from streamlstm.nn.operations import State, Value, of
from streamlstm.nn.options import GRUOptions, LSTMOptions, SimpleRNNOptions
from streamlstm.nn.regularizers import RegularizerSpec, regularizer
from streamlstm.nn.weights import jsonable


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
        return self.cell.state_entries()

    def scan(self, x: Value, state: State) -> tuple[Value, State]:
        """Step through x (T, B, F) from `state`, dropping out while training."""
        self._check_steppable()
        return self._loop(x, state)

    def scan_kept(self, x: Value, state: State, kept: Value) -> tuple[Value, State]:
        """Step through x (T, B, F) where `kept` (T, B) is true; elsewhere state and output stay what they were.

        As Keras does with a mask; before the first step that counts the output is zeros. Raises UsageError for cells
        whose output is not their first state.
        """
        self._check_steppable()
        last = self.cell.parts()[-1] if isinstance(self.cell, StackedCells) else self.cell
        if not isinstance(last, LSTMCell | GRUCell | SimpleRNNCell):
            raise UsageError(f"{type(last).__name__} cannot hold its output at steps that do not count")
        output = len(self.state_entries()) - len(last.state_entries())
        size = x.shape[-1] if isinstance(x, Tensor) else self.input_size or 0

        def step(now: Value, before: State) -> tuple[Value, State]:
            counts = now[:, size : size + 1] > 0.0
            _, after = self.cell.step(now[:, 0:size], before)
            held = tuple(of(now).where(counts, new, old) for new, old in zip(after, before, strict=True))
            return held[output], held

        return of(x).scan(step, of(x).concat((x, kept.float().unsqueeze(2)), axis=2), state)

    def _check_steppable(self) -> None:
        if self.go_backwards and not self.stateful:
            raise UsageError(
                f"{type(self).__name__} with go_backwards reads a window from its newest value and cannot carry its "
                "state from value to value; put it in Window(layer, length)"
            )

    def _loop(self, x: Value, state: State, live: Value | None = None) -> tuple[Value, State]:
        """Loop over x (T, B, F) in the order given; where `live` says that a step does not count, the state stays.

        In torch the output before is kept as well, or is zero with `zero_output_for_mask`.
        """
        if not isinstance(x, Tensor):  # what is served drops nothing and penalises nothing
            return self.cell.scan(x, state, None, live)
        self.build(x.shape[-1])
        y, state = self.cell.scan(x, state, self.cell.draw(x[0]) if len(x) else None, live)
        if live is not None:
            y = self._held(y, live.bool().unsqueeze(-1))
        if self.activity_regularizer is not None:
            seen = y if self.return_sequences else y[-1]
            self.activity_penalty = self.activity_regularizer(seen) / y.shape[1]
        return y, state

    def _held(self, y: Tensor, live: Tensor) -> Tensor:
        """Outputs y (T, B, O), at steps that do not count the one before, or zeros."""
        outputs, before = [], torch.zeros_like(y[0])
        for now, lives in zip(y, live, strict=True):
            before = torch.where(lives, now, torch.zeros_like(now) if self.zero_output_for_mask else before)
            outputs.append(before)
        return torch.stack(outputs)

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

    @property
    def gives_sequences(self) -> bool:
        """With `return_sequences`."""
        return self.return_sequences

    def sequence(self, x: Value, live: Value | None = None) -> tuple[Value, Value | None]:
        """Run windows x (W, N, F) from the initial state."""
        state, order = self.cell.initial_state(x), live
        if self.go_backwards:
            x, order = of(x).reverse(x, live)
        y, _ = self._loop(x, state, order)
        return (y, order) if self.return_sequences else (of(y).last(y, order), None)

    def config(self) -> dict[str, Any]:
        """Give the cell's configuration and the call options."""
        options = {"input_size": self.input_size, **jsonable(self.call_options)}
        if type(self) is RNN:
            return {"class": "RNN", "cell": self.cell.config(), **options}
        return {**self.cell.config(), "class": type(self).__name__, **options}


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
