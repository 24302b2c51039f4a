"""Sums that forget: s(t) = decay * s(t-1) + x(t) W + bias over time, in torch and as one ONNX node.

Written as a recurrent layer with relu (nothing summed is negative, so relu changes nothing), since both torch and
onnxruntime have that fused. Its matrices have one number a column: onnxruntime's RNN adds several products in another
order for one row than for many, and the bits would depend on how many rows and steps a call has. Where W has more, they
are added up before, by a product that has not that fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from streamlstm.export.graph import Graph


class Decay(NamedTuple):
    """How n numbers go into m sums; none of x W + bias is negative, but for sums that begin below zero."""

    weight: Tensor  # (n, m)
    decays: Tensor  # (m,)
    bias: Tensor  # (m,)


def decaying_sums(x: Tensor, rule: Decay, state: Tensor) -> tuple[Tensor, Tensor]:
    """Sum x (T, B, n) from sums (B, m): the sums after each step (T, B, m) and after the last."""
    weights = [rule.weight.t(), torch.diag(rule.decays), rule.bias, torch.zeros_like(rule.bias)]
    sums, after = torch.rnn_relu(x, state[None].contiguous(), weights, True, 1, 0.0, False, False, False)
    return sums, after[0]


def emit_decaying_sums(graph: Graph, x: str, rule: Decay, state: str) -> tuple[str, str]:
    """Add the nodes of `decaying_sums`; the same two tensors, states as (1, B, m)."""
    size, weight = len(rule.decays), rule.weight
    if (weight.count_nonzero(dim=0) > 1).any():
        x, weight = graph.node("MatMul", x, graph.constant(weight.numpy())), torch.eye(size)
    weights = [weight.t()[None], torch.diag(rule.decays)[None], torch.cat((rule.bias, 0 * rule.bias))[None]]
    given = [graph.constant(matrix.contiguous().numpy()) for matrix in weights]
    sums, after = graph.nodes("RNN", x, *given, "", state, outputs=2, hidden_size=size, activations=["Relu"])
    return graph.node("Squeeze", sums, graph.ints(1)), after
