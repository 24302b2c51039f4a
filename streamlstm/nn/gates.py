"""What the tutorials draw: the gates, the candidate, the cell and the output of a layer over time."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamlstm.errors import UsageError
from streamlstm.nn.cell import Cell
from streamlstm.nn.operations import State
from streamlstm.nn.recurrent import RNN


@torch.no_grad()
def gates(layer: RNN | Cell, x: Tensor, state: State | None = None) -> dict[str, NDArray[np.float32]]:
    """Step a layer, or a cell, through x (T, B, F) from `state` (its initial state if None), and keep every part.

    Returns arrays (T, B, units): `forget`, `input`, `output`, `candidate`, `cell`, `hidden` of an LSTM; `update`,
    `reset`, `candidate`, `hidden` of a GRU. Nothing is dropped. Raises UsageError for a cell that has no gates.
    """
    cell = layer.cell if isinstance(layer, RNN) else layer
    parts_of = getattr(cell, "gates", None)
    if parts_of is None:
        raise UsageError(f"{type(cell).__name__} has no gates to show; LSTM and GRU cells have")
    now = cell.initial_state(x) if state is None else state
    steps: list[dict[str, Tensor]] = []
    for value in x:
        steps.append(parts_of(value, now))
        _, now = cell.step(value, now)
    return {name: torch.stack([step[name] for step in steps]).cpu().numpy() for name in steps[0]}
