"""What every recurrent layer is to forecaster and exporter: a scan over time, of tensors or of a graph's symbols."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from streamlstm.errors import UsageError
from streamlstm.models import StateEntry
from streamlstm.nn.operations import State, Value
from streamlstm.nn.symbols import emit
from streamlstm.nn.weights import Weighted

if TYPE_CHECKING:
    from streamlstm.models.graph import Graph


class RecurrentLayer(Weighted, ABC):
    """A layer whose state is carried from step to step.

    Time-major throughout: x is (T, B, F), outputs (T, B, output_size), every state tensor (B, size). `scan` and
    `sequence` take torch's tensors, or the symbols of a graph and then add the nodes that do the same.
    """

    output_size: int
    input_size: int | None = None  # None until `build`
    chunking: bool = True  # whether a graph's nodes take T > 1 with the bits of T single steps
    # The ranks of a window's shape it can take: (steps, numbers), (numbers,), (steps, steps, numbers).
    takes: ClassVar[tuple[int, ...]] = (2,)

    def build(self, input_size: int) -> None:
        """Make the parameters for values of `input_size` numbers; done once, by the constructor if it knows them."""
        self.input_size = input_size

    @abstractmethod
    def state_entries(self) -> tuple[StateEntry, ...]:
        """Name, shape and initial value of each state tensor, in the order `scan` takes and returns them."""

    @abstractmethod
    def scan(self, x: Value, state: State) -> tuple[Value, State]:
        """Step through x (T, B, F) from `state`; returns outputs (T, B, output_size) and the state after the last."""

    def emit(self, graph: Graph, x: str, state: Sequence[str]) -> tuple[str, list[str]]:
        """Add the nodes that do what `scan` does; tensors are named, shaped as there."""
        return emit(self, graph, x, state)

    def config(self) -> dict[str, Any]:
        """Give the constructor's arguments and the class' name under `class`, JSON-able, for `nn.from_config`."""
        return {"class": type(self).__name__, "input_size": self.input_size}

    @property
    def gives_sequences(self) -> bool:
        """Whether `sequence` gives an output for every step of a window, if it was given a value for every step."""
        return True

    def output_shape(self, shape: Sequence[Any]) -> tuple[Any, ...]:
        """What `sequence` makes of a window of a shape, (steps, numbers) or (numbers,); steps may be None.

        Raises UsageError where there are no steps and the layer needs them.
        """
        if len(shape) not in self.takes:
            what = f"takes the numbers of one step, and here come {shape[0] or 'several'} steps"
            if len(shape) == 1:
                what = "needs every step's input: set return_sequences on the layer before"
            elif len(shape) > 2:
                what = (
                    f"takes (steps, numbers), and here come {tuple(shape)}: put it in TimeDistributed, or Reshape that"
                )
            raise UsageError(f"{type(self).__name__} {what}")
        return (*shape[:-1], self.output_size) if self.gives_sequences else (self.output_size,)

    def sequence(self, x: Value, live: Value | None = None) -> tuple[Value, Value | None]:
        """Run whole windows x (W, N, F), oldest value first, from the initial state, as Keras runs a batch of windows.

        `live` says which values count (`Operations.scan`): in torch a mask (W, N), False where a window holds no value
        yet, in a graph how many there are, (N,) int64. Returns (W, N, output_size), or (N, output_size) from a layer
        that returns only its last output, and the mask of what is returned.
        """
        del x, live
        raise UsageError(f"{type(self).__name__} cannot be run over windows")

    def describe(self) -> Mapping[str, Any]:
        """Facts for `inspect`: `kind`, `units` and `parameters`, and the whole `config`; JSON-able."""
        return {
            "kind": type(self).__name__,
            "units": self.output_size,
            "input_size": self.input_size,
            "parameters": self.parameter_count(),
            "config": self.config(),
        }

    def initial_state(self, batch: int) -> State:
        """The state before the first step, one row a series: each (batch, size)."""
        device = next((parameter.device for parameter in self.parameters()), torch.device("cpu"))
        return tuple(
            torch.tensor(entry.initial, dtype=torch.float32, device=device).expand(batch, entry.size)
            for entry in self.state_entries()
        )
