"""The linear skip: a ridge regression on the lag features that the recurrent stack corrects.

It is set to its closed-form solution rather than learnt: a skip that starts at zero and is trained beside the stack
was worse than none.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class LinearSkip(nn.Module):
    """Two linear maps of the features (K*F) to O outputs: one for a full history, one that needs no season.

    `weight` is (K*F, 2*O) and `bias` (2*O): the first O columns are the full map's.
    """

    weight: Tensor
    bias: Tensor
    residual_std: Tensor
    output_std: Tensor

    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.register_buffer("weight", torch.zeros(features, 2 * outputs))
        self.register_buffer("bias", torch.zeros(2 * outputs))
        self.register_buffer("residual_std", torch.ones(outputs))  # of what the full map leaves, on the training part
        self.register_buffer("output_std", torch.ones(outputs))  # of what the full map says, there

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Map features (T, B, K*F) to the full and the short forecast, each (T, B, O)."""
        both = features @ self.weight + self.bias
        return both[..., : self.outputs], both[..., self.outputs :]

    def set_full(self, weight: NDArray[np.float64], bias: NDArray[np.float64]) -> None:
        """Set the map for a full history: weight (K*F, O), bias (O)."""
        self.weight[:, : self.outputs] = torch.from_numpy(weight.astype(np.float32))
        self.bias[: self.outputs] = torch.from_numpy(bias.astype(np.float32))

    def set_short(self, weight: NDArray[np.float64], bias: NDArray[np.float64]) -> None:
        """Set the map for a history that is not full: weight (K*F, O), bias (O)."""
        self.weight[:, self.outputs :] = torch.from_numpy(weight.astype(np.float32))
        self.bias[self.outputs :] = torch.from_numpy(bias.astype(np.float32))
