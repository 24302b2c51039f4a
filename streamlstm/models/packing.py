"""States of which parts are float16, as they are stored: two numbers in the place of one.

A model that carries numbers in float16 rounds them in its own graph, after every step, so that nothing depends on how
steps were batched; what it gives is a float16 already, and is stored without any loss. Everything outside the model
(the rows in memory, the records, what is exported) holds the state so, as words of four bytes that nobody looks into.

The words are float32 to whoever copies them. Two float16 that are finite are never a word that is not, so a word that
is not says, as anywhere, that the model had no answer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlstm.models.interface import SmallCall, StepModel
from streamlstm.models.small_calls import SmallCalls
from streamlstm.models.spec import FLOAT16, ModelSpec, StateEntry

Float32 = NDArray[np.float32]
Halves = NDArray[np.uint16]  # the bits of float16
Index = NDArray[np.int64]

# From the exponent of a float32 to that of a float16 and back: the bits then differ by a shift only, and numbers too
# small for a whole exponent come out right. A quarter of the time numpy's own casts take.
DOWN, UP = np.float32(2.0**-112), np.float32(2.0**112)
SHIFT = 13  # bits of a fraction that a float16 has not
LOST = (1 << SHIFT) - 1
SIGN, MAGNITUDE = 0x8000, 0x7FFF
LARGEST = 0x7BFF  # the bits of 65,504
LARGEST_HALF = 65_504.0
AT_ONCE = 8_192  # numbers: what is worked out of them stays in the processor's first cache


class _Run(NamedTuple):
    """Entries of the state, one after the other, of one kind."""

    halved: bool
    numbers: slice  # of the state as the model has it
    words: slice  # of the state as it is stored

    def stored_in(self, words: Float32) -> NDArray[Any]:
        """View of what the numbers are stored as, (n, k), in words (n, W) of which each row is in one piece."""
        part = words[:, self.words]
        return part.view(np.float16)[:, : self.numbers.stop - self.numbers.start] if self.halved else part


class Packing:
    """How the states of one model are stored."""

    def __init__(self, entries: tuple[StateEntry, ...]) -> None:
        self.runs, number, word = list[_Run](), 0, 0
        kinds: list[tuple[bool, int]] = []
        for entry in entries:
            halved = entry.dtype == FLOAT16
            if kinds and kinds[-1][0] == halved:
                kinds[-1] = halved, kinds[-1][1] + entry.size
            else:
                kinds.append((halved, entry.size))
        for halved, size in kinds:
            words = (size + 1) // 2 if halved else size
            self.runs.append(_Run(halved, slice(number, number + size), slice(word, word + words)))
            number, word = number + size, word + words
        self.numbers, self.words = number, word  # D, and what it takes

    @classmethod
    def of(cls, spec: ModelSpec) -> Packing | None:
        """None for a model that carries float32 alone: its states are stored as they are."""
        return cls(spec.state) if spec.is_packed else None

    def pack(self, state: Float32) -> Float32:
        """States (n, D) as words (n, W); of one with a number that is no float16 a word is not finite."""
        words = np.empty((len(state), self.words), np.float32)
        for run in self.runs:
            numbers = state[:, run.numbers]
            words[:, run.words] = _packed(numbers) if run.halved else numbers
        return words

    def unpack(self, words: Float32) -> Float32:
        """Words (n, W) as states (n, D)."""
        state = np.empty((len(words), self.numbers), np.float32)
        for run in self.runs:
            part, numbers = words[:, run.words], state[:, run.numbers]
            if run.halved:
                _from_half(_halves(part)[:, : numbers.shape[1]], numbers)
            else:
                numbers[:] = part
        return state

    def finite(self, words: Float32) -> NDArray[np.bool_]:
        """Which of some states (n, W) hold nothing but finite numbers, (n,)."""
        good = np.isfinite(words).all(axis=1)
        for run in self.runs:
            if run.halved:
                good &= ((_halves(words[:, run.words]) & MAGNITUDE) <= LARGEST).all(axis=1)
        return np.asarray(good)


def _halves(words: Float32) -> Halves:
    """The two float16 in each word, (n, 2 W)."""
    return np.ascontiguousarray(words).view(np.uint16)


def _packed(numbers: Float32) -> Float32:
    """Float16 (n, k) as words (n, (k + 1) // 2); the first of a row that holds something else is NaN."""
    count, width = numbers.shape
    halves = np.zeros((count, width + width % 2), np.uint16)
    words: Float32 = halves.view(np.float32)
    rows = max(1, AT_ONCE // max(1, width))
    scaled, signs = np.empty((rows, width), np.float32), np.empty((rows, width), np.uint32)
    for first in range(0, count, rows):
        given = np.ascontiguousarray(numbers[first : first + rows])
        cut = slice(first, first + len(given))
        bits, sign = scaled[: len(given)].view(np.uint32), signs[: len(given)]
        np.multiply(given, DOWN, out=scaled[: len(given)])
        np.right_shift(given.view(np.uint32), 16, out=sign)
        sign &= SIGN
        bits &= 0x7FFFFFFF
        if int(np.bitwise_or.reduce(bits, axis=None)) & LOST or bits.max(initial=0) > LARGEST << SHIFT:
            wrong = ((bits & LOST > 0) | (bits > LARGEST << SHIFT)).any(axis=1)
        else:
            wrong = None
        bits >>= SHIFT
        bits |= sign
        halves[cut, :width] = bits
        if wrong is not None:
            words[cut][wrong, 0] = np.nan
    return words


def _from_half(halves: Halves, numbers: Float32) -> None:
    """Write float16 (n, k) as the float32 they are."""
    count, width = halves.shape
    rows = max(1, AT_ONCE // max(1, width))
    signs = np.empty((rows, width), np.uint32)
    for first in range(0, count, rows):
        wide = halves[first : first + rows].astype(np.uint32)
        sign = signs[: len(wide)]
        np.bitwise_and(wide, SIGN, out=sign)
        sign <<= 16
        wide &= MAGNITUDE
        wide <<= SHIFT
        scaled: Float32 = wide.view(np.float32)
        scaled *= UP
        wide |= sign
        numbers[first : first + rows] = scaled


class PackedModel:
    """A step model whose states are given and taken as they are stored."""

    def __init__(self, model: StepModel, packing: Packing) -> None:
        self._model, self._packing = model, packing
        self.spec, self.fingerprint = model.spec, model.fingerprint

    def initial_state(self, batch: int = 1) -> Float32:
        """State before the first value, [batch, W]."""
        return self._packing.pack(self._model.initial_state(batch))

    def small_calls(self, most: int) -> SmallCalls:
        """Calls of at most so many rows (T * B) through arrays of their own, for one thread."""
        calls, packing = self._model.small_calls(most), self._packing
        states = np.zeros((2, most, packing.words), np.float32)  # before and after a call, of all shapes
        return SmallCalls(lambda steps, batch: _PackedStep(calls.shaped(steps, batch), packing, states[:, :batch]))

    def advance(self, x: Float32, state: Float32, time: Index | None) -> tuple[Float32, Float32]:
        """T steps of B series whose x [T, B, F] and state [B, W] are known to be finite."""
        y, after = self._model.advance(x, self._packing.unpack(state), time)
        return y, self._packing.pack(after)


class _PackedStep:
    """Steps of some series; x, y and time are the model's own arrays, states are cast in place."""

    def __init__(self, one: SmallCall, packing: Packing, states: Float32) -> None:
        """`states` are those before and after a call, (2, B, W)."""
        self._one = one
        self.x, self.time, self.y = one.x, one.time, one.y
        self.state, self.next_state = states  # (B, W)
        # Parts of the model's arrays, and those of ours: numbers, and what they are stored as.
        self._given = [(one.state[:, run.numbers], run.stored_in(self.state)) for run in packing.runs]
        self._after = [(one.next_state[:, run.numbers], run.stored_in(self.next_state)) for run in packing.runs]

    def step(self) -> None:
        """Step it; what is written is finite."""
        for numbers, stored in self._given:
            numbers[:] = stored
        self._one.step()
        with np.errstate(over="ignore"):
            for numbers, stored in self._after:
                stored[:] = numbers
                if not ((stored == numbers) & np.isfinite(numbers)).all():
                    self.next_state[:] = np.nan


def as_stored(model: StepModel) -> StepModel:
    """The model with its states as they are stored; itself where that is as it has them."""
    packing = Packing.of(model.spec)
    return model if packing is None else PackedModel(model, packing)
