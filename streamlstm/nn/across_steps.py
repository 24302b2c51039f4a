"""Keras' layers that look at several steps of a window or lay them out anew: Flatten, Reshape, RepeatVector, ….

None of them can take one value after another: they are served inside a `Window` that holds as many values as they were
built for (`whole=True`). Like all layers they are time-major: windows x (W, N, F), (N, F) where there are no steps, and
(S, W, N, F) where each of S steps is a window: the batch is the axis before the last.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from streamlstm.errors import UsageError
from streamlstm.models import StateEntry
from streamlstm.nn.layer import RecurrentLayer
from streamlstm.nn.operations import State, Value, of

MOST_NUMBERS = 1 << 22  # of one window, 16 MiB: what a file asks for is allocated only within bounds
Shape = tuple[int, ...]  # (W, F), (F,) where there are no steps, (S, W, F) where they are windows


class AcrossSteps(RecurrentLayer):
    """A layer over a whole window, of `shape` (steps, numbers), (numbers,) or (steps, steps, numbers)."""

    options: ClassVar[Sequence[str]] = ()  # the constructor's other arguments, kept under their names
    ordered: ClassVar[bool] = True  # whether its steps are still those of time, the newest last

    def __init__(self, shape: Sequence[int], **options: Any) -> None:
        super().__init__()
        self.shape: Shape = tuple(int(size) for size in shape)
        if len(self.shape) not in self.takes or min(self.shape) < 1:
            raise UsageError(f"{type(self).__name__} takes no windows of shape {self.shape}")
        for name in self.options:
            setattr(self, name, options[name])
        made = self.made_shape
        if min(made) < 1 or math.prod(made) > MOST_NUMBERS:
            raise UsageError(f"{type(self).__name__} makes {made} of windows of shape {self.shape}")
        self.output_size = made[-1]

    @property
    @abstractmethod
    def made_shape(self) -> Shape:
        """The shape of what it makes of its windows."""

    @property
    def widest(self) -> int:
        """How many numbers it lays out for a window at most."""
        return max(math.prod(self.shape), math.prod(self.made_shape))

    @property
    def is_identity(self) -> bool:
        """Whether it only says otherwise what is one step: the same numbers in the same order."""
        return False

    def output_shape(self, shape: Sequence[Any]) -> tuple[Any, ...]:
        """That shape; raises UsageError for windows of another one than it was made for."""
        if len(shape) != len(self.shape) or any(
            given not in (None, own) for given, own in zip(shape, self.shape, strict=True)
        ):
            raise UsageError(f"{type(self).__name__} was made for {self.shape}, not {tuple(shape)}")
        return self.made_shape

    @abstractmethod
    def over(self, x: Value) -> Value:
        """What it makes of windows x, shaped as `shape` with the batch before the last axis."""

    def state_entries(self) -> tuple[StateEntry, ...]:
        return ()

    def scan(self, x: Value, state: State) -> tuple[Value, State]:
        """Not possible; raises UsageError."""
        del x, state
        raise UsageError(f"{type(self).__name__} looks across steps; put it in Window(layer, length, whole=True)")

    @property
    def gives_sequences(self) -> bool:
        return len(self.made_shape) > 1

    def sequence(self, x: Value, live: Value | None = None) -> tuple[Value, Value | None]:
        """Run whole windows; raises UsageError for windows that lack values."""
        if live is not None:
            raise UsageError(f"{type(self).__name__} takes windows without gaps: Window(layer, length, whole=True)")
        return self.over(x), None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Call it as Keras does, x (B, *shape) batch first."""
        self.output_shape(tuple(x.shape[1:]))
        if self.input_size is None:
            self.build(self.shape[-1])
        y: Tensor = self.sequence(x.movedim(0, -2), mask)[0]
        return y.movedim(-2, 0)

    def config(self) -> dict[str, Any]:
        """Give the shape and the options."""
        return {
            "class": type(self).__name__,
            "shape": list(self.shape),
            **{name: getattr(self, name) for name in self.options},
        }


class _Rearranged(AcrossSteps):
    """The same numbers in another shape."""

    @property
    def is_identity(self) -> bool:
        return math.prod(self.shape) == self.shape[-1] == self.made_shape[-1] == math.prod(self.made_shape)


class Reshape(_Rearranged):
    """The numbers of a window in the same order in another shape, such as (numbers,), which is Keras' Flatten.

    One of its sizes may be -1, which is worked out.
    """

    takes = (1, 2, 3)
    options = ("target",)
    ordered = False

    def __init__(self, shape: Sequence[int], target: Sequence[int] = (-1,)) -> None:
        sizes, count = [int(size) for size in target], math.prod(shape)
        rest = math.prod(size for size in sizes if size != -1)
        if sizes.count(-1) == 1 and rest > 0:
            sizes[sizes.index(-1)] = count // rest
        if len(sizes) not in self.takes or min(sizes) < 1 or math.prod(sizes) != count:
            raise UsageError(f"Reshape cannot make {tuple(target)} of {tuple(shape)}; it makes (steps, numbers)")
        super().__init__(shape, target=sizes)

    target: list[int]

    @property
    def made_shape(self) -> Shape:
        return tuple(self.target)

    def over(self, x: Value) -> Value:
        before, after = len(self.shape), len(self.target)
        rows = x if before == 1 else x.permute(before - 1, *range(before - 1), before)  # (N, *shape)
        y = of(x).reshape(rows, -1, *self.target)
        return y if after == 1 else y.permute(*range(1, after), 0, after)


class Permute(AcrossSteps):
    """The axes in another order, counted from 1 after that of the batch, as Keras' Permute."""

    takes = (2, 3)
    options = ("dims",)
    ordered = False
    dims: list[int]

    def __init__(self, shape: Sequence[int], dims: Sequence[int] = (2, 1)) -> None:
        if sorted(dims) != list(range(1, len(shape) + 1)):
            raise UsageError(f"its dims {tuple(dims)} do not fit inputs of {len(shape)} axes")
        super().__init__(shape, dims=[int(axis) for axis in dims])

    @property
    def made_shape(self) -> Shape:
        return tuple(self.shape[axis - 1] for axis in self.dims)

    def over(self, x: Value) -> Value:
        rank = len(self.shape)
        axes = [axis - 1 if axis < rank else rank for axis in self.dims]  # the batch is the axis before the last
        return x.permute(*axes[:-1], rank - 1, axes[-1])


class RepeatVector(_Rearranged):
    """The same numbers at each of `n` steps."""

    takes = (1,)
    options = ("n",)
    ordered = False
    n: int

    def __init__(self, shape: Sequence[int], n: int) -> None:
        super().__init__(shape, n=n)

    @property
    def made_shape(self) -> Shape:
        return (self.n, self.shape[-1])

    def over(self, x: Value) -> Value:
        return of(x).take(x.unsqueeze(0), torch.zeros(self.n, dtype=torch.int64))


class Cropping1D(AcrossSteps):
    """Without the first and the last steps, `cropping` of them."""

    takes = (2,)
    options = ("cropping",)
    cropping: tuple[int, int]

    def __init__(self, shape: Sequence[int], cropping: Sequence[int]) -> None:
        first, last = (int(size) for size in cropping)
        if min(first, last) < 0:
            raise UsageError(f"its cropping {(first, last)} is less than none")
        super().__init__(shape, cropping=(first, last))

    @property
    def made_shape(self) -> Shape:
        return (self.shape[0] - sum(self.cropping), self.shape[1])

    def over(self, x: Value) -> Value:
        return x[self.cropping[0] : self.shape[0] - self.cropping[1]]


class ZeroPadding1D(AcrossSteps):
    """Zeros before the first and after the last step, `padding` of them."""

    takes = (2,)
    options = ("padding",)
    padding: tuple[int, int]

    def __init__(self, shape: Sequence[int], padding: Sequence[int]) -> None:
        first, last = (int(size) for size in padding)
        if min(first, last) < 0:
            raise UsageError(f"its padding {(first, last)} is less than none")
        super().__init__(shape, padding=(first, last))

    @property
    def made_shape(self) -> Shape:
        return (self.shape[0] + sum(self.padding), self.shape[1])

    def over(self, x: Value) -> Value:
        return gathered(x, torch.arange(-self.padding[0], self.shape[0] + self.padding[1]), self.shape[0])


class UpSampling1D(AcrossSteps):
    """Each step `size` times."""

    takes = (2,)
    options = ("size",)
    size: int

    def __init__(self, shape: Sequence[int], size: int) -> None:
        super().__init__(shape, size=int(size))

    @property
    def made_shape(self) -> Shape:
        return (self.shape[0] * self.size, self.shape[1])

    def over(self, x: Value) -> Value:
        return of(x).take(x, torch.arange(self.shape[0]).repeat_interleave(self.size))


class StepwisePReLU(AcrossSteps):
    """Keras' PReLU over a window with slopes for each of its steps: alpha (W, F), or (W, 1) shared by its numbers."""

    takes = (2,)
    options = ("shared_numbers",)
    alpha: Tensor
    shared_numbers: bool

    def __init__(self, shape: Sequence[int], shared_numbers: bool = False) -> None:
        super().__init__(shape, shared_numbers=shared_numbers)

    def build(self, input_size: int) -> None:
        self.input_size = input_size
        self.add_weight("alpha", (self.shape[0], 1 if self.shared_numbers else input_size), "zeros")

    @property
    def made_shape(self) -> Shape:
        return self.shape

    def over(self, x: Value) -> Value:
        return x.relu() - (-x).relu() * self.alpha.unsqueeze(1)


def gathered(x: Value, places: Tensor, steps: int) -> Value:
    """The steps of x (W, N, F) at these places, zeros where there are none: (*places, N, F)."""
    y = of(x).take(x, places.clamp(0, steps - 1))
    inside = (places >= 0) & (places < steps)
    if bool(inside.all()):
        return y
    kept = inside.float().reshape(*places.shape, 1, 1)
    return y * (kept.to(x.device) if isinstance(x, Tensor) else kept)
