"""A layer that cannot carry its state, served over a window: the state holds the last W values, each step re-runs them.

That is what `model.predict` of a stateless Keras model gives for every window of the series, and the only way for a
layer that reads backwards. While fewer than W values have come, the window is those that have: the step gives what
Keras gives for that shorter batch, or for a window padded in front and masked. It is never filled up with zeros, which
the model would take for values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor

from streamlstm.errors import UsageError
from streamlstm.nn.layer import RecurrentLayer, State
from streamlstm.nn.recurrent import emit_last
from streamlstm.spec import StateEntry

if TYPE_CHECKING:
    from streamlstm.export.graph import Graph

# Windows of one call of the layer: enough to fill its matrix products, few enough to stay in the cache. 64 steps of
# 1,024 series (LSTM 50, LSTM 100, windows of 10) took 27 µs a value and 1.8 GB as one batch, 16 µs and 40 MB in blocks.
BLOCK_ROWS = 1_024


class Window(RecurrentLayer):
    """`layer` run afresh, from its initial state, over the last `length` values at every step.

    The windows of several steps and series are run as one batch; a row's bits do not depend on it, so T steps in one
    call are T single steps bit for bit.
    """

    def __init__(self, layer: RecurrentLayer, length: int, *, input_size: int | None = None) -> None:
        super().__init__()
        if length < 1:
            raise UsageError(f"Window: length must be at least 1, not {length}")
        self.layer, self.length = layer, length
        self.output_size = layer.output_size
        if input_size is not None or layer.input_size is not None:
            self.build(input_size or layer.input_size or 0)

    def build(self, input_size: int) -> None:
        """Build the layer."""
        if self.layer.input_size is None:
            self.layer.build(input_size)
        self.input_size, self.output_size = input_size, self.layer.output_size

    def state_entries(self) -> tuple[StateEntry, ...]:
        """The last values, oldest first, and how many of them have come."""
        if self.input_size is None:
            raise UsageError("Window: the size of the window is not known before build(input_size)")
        return (
            StateEntry(name="window", shape=(self.length, self.input_size)),
            StateEntry(name="count", shape=(1,)),
        )

    def scan(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Step through x (T, B, F) from (window (B, W·F), count (B, 1))."""
        steps, batch, features = x.shape
        window, count = state
        values = torch.cat((window.reshape(batch, self.length, features).transpose(0, 1), x))  # (W + T, B, F)
        place = torch.arange(self.length, device=x.device).unsqueeze(1)  # (W, 1)
        index = place + torch.arange(steps, device=x.device) + 1  # (W, T)
        windows = values[index].reshape(self.length, steps * batch, features)
        step = torch.arange(1, steps + 1, device=x.device).unsqueeze(1)  # (T, 1)
        seen = (count.view(1, -1) + step).clamp(max=self.length)  # (T, B)
        mask = None
        if bool((seen < self.length).any()):
            mask = place >= self.length - seen.reshape(1, -1)
        y, _ = self.layer.sequence(windows, mask)
        if y.dim() == 3:
            y = y[-1]
        last = values[-self.length :].transpose(0, 1).reshape(batch, -1)
        return y.reshape(steps, batch, -1), (last, seen[-1].unsqueeze(1).to(count))

    def emit(self, graph: Graph, x: str, state: Sequence[str]) -> tuple[str, list[str]]:
        """Add the nodes of `scan`, in blocks of steps that make some `BLOCK_ROWS` windows each."""
        W, F = self.length, self.input_size or 0
        window, count = state
        kept = graph.node("Transpose", graph.reshape(window, -1, W, F), perm=[1, 0, 2])
        values = graph.concat([kept, x], axis=0)  # (W + T, B, F)
        shape = graph.node("Shape", x)
        steps, batch = (graph.node("Squeeze", graph.slice(shape, i, i + 1, 0), graph.ints(0)) for i in (0, 1))
        before = graph.reshape(graph.node("Cast", count, to=TensorProto.INT64), 1, 1, -1)  # (1, 1, B)
        index, seen = self._emit_places(graph, steps, batch, before)
        flat = graph.reshape(values, -1, F)

        def block(body: Graph, slices: list[str], _: list[str]) -> tuple[list[str], list[str]]:
            places, lengths = slices
            y, whole = self.layer.emit_sequence(body, body.node("Gather", flat, places, axis=0), lengths)
            return [emit_last(body, y, lengths) if whole else y], []

        (blocks,), _ = graph.scan(block, [index, seen], [], (TensorProto.INT64, TensorProto.INT64))
        padded = graph.concat([graph.ints(-1), graph.slice(shape, 1, 2, 0), graph.ints(self.output_size)], axis=0)
        y = graph.node("Reshape", blocks, padded)
        y = graph.node("Slice", y, graph.ints(0), graph.slice(shape, 0, 1, 0), graph.ints(0))

        last = graph.node("Transpose", graph.slice(values, -W, None, 0), perm=[1, 0, 2])
        total = graph.node("Min", graph.node("Add", before, steps), graph.constant(W, dtype="int64"))
        counted = graph.node("Cast", total, to=TensorProto.FLOAT)
        return y, [graph.reshape(last, -1, W * F), graph.reshape(counted, -1, 1)]

    def _emit_places(self, graph: Graph, steps: str, batch: str, before: str) -> tuple[str, str]:
        """Add, block by block, where in values [(W + T) * B] each window's numbers stand, and how many there are.

        Returns int64 (blocks, W, K * B) and (blocks, K * B); the last block's excess repeats the last step.
        """
        zero, one, full = (graph.constant(n, dtype="int64") for n in (0, 1, self.length))
        ideal = graph.node("Div", graph.constant(BLOCK_ROWS, dtype="int64"), batch)
        K = graph.node("Max", graph.node("Min", ideal, steps), one)  # steps of a block
        blocks = graph.node("Div", graph.node("Sub", graph.node("Add", steps, K), one), K)
        numbers = graph.node("Range", zero, graph.node("Mul", blocks, K), one)
        numbers = graph.node("Min", numbers, graph.node("Sub", steps, one))
        step = graph.reshape(numbers, 1, -1, 1)  # (1, blocks * K, 1)
        row = graph.reshape(graph.node("Range", zero, batch, one), 1, 1, -1)  # (1, 1, B)
        place = graph.constant(np.arange(self.length).reshape(-1, 1, 1), dtype="int64")  # (W, 1, 1)

        later = graph.node("Add", step, one)
        seen = graph.node("Min", graph.node("Add", before, later), full)  # (1, blocks * K, B)
        # The window of a step ends at values[W + step]; its values are moved to the window's beginning.
        first = graph.node("Sub", graph.node("Add", later, full), seen)
        index = graph.node("Min", graph.node("Add", first, place), graph.node("Add", step, full))
        flat = graph.node("Add", graph.node("Mul", index, batch), row)  # (W, blocks * K, B)
        one_block = graph.reshape(graph.node("Mul", K, batch), 1)
        cut = graph.concat([graph.ints(self.length, -1), one_block], axis=0)
        index = graph.node("Transpose", graph.node("Reshape", flat, cut), perm=[1, 0, 2])
        return index, graph.node("Reshape", seen, graph.concat([graph.ints(-1), one_block], axis=0))

    def config(self) -> dict[str, Any]:
        """Give the layer's configuration and the length."""
        return {
            "class": "Window",
            "layer": self.layer.config(),
            "length": self.length,
            "input_size": self.input_size,
        }
