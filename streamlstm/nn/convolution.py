"""Keras' convolution over the steps of a window, with all paddings, strides and dilations, and over values carried."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from streamlstm.errors import UsageError
from streamlstm.models import StateEntry
from streamlstm.nn import activations
from streamlstm.nn.across_steps import MOST_NUMBERS, AcrossSteps, Shape, gathered
from streamlstm.nn.layer import RecurrentLayer
from streamlstm.nn.operations import State, Value, of
from streamlstm.nn.weights import Weighted

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


class OverPlaces(AcrossSteps):
    """A layer whose outputs each see several steps of the window."""

    places: Tensor  # int64 (outputs, steps seen at once)

    @property
    def widest(self) -> int:
        return max(super().widest, self.places.numel() * self.shape[1])


class _Kernel(Weighted):
    """What both convolutions share: `a(sum over j of x[t + j] K[j] + b)`, K (kernel_size, F / groups, filters)."""

    filters: int
    kernel_size: int
    groups: int
    use_bias: bool
    function: activations.ActivationFunction
    kernel: Tensor
    bias: Tensor | None

    def _add_kernel(self, input_size: int) -> None:
        """Make the weights; raises UsageError where the groups do not divide the numbers."""
        if self.groups < 1 or input_size % self.groups or self.filters % self.groups:
            raise UsageError(f"{self.groups} groups do not divide {input_size} numbers and {self.filters} filters")
        self.add_weight("kernel", (self.kernel_size, input_size // self.groups, self.filters), "glorot_uniform")
        if self.use_bias:
            self.add_weight("bias", (self.filters,), "zeros")
        else:
            self.register_parameter("bias", None)

    def _convolved(self, seen: Value) -> Value:
        """The output for what it sees at once, (…, kernel_size * F)."""
        y = seen @ self._matrix()
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


class Conv1D(_Kernel, OverPlaces):
    """Keras' Conv1D over the steps of a window."""

    takes = (2,)
    options = ("filters", "kernel_size", "strides", "padding", "dilation_rate", "groups", "activation", "use_bias")

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
        given = {"filters": filters, "kernel_size": kernel_size, "strides": strides, "padding": padding}
        rest = {"dilation_rate": dilation_rate, "groups": groups, "activation": activation, "use_bias": use_bias}
        super().__init__(shape, **given, **rest)

    def build(self, input_size: int) -> None:
        self.input_size = input_size
        self._add_kernel(input_size)

    @property
    def made_shape(self) -> Shape:
        return (len(self.places), self.filters)

    def over(self, x: Value) -> Value:
        seen = gathered(x, self.places, self.shape[0]).permute(0, 2, 1, 3)  # (outputs, N, kernel_size, F)
        return self._convolved(of(x).reshape(seen, len(self.places), -1, self.kernel_size * self.shape[1]))


class CausalConv1D(_Kernel, RecurrentLayer):
    """Keras' Conv1D with padding='causal' and strides 1, carried: the state holds the values it will look back at.

    Before the first value there are zeros, as Keras pads; so T values in one call are what Keras gives for T steps.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        *,
        dilation_rate: int = 1,
        groups: int = 1,
        activation: str | None = None,
        use_bias: bool = True,
        input_size: int | None = None,
    ) -> None:
        super().__init__()
        if min(filters, kernel_size, dilation_rate) < 1 or (kernel_size - 1) * dilation_rate > MOST_NUMBERS:
            raise UsageError(f"kernel_size {kernel_size} and dilation_rate {dilation_rate} are not known here")
        self.filters, self.kernel_size, self.dilation_rate = filters, kernel_size, dilation_rate
        self.groups, self.activation, self.use_bias = groups, activation, use_bias
        self.function = activations.activation(activation)
        self.behind = (kernel_size - 1) * dilation_rate  # values before this one that it looks at
        self.output_size = filters
        if input_size is not None:
            self.build(input_size)

    def build(self, input_size: int) -> None:
        """Make the weights; raises UsageError where it looks back at more numbers than a state may hold."""
        if self.behind * input_size > MOST_NUMBERS:
            raise UsageError(f"it looks back at {self.behind:,} values of {input_size} numbers")
        self.input_size = input_size
        self._add_kernel(input_size)

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The values it will look back at, oldest first; none where it sees one at a time."""
        if self.input_size is None:
            raise UsageError("CausalConv1D: the size of the state is not known before build(input_size)")
        return (StateEntry(name="behind", shape=(self.behind, self.input_size)),) if self.behind else ()

    def scan(self, x: Value, state: State) -> tuple[Value, State]:
        """Step through x (T, B, F)."""
        if not self.behind:
            return self._convolved(x), ()
        side, F = of(x), self.input_size or 0
        before = side.reshape(state[0], -1, self.behind, F).permute(1, 0, 2)
        values = side.concat((before, x), axis=0)  # (behind + T, B, F)
        ends = range(-self.behind, 1, self.dilation_rate)
        seen = side.concat([values[end + self.behind : end or None] for end in ends], axis=-1)  # (T, B, kernel_size F)
        last = values[-self.behind :].permute(1, 0, 2)
        return self._convolved(seen), (side.reshape(last, -1, self.behind * F),)

    def sequence(self, x: Value, live: Value | None = None) -> tuple[Value, Value | None]:
        """Run windows (W, N, F); raises UsageError for windows that lack values."""
        if live is not None:
            raise UsageError("CausalConv1D takes windows without gaps")
        return self.scan(x, of(x).initial(self.state_entries(), x))[0], None

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Call it as Keras does, x (B, T, F) batch first."""
        if self.input_size is None:
            self.build(x.shape[-1])
        y: Tensor = self.sequence(x.transpose(0, 1), mask)[0]
        return y.transpose(0, 1)

    def config(self) -> dict[str, Any]:
        """Give the constructor's arguments."""
        names = ("filters", "kernel_size", "dilation_rate", "groups", "activation", "use_bias", "input_size")
        return {"class": "CausalConv1D", **{name: getattr(self, name) for name in names}}
