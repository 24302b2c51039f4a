"""Keras' layers that normalize the numbers of each value among themselves: LayerNormalization and its relatives.

What is learnt of the data, such as BatchNormalization, is a factor and an offset when serving, and not here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from streamlstm.nn.dense import Pointwise
from streamlstm.nn.operations import Value


class _OverFeatures(Pointwise):
    """A layer that divides each value by a measure of its own numbers."""

    def _mean(self, x: Value) -> Value:
        """The mean over the last axis, which stays, as a matrix product: its bits do not depend on the batch."""
        size = self.input_size or 1
        like = x if isinstance(x, Tensor) else None
        return x @ torch.full((size, 1), 1.0 / size, device=None if like is None else like.device)


class LayerNormalization(_OverFeatures):
    """`(x - mean) / sqrt(variance + epsilon) * gamma + beta` over the numbers of each value, as Keras' of axis -1.

    With `rms_scaling` Keras scales by the root of the variance alone: `x / sqrt(variance + epsilon) * gamma`.
    """

    gamma: Tensor | None
    beta: Tensor | None

    def __init__(
        self,
        *,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        rms_scaling: bool = False,
        input_size: int | None = None,
    ) -> None:
        self.epsilon, self.center, self.scale, self.rms_scaling = epsilon, center, scale, rms_scaling
        settings: dict[str, Any] = {"epsilon": epsilon, "center": center, "scale": scale, "rms_scaling": rms_scaling}
        super().__init__(settings, None)
        if input_size is not None:
            self.build(input_size)

    def build(self, input_size: int) -> None:
        """Make gamma and beta, each (input_size,), where the layer has them."""
        super().build(input_size)
        wanted = {"gamma": self.scale or self.rms_scaling, "beta": self.center and not self.rms_scaling}
        for name, has in wanted.items():
            if has:
                self.add_weight(name, (input_size,), "ones" if name == "gamma" else "zeros")
            else:
                self.register_parameter(name, None)

    def apply_to(self, x: Value) -> Value:
        centred = x - self._mean(x)
        deviation = (self._mean(centred * centred) + self.epsilon).sqrt()
        y = (x if self.rms_scaling else centred) / deviation
        y = y if self.gamma is None else y * self.gamma
        return y if self.beta is None else y + self.beta


class RMSNormalization(_OverFeatures):
    """`x / sqrt(mean of squares + epsilon) * scale` over the numbers of each value."""

    scale: Tensor

    def __init__(self, *, epsilon: float = 1e-6, input_size: int | None = None) -> None:
        self.epsilon = epsilon
        super().__init__({"epsilon": epsilon}, input_size)

    def build(self, input_size: int) -> None:
        """Make the scale (input_size,)."""
        super().build(input_size)
        self.add_weight("scale", (input_size,), "ones")

    def apply_to(self, x: Value) -> Value:
        return x / (self._mean(x * x) + self.epsilon).sqrt() * self.scale


class UnitNormalization(_OverFeatures):
    """Each value divided by the root of the sum of its squares, which is taken for 1e-12 where it is less."""

    def __init__(self, *, input_size: int | None = None) -> None:
        super().__init__({}, input_size)

    def apply_to(self, x: Value) -> Value:
        return x / (self._mean(x * x) * float(self.input_size or 1)).clamp(min=1e-12).sqrt()
