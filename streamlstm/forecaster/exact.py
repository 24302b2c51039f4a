"""A forecaster whose numbers are pairs of float32, around one that sees them less an origin.

Float32 keeps 24 bits: of a meter at 2.5e9 that moves by 200 it keeps steps of 256. So the origin is taken off each
value in float64 before anything is computed, and put on each forecast after it. A series' origin is its first
value, kept in its state; or one number a feature for all series, where the forecaster looks at levels.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from onnx import TensorProto
from torch import Tensor, nn

from streamlstm.forecaster.lags import NOTHING
from streamlstm.pairs import split
from streamlstm.spec import ModelSpec, StateEntry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from streamlstm.export.graph import Graph


class Inner(Protocol):
    """What can be made exact: `Forecaster` and `WindowForecaster`."""

    scaling: Any
    config: Any

    @property
    def history(self) -> int:
        """How many values it takes until every branch of the graph is in use."""

    @property
    def output_features(self) -> tuple[int, ...]:
        """Which feature each output forecasts."""

    def initial_state(self, batch: int) -> Tensor:
        """The packed state of series without history, (batch, D)."""

    def __call__(self, x: Tensor, state: Tensor, time: Tensor | None = None) -> Any:
        """Step through raw x (T, B, F)."""

    def emit(self, graph: Graph, x: str = "x", state: str = "state") -> tuple[str, str]:
        """Add the nodes of the same."""

    def spec(self, training: dict[str, Any] | None = None) -> ModelSpec:
        """The metadata."""


class ExactForecaster(nn.Module):
    """Pairs (T, B, 2F) and a packed state in, pairs of forecasts (T, B, 2O) and the next state out; time-major."""

    def __init__(self, inner: Inner, origin: NDArray[np.float64] | None = None) -> None:
        """`inner` was fitted to values less their origin; `origin` (F,) is every series', None: its first value."""
        super().__init__()
        self.inner, self.scaling, self.config = inner, inner.scaling, inner.config
        self._features = len(inner.config.features)
        self.origin = None if origin is None else torch.from_numpy(split(origin))  # (2F,)

    @property
    def history(self) -> int:
        """How many values it takes until every branch of the graph is in use."""
        return self.inner.history

    def initial_state(self, batch: int) -> Tensor:
        """The packed state of series without history, (batch, D)."""
        state = self.inner.initial_state(batch)
        return torch.cat((torch.full((batch, self._own), NOTHING), state), dim=1)

    @property
    def _own(self) -> int:
        """How many numbers of the state are the series' own origin."""
        return 2 * self._features if self.origin is None else 0

    def forward(self, x: Tensor, state: Tensor, time: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Step through pairs x (T, B, 2F) from state (B, D): pairs (T, B, 2O) and the state after the last step."""
        own, rest = state[:, : self._own], state[:, self._own :]
        if self.origin is None:
            own = torch.where(own > NOTHING / 3, own, x[0])
        origin = _joined(own if self.origin is None else self.origin)
        relative = (_joined(x) - origin).float()
        y, after = self.inner(relative, rest) if time is None else self.inner(relative, rest, time)
        total = origin[..., list(self.inner.output_features)] + y.double()
        high = total.float()
        return torch.cat((high, (total - high.double()).float()), dim=2), torch.cat((own, after), dim=1)

    def emit(self, graph: Graph) -> tuple[str, str]:
        """Add the nodes of `forward` on the graph's inputs; returns the names of y and next_state."""
        own, rest = "", "state"
        if self.origin is None:
            own, rest = graph.slice("state", 0, self._own, 1), graph.slice("state", self._own, None, 1)
            begun = graph.node("Greater", own, graph.constant(NOTHING / 3))
            first = graph.node("Squeeze", graph.slice("x", 0, 1, 0), graph.ints(0))
            own = graph.node("Where", begun, own, first)
        pair = own if self.origin is None else graph.constant(self.origin[None].numpy())
        origin = self._emit_joined(graph, pair, axis=1)
        relative = graph.node("Sub", self._emit_joined(graph, "x", axis=2), origin)
        y, after = self.inner.emit(graph, graph.node("Cast", relative, to=TensorProto.FLOAT), rest)
        chosen = graph.node("Gather", origin, graph.ints(*self.inner.output_features), axis=1)
        total = graph.node("Add", chosen, graph.node("Cast", y, to=TensorProto.DOUBLE))
        high = graph.node("Cast", total, to=TensorProto.FLOAT)
        low = graph.node("Sub", total, graph.node("Cast", high, to=TensorProto.DOUBLE))
        pairs = graph.concat([high, graph.node("Cast", low, to=TensorProto.FLOAT)], axis=2)
        return pairs, graph.concat([own, after], axis=1) if own else after

    def _emit_joined(self, graph: Graph, pairs: str, axis: int) -> str:
        """Add the nodes of `_joined`."""
        wide = graph.node("Cast", pairs, to=TensorProto.DOUBLE)
        high, low = graph.slice(wide, 0, self._features, axis), graph.slice(wide, self._features, None, axis)
        return graph.node("Add", high, low)

    def spec(self, training: dict[str, Any] | None = None) -> ModelSpec:
        """The metadata of the exported model; `training` holds facts and errors for people."""
        inner = self.inner.spec(training)
        entry = StateEntry(name="origin", shape=(2, self._features), initial=NOTHING)
        return replace(inner, exact=True, state=(*([entry] if self.origin is None else []), *inner.state))


def _joined(pairs: Tensor) -> Tensor:
    """Numbers (…, F) in float64 of pairs (…, 2F)."""
    high, low = pairs.double().chunk(2, dim=-1)
    return high + low
