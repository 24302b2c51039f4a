"""The recurrent stack with its dense head: what it adds to the linear skip's forecast, zero before training.

Several stacks, trained each from its own beginning, can be averaged inside one graph (`Ensemble`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import streamlstm.nn as layers
from streamlstm.errors import UsageError
from streamlstm.models import StateEntry
from streamlstm.nn import RecurrentLayer, Value, of

LAYER_KINDS: Mapping[str, str] = {"lstm": "LSTM", "gru": "GRU", "rnn": "SimpleRNN"}  # option -> class in streamlstm.nn
MOST_MERGED = 96  # units of one layer made of several
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
        x, after = self.scan(torch.clamp(x, -INPUT_LIMIT, INPUT_LIMIT), state)
        return self.head(x), after

    def scan(self, x: Value, state: Sequence[Value]) -> tuple[Value, tuple[Value, ...]]:
        """Step the layers through x (T, B, I) that is within the limits: what the head is given, and the states."""
        left, after = list(state), list[Value]()
        for layer in self.stack:
            count = len(layer.state_entries())
            x, carried = layer.scan(x, tuple(left[:count]))
            x = self.dropout(x) if isinstance(x, Tensor) else x
            left, after = left[count:], after + list(carried)
        return x, tuple(after)

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

    def forward(self, x: Value, state: Sequence[Value], gain: Tensor | None = None) -> tuple[Value, tuple[Value, ...]]:
        """Step through x (T, B, I): the mean output (T, B, O), times `gain` (O), and the states after the last step.

        In a graph, which needs a gain, all heads are one product, and what `offset` says is left out.
        """
        side, seen, after = of(x), list[Value](), list[Value]()
        x = x.clamp(-INPUT_LIMIT, INPUT_LIMIT)
        for member, own in zip(self.corrections, self._shares(state), strict=True):
            y, carried = member.scan(x, own)
            seen.append(y if side.folds else member.head(y) / len(self.members))
            after += carried
        if not side.folds:
            total = sum(seen[1:], seen[0])
            return total if gain is None else total * gain, tuple(after)
        assert gain is not None
        weight = torch.cat([member.head.weight.detach() for member in self.corrections], dim=1)
        weight = (weight * gain[:, None] / len(self.members)).t().contiguous()
        return side.concat(seen, axis=2) @ weight, tuple(after)

    def offset(self, gain: Tensor) -> Tensor:
        """What belongs to the output of `forward` in a graph besides, (O,): the heads' biases."""
        return torch.stack([member.head.bias.detach() for member in self.corrections]).mean(dim=0) * gain

    def merged(self) -> Ensemble:
        """The same as one stack whose layers are those of all members side by side, if they are not too wide for that.

        One layer of 96 units takes 15 us a value where three of 32 take 24, as one matrix costs less than three calls;
        beyond, its zeros cost more.
        """
        stacks = [member.stack for member in self.corrections]
        places = list(zip(*stacks, strict=True))
        if len(stacks) == 1 or max(sum(layer.output_size for layer in place) for place in places) > MOST_MERGED:
            return self
        wide = [_side_by_side(place, first=number == 0) for number, place in enumerate(places)]
        heads = [member.head for member in self.corrections]
        made = RecurrentCorrection(wide, heads[0].out_features)
        with torch.no_grad():
            made.head.weight.copy_(torch.cat([head.weight for head in heads], dim=1) / len(heads))
            made.head.bias.copy_(torch.stack([head.bias for head in heads]).mean(dim=0))
        return Ensemble([made])

    def _shares(self, state: Sequence[Any]) -> list[Sequence[Any]]:
        """The parts of the state of each member."""
        size = len(state) // len(self.members)
        return [state[first : first + size] for first in range(0, len(state), size)]

    def describe(self) -> tuple[Mapping[str, Any], ...]:
        """Facts of every layer and head of every member, for `inspect`."""
        return tuple(facts for member in self.corrections for facts in member.describe())


def _side_by_side(parts: Sequence[RecurrentLayer], *, first: bool) -> RecurrentLayer:
    """One layer that is several of a kind beside each other, over one input if they are the first, else over theirs."""
    kind = next(name for name, made in LAYER_KINDS.items() if type(parts[0]).__name__ == made)
    units = [part.output_size for part in parts]
    size = parts[0].input_size if first else sum(part.input_size or 0 for part in parts)
    assert size is not None, "a trained layer knows its input"
    layer = make_layer(kind, sum(units), size)
    named = [dict(part.named_parameters()) for part in parts]
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            # A parameter has its gates side by side in its last axis, each of as many columns as there are units.
            gates = [own[name].reshape(*own[name].shape[:-1], -1, u) for own, u in zip(named, units, strict=True)]
            shared = parameter.dim() == 1 or name.endswith("bias") or (first and not name.endswith("recurrent_kernel"))
            if shared:
                joined = torch.cat(gates, dim=-1)
            else:
                blocks = [_blocks([gate[:, n] for gate in gates]) for n in range(gates[0].shape[1])]
                joined = torch.stack(blocks, dim=1)
            parameter.copy_(joined.reshape(parameter.shape))
    return layer


def _blocks(matrices: Sequence[Tensor]) -> Tensor:
    """A matrix with these along its diagonal."""
    made: Tensor = torch.block_diag(*matrices)  # type: ignore[no-untyped-call]
    return made
