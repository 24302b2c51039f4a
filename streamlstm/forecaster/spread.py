"""How much each series moves, carried in its state: the unit in which a model of many series measures changes.

Series of one table may differ by orders of magnitude; a bias or a level learnt from the largest would swamp the
smallest. The unit is an exponentially weighted mean of absolute changes: a sum that forgets over the same sum of ones,
so that it is unbiased from the second value on (as in Adam: Kingma and Ba 2015, section 3). Before that nothing is
known but the value, and the unit is a small share of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from streamlstm.forecaster.decay import decaying_sums, emit_decaying_sums
from streamlstm.spec import StateEntry

if TYPE_CHECKING:
    from streamlstm.export.graph import Graph

MIN_MEMORY = 200  # steps the mean looks back at least
# A unit is at least this share of the value itself: after a flat stretch a change is large, but not infinite.
SMALLEST_SHARE = 1e-5
TINY = 1e-30


class RunningSpread(nn.Module):
    """The mean absolute change of each of F features, over about `memory` steps."""

    def __init__(self, features: int, memory: int, name: str = "spread") -> None:
        super().__init__()
        self.features, self.name = features, name
        self.decay = 1 - 1 / max(memory, MIN_MEMORY)

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The weighted sum of absolute changes of each feature, and of ones."""
        return (StateEntry(name=self.name, shape=(2, self.features)),)

    def forward(self, change: Tensor, there: Tensor, value: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Step through changes (T, B, F) where `there` (T, B, 1) says so; gives the units (T, B, F) and the state."""
        counted = there.float().expand_as(change)
        x = torch.cat((change.abs() * counted, counted), dim=2)
        sums, after = decaying_sums(x, [self.decay] * (2 * self.features), state)
        moved, ones = torch.split(sums, self.features, dim=2)
        floor = torch.clamp(value.abs() * SMALLEST_SHARE, min=TINY)
        return torch.maximum(moved / torch.clamp(ones, min=TINY), floor), after

    def emit(self, graph: Graph, change: str, there: str, value: str, state: str) -> tuple[str, str]:
        """Add the nodes of `forward`; the same two tensors."""
        moved = graph.node("Where", there, graph.node("Abs", change), graph.constant(0.0))
        ones = graph.node("Where", there, graph.constant([1.0] * self.features), graph.constant(0.0))
        x = graph.concat([moved, ones], axis=2)
        sums, after = emit_decaying_sums(graph, x, [self.decay] * (2 * self.features), state)
        counted = graph.node("Max", graph.slice(sums, self.features, None, 2), graph.constant(TINY))
        mean = graph.node("Div", graph.slice(sums, 0, self.features, 2), counted)
        share = graph.node("Mul", graph.node("Abs", value), graph.constant(SMALLEST_SHARE))
        return graph.node("Max", mean, share, graph.constant(TINY)), after
