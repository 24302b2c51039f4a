"""What every recurrent layer is to forecaster and exporter: a scan over time, and the same scan as ONNX nodes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from streamlstm.errors import UsageError
from streamlstm.nn.weights import Weighted
from streamlstm.spec import StateEntry

if TYPE_CHECKING:
    from streamlstm.export.graph import Graph

State = tuple[Tensor, ...]


class RecurrentLayer(Weighted, ABC):
    """A layer whose state is carried from step to step.

    Time-major throughout: x is (T, B, F), outputs (T, B, output_size), every state tensor (B, size).
    """

    output_size: int
    input_size: int | None = None  # None until `build`
    chunking: bool = True  # whether `emit`'s nodes take T > 1 with the bits of T single steps

    def build(self, input_size: int) -> None:
        """Make the parameters for values of `input_size` numbers; done once, by the constructor if it knows them."""
        self.input_size = input_size

    @abstractmethod
    def state_entries(self) -> tuple[StateEntry, ...]:
        """Name, shape and initial value of each state tensor, in the order `scan` takes and returns them."""

    @abstractmethod
    def scan(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Step through x (T, B, F) from `state`; returns outputs (T, B, output_size) and the state after the last."""

    @abstractmethod
    def emit(self, graph: Graph, x: str, state: Sequence[str]) -> tuple[str, list[str]]:
        """Add the nodes that do what `scan` does; tensors are named, shaped as there."""

    def config(self) -> dict[str, Any]:
        """Give the constructor's arguments and the class' name under `class`, JSON-able, for `nn.from_config`."""
        return {"class": type(self).__name__, "input_size": self.input_size}

    def sequence(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Run whole windows x (W, N, F), oldest value first, from the initial state, as Keras runs a batch of windows.

        `mask` (W, N) is False where a window holds no value yet. Returns (W, N, output_size), or (N, output_size) from
        a layer that returns only its last output, and the mask of what is returned.
        """
        del x, mask
        raise UsageError(f"{type(self).__name__} cannot be run over windows")

    def emit_sequence(self, graph: Graph, x: str, lengths: str) -> tuple[str, bool]:
        """Add the nodes that do what `sequence` does.

        Here the values of a window stand at its beginning: `lengths` (N,) int64 says how many there are, and what
        follows them is ignored. Returns the output, and whether it still has the axis W.
        """
        del graph, x, lengths
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
