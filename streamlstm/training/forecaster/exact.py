"""A forecaster whose numbers are pairs of float32, around one that sees them in float64, less an origin.

Float32 keeps 24 bits: of a meter at 2.5e9 that moves by 200 it keeps steps of 256. So the origin is taken off each
value in float64 before anything is computed, and put on each forecast after it. Where it lies makes no difference to a
forecaster of changes, which are differences of pairs; levels have to lie around it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from streamlstm.models import ModelSpec
from streamlstm.nn import Value, of


class Inner(Protocol):
    """What can be made exact: `Forecaster` and `WindowForecaster` whose configuration says so."""

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

    def __call__(self, x: Value, state: Value, time: Value | None = None) -> Any:
        """Step through raw x (T, B, F) of float64."""

    def spec(self, training: dict[str, Any] | None = None) -> ModelSpec:
        """The metadata."""


class ExactForecaster(nn.Module):
    """Pairs (T, B, 2F) and a packed state in, pairs of forecasts (T, B, 2O) and the next state out; time-major."""

    def __init__(self, inner: Inner, origin: NDArray[np.float64] | None = None) -> None:
        """`inner` was fitted to values less `origin` (F,); None: as they are."""
        super().__init__()
        self.inner, self.scaling, self.config = inner, inner.scaling, inner.config
        self._features = len(inner.config.features)
        self.origin = torch.from_numpy(np.zeros(self._features) if origin is None else origin.copy())

    @property
    def history(self) -> int:
        """How many values it takes until every branch of the graph is in use."""
        return self.inner.history

    def initial_state(self, batch: int) -> Tensor:
        """The packed state of series without history, (batch, D)."""
        return self.inner.initial_state(batch)

    def forward(self, x: Value, state: Value, time: Value | None = None) -> tuple[Value, Value]:
        """Step through pairs x (T, B, 2F) from state (B, D): pairs (T, B, 2O) and the state after the last step."""
        wide = x.double()
        joined = wide[:, :, : self._features] + wide[:, :, self._features :]
        relative = joined - self.origin
        y, after = self.inner(relative, state) if time is None else self.inner(relative, state, time)
        total = self.origin[list(self.inner.output_features)] + y.double()
        high = total.float()
        return of(x).concat((high, (total - high.double()).float()), axis=2), after

    def spec(self, training: dict[str, Any] | None = None) -> ModelSpec:
        """The metadata of the exported model; `training` holds facts and errors for people."""
        return replace(self.inner.spec(training), exact=True)
