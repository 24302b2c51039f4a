"""Layers of `streamlstm.nn` as modules that carry their state, and the graphs that they write themselves."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from streamlstm.errors import ModelError, UsageError
from streamlstm.models import ModelSpec
from streamlstm.models.graph import Graph
from streamlstm.nn import RNN, Dense, RecurrentLayer


class Scanned(nn.Module):
    """A layer whose state is one tensor: `forward(x (T, B, F), state (B, D)) -> (y (T, B, O), next state)`."""

    def __init__(self, layer: RecurrentLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Step through x."""
        y, after = self.layer.scan(x, torch.split(state, [one.size for one in self.layer.state_entries()], dim=1))
        return y, torch.cat(after, dim=1)

    def initial(self) -> Tensor:
        """The state of one series before its first value; UsageError for a layer that carries none."""
        parts = self.layer.initial_state(1)
        if not parts:
            raise UsageError(
                f"{type(self.layer).__name__} carries no state; say window=W if it is to read the last W values"
            )
        self.layer.scan(torch.zeros(1, 1, self.layer.input_size or 1), parts)  # says of itself why it cannot
        return torch.cat(parts, dim=1)

    def written(self) -> bytes:
        """The graph, with the inputs x and state and the outputs y and next_state."""
        graph, layer = Graph(), self.layer
        parts = graph.split_state("state", [one.size for one in layer.state_entries()])
        y, after = layer.emit(graph, "x", parts)
        spec = ModelSpec(
            features=tuple(f"x{number}" for number in range(1, (layer.input_size or 1) + 1)),
            outputs=tuple(f"y{number}" for number in range(1, layer.output_size + 1)),
            targets=(None,) * (layer.input_size or 1),
            state=layer.state_entries(),
        )
        data: bytes = graph.model(spec, y, graph.concat(after, axis=1)).SerializeToString()
        return data


def build(module: nn.Module, width: int) -> None:
    """Make the weights of a layer that has none yet, for values of `width` numbers, so that it and its file agree.

    ModelError for a module of others' that has such layers in it.
    """
    if isinstance(module, RecurrentLayer):
        if module.input_size is None:
            module.build(width)
    elif isinstance(module, nn.Module):
        for one in module.modules():
            if isinstance(one, RNN | Dense) and one.input_size is None:
                raise ModelError(
                    f"the module has a {type(one).__name__} without weights yet; call it once, or train it, before the "
                    "export"
                )
