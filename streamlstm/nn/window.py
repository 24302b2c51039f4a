"""A layer that cannot carry its state, served over a window: the state holds the last W values, each step re-runs them.

That is what `model.predict` of a stateless Keras model gives for every window of the series, and the only way for a
layer that reads backwards. While fewer than W values have come, the window is those that have: the step gives what
Keras gives for that shorter batch, or for a window padded in front and masked. It is never filled up with zeros, which
the model would take for values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from streamlstm.errors import UsageError
from streamlstm.models import StateEntry
from streamlstm.nn.across_steps import AcrossSteps
from streamlstm.nn.layer import RecurrentLayer
from streamlstm.nn.operations import State, Value, of
from streamlstm.nn.symbols import Symbol

# Windows of one call of the layer: enough to fill its matrix products, few enough to stay in the cache. 64 steps of
# 1,024 series (LSTM 50, LSTM 100, windows of 10) took 27 µs a value and 1.8 GB as one batch, 16 µs and 40 MB in blocks.
BLOCK_ROWS = 1_024
BLOCK_NUMBERS = 1 << 24  # that a layer lays out for the windows of one call, 64 MiB


class Window(RecurrentLayer):
    """`layer` run afresh, from its initial state, over the last `length` values at every step.

    The windows of several steps and series are run as one batch; a row's bits do not depend on it, so T steps in one
    call are T single steps bit for bit.
    """

    def __init__(
        self, layer: RecurrentLayer, length: int, *, whole: bool = False, input_size: int | None = None
    ) -> None:
        """`whole` is for layers that take only windows of `length` values (`AcrossSteps`).

        Until so many have come, the first one stands for those that have not.
        """
        super().__init__()
        if length < 1:
            raise UsageError(f"Window: length must be at least 1, not {length}")
        self.layer, self.length, self.whole = layer, length, whole
        self.output_size = layer.output_size
        if input_size is not None or layer.input_size is not None:
            self.build(input_size or layer.input_size or 0)

    def build(self, input_size: int) -> None:
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

    def _block_rows(self) -> int:
        """How many windows a call of the layer takes: fewer where a layer lays out many numbers for each."""
        widest = max((part.widest for part in self.layer.modules() if isinstance(part, AcrossSteps)), default=1)
        return min(BLOCK_ROWS, max(1, BLOCK_NUMBERS // widest))

    def scan(self, x: Value, state: State) -> tuple[Value, State]:
        """Step through x (T, B, F) from (window (B, W·F), count (B, 1))."""
        side, W, F = of(x), self.length, self.input_size or 0
        window, count = state
        values = side.concat((side.reshape(window, -1, W, F).permute(1, 0, 2), x), axis=0)  # (W + T, B, F)
        run = self._in_one_batch if isinstance(x, Tensor) else self._in_blocks
        y, before, steps = run(values, x, count)
        last = values[-W:].permute(1, 0, 2)
        counted = (before + steps).clamp(max=W).float()
        return y, (side.reshape(last, -1, W * F), side.reshape(counted, -1, 1))

    def _in_one_batch(self, values: Tensor, x: Tensor, count: Tensor) -> tuple[Tensor, Tensor, int]:
        """Run the layer over all windows at once, those of less than W values masked in front.

        Returns the outputs (T, B, O), how many values came before (B, 1), and T.
        """
        steps, batch, features = x.shape
        place = torch.arange(self.length, device=x.device).unsqueeze(1)  # (W, 1)
        index = place + torch.arange(steps, device=x.device) + 1  # (W, T)
        step = torch.arange(1, steps + 1, device=x.device).unsqueeze(1)  # (T, 1)
        seen = (count.view(1, -1) + step).clamp(max=self.length)  # (T, B)
        if self.whole:
            first = (step + self.length - seen).long()  # (T, B), where the first value stands
            each = index.unsqueeze(2).maximum(first)  # (W, T, B)
            windows = values[each, torch.arange(batch, device=x.device)].reshape(self.length, -1, features)
            return self._outputs(windows, None).reshape(steps, batch, -1), count, steps
        windows = values[index].reshape(self.length, steps * batch, features)
        mask = None
        if bool((seen < self.length).any()):
            mask = place >= self.length - seen.reshape(1, -1)
        return self._outputs(windows, mask).reshape(steps, batch, -1), count, steps

    def _outputs(self, windows: Value, live: Value | None) -> Value:
        """The newest output (N, O) over windows (W, N, F)."""
        y, live = self.layer.sequence(windows, live)
        return of(y).last(y, live) if self.layer.gives_sequences else y

    def _in_blocks(self, values: Symbol, x: Symbol, count: Symbol) -> tuple[Symbol, Symbol, Symbol]:
        """Add the same in blocks of steps that make some `BLOCK_ROWS` windows each, their values at the beginning.

        Returns the outputs [T, B, O], how many values came before [1, 1, B], and T.
        """
        side = x.operations
        shape = x.sizes()
        steps, batch = shape[0:1].squeeze(0), shape[1:2].squeeze(0)
        before = side.reshape(count.long(), 1, 1, -1)
        places, seen = self._places(steps, batch, before)
        flat = side.reshape(values, -1, self.input_size or 0)

        def block(slices: Sequence[Symbol], _: State) -> tuple[list[Value], State]:
            return [self._outputs(side.take(flat, slices[0]), None if self.whole else slices[1])], ()

        (blocks,), _ = side.loop(block, [places, seen])
        padded = side.concat([side.ints(-1), shape[1:2], side.ints(self.output_size)], axis=0)
        y = blocks.node("Reshape", padded)
        return y.node("Slice", side.ints(0), shape[0:1], side.ints(0)), before, steps

    def _places(self, steps: Symbol, batch: Symbol, before: Symbol) -> tuple[Symbol, Symbol]:
        """Add, block by block, where in values [(W + T) * B] each window's numbers stand, and how many there are.

        Returns int64 (blocks, W, K * B) and (blocks, K * B); the last block's excess repeats the last step.
        """
        side = steps.operations
        zero, one, full = (side.symbol(n, torch.int64) for n in (0, 1, self.length))
        K = (self._block_rows() // batch).node("Min", steps).maximum(one)  # steps of a block
        blocks = (steps + K - one) // K
        numbers = zero.node("Range", blocks * K, one).node("Min", steps - one)
        step = side.reshape(numbers, 1, -1, 1)  # (1, blocks * K, 1)
        row = side.reshape(zero.node("Range", batch, one), 1, 1, -1)  # (1, 1, B)
        place = side.symbol(np.arange(self.length).reshape(-1, 1, 1), torch.int64)  # (W, 1, 1)

        later = step + one
        seen = (before + later).node("Min", full)  # (1, blocks * K, B)
        # The window of a step ends at values[W + step]; its values are moved to the window's beginning, or the first
        # of them stands for those that have not come.
        first = later + full - seen
        index = (later + place).maximum(first) if self.whole else (first + place).node("Min", step + full)
        flat = index * batch + row  # (W, blocks * K, B)
        one_block = side.reshape(K * batch, 1)
        cut = side.concat([side.ints(self.length, -1), one_block], axis=0)
        index = flat.node("Reshape", cut).permute(1, 0, 2)
        return index, seen.node("Reshape", side.concat([side.ints(-1), one_block], axis=0))

    def config(self) -> dict[str, Any]:
        """Give the layer's configuration and the length, and whether only whole windows are run."""
        whole = {"whole": True} if self.whole else {}
        return {
            "class": "Window",
            "layer": self.layer.config(),
            "length": self.length,
            **whole,
            "input_size": self.input_size,
        }


class Afresh(Window):
    """`layer` run from its initial state for each value alone, such as a decoder: a window of one, and no state."""

    def __init__(self, layer: RecurrentLayer, *, input_size: int | None = None) -> None:
        super().__init__(layer, 1, whole=True, input_size=input_size)

    def state_entries(self) -> tuple[StateEntry, ...]:
        return ()

    def scan(self, x: Value, state: State) -> tuple[Value, State]:
        """Step through x (T, B, F)."""
        return super().scan(x, of(x).initial(super().state_entries(), x))[0], state

    def config(self) -> dict[str, Any]:
        """Give the layer's configuration."""
        return {"class": "Afresh", "layer": self.layer.config(), "input_size": self.input_size}
