"""LSTMs with `proj_size`, which torch's exporter does not know, as modules that it does."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class ProjectedLSTM(nn.Module):
    """What `torch.nn.LSTM` with `proj_size` computes, written out: `h' = W_hr (o * tanh(c'))`."""

    def __init__(self, layer: nn.LSTM) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, state: Any = None) -> Any:
        """As the layer's own: outputs, and (h, c), of batches; x (B, T, F) if it is batch first."""
        layer = self.layer
        ways = 2 if layer.bidirectional else 1
        if layer.batch_first:
            x = x.transpose(0, 1)
        if state is None:
            sizes = layer.proj_size, layer.hidden_size
            state = tuple(x.new_zeros(layer.num_layers * ways, x.shape[1], size) for size in sizes)
        last_h, last_c = [], []
        for depth in range(layer.num_layers):
            outputs = []
            for way in range(ways):
                at, suffix = depth * ways + way, f"_l{depth}{'_reverse' if way else ''}"
                y, h, c = self._run(x.flip(0) if way else x, state[0][at], state[1][at], suffix)
                outputs.append(y.flip(0) if way else y)
                last_h.append(h)
                last_c.append(c)
            x = torch.cat(outputs, -1)
        y = x.transpose(0, 1) if layer.batch_first else x
        return y, (torch.stack(last_h), torch.stack(last_c))

    def _run(self, x: Tensor, h: Tensor, c: Tensor, suffix: str) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs (T, B, P) and the last states of one layer in one direction, x (T, B, F)."""
        names = ("weight_ih", "weight_hh", "weight_hr", *(("bias_ih", "bias_hh") if self.layer.bias else ()))
        weights = {name: getattr(self.layer, name + suffix) for name in names}
        outputs = []
        for value in x:
            first = nn.functional.linear(value, weights["weight_ih"], weights.get("bias_ih"))
            i, f, g, o = (first + nn.functional.linear(h, weights["weight_hh"], weights.get("bias_hh"))).chunk(4, -1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = nn.functional.linear(o.sigmoid() * c.tanh(), weights["weight_hr"])
            outputs.append(h)
        return torch.stack(outputs), h, c


def without_projections(module: nn.Module) -> nn.Module:
    """The module, its layers with projections replaced."""
    if isinstance(module, nn.LSTM):
        return ProjectedLSTM(module) if module.proj_size else module
    if not isinstance(module, torch.jit.ScriptModule):
        for name, one in module.named_children():
            changed = without_projections(one)
            if changed is not one:
                setattr(module, name, changed)
    return module
