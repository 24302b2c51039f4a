"""Keras' Bidirectional: a layer and its twin that reads the window from its newest value, their outputs merged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from streamlstm.errors import UsageError
from streamlstm.models import StateEntry
from streamlstm.nn.layer import RecurrentLayer
from streamlstm.nn.operations import State, Value, of
from streamlstm.nn.recurrent import RNN
from streamlstm.nn.registry import from_config

MERGE_MODES = ("concat", "sum", "ave", "mul", None)


class Bidirectional(RecurrentLayer):
    """`merge(layer(x), twin(x reversed))`, put back in order if the layer returns sequences.

    With `return_sequences` the newest output pairs the forward layer after all values with the twin after only one;
    without, it pairs both after all values: the two differ, as in Keras. `merge_mode` None gives two outputs when
    called, and both side by side, as concat does, when stepped or served. A `stateful` one steps value by value, each
    step a call of one value, and carries both states; any other needs the window: put it in `Window`.
    """

    def __init__(
        self,
        layer: RNN,
        merge_mode: str | None = "concat",
        *,
        backward_layer: RNN | None = None,
        input_size: int | None = None,
    ) -> None:
        super().__init__()
        if merge_mode not in MERGE_MODES:
            raise UsageError(f"Bidirectional: merge_mode {merge_mode!r} is not one of concat, sum, ave, mul, None")
        if backward_layer is None:
            backward_layer = from_config({**layer.config(), "go_backwards": not layer.go_backwards}, RNN)
        for name in ("stateful", "return_sequences", "return_state"):
            if getattr(layer, name) != getattr(backward_layer, name):
                raise UsageError(f"Bidirectional: both layers need the same {name}")
        if layer.go_backwards == backward_layer.go_backwards:
            raise UsageError("Bidirectional: exactly one of the two layers must have go_backwards=True")
        self.merge_mode = merge_mode
        self.forward_layer, self.backward_layer = layer, backward_layer
        for one in (layer, backward_layer):
            one.zero_output_for_mask = layer.return_sequences  # as Keras forces it
        self.stateful, self.return_sequences = layer.stateful, layer.return_sequences
        self.return_state = layer.return_state
        self._measure()
        if input_size is not None or layer.input_size is not None:
            self.build(input_size or layer.input_size or 0)

    def _measure(self) -> None:
        sizes = self.forward_layer.output_size, self.backward_layer.output_size
        if self.merge_mode in ("concat", None):
            self.output_size = sum(sizes)
        elif sizes[0] == sizes[1]:
            self.output_size = sizes[0]
        else:
            raise UsageError(
                f"Bidirectional: merge_mode {self.merge_mode!r} needs layers of the same size, not {sizes}"
            )

    def build(self, input_size: int) -> None:
        """Make both layers' parameters."""
        for layer in (self.forward_layer, self.backward_layer):
            layer.build(input_size)
        self.input_size = input_size
        self._measure()

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The forward layer's, then the backward layer's."""
        return tuple(
            StateEntry(name=f"{way}.{entry.name}", shape=entry.shape, initial=entry.initial)
            for way, layer in (("forward", self.forward_layer), ("backward", self.backward_layer))
            for entry in layer.state_entries()
        )

    def _halves(self, state: Sequence[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        count = len(self.forward_layer.state_entries())
        return tuple(state[:count]), tuple(state[count:])

    def _merge(self, y: Value, back: Value) -> Value:
        if self.merge_mode in ("concat", None):
            return of(y).concat((y, back), axis=-1)
        if self.merge_mode == "mul":
            return y * back
        return (y + back) * 0.5 if self.merge_mode == "ave" else y + back

    def forward(
        self, x: Tensor, mask: Tensor | None = None, initial_state: Sequence[Tensor] | None = None
    ) -> Tensor | list[Tensor]:
        """Call both layers as Keras does, x (B, T, F) batch first.

        Returns y, [y, state…] with `return_state` (forward states first), or with `merge_mode` None [y, y back,
        state…]. `initial_state` holds the forward states, then the backward ones.
        """
        self.build(x.shape[-1])
        starts = (None, None) if initial_state is None else self._halves(initial_state)
        outputs, states = [], []
        for layer, start in zip((self.forward_layer, self.backward_layer), starts, strict=True):
            result = layer(x, mask, start)
            y, *state = result if isinstance(result, list) else [result]
            outputs.append(y.flip(1) if layer is self.backward_layer and self.return_sequences else y)
            states.extend(state)
        if self.merge_mode is None:
            return [*outputs, *states]
        merged = self._merge(*outputs)
        return [merged, *states] if self.return_state else merged

    def reset_states(self, values: Sequence[Any] | None = None) -> None:
        """Forget both layers' carried states, or set them: the forward states first."""
        halves = (None, None) if values is None else self._halves(values)
        for layer, half in zip((self.forward_layer, self.backward_layer), halves, strict=True):
            layer.reset_states(half)

    reset_state = reset_states

    def _check_steppable(self) -> None:
        if not self.stateful:
            raise UsageError(
                "Bidirectional reads a window from both ends and cannot carry its state from value to value; put it in "
                "Window(layer, length)"
            )

    def scan(self, x: Value, state: State) -> tuple[Value, State]:
        """Step through x (T, B, F), each step a call of one value; only if stateful."""
        self._check_steppable()
        ahead, behind = self._halves(state)
        y, ahead = self.forward_layer.scan(x, ahead)
        back, behind = self.backward_layer.scan(x, behind)
        return self._merge(y, back), (*ahead, *behind)

    @property
    def gives_sequences(self) -> bool:
        """With `return_sequences`."""
        return self.return_sequences

    def sequence(self, x: Value, live: Value | None = None) -> tuple[Value, Value | None]:
        """Run both layers over windows x (W, N, F)."""
        y, _ = self.forward_layer.sequence(x, live)
        back, _ = self.backward_layer.sequence(x, live)
        if not self.return_sequences:
            return self._merge(y, back), None
        back, _ = of(back).reverse(back, live)
        return self._merge(y, back), live

    def config(self) -> dict[str, Any]:
        """Give both layers' configurations and the merge mode."""
        return {
            "class": "Bidirectional",
            "layer": self.forward_layer.config(),
            "merge_mode": self.merge_mode,
            "backward_layer": self.backward_layer.config(),
            "input_size": self.input_size,
        }
