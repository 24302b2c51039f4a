"""Which numbers are forecast how far ahead, and in which order they stand in a forecast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from streamlstm.export.graph import Graph


@dataclass(frozen=True)
class Outputs:
    """O forecasts a step: those of every target one step ahead, then those two steps ahead, up to `horizon`."""

    features: tuple[str, ...]  # the F numbers of a value
    targets: tuple[int, ...]  # which of them are forecast
    horizon: int = 1

    @property
    def size(self) -> int:
        """O."""
        return len(self.targets) * self.horizon

    @property
    def names(self) -> tuple[str, ...]:
        """The columns: `yhat`, `yhat2`, ...; with several features `yhat_load`, `yhat_heat`, `yhat2_load`, ..."""
        ahead = ["yhat", *(f"yhat{step}" for step in range(2, self.horizon + 1))]
        if len(self.features) == 1:
            return tuple(ahead)
        return tuple(f"{name}_{self.features[target]}" for name in ahead for target in self.targets)

    @property
    def of_features(self) -> tuple[int | None, ...]:
        """For each feature, which column forecasts its next value; None where none does."""
        return tuple(self.targets.index(f) if f in self.targets else None for f in range(len(self.features)))

    def next(self, x: Tensor) -> Tensor:
        """The targets among features x (..., F)."""
        return x if self._all else x[..., list(self.targets)]

    def every(self, x: Tensor) -> Tensor:
        """What belongs to each output, of features x (..., F): (..., O)."""
        chosen = self.next(x)
        return chosen.repeat(*[1] * (chosen.dim() - 1), self.horizon)

    @property
    def _all(self) -> bool:
        return self.targets == tuple(range(len(self.features)))

    def emit_next(self, graph: Graph, x: str, axis: int = 2) -> str:
        """Add the nodes of `next`, for features along `axis`."""
        return x if self._all else graph.node("Gather", x, graph.ints(*self.targets), axis=axis)

    def emit_every(self, graph: Graph, x: str) -> str:
        """Add the nodes of `every` for x (T, B, F)."""
        return graph.concat([self.emit_next(graph, x)] * self.horizon, axis=2)

    def emit_steps(self, graph: Graph, y: str) -> list[str]:
        """Cut y (T, B, O) into what is said of each step ahead, (T, B, targets)."""
        if self.horizon == 1:
            return [y]
        count = len(self.targets)
        return [graph.slice(y, first, first + count, 2) for first in range(0, self.size, count)]

    def steps(self, y: Tensor) -> Sequence[Tensor]:
        """Cut y (T, B, O) into what is said of each step ahead, (T, B, targets)."""
        return y.chunk(self.horizon, dim=2)
