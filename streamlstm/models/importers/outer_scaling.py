"""Scaling that stood outside of a model, as a MinMaxScaler or StandardScaler, put into its graph.

Values go in as (x - low) / (high - low), a feature each, and forecasts come out as y * (high - low) + low, an output
each; of a mean and a standard deviation, `high` is one deviation above the mean. Where float32 is too coarse for values
in such ranges, the step model's numbers are pairs (`models.pairs`), and both is computed in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from streamlstm.errors import UsageError
from streamlstm.models import MOST_ROUNDED
from streamlstm.models.graph import Graph, emit_join, emit_split

Float64 = NDArray[np.float64]
Pair = tuple[float, float]

MOST_ROUNDING = 1e-3  # of what a series moves by, as in training (training/exactness)
MOVED_SHARE = 0.02  # of its range a series moves by at a time, about
DEVIATIONS = 4.0  # a range has about so many standard deviations


@dataclass(frozen=True)
class OuterScaling:
    """The (low, high) of every feature and of every output: what the model takes, or gives, as 0 and as 1."""

    features: Float64  # (F, 2)
    outputs: Float64  # (O, 2)
    exact: bool  # whether numbers have to be pairs

    @classmethod
    def min_max(
        cls, scale: Pair | Sequence[Pair] | None, width: int, outputs: int, targets: Sequence[int | None]
    ) -> OuterScaling | None:
        """Of (min, max) pairs: one for everything, one a feature, or one a feature and then one an output."""
        pairs = _pairs(scale)
        if pairs is None:
            return None
        if (pairs[:, 0] == pairs[:, 1]).any():
            raise UsageError("a scale is two different finite numbers, MIN and MAX")
        size = np.abs(pairs).max(axis=1)
        exact = _rounds(size, np.abs(pairs[:, 1] - pairs[:, 0]))
        return cls(*_spread(pairs, width, outputs, targets), exact)

    @classmethod
    def standard(
        cls, scale: Pair | Sequence[Pair] | None, width: int, outputs: int, targets: Sequence[int | None]
    ) -> OuterScaling | None:
        """Of (mean, standard deviation) pairs, as many as for `min_max`."""
        pairs = _pairs(scale)
        if pairs is None:
            return None
        if (pairs[:, 1] <= 0).any():
            raise UsageError("a standard scale is a mean and a standard deviation above 0, MEAN and STD")
        exact = _rounds(np.abs(pairs[:, 0]) + pairs[:, 1], DEVIATIONS * pairs[:, 1])
        pairs = np.stack([pairs[:, 0], pairs.sum(axis=1)], axis=1)
        return cls(*_spread(pairs, width, outputs, targets), exact)

    def facts(self) -> dict[str, Any]:
        """The ranges, for people."""
        return {"features": self.features.tolist(), "outputs": self.outputs.tolist()}

    def emit_scaled(self, graph: Graph) -> str:
        """The input x, scaled; exact numbers are pairs, which are joined and scaled in float64."""
        dtype: Any = np.float64 if self.exact else np.float32
        x = emit_join(graph, "x", len(self.features), axis=2) if self.exact else "x"
        shifted = graph.node("Sub", x, graph.constant(self.features[:, 0], dtype=dtype))
        scaled = graph.node("Div", shifted, graph.constant(_unit(self.features), dtype=dtype))
        return graph.node("Cast", scaled, to=onnx.TensorProto.FLOAT) if self.exact else scaled

    def emit_unscaled(self, graph: Graph, y: str) -> str:
        """The outputs y, scaled back; exact ones are split into pairs."""
        dtype: Any = np.float64 if self.exact else np.float32
        y = graph.double(y) if self.exact else y
        stretched = graph.node("Mul", y, graph.constant(_unit(self.outputs), dtype=dtype))
        raw = graph.node("Add", stretched, graph.constant(self.outputs[:, 0], dtype=dtype))
        return graph.concat([*emit_split(graph, raw)], axis=2) if self.exact else raw


def _unit(pairs: Float64) -> Float64:
    unit: Float64 = pairs[:, 1] - pairs[:, 0]
    return unit


def _pairs(scale: Pair | Sequence[Pair] | None) -> Float64 | None:
    if scale is None or len(scale) == 0:
        return None
    pairs = np.asarray(scale, dtype=np.float64)
    pairs = pairs.reshape(1, -1) if pairs.ndim == 1 else pairs
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.isfinite(pairs).all():
        raise UsageError("a scale is two different finite numbers, MIN and MAX")
    return pairs


def _spread(pairs: Float64, width: int, outputs: int, targets: Sequence[int | None]) -> tuple[Float64, Float64]:
    """The pairs of the features and of the outputs, each (n, 2)."""
    if len(pairs) == 1:
        return pairs.repeat(width, axis=0), pairs.repeat(outputs, axis=0)
    aimed = set(range(outputs)) <= set(targets)  # each output forecasts a feature, whose scale is the output's too
    if len(pairs) == width and aimed:
        return pairs, np.stack([pairs[targets.index(output)] for output in range(outputs)])
    if len(pairs) == width + outputs:
        return pairs[:width], pairs[width:]
    hint = f"{width} (one a feature) or " if aimed else ""
    raise UsageError(
        f"{len(pairs)} scales do not fit {width} features and {outputs} outputs; give 1 for everything, {hint}"
        f"{width + outputs} (one a feature, then one an output)"
    )


def _rounds(size: Float64, spread: Float64) -> bool:
    """Whether float32 is too coarse for numbers of such sizes that move within such ranges."""
    return bool((MOST_ROUNDED * size > MOST_ROUNDING * MOVED_SHARE * spread).any())
