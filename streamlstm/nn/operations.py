"""The operations layers are written in, once for both sides: torch's tensors, and the symbols of a graph.

A layer states its formula in arithmetic and the methods that `torch.Tensor` and `Symbol` (`streamlstm.nn.symbols`)
share; what is no method of a tensor is asked of the side a value belongs to, as in `of(x).concat(parts, axis)`. So one
text trains and exports. The sides differ in what they do underneath, and only there: torch has fused kernels with
gradients, a graph the operators whose bits do not depend on the batch. A value is not dispatched where it can do the
thing itself, so training pays nothing for the other side.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from streamlstm.models import StateEntry
from streamlstm.nn.recurrence import Recurrence

Value = Any  # a Tensor, or a Symbol: the tensor of a graph that is being written
State = tuple[Value, ...]  # each (B, size)
Step = Callable[[Value, State], tuple[Value, State]]  # x (B, F) and the state to the output (B, O) and the next one
Loop = Callable[[Value, State], tuple[Value, State]]  # the same over x (T, B, F)


class Operations(ABC):
    """What a side can do besides the methods of its values."""

    folds: bool  # whether parameters are constants, which may be put together beforehand

    @abstractmethod
    def concat(self, parts: Sequence[Value], axis: int) -> Value:
        """Join along an axis."""

    @abstractmethod
    def where(self, condition: Value, yes: Value, no: Value) -> Value:
        """`yes` where the condition holds, else `no`."""

    @abstractmethod
    def reshape(self, x: Value, *shape: int) -> Value:
        """`x` in another shape; 0 copies an axis, -1 is worked out."""

    @abstractmethod
    def take(self, x: Value, places: Value, axis: int = 0) -> Value:
        """What stands at these places along an axis, which the axes of `places` replace."""

    @abstractmethod
    def steps(self, x: Value) -> Value:
        """The whole numbers from 0 up, one a step of x (T, …): (T,)."""

    @abstractmethod
    def columns(self, x: Value, places: Sequence[int]) -> Value:
        """What stands at these places along the last axis of x (T, B, F)."""

    @abstractmethod
    def lowest(self, x: Value, place: int, axis: int) -> Value:
        """The number that has this place, from 1 up, along the last axis, which is `axis`, when sorted: (…, 1)."""

    @abstractmethod
    def ends(self, parts: Sequence[Value]) -> tuple[Value, Value]:
        """The least and the largest of what stands at each place of tensors of one shape."""

    @abstractmethod
    def kernel(self, recurrence: Recurrence, live: Value | None) -> Loop | None:
        """The side's own operator for a whole loop, run as far as `live` says (`scan`); None if it has none."""

    @abstractmethod
    def scan(self, step: Step, x: Value, state: State, live: Value | None = None) -> tuple[Value, State]:
        """Apply `step` along axis 0 of x (T, B, F): outputs (T, B, O) and the state after the last step.

        `live` says which steps count; at others a row's state stays, and its output means nothing. It is a mask (T, B)
        in torch, where a window's values stand at its end, and in a graph, where they stand at its beginning, the
        number of them (B,).
        """

    @abstractmethod
    def initial(self, entries: Sequence[StateEntry], x: Value) -> State:
        """The state before the first of x (…, B, F), each (B, size)."""

    @abstractmethod
    def reverse(self, x: Value, live: Value | None) -> tuple[Value, Value | None]:
        """Windows x (W, N, F) with their values the other way round, and what `live` then is."""

    @abstractmethod
    def passing_over(self, x: Value, kept: Value, live: Value | None) -> tuple[Value, Value]:
        """Windows x (W, N, F) and what `live` then is, if only the steps count at which `kept` (W, N) is true."""

    @abstractmethod
    def last(self, y: Value, live: Value | None) -> Value:
        """The output (N, O) of each window's last step, of y (W, N, O)."""


class TorchOperations(Operations):
    """The operations on tensors."""

    folds = False

    def concat(self, parts: Sequence[Value], axis: int) -> Value:
        """Join along an axis."""
        return torch.cat(tuple(parts), dim=axis)

    def where(self, condition: Value, yes: Value, no: Value) -> Value:
        """`yes` where the condition holds, else `no`."""
        return torch.where(condition, yes, no)

    def reshape(self, x: Value, *shape: int) -> Value:
        """`x` in another shape; 0 copies an axis, -1 is worked out."""
        return x.reshape([size or x.shape[axis] for axis, size in enumerate(shape)])

    def take(self, x: Value, places: Value, axis: int = 0) -> Value:
        """What stands at these places along an axis, which the axes of `places` replace."""
        return x[(*[slice(None)] * axis, places)]

    def steps(self, x: Value) -> Value:
        """The whole numbers from 0 up, one a step of x (T, …): (T,)."""
        return torch.arange(len(x), device=x.device)

    def columns(self, x: Value, places: Sequence[int]) -> Value:
        """What stands at these places along the last axis of x (T, B, F)."""
        return x[..., list(places)]

    def lowest(self, x: Value, place: int, axis: int) -> Value:
        """The number that has this place, from 1 up, along `axis` when sorted: (…, 1)."""
        return torch.kthvalue(x, place, dim=axis, keepdim=True)[0]

    def ends(self, parts: Sequence[Value]) -> tuple[Value, Value]:
        """The least and the largest of what stands at each place of tensors of one shape."""
        together = torch.stack(list(parts))
        return together.amin(dim=0), together.amax(dim=0)

    def kernel(self, recurrence: Recurrence, live: Value | None) -> Loop | None:
        """The fused kernel, which computes every step, for the activations it knows."""
        return recurrence.loop if live is None and recurrence.is_fused else None

    def scan(self, step: Step, x: Value, state: State, live: Value | None = None) -> tuple[Value, State]:
        """Loop; `live` is a mask (T, B)."""
        outputs = []
        if live is None:
            for now in x:
                output, state = step(now, state)
                outputs.append(output)
            return torch.stack(outputs), state
        for now, lives in zip(x, live.bool().unsqueeze(-1), strict=True):
            output, new = step(now, state)
            state = tuple(torch.where(lives, a, b) for a, b in zip(new, state, strict=True))
            outputs.append(output)
        return torch.stack(outputs), state

    def initial(self, entries: Sequence[StateEntry], x: Value) -> State:
        """The state before the first of x (…, B, F), each (B, size)."""
        return tuple(x.new_tensor(entry.initial).expand(x.shape[-2], entry.size) for entry in entries)

    def reverse(self, x: Value, live: Value | None) -> tuple[Value, Value | None]:
        return x.flip(0), None if live is None else live.flip(0)

    def passing_over(self, x: Value, kept: Value, live: Value | None) -> tuple[Value, Value]:
        return x, kept if live is None else kept & live.bool()

    def last(self, y: Value, live: Value | None) -> Value:
        """The last step's: a step that does not count holds the output before it (`RNN`)."""
        del live
        return y[-1]


TORCH = TorchOperations()


def of(value: Value) -> Operations:
    """The side a value belongs to."""
    if isinstance(value, Tensor):
        return TORCH
    side: Operations = value.operations
    return side
