"""Keras' activations that are layers because they have numbers of their own: ReLU in full, and PReLU, which learns."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from streamlstm.errors import UsageError
from streamlstm.nn.dense import Pointwise
from streamlstm.nn.operations import Value, of


class ReLU(Pointwise):
    """`max_value` from there on, x from `threshold` on, `negative_slope (x - threshold)` below."""

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        *,
        input_size: int | None = None,
    ) -> None:
        settings = {"max_value": max_value, "negative_slope": negative_slope, "threshold": threshold}
        super().__init__(settings, input_size)
        self.max_value, self.negative_slope, self.threshold = max_value, negative_slope, threshold

    def apply_to(self, x: Value) -> Value:
        y = of(x).where(x > self.threshold, x, x * 0.0) if self.threshold else x.relu()
        if self.max_value is not None:
            y = y.clamp(0.0, self.max_value)
        return y - (self.threshold - x).relu() * self.negative_slope if self.negative_slope else y


class PReLU(Pointwise):
    """`x` from 0 on and `alpha x` below; alpha has Keras' `shape`: (F,), or (1, F) as with `shared_axes=[1]`.

    With (1,) or (1, 1) it is one number for all.
    """

    alpha: Tensor

    def __init__(self, shape: Sequence[int], *, input_size: int | None = None) -> None:
        self.shape = tuple(int(size) for size in shape)
        super().__init__({"shape": self.shape}, input_size)

    def build(self, input_size: int) -> None:
        """Make alpha; raises UsageError unless its last size is that of the values, or 1."""
        super().build(input_size)
        if math.prod(self.shape) not in (1, input_size):
            raise UsageError(f"PReLU cannot share an alpha of shape {self.shape} among {input_size} numbers")
        self.add_weight("alpha", self.shape, "zeros")

    def apply_to(self, x: Value) -> Value:
        return x.relu() - (-x).relu() * self.alpha.reshape(-1)
