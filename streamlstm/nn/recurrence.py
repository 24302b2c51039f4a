"""A whole recurrent loop as fused kernels know it, and torch's kernels for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from streamlstm.nn.activation_function import ActivationFunction

# What each of torch's kernels computes: its activations by name, gates first, and where its gates stand in Keras'
# order (i, f, g, o of the LSTM are Keras' own; r, z, n of the GRU are not).
_FUSED: dict[tuple[str, ...], tuple[Any, Sequence[int]]] = {
    ("LSTM", "sigmoid", "tanh", "tanh"): (torch.lstm, (0, 1, 2, 3)),
    ("GRU", "sigmoid", "tanh"): (torch.gru, (1, 0, 2)),
    ("RNN", "tanh"): (torch.rnn_tanh, (0,)),
    ("RNN", "relu"): (torch.rnn_relu, (0,)),
}


@dataclass(frozen=True, kw_only=True)
class Recurrence:
    """What a cell does at every step, for those who do all steps at once; gates ordered as Keras orders them."""

    kind: str  # LSTM, GRU or RNN
    functions: tuple[ActivationFunction, ...]  # of the gates, of the candidate, of the LSTM's output
    kernel: Tensor  # (F, gates * u)
    recurrent: Tensor  # (u, gates * u)
    bias: Tensor | None  # (gates * u), or of the GRU that resets after the product (2, 3u)
    reset_after: bool = True
    peepholes: Sequence[Tensor] = ()  # of the input, the output and the forget gate, each (u)
    training: bool = False

    @property
    def is_fused(self) -> bool:
        """Whether torch has a kernel for it."""
        return self.reset_after and self._key in _FUSED

    @property
    def _key(self) -> tuple[str, ...]:
        return (self.kind, *(function.name for function in self.functions))

    def loop(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Step through x (T, B, F) from `state`, each (B, u), with torch's kernel."""
        kernel, order = _FUSED[self._key]
        weights = self._weights(order)
        starts = [part.unsqueeze(0).contiguous() for part in state]
        start = starts if self.kind == "LSTM" else starts[0]
        y, *after = kernel(x, start, weights, self.bias is not None, 1, 0.0, self.training, False, False)
        return y, tuple(part[0] for part in after)

    def _weights(self, order: Sequence[int]) -> list[Tensor]:
        """The parameters as torch's kernels take them: gates as rows, in `order`, two biases; views of one buffer.

        In one buffer, because cuDNN would otherwise copy them together at every call, and torch warns of that.
        """

        def turned(matrix: Tensor) -> Tensor:
            if list(order) != sorted(order):
                blocks = matrix.chunk(len(order), dim=-1)
                matrix = torch.cat([blocks[gate] for gate in order], dim=-1)
            return matrix.t() if matrix.dim() == 2 else matrix

        parts = [turned(self.kernel), turned(self.recurrent)]
        if self.bias is not None:
            both = self.bias if self.bias.dim() == 2 else (self.bias, self.bias.new_zeros(self.recurrent.shape[1]))
            parts += [turned(bias) for bias in both]
        buffer = torch.cat([part.reshape(-1) for part in parts])
        sizes = [part.numel() for part in parts]
        return [piece.view(part.shape) for piece, part in zip(torch.split(buffer, sizes), parts, strict=True)]
