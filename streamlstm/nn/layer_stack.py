"""Layers made of layers: a stack, in which each one's outputs feed the next, and a residual connection around one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from streamlstm.errors import UsageError
from streamlstm.models import StateEntry
from streamlstm.nn.cell_stack import prefixed
from streamlstm.nn.dense import Pointwise
from streamlstm.nn.layer import RecurrentLayer
from streamlstm.nn.masking import Masking
from streamlstm.nn.operations import State, Value
from streamlstm.nn.recurrent import RNN


class Stack(RecurrentLayer):
    """Layers one upon another, as Keras' Sequential: `Stack([LSTM(50), Residual(LSTM(50)), Dense(1)])`.

    The state is that of the first, the second, …, each entry named after its layer's number.
    """

    def __init__(self, layers: Sequence[RecurrentLayer], *, input_size: int | None = None) -> None:
        super().__init__()
        if not layers:
            raise UsageError("a Stack needs at least one layer")
        self.layers = nn.ModuleList(layers)
        self.output_size = layers[-1].output_size
        self.chunking = all(layer.chunking for layer in layers)
        if input_size is not None:
            self.build(input_size)

    def parts(self) -> list[RecurrentLayer]:
        """The layers, the one next to the input first."""
        return [cast(RecurrentLayer, layer) for layer in self.layers]

    def build(self, input_size: int) -> None:
        """Build each layer for the outputs of the one before it."""
        self.input_size = input_size
        for layer in self.parts():
            if layer.input_size is None:
                layer.build(input_size)
            elif layer.input_size != input_size:
                raise UsageError(
                    f"{type(layer).__name__} was built for {layer.input_size} inputs and stands where {input_size} come"
                )
            input_size = layer.output_size
        self.output_size = input_size

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The entries of all layers, named after the layer's number."""
        return prefixed(layer.state_entries() for layer in self.parts())

    def _split(self, state: Sequence[Any]) -> list[tuple[Any, ...]]:
        pieces, rest = [], list(state)
        for layer in self.parts():
            count = len(layer.state_entries())
            pieces.append(tuple(rest[:count]))
            rest = rest[count:]
        return pieces

    def scan(self, x: Value, state: State) -> tuple[Value, State]:
        """Step through x (T, B, F), one layer after the other over all steps."""
        following: list[Value] = []
        kept: Value | None = None  # which steps count, (T, B)
        for layer, part in zip(self.parts(), self._split(state), strict=True):
            if isinstance(layer, Masking):
                kept = layer.kept(x)
            x, new = (
                layer.scan_kept(x, part, kept) if kept is not None and isinstance(layer, RNN) else layer.scan(x, part)
            )
            following.extend(new)
        return x, tuple(following)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Call the layers one after the other as Keras' Sequential does, x (B, T, F) batch first."""
        for layer in self.parts():
            if isinstance(layer, Pointwise):
                x = layer(x)
            else:
                x = layer(x, mask)
                if not isinstance(x, Tensor):
                    raise UsageError(f"{type(layer).__name__} in a Stack must give one output: no return_state there")
                mask = mask if x.dim() == 3 else None
        return x

    def reset_states(self) -> None:
        """Forget the state that the stateful layers carry from call to call."""
        for layer in self.parts():
            if getattr(layer, "stateful", False):
                cast(Any, layer).reset_states()

    @property
    def gives_sequences(self) -> bool:
        return len(self.shapes((None, self.input_size or 0))[-1]) == 2

    def shapes(self, shape: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The shape of a window before each layer and after the last; raises UsageError where one does not fit."""
        found = [tuple(shape)]
        for layer in self.parts():
            found.append(layer.output_shape(found[-1]))
        return found

    def sequence(self, x: Value, live: Value | None = None) -> tuple[Value, Value | None]:
        """Run windows through each layer."""
        self.shapes((None, self.input_size or 0))  # raises where they do not fit together
        for layer in self.parts():
            x, live = layer.sequence(x, live)
        return x, live

    def config(self) -> dict[str, Any]:
        """Give the layers' configurations."""
        return {"class": "Stack", "layers": [layer.config() for layer in self.parts()], "input_size": self.input_size}


class Residual(RecurrentLayer):
    """`output = input + layer(input)`; the state is the layer's own."""

    def __init__(self, layer: RecurrentLayer, *, input_size: int | None = None) -> None:
        super().__init__()
        self.layer = layer
        self.output_size = layer.output_size
        self.chunking = layer.chunking
        if input_size is not None:
            self.build(input_size)

    def build(self, input_size: int) -> None:
        """Build the layer; raises UsageError if its outputs cannot be added to its inputs."""
        if self.layer.input_size is None:
            self.layer.build(input_size)
        self.input_size, self.output_size = input_size, self.layer.output_size
        if self.output_size != input_size:
            raise UsageError(
                f"Residual adds input and output, but {input_size} numbers go in and {self.output_size} come out; "
                f"give {type(self.layer).__name__} {input_size} units"
            )

    def state_entries(self) -> tuple[StateEntry, ...]:
        return self.layer.state_entries()

    def scan(self, x: Value, state: State) -> tuple[Value, State]:
        """Step through x (T, B, F)."""
        y, state = self.layer.scan(x, state)
        return x + y, state

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Call the layer, which must return sequences, and add its input (B, T, F)."""
        y = self.layer(x) if isinstance(self.layer, Pointwise) else self.layer(x, mask)
        if not isinstance(y, Tensor) or y.shape != x.shape:
            raise UsageError("Residual needs every step's output: set return_sequences on its layer, not return_state")
        return x + y

    def sequence(self, x: Value, live: Value | None = None) -> tuple[Value, Value | None]:
        """Run windows through the layer, which must return sequences."""
        if not self.layer.gives_sequences:
            raise UsageError("Residual needs every step's output: set return_sequences on its layer")
        y, live = self.layer.sequence(x, live)
        return x + y, live

    def config(self) -> dict[str, Any]:
        """Give the layer's configuration."""
        return {"class": "Residual", "layer": self.layer.config(), "input_size": self.input_size}
