"""Keras' convolution and pooling over the steps of a window, with all of their paddings, strides and dilations."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from streamlstm.errors import UsageError
from streamlstm.nn import activations
from streamlstm.nn.across_steps import MOST_NUMBERS, AcrossSteps, Shape, gathered
from streamlstm.nn.operations import Value, of

PADDINGS = ("valid", "same", "causal")


def places(steps: int, size: int, stride: int, padding: str, dilation: int = 1) -> Tensor:
    """Which steps each output sees, int64 (outputs, size); some lie outside of the window where it is padded.

    `same` gives ceil(steps / stride) outputs and pads on both sides, the odd one at the end, as TensorFlow does:
    https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2
    """
    if padding not in PADDINGS or min(size, stride, dilation) < 1:
        raise UsageError(
            f"padding {padding!r}, size {size}, stride {stride} and dilation {dilation} are not known here"
        )
    span = (size - 1) * dilation + 1
    before = 0
    if padding == "causal":
        before, count = span - 1, -(-steps // stride)
    elif padding == "same":
        count = -(-steps // stride)
        before = max((count - 1) * stride + span - steps, 0) // 2
    else:
        count = (steps - span) // stride + 1
    if count < 1 or count * size > MOST_NUMBERS:
        raise UsageError(f"it sees {span} steps at once, and its windows have {steps}")
    starts = torch.arange(count).unsqueeze(1) * stride - before
    return starts + torch.arange(size) * dilation


class Conv1D(AcrossSteps):
    """`a(sum over j of x[t + j] K[j] + b)`, K (kernel_size, F / groups, filters)."""

    takes = (2,)
    options = ("filters", "kernel_size", "strides", "padding", "dilation_rate", "groups", "activation", "use_bias")
    kernel: Tensor
    bias: Tensor | None

    def __init__(
        self,
        shape: Sequence[int],
        filters: int,
        kernel_size: int,
        *,
        strides: int = 1,
        padding: str = "valid",
        dilation_rate: int = 1,
        groups: int = 1,
        activation: str | None = None,
        use_bias: bool = True,
    ) -> None:
        self.places = places(shape[0], kernel_size, strides, padding, dilation_rate)
        self.function = activations.activation(activation)
        if groups < 1 or shape[-1] % groups or filters % groups:
            raise UsageError(f"{groups} groups do not divide {shape[-1]} numbers and {filters} filters")
        given = {"filters": filters, "kernel_size": kernel_size, "strides": strides, "padding": padding}
        rest = {"dilation_rate": dilation_rate, "groups": groups, "activation": activation, "use_bias": use_bias}
        super().__init__(shape, **given, **rest)

    filters: int
    kernel_size: int
    groups: int
    use_bias: bool

    def build(self, input_size: int) -> None:
        self.input_size = input_size
        self.add_weight("kernel", (self.kernel_size, input_size // self.groups, self.filters), "glorot_uniform")
        if self.use_bias:
            self.add_weight("bias", (self.filters,), "zeros")
        else:
            self.register_parameter("bias", None)

    @property
    def made_shape(self) -> Shape:
        return (len(self.places), self.filters)

    @property
    def widest(self) -> int:
        return max(super().widest, self.places.numel() * self.shape[1])

    def over(self, x: Value) -> Value:
        seen = gathered(x, self.places, self.shape[0]).permute(0, 2, 1, 3)  # (outputs, N, kernel_size, F)
        rows = of(x).reshape(seen, len(self.places), -1, self.kernel_size * self.shape[1])
        y = rows @ self._matrix()
        return self.function(y if self.bias is None else y + self.bias)

    def _matrix(self) -> Tensor:
        """The kernel as a matrix (kernel_size * F, filters); what another group sees has the weight 0."""
        if self.groups > 1:
            blocks = self.kernel.chunk(self.groups, dim=2)
            rows = []
            for group, block in enumerate(blocks):  # (kernel_size, F / groups, filters / groups)
                before = block.new_zeros(*block.shape[:2], group * block.shape[2])
                after = block.new_zeros(*block.shape[:2], self.filters - (group + 1) * block.shape[2])
                rows.append(torch.cat([before, block, after], dim=2))
            return torch.cat(rows, dim=1).reshape(-1, self.filters)
        return self.kernel.reshape(-1, self.filters)


class _Pooling(AcrossSteps):
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

    @property
    def widest(self) -> int:
        return max(super().widest, self.places.numel() * self.shape[1])


class MaxPooling1D(_Pooling):
    """The largest of `pool_size` steps."""

    def over(self, x: Value) -> Value:
        # A place outside of the window stands for its first or last step, which this pool sees as well.
        seen = of(x).take(x, self.places.t().clamp(0, self.shape[0] - 1))
        return folded(seen, self.pool_size, _larger)


class AveragePooling1D(_Pooling):
    """The mean of those of `pool_size` steps that lie in the window.

    Raises UsageError where `same` pads unevenly: Keras takes the mean of what lies in the window on TensorFlow and JAX,
    and counts what it padded on PyTorch.
    """

    def __init__(
        self, shape: Sequence[int], pool_size: int = 2, strides: int | None = None, padding: str = "valid"
    ) -> None:
        super().__init__(shape, pool_size, strides, padding)
        before, after = -int(self.places.min()), int(self.places.max()) - self.shape[0] + 1
        if padding == "same" and max(before, 0) != max(after, 0):
            raise UsageError(
                f"padding='same' adds {max(before, 0)} steps before a window of {self.shape[0]} and {max(after, 0)} "
                "after it, and Keras does not give the same means on all its backends then; train with "
                "padding='valid', or with a window that pool_size and strides divide"
            )

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
