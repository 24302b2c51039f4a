"""The recurrent weights of a model that was trained before, as the beginning of a new training.

They are read from the graph: each LSTM or GRU operator is one layer, or (as `Ensemble.merged` writes them) the layers
of several stacks side by side. The dense head and all that is linear are fitted anew: what is linear in closed form,
and the head begins at zero, so the new forecaster begins with the linear part's forecasts in any case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from streamlstm.common import counted
from streamlstm.models import MAX_FILE_BYTES, check_model, read_model
from streamlstm.nn import from_operator
from streamlstm.training.forecaster import Forecaster, RecurrentCorrection

Floats = NDArray[np.float32]
Layer = Mapping[str, Floats]  # parameters by their names, laid out as the layers have them


class WarmStart:
    """The recurrent layers of a model file, to be put into a forecaster whose layers have their shape."""

    def __init__(self, model: Path | bytes) -> None:
        """A file, or its bytes; raises ModelError for what is no ONNX file."""
        data = read_model(model, MAX_FILE_BYTES) if isinstance(model, Path) else model
        check_model(data, str(model) if isinstance(model, Path) else "the model to begin with")
        graph = onnx.load_model_from_string(data).graph
        self._stacks_begun = 0
        constants = {one.name: one for one in graph.initializer}
        self._operators = [
            (node.op_type, [onnx.numpy_helper.to_array(constants[name]) for name in node.input[1:4]])
            for node in graph.node
            if node.op_type in {"LSTM", "GRU"} and all(name in constants for name in node.input[1:4])
        ]

    @property
    def outcome(self) -> str:
        """What came of it, in words."""
        if not self._stacks_begun:
            return "warm start: its recurrent layers have another shape (season, units), so training began afresh"
        return f"warm start: {counted(self._stacks_begun, 'recurrent stack')} began with its weights"

    def into(self, forecaster: Forecaster) -> None:
        """Put the layers into the recurrent stacks, in turn; into none where kind, inputs or units differ."""
        config, members = forecaster.config, forecaster.correction.corrections
        stacks = self._stacks(config.layer.upper(), config.units)
        if not stacks or not all(_fits(member, stack) for member, stack in zip(members, stacks, strict=False)):
            return
        with torch.no_grad():
            for member, stack in zip(members, stacks, strict=False):
                for layer, weights in zip(member.stack, stack, strict=True):
                    for name, parameter in layer.named_parameters():
                        parameter.copy_(torch.from_numpy(weights[name]))
        self._stacks_begun = min(len(members), len(stacks))

    def _stacks(self, kind: str, units: Sequence[int]) -> list[list[Layer]]:
        """The stacks of layers with so many units each that the file has; none if it has others."""
        depth = len(units)
        if not self._operators or len(self._operators) % depth or any(own != kind for own, _ in self._operators):
            return []
        stacks = []
        for first in range(0, len(self._operators), depth):
            layers = [from_operator(kind, *arrays) for _, arrays in self._operators[first : first + depth]]
            widths = [layer["cell.recurrent_kernel"].shape[0] for layer in layers]
            if any(wide % own for wide, own in zip(widths, units, strict=True)):
                return []
            counts = {wide // own for wide, own in zip(widths, units, strict=True)}
            if len(counts) > 1:
                return []
            stacks += _taken_apart(layers, units, counts.pop())
        return stacks


def _taken_apart(layers: Sequence[Layer], units: Sequence[int], count: int) -> list[list[Layer]]:
    """The stacks that lie side by side in wide layers."""
    found: list[list[Layer]] = []
    for member in range(count):
        stack: list[Layer] = []
        for place, (layer, own) in enumerate(zip(layers, units, strict=True)):
            columns = slice(member * own, (member + 1) * own)
            before = units[place - 1] if place else 0
            rows = slice(member * before, (member + 1) * before) if place else slice(None)
            stack.append(
                {
                    name: _part(array, count * own, columns, rows if name == "cell.kernel" else columns)
                    for name, array in layer.items()
                }
            )
        found.append(stack)
    return found


def _part(array: Floats, wide: int, columns: slice, rows: slice) -> Floats:
    """Of a parameter whose gates lie side by side in its last axis, the columns of one stack, and of matrices its rows.

    A bias of two rows keeps both.
    """
    gates = array.reshape(*array.shape[:-1], -1, wide)[..., columns]
    chosen = gates if gates.ndim == 2 or array.shape[0] == 2 else gates[rows]
    return np.ascontiguousarray(chosen.reshape(*chosen.shape[:-2], -1))


def _fits(member: RecurrentCorrection, stack: Sequence[Layer]) -> bool:
    def shapes(parameters: Mapping[str, Tensor | Floats]) -> dict[str, tuple[int, ...]]:
        return {name: tuple(one.shape) for name, one in parameters.items()}

    return all(
        shapes(dict(layer.named_parameters())) == shapes(weights)
        for layer, weights in zip(member.stack, stack, strict=True)
    )
