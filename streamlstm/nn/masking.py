"""Keras' Masking: steps at which every number is one value are passed over."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from streamlstm.models import StateEntry
from streamlstm.nn.layer import RecurrentLayer
from streamlstm.nn.operations import State, Value, of


class Masking(RecurrentLayer):
    """The layers after it pass over the steps whose numbers all are `mask_value`.

    Over windows those steps are taken out. Carried, recurrent layers after it in a `Stack` hold their states and
    outputs there. Its `forward` gives the numbers alone: layers called after it are given the mask.
    """

    def __init__(self, mask_value: float = 0.0, *, input_size: int | None = None) -> None:
        super().__init__()
        self.mask_value = float(mask_value)
        self.output_size = 0
        if input_size is not None:
            self.build(input_size)

    def build(self, input_size: int) -> None:
        """Remember the size of the values, which is that of the outputs."""
        self.input_size = self.output_size = input_size

    def state_entries(self) -> tuple[StateEntry, ...]:
        return ()

    def scan(self, x: Value, state: State) -> tuple[Value, State]:
        """Nothing: `Stack` asks for the steps that count."""
        return x, state

    def kept(self, x: Value) -> Value:
        """Which steps of x (T, B, F) count: (T, B)."""
        return (x - self.mask_value).abs().amax(dim=2, keepdim=False) > 0.0

    def sequence(self, x: Value, live: Value | None = None) -> tuple[Value, Value | None]:
        """Take out the steps of windows x (W, N, F) that do not count."""
        return of(x).passing_over(x, self.kept(x), live)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Give x (B, W, F) with zeros at the steps that do not count."""
        del mask
        return x * (x != self.mask_value).any(dim=-1, keepdim=True)

    def config(self) -> dict[str, Any]:
        """Give the value."""
        return {"class": "Masking", "mask_value": self.mask_value, "input_size": self.input_size}
