"""Sums that forget: s(t) = decay * s(t-1) + x(t) over time, in torch and as one ONNX node.

Written as a recurrent layer with relu (nothing summed is negative, so relu changes nothing), since both torch and
onnxruntime have that fused; its matrices are diagonal, so that every product is a single one and the bits do not
depend on how many rows or steps a call has. A sum of signed numbers is two: of what is above zero and of what is below.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from streamlstm.export.graph import Graph


def decaying_sums(x: Tensor, decays: Sequence[float], state: Tensor) -> tuple[Tensor, Tensor]:
    """Sum x (T, B, n), none of it negative, from sums (B, n): the sums after each step (T, B, n) and after the last."""
    weights = [torch.eye(len(decays)), _diagonal(decays)]
    sums, after = torch.rnn_relu(x, state[None].contiguous(), weights, False, 1, 0.0, False, False, False)
    return sums, after[0]


def emit_decaying_sums(graph: Graph, x: str, decays: Sequence[float], state: str) -> tuple[str, str]:
    """Add the nodes of `decaying_sums`; the same two tensors."""
    size = len(decays)
    weights = [graph.constant(torch.eye(size)[None].numpy()), graph.constant(_diagonal(decays)[None].numpy())]
    begin = graph.node("Unsqueeze", state, graph.ints(0))
    sums, after = graph.nodes("RNN", x, *weights, "", "", begin, outputs=2, hidden_size=size, activations=["Relu"])
    return graph.node("Squeeze", sums, graph.ints(1)), graph.node("Squeeze", after, graph.ints(0))


def both_signs(x: Tensor) -> Tensor:
    """What is above zero and what is below of x (..., n), both without sign: (..., 2n)."""
    return torch.cat((torch.relu(x), torch.relu(-x)), dim=-1)


def emit_both_signs(graph: Graph, x: str) -> str:
    """Add the nodes of `both_signs` for a tensor of three axes."""
    return graph.concat([graph.node("Relu", x), graph.node("Relu", graph.node("Neg", x))], axis=2)


def _diagonal(decays: Sequence[float]) -> Tensor:
    return torch.diag(torch.tensor(list(decays)))
