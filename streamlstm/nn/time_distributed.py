"""Keras' TimeDistributed around a layer over windows: each step of a window is a window itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamlstm.nn.across_steps import AcrossSteps, Shape
from streamlstm.nn.layer import RecurrentLayer
from streamlstm.nn.operations import Value, of


class TimeDistributed(AcrossSteps):
    """`layer` run on each step of windows of `shape` (S, W, F) or (S, F) on its own, from its initial state."""

    takes = (2, 3)
    options = ("layer",)
    layer: RecurrentLayer

    def __init__(self, shape: Sequence[int], layer: RecurrentLayer) -> None:
        if layer.input_size is None:
            layer.build(shape[-1])
        super().__init__(shape, layer=layer)
        self.input_size = self.shape[-1]

    @property
    def made_shape(self) -> Shape:
        return (self.shape[0], *self.layer.output_shape(self.shape[1:]))

    @property
    def widest(self) -> int:
        inner = (part.widest for part in self.layer.modules() if isinstance(part, AcrossSteps))
        return max(super().widest, self.shape[0] * max(inner, default=1))

    def over(self, x: Value) -> Value:
        side, made = of(x), self.made_shape
        rows = x.permute(1, 0, 2, 3) if len(self.shape) == 3 else x  # (W, S, N, F)
        rows = side.reshape(rows, *self.shape[1:-1], -1, self.shape[-1])
        y, _ = self.layer.sequence(rows)
        y = side.reshape(y, *made[1:-1], made[0], -1, made[-1])
        return y.permute(1, 0, 2, 3) if len(made) == 3 else y

    def config(self) -> dict[str, Any]:
        """Give the shape and the layer's configuration."""
        return {"class": "TimeDistributed", "shape": list(self.shape), "layer": self.layer.config()}
