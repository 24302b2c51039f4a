"""TensorFlow 1's `tf.nn.rnn_cell` under its own names, its wrappers, and `dynamic_rnn`.

A cell called as `cell(inputs, state)` takes and returns states as TensorFlow does: an `LSTMStateTuple`, one tensor
[c, h], or a tuple of the cells' states. `streamlstm.nn.RNN(cell)` makes any of them a layer to train and to serve.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from streamlstm.errors import UsageError
from streamlstm.models import StateEntry
from streamlstm.nn.cell import Cell, Masks, draw_mask
from streamlstm.nn.cell_stack import StackedCells
from streamlstm.nn.operations import State, Value
from streamlstm.nn.recurrent import RNN
from streamlstm.nn.tf1_cells import BasicLSTMCell, BasicRNNCell, GRUCell, LSTMCell, LSTMStateTuple
from streamlstm.nn.weights import jsonable

__all__ = [
    "BasicLSTMCell",
    "BasicRNNCell",
    "DeviceWrapper",
    "DropoutWrapper",
    "GRUCell",
    "LSTMCell",
    "LSTMStateTuple",
    "MultiRNNCell",
    "ResidualWrapper",
    "dynamic_rnn",
]


class MultiRNNCell(StackedCells):
    """Cells one upon another; the state is a tuple of theirs, or with `state_is_tuple=False` one tensor of all."""

    def __init__(self, cells: Sequence[Cell], *, state_is_tuple: bool = True) -> None:
        super().__init__(cells)
        self.state_is_tuple = state_is_tuple
        if not state_is_tuple and any(isinstance(cell.state_size, tuple) for cell in cells):
            raise UsageError("MultiRNNCell: state_is_tuple=False needs cells that have one state tensor each")

    def pack(self, state: Sequence[Any]) -> Any:
        """Give the tuple of the cells' states, or all of them in one tensor."""
        parts = tuple(super().pack(state))
        if self.state_is_tuple:
            return parts
        return sum(parts) if isinstance(parts[0], int) else torch.cat(parts, dim=1)

    def unpack(self, state: Any) -> State:
        """Undo `pack`."""
        if not self.state_is_tuple:
            state = torch.split(state, [cell.state_size for cell in self.parts()], dim=1)
        return super().unpack(state)

    def config(self) -> dict[str, Any]:
        """Give the cells' configurations."""
        return {**super().config(), "class": "tf1.MultiRNNCell", "state_is_tuple": self.state_is_tuple}


class Wrapper(Cell):
    """A cell around a cell, which by itself changes nothing."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.cell = cell
        self.output_size = cell.output_size

    def make(self, input_size: int) -> None:
        """Build the wrapped cell."""
        self.cell.build(input_size)
        self.output_size = self.cell.output_size

    def state_entries(self) -> tuple[StateEntry, ...]:
        return self.cell.state_entries()

    def pack(self, state: Sequence[Any]) -> Any:
        """Give the state the wrapped cell's form."""
        return self.cell.pack(state)

    def unpack(self, state: Any) -> State:
        """Undo `pack`."""
        return self.cell.unpack(state)

    def draw(self, x: Tensor) -> Masks | None:
        """Draw the wrapped cell's masks."""
        return self.cell.draw(x)

    def step(self, x: Value, state: State, masks: Masks | None = None) -> tuple[Value, State]:
        """Do the wrapped cell's step."""
        return self.cell.step(x, state, masks)

    def scan(
        self, x: Value, state: State, masks: Masks | None = None, live: Value | None = None
    ) -> tuple[Value, State]:
        """Do the wrapped cell's steps."""
        return self.cell.scan(x, state, masks, live)

    def config(self) -> dict[str, Any]:
        """Give the wrapped cell's configuration and the wrapper's arguments."""
        return {"class": f"tf1.{type(self).__name__}", "cell": self.cell.config(), **jsonable(self.settings)}


class ResidualWrapper(Wrapper):
    """`output = input + cell's output`; the state is untouched."""

    def make(self, input_size: int) -> None:
        """Build the cell; raises UsageError if its outputs cannot be added to its inputs."""
        super().make(input_size)
        if self.output_size != input_size:
            raise UsageError(
                f"ResidualWrapper adds input and output, but {input_size} numbers go in and {self.output_size} come out"
            )

    def step(self, x: Value, state: State, masks: Masks | None = None) -> tuple[Value, State]:
        y, state = self.cell.step(x, state, masks)
        return x + y, state

    def scan(
        self, x: Value, state: State, masks: Masks | None = None, live: Value | None = None
    ) -> tuple[Value, State]:
        """Step through x (T, B, F)."""
        y, state = self.cell.scan(x, state, masks, live)
        return x + y, state


class DropoutWrapper(Wrapper):
    """Dropout on the input, on the carried outgoing state (never on c) and on the output, while training.

    A kept number is divided by its probability to be kept. Otherwise than `variational_recurrent`, every step and row
    has masks of its own; with it one mask [1, size] serves all steps and rows of a call.
    """

    def __init__(
        self,
        cell: Cell,
        *,
        input_keep_prob: float = 1.0,
        output_keep_prob: float = 1.0,
        state_keep_prob: float = 1.0,
        variational_recurrent: bool = False,
        seed: int | None = None,
    ) -> None:
        super().__init__(cell)
        keep = {
            "input_keep_prob": input_keep_prob,
            "output_keep_prob": output_keep_prob,
            "state_keep_prob": state_keep_prob,
        }
        for name, share in keep.items():
            if not 0.0 < share <= 1.0:
                raise UsageError(f"DropoutWrapper: {name} must be above 0 and at most 1, not {share}")
        if state_keep_prob < 1.0 and getattr(cell, "state_is_tuple", True) is False:
            raise UsageError("DropoutWrapper: state_keep_prob needs a cell with state_is_tuple=True, to spare its c")
        self.settings = {**keep, "variational_recurrent": variational_recurrent, "seed": seed}
        self.keep_input, self.keep_output, self.keep_state = keep.values()
        self.variational = variational_recurrent
        if seed is not None:
            self.generator = torch.Generator().manual_seed(seed)

    def _mask(self, like: Tensor, width: int, keep: float, rows: int | None) -> tuple[Tensor, ...]:
        return () if keep == 1.0 else (draw_mask(like, width, 1.0 - keep, self.generator, rows),)

    def _draw_own(self, x: Tensor, rows: int | None, inner: Masks | None) -> Masks:
        state = [
            self._mask(x, entry.size, 1.0 if entry.name.split(".")[-1] == "c" else self.keep_state, rows)
            for entry in self.state_entries()
        ]
        return Masks(
            self._mask(x, x.shape[-1], self.keep_input, rows),
            tuple(mask[0] if mask else torch.ones((), device=x.device) for mask in state),
            self._mask(x, self.output_size, self.keep_output, rows),
            (inner,),
        )

    def draw(self, x: Tensor) -> Masks | None:
        """Draw the cell's masks, and if variational those of this wrapper."""
        inner = self.cell.draw(x)
        if self.training and self.variational:
            return self._draw_own(x, 1, inner)
        return None if inner is None else Masks(inner=(inner,))

    def step(self, x: Value, state: State, masks: Masks | None = None) -> tuple[Value, State]:
        """Do one step, dropping while training."""
        inner = masks.inner[0] if masks and masks.inner else None
        if not self._drops(x):
            return self.cell.step(x, state, inner)
        own = masks if masks is not None and self.variational else self._draw_own(x, None, inner)
        y, following = self.cell.step(x * own.input[0] if own.input else x, state, inner)
        dropped = tuple(part * mask for part, mask in zip(following, own.recurrent, strict=True))
        return y * own.output[0] if own.output else y, dropped

    def scan(
        self, x: Value, state: State, masks: Masks | None = None, live: Value | None = None
    ) -> tuple[Value, State]:
        """Step through x (T, B, F): one by one while training."""
        if self._drops(x):
            return Cell.scan(self, x, state, masks, live)
        return self.cell.scan(x, state, masks.inner[0] if masks and masks.inner else None, live)

    def _drops(self, x: Value) -> bool:
        """Whether this is training; what is served drops nothing."""
        return self.training and isinstance(x, Tensor)


class DeviceWrapper(Wrapper):
    """Places a cell on a device and changes no number: a torch device while training.

    A served model runs on one execution provider of onnxruntime, chosen for the whole session; the provider that fits
    the device stands in the configuration as a hint.
    """

    def __init__(self, cell: Cell, device: str) -> None:
        super().__init__(cell)
        kind, _, number = device.lower().removeprefix("/").removeprefix("device:").partition(":")
        kind = {"gpu": "cuda"}.get(kind, kind)
        try:
            self.device = torch.device(f"{kind}:{number}" if number and kind != "cpu" else kind)
        except RuntimeError:
            raise UsageError(f"DeviceWrapper: {device!r} is no device; write cpu, cuda:0 or /gpu:0") from None
        self.settings = {"device": device}

    @property
    def execution_provider(self) -> str:
        """The onnxruntime execution provider for the device."""
        return "CUDAExecutionProvider" if self.device.type == "cuda" else "CPUExecutionProvider"

    def make(self, input_size: int) -> None:
        """Build the cell and move it to the device."""
        super().make(input_size)
        self.cell.to(self.device)

    def step(self, x: Value, state: State, masks: Masks | None = None) -> tuple[Value, State]:
        """Do one step on the device."""
        return self.cell.step(*self._moved(x, state), masks)

    def scan(
        self, x: Value, state: State, masks: Masks | None = None, live: Value | None = None
    ) -> tuple[Value, State]:
        """Step through x (T, B, F) on the device."""
        return self.cell.scan(*self._moved(x, state), masks, live)

    def _moved(self, x: Value, state: State) -> tuple[Value, State]:
        """Tensors on the device; a graph's symbols are on none."""
        if not isinstance(x, Tensor):
            return x, state
        return x.to(self.device), tuple(part.to(self.device) for part in state)

    def draw(self, x: Tensor) -> Masks | None:
        """Draw the cell's masks on the device."""
        return self.cell.draw(x.to(self.device))


def dynamic_rnn(
    cell: Cell,
    inputs: Tensor,
    sequence_length: Sequence[int] | None = None,
    initial_state: Any = None,
    *,
    time_major: bool = False,
) -> tuple[Tensor, Any]:
    """Loop a cell over inputs (B, T, F), or (T, B, F) if `time_major`; returns (outputs, state in the cell's form).

    Past a row's `sequence_length` the outputs are zeros and the state stays, as in `tf.nn.dynamic_rnn`.
    """
    x = inputs.transpose(0, 1) if time_major else inputs
    cell.build(x.shape[-1])
    layer = RNN(cell, return_sequences=True, return_state=True, zero_output_for_mask=True)
    layer.train(cell.training)
    mask = None
    if sequence_length is not None:
        mask = torch.arange(x.shape[1]).unsqueeze(0) < torch.as_tensor(sequence_length).unsqueeze(1)
        mask = mask.to(x.device)
    start = None if initial_state is None else cell.unpack(initial_state)
    y, *state = cast("list[Tensor]", layer(x, mask, start))
    return y.transpose(0, 1) if time_major else y, cell.pack(state)
