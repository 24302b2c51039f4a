"""The recurrent stack with its dense head: what it adds to the linear skip's forecast, zero before training.

Several stacks, trained each from its own beginning, can be averaged inside one graph (`Ensemble`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

import streamlstm.nn as layers
from streamlstm.errors import UsageError
from streamlstm.nn.layer import RecurrentLayer
from streamlstm.spec import StateEntry

if TYPE_CHECKING:
    from streamlstm.export.graph import Graph

LAYER_KINDS: Mapping[str, str] = {"lstm": "LSTM", "gru": "GRU", "rnn": "SimpleRNN"}  # option -> class in streamlstm.nn
INPUT_LIMIT = 8.0  # standard deviations; an outlier beyond says no more than one there


def make_layer(kind: str, units: int, input_size: int) -> RecurrentLayer:
    """Build one recurrent layer by its option name; UsageError for a name nobody knows."""
    if kind not in LAYER_KINDS:
        raise UsageError(f"there is no layer {kind!r}; choose one of {', '.join(LAYER_KINDS)}")
    layer: RecurrentLayer = getattr(layers, LAYER_KINDS[kind])(units, input_size=input_size)
    return layer


class RecurrentCorrection(nn.Module):
    """Layers with dropout after each, and a dense head that starts at zero; inputs and outputs of order one."""

    def __init__(self, stack: Sequence[RecurrentLayer], outputs: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise UsageError(f"dropout must be from 0 up to but not 1, not {dropout:g}")
        self.layers = nn.ModuleList(stack)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(stack[-1].output_size, outputs)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @property
    def stack(self) -> list[RecurrentLayer]:
        """The recurrent layers, the first one first."""
        return [layer for layer in self.layers if isinstance(layer, RecurrentLayer)]

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The states of all layers, named by kind and place: `lstm1.h`, `lstm1.c`, `lstm2.h`, ..."""
        return tuple(
            StateEntry(
                name=f"{type(layer).__name__.lower()}{place}.{entry.name}", shape=entry.shape, initial=entry.initial
            )
            for place, layer in enumerate(self.stack, start=1)
            for entry in layer.state_entries()
        )

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        """The states before the first step, each (batch, size)."""
        return tuple(part for layer in self.stack for part in layer.initial_state(batch))

    def forward(self, x: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Step through x (T, B, I): outputs (T, B, O) and the states after the last step."""
        left = list(state)
        after: list[Tensor] = []
        x = torch.clamp(x, -INPUT_LIMIT, INPUT_LIMIT)
        for layer in self.stack:
            count = len(layer.state_entries())
            x, carried = layer.scan(x, tuple(left[:count]))
            x = self.dropout(x)
            left, after = left[count:], after + list(carried)
        return self.head(x), tuple(after)

    def emit(self, graph: Graph, x: str, state: Sequence[str], gain: Tensor) -> tuple[str, list[str]]:
        """Add the nodes of `forward`, the outputs multiplied by `gain` (O)."""
        left, after = list(state), list[str]()
        x = graph.node("Clip", x, graph.constant(-INPUT_LIMIT), graph.constant(INPUT_LIMIT))
        for layer in self.stack:
            count = len(layer.state_entries())
            x, carried = layer.emit(graph, x, left[:count])
            left, after = left[count:], after + list(carried)
        weight = (self.head.weight.detach() * gain[:, None]).t().contiguous()
        product = graph.node("MatMul", x, graph.constant(weight.numpy()))
        return graph.node("Add", product, graph.constant((self.head.bias.detach() * gain).numpy())), after

    def describe(self) -> tuple[Mapping[str, Any], ...]:
        """Facts of every layer and of the head, for `inspect`."""
        head = {
            "kind": "Dense",
            "units": self.head.out_features,
            "parameters": sum(p.numel() for p in self.head.parameters()),
        }
        return (*(layer.describe() for layer in self.stack), head)


class Ensemble(nn.Module):
    """The mean of several corrections over one input; each carries its own state."""

    def __init__(self, members: Sequence[RecurrentCorrection]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    @property
    def corrections(self) -> list[RecurrentCorrection]:
        """The members."""
        return [member for member in self.members if isinstance(member, RecurrentCorrection)]

    @property
    def chunking(self) -> bool:
        """Whether T steps of every layer can be run in one call."""
        return all(layer.chunking for member in self.corrections for layer in member.stack)

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The states of all members; of several, named `member1.lstm1.h` and so on."""
        if len(self.corrections) == 1:
            return self.corrections[0].state_entries()
        return tuple(
            StateEntry(name=f"member{number}.{entry.name}", shape=entry.shape, initial=entry.initial)
            for number, member in enumerate(self.corrections, start=1)
            for entry in member.state_entries()
        )

    def initial_state(self, batch: int) -> tuple[Tensor, ...]:
        """The states before the first step, each (batch, size)."""
        return tuple(part for member in self.corrections for part in member.initial_state(batch))

    def forward(self, x: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Step through x (T, B, I): the mean output (T, B, O) and the states after the last step."""
        outputs: list[Tensor] = []
        after: list[Tensor] = []
        for member, own in zip(self.corrections, self._shares(state), strict=True):
            y, carried = member(x, own)
            outputs.append(y / len(self.members))
            after += carried
        return sum(outputs[1:], outputs[0]), tuple(after)

    def emit(self, graph: Graph, x: str, state: Sequence[str], gain: Tensor) -> tuple[str, list[str]]:
        """Add the nodes of `forward`, the output multiplied by `gain` (O)."""
        total, after = "", list[str]()
        for member, own in zip(self.corrections, self._shares(state), strict=True):
            y, carried = member.emit(graph, x, own, gain / len(self.members))
            total = graph.node("Add", total, y) if total else y
            after += carried
        return total, after

    def _shares(self, state: Sequence[Any]) -> list[Sequence[Any]]:
        """The parts of the state of each member."""
        size = len(state) // len(self.members)
        return [state[first : first + size] for first in range(0, len(state), size)]

    def describe(self) -> tuple[Mapping[str, Any], ...]:
        """Facts of every layer and head of every member, for `inspect`."""
        return tuple(facts for member in self.corrections for facts in member.describe())
