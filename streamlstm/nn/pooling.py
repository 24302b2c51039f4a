"""Keras' pooling over the steps of a window, with all of its paddings and strides, and over all of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from streamlstm.errors import UsageError
from streamlstm.models import StateEntry
from streamlstm.nn.across_steps import AcrossSteps, Shape, gathered
from streamlstm.nn.convolution import OverPlaces, places
from streamlstm.nn.layer import RecurrentLayer
from streamlstm.nn.operations import State, Value, of


class _Pooling(OverPlaces):
    """One number of several steps, for each of the numbers of a value."""

    takes = (2,)
    options = ("pool_size", "strides", "padding")
    pool_size: int

    def __init__(
        self, shape: Sequence[int], pool_size: int = 2, strides: int | None = None, padding: str = "valid"
    ) -> None:
        strides = pool_size if strides is None else strides
        self.places = places(shape[0], pool_size, strides, padding)
        super().__init__(shape, pool_size=pool_size, strides=strides, padding=padding)

    @property
    def made_shape(self) -> Shape:
        return (len(self.places), self.shape[1])


class MaxPooling1D(_Pooling):
    """The largest of `pool_size` steps."""

    def over(self, x: Value) -> Value:
        # A place outside of the window stands for its first or last step, which this pool sees as well.
        seen = of(x).take(x, self.places.t().clamp(0, self.shape[0] - 1))
        return folded(seen, self.pool_size, _larger)


class AveragePooling1D(_Pooling):
    """The mean of those of `pool_size` steps that lie in the window.

    Raises UsageError where Keras' backends differ: where `same` pads the two ends unevenly, TensorFlow and JAX take the
    mean of what lies in the window, and PyTorch repeats the steps at its ends (Keras 3.15).
    """

    def __init__(
        self, shape: Sequence[int], pool_size: int = 2, strides: int | None = None, padding: str = "valid"
    ) -> None:
        super().__init__(shape, pool_size, strides, padding)
        before, after = max(-int(self.places.min()), 0), max(int(self.places.max()) - self.shape[0] + 1, 0)
        if padding == "same" and before != after and not self._is_settled:
            raise UsageError(
                f"padding='same' adds {before} steps before a window of {self.shape[0]} and {after} after it, and "
                "Keras does not give the same means on all its backends then; train with padding='valid', or with a "
                "window that pool_size and strides divide"
            )

    @property
    def _is_settled(self) -> bool:
        """Whether the mean is the same if the steps at the ends are repeated: a pool over an end sees no other."""
        over = ((self.places < 0) | (self.places >= self.shape[0])).any(dim=1)
        seen = self.places[over].clamp(0, self.shape[0] - 1)
        return bool((seen == seen[:, :1]).all())

    def over(self, x: Value) -> Value:
        counts = ((self.places >= 0) & (self.places < self.shape[0])).sum(dim=1).float().reshape(-1, 1, 1)
        total = folded(gathered(x, self.places.t(), self.shape[0]), self.pool_size, _sum)
        return total / (counts.to(x.device) if isinstance(x, Tensor) else counts)


class _GlobalPooling(AcrossSteps):
    """One number of all steps, for each of the numbers of a value; with `keepdims` as a window of one step."""

    takes = (2,)
    options = ("keepdims",)
    keepdims: bool

    def __init__(self, shape: Sequence[int], keepdims: bool = False) -> None:
        super().__init__(shape, keepdims=keepdims)

    @property
    def made_shape(self) -> Shape:
        return (1, self.shape[1]) if self.keepdims else (self.shape[1],)

    @property
    def is_identity(self) -> bool:
        return self.shape[0] == 1

    def _of_all(self, x: Value, join: Callable[[Value, Value], Value]) -> Value:
        y = folded(x, self.shape[0], join)
        return y.unsqueeze(0) if self.keepdims else y


class GlobalMaxPooling1D(_GlobalPooling):
    """The largest of all steps."""

    def over(self, x: Value) -> Value:
        return self._of_all(x, _larger)


class GlobalAveragePooling1D(_GlobalPooling):
    """The mean of all steps."""

    def over(self, x: Value) -> Value:
        return self._of_all(x, _sum) / float(self.shape[0])


class RunningPooling1D(RecurrentLayer):
    """The largest (`kind` "max"), or the "mean", of all values since the beginning, for each of their numbers."""

    def __init__(self, kind: str, *, input_size: int | None = None) -> None:
        super().__init__()
        if kind not in ("max", "mean"):
            raise UsageError(f"RunningPooling1D gives the 'max' or the 'mean', not {kind!r}")
        self.kind, self.output_size = kind, 0
        if input_size is not None:
            self.build(input_size)

    def build(self, input_size: int) -> None:
        """Remember the size of the values, which is that of the outputs."""
        self.input_size = self.output_size = input_size

    @property
    def gives_sequences(self) -> bool:
        return False

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The pooled numbers, and how many values they are of."""
        return (StateEntry(name="pooled", shape=(self.output_size,)), StateEntry(name="count", shape=(1,)))

    def scan(self, x: Value, state: State) -> tuple[Value, State]:
        """Step through x (T, B, F)."""

        def step(now: Value, before: State) -> tuple[Value, State]:
            pooled, count = before
            after = count + 1.0
            if self.kind == "max":
                y = of(now).where(count > 0.0, pooled.maximum(now), now)
            else:
                y = pooled + (now - pooled) / after
            return y, (y, after)

        return of(x).scan(step, x, state)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Call it as Keras does, x (B, T, F) batch first; raises UsageError for a mask."""
        if mask is not None:
            raise UsageError("RunningPooling1D takes values without gaps")
        self.build(x.shape[-1])
        y: Tensor = self.scan(x.transpose(0, 1), self.initial_state(len(x)))[0]
        return y[-1]

    def config(self) -> dict[str, Any]:
        """Give the kind."""
        return {"class": "RunningPooling1D", "kind": self.kind, "input_size": self.input_size}


def _larger(one: Value, other: Value) -> Value:
    return one.maximum(other)


def _sum(one: Value, other: Value) -> Value:
    return one + other


def folded(x: Value, count: int, join: Callable[[Value, Value], Value]) -> Value:
    """Join the `count` parts along axis 0, halves with halves: few nodes, and bits that no batch can change."""
    while count > 1:
        half = count // 2
        pairs = join(x[0:half], x[half : 2 * half])
        x = of(x).concat([pairs, x[2 * half : count]], axis=0) if count % 2 else pairs
        count = half + count % 2
    return x.squeeze(0)
