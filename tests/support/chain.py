"""A step model in plain integers: the state is a hash of all values so far, so that no mistake is ever forgotten.

An LSTM forgets, and a value that was left out or stepped twice can be gone from its bits some steps later; here it
changes every answer after it. It also costs a tenth of a call of onnxruntime, and the simulation makes many.
"""

from __future__ import annotations

import hashlib
from functools import partial

import numpy as np
from numpy.typing import NDArray

from streamlstm.models.small_calls import CalledStep, SmallArrays, SmallCalls
from streamlstm.models.spec import ModelSpec, StateEntry

PRIME = 16_777_213  # below 2^24, so that every remainder is a float32
HALF, SCALE = 8_388_608, 4096  # answers lie between -2048 and 2048, exactly


def chain_file(key: int) -> bytes:
    """What stands for the file of a chain."""
    return b"chain %d" % key


class Chain:
    """h' = (a h + bits of x) mod p, g' = h; the answer is h'. `key` makes another model of it."""

    def __init__(self, key: int = 0) -> None:
        self.spec = ModelSpec(
            features=("value",),
            outputs=("yhat",),
            targets=(0,),
            state=(StateEntry(name="h", shape=(1,), initial=float(key + 1)), StateEntry(name="g", shape=(1,))),
        )
        self.fingerprint = hashlib.sha256(chain_file(key)).hexdigest()
        self._factor = 69_069 + 2 * key

    def initial_state(self, batch: int = 1) -> NDArray[np.float32]:
        """The state before the first value, [batch, 2]."""
        return np.repeat(np.array([[self.spec.state[0].initial, 0.0]], np.float32), batch, axis=0)

    def small_calls(self, most: int) -> SmallCalls:
        """Calls of at most so many rows through arrays of their own."""
        return SmallCalls(partial(CalledStep, SmallArrays(self.spec, most), advance=self.advance))

    def advance(
        self, x: NDArray[np.float32], state: NDArray[np.float32], time: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """T steps of B series, x [T, B, 1], state [B, 2]."""
        rows = x[..., 0].view(np.uint32).tolist() if x.flags.c_contiguous else x[..., 0].copy().view(np.uint32).tolist()
        hashes, before = ([int(number) for number in column] for column in state.T.tolist())
        answers = []
        for row in rows:
            before = hashes
            hashes = [(h * self._factor + bits) % PRIME for h, bits in zip(hashes, row, strict=True)]
            answers.append([[(h - HALF) / SCALE] for h in hashes])
        y = np.array(answers, np.float32).reshape(*x.shape[:2], 1)
        return y, np.array([hashes, before], np.float32).T.copy()

    def step(
        self, x: NDArray[np.float32], state: NDArray[np.float32], time: object = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """One step of one series, x [1, 1], as the oracle takes it."""
        [bits], (before, _) = x.view(np.uint32)[0].tolist(), state[0].tolist()
        h = (int(before) * self._factor + bits) % PRIME
        return np.array([[(h - HALF) / SCALE]], np.float32), np.array([[h, before]], np.float32)
