"""Scaling inside the model: raw values to numbers of order one and forecasts back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from streamlstm.errors import UsageError
from streamlstm.nn import Value

SCALINGS = ("standard", "minmax", "log", "series")

# Scaled values are cut here: far outside of what the model was trained on, where only "no change" is left to say. It
# also keeps every product of a finite input finite, so that no NaN can arise in the graph.
Z_LIMIT = 1e4
SERIES_LIMIT = 1e30  # the same for `series`, where z is still raw
EXACT_LIMIT = 1e20  # the same in float64: a counter is far outside after a while, and its changes are as they were
RAW_LIMIT = 3e38  # forecasts are cut here, just inside of float32's range
EXPONENT_LIMIT = 87.0  # exp of more would leave float32
# Under `log`, values below this share of the smallest value trained on (zero and negative ones too) count as it.
LOG_FLOOR = 0.1


class Scaling(nn.Module):
    """One affine map a feature, after a logarithm if `kind` is `log`: z = (x - shift) / scale.

    The statistics are those of the training part: mean and standard deviation (`standard`; `log`: of the logarithms),
    minimum and range (`minmax`). With `series` nothing is scaled here: the lag features measure every series in a unit
    of its own (`LagFeatures`, `local`).
    """

    shift: Tensor
    scale: Tensor
    floor: Tensor

    def __init__(self, kind: str, features: int) -> None:
        super().__init__()
        if kind not in SCALINGS:
            raise UsageError(f"there is no scaling {kind!r}; choose one of {', '.join(SCALINGS)}")
        self.kind = kind
        self.register_buffer("shift", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("floor", torch.ones(features))

    @property
    def is_log(self) -> bool:
        """Whether changes are ratios."""
        return self.kind == "log"

    @property
    def is_local(self) -> bool:
        """Whether every series is measured in a unit of its own."""
        return self.kind == "series"

    def fit(self, values: NDArray[np.float64]) -> None:
        """Set the statistics from observed values (N, F); UsageError if `log` meets a value that is not positive."""
        if self.is_local:
            return
        if self.is_log:
            smallest = values.min(axis=0)
            if (smallest <= 0).any():
                raise UsageError(
                    f"the scaling log needs positive values, but {smallest.min():g} is in the training part; "
                    "use --scaling standard"
                )
            self._set("floor", smallest * LOG_FLOOR)
            values = np.log(values)
        low, high = values.min(axis=0), values.max(axis=0)
        shift, scale = (low, high - low) if self.kind == "minmax" else (values.mean(axis=0), values.std(axis=0))
        # A constant series has no scale of its own; its size, or one, stands in.
        scale = np.where(scale > 1e-6 * np.abs(shift), scale, np.maximum(np.abs(shift), 1.0))
        self._set("shift", shift)
        self._set("scale", scale)

    def columns(self, numbers: Sequence[int]) -> Scaling:
        """The scaling of some features, each by its place; one may stand there several times."""
        chosen = Scaling(self.kind, len(numbers))
        for name in ("shift", "scale", "floor"):
            getattr(chosen, name).copy_(getattr(self, name)[list(numbers)])
        return chosen

    def _set(self, name: str, value: NDArray[np.float64]) -> None:
        getattr(self, name).copy_(torch.from_numpy(np.asarray(value, dtype=np.float32)))

    def forward(self, x: Value) -> Value:
        """Scale raw x (T, B, F) to z (T, B, F), cut to what is finite and sensible."""
        if self.is_log:
            x = x.maximum(self.floor).log()
        limit = self._limit(exact=x.dtype is torch.float64)
        z = x if self.is_local else (x - self.shift) / self.scale
        return z.clamp(-limit, limit)

    def _limit(self, *, exact: bool) -> float:
        return SERIES_LIMIT if self.is_local else EXACT_LIMIT if exact else Z_LIMIT

    def change(self, x: Value, delta: Value) -> Value:
        """Raw forecast (..., F) that lies `delta` (in z) from the raw value x.

        Added to x itself rather than to z, so that "no change" is exactly x and nothing is lost to rounding; under
        `log` it is a factor, of the floor for values below that.
        """
        moved = delta * self.scale
        if self.is_log:
            factor = moved.clamp(-EXPONENT_LIMIT, EXPONENT_LIMIT).exp()
            moved = x.maximum(self.floor) * (factor - 1.0)
        return (x + moved).clamp(-RAW_LIMIT, RAW_LIMIT)

    def inverse(self, z: Value) -> Value:
        """Raw forecast (..., F) of a level z."""
        raw = z * self.scale + self.shift
        if self.is_log:
            return raw.clamp(-EXPONENT_LIMIT, EXPONENT_LIMIT).exp()
        return raw.clamp(-RAW_LIMIT, RAW_LIMIT)
