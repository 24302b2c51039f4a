"""Sums that forget: s(t) = decay * s(t-1) + x(t) W + bias over time, one kernel in torch and one node in ONNX.

Written as a recurrent layer with relu (nothing summed is negative, so relu changes nothing), since both torch and
onnxruntime have that fused. Its matrices have one number a column: onnxruntime's RNN adds several products in another
order for one row than for many, and the bits would depend on how many rows and steps a call has. Where W has more, they
are added up before, by a product that has not that fault.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from streamlstm.nn import Value


class Decay(NamedTuple):
    """How n numbers go into m sums; none of x W + bias is negative, but for sums that begin below zero."""

    weight: Tensor  # (n, m)
    decays: Tensor  # (m,)
    bias: Tensor  # (m,)


def decaying_sums(x: Value, rule: Decay, state: Value) -> tuple[Value, Value]:
    """Sum x (T, B, n) from sums (1, B, m): the sums after each step (T, B, m) and after the last (1, B, m)."""
    if isinstance(x, Tensor):
        weights = [rule.weight.t(), torch.diag(rule.decays), rule.bias, torch.zeros_like(rule.bias)]
        state = state.reshape(1, x.shape[1], -1).contiguous()
        sums, after = torch.rnn_relu(x, state, weights, True, 1, 0.0, False, False, False)
        return sums, after
    weight = rule.weight
    if (weight.count_nonzero(dim=0) > 1).any():
        x, weight = x @ weight, torch.eye(len(rule.decays))
    weights = [weight.t()[None], torch.diag(rule.decays)[None], torch.cat((rule.bias, 0 * rule.bias))[None]]
    sums, after = x.operations.nodes(
        "RNN", x, *weights, "", state, outputs=2, hidden_size=len(rule.decays), activations=["Relu"]
    )
    return sums.squeeze(1), after
