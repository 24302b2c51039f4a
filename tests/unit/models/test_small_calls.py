"""Calls of a few rows through arrays that stay where they are: the bits of every other call, whatever their shape."""

from __future__ import annotations

import numpy as np
import pytest

from streamlstm.models.packing import as_stored
from support.answering import MODELS

MOST = 6


@pytest.mark.parametrize("name", MODELS)
def test_every_shape_gives_the_bits_of_a_call_with_arrays(name: str) -> None:
    """One after the other and in any order, as all of them use the same memory."""
    model, rng = as_stored(MODELS[name]), np.random.default_rng(1)
    calls, spec = model.small_calls(MOST), model.spec
    shapes = [(1, batch) for batch in range(1, MOST + 1)]
    if spec.chunking:
        shapes += [(steps, 1) for steps in range(2, MOST + 1)]
    for steps, batch in [shapes[n] for n in rng.permutation(len(shapes)).tolist()] * 2:
        call = calls.shaped(steps, batch)
        assert call is calls.shaped(steps, batch)
        x = rng.integers(1, 9, (steps, batch, spec.x_width)).astype(np.float32)
        state = model.initial_state(batch)
        times = np.arange(steps * batch).reshape(steps, batch) * 3_600_000
        call.x[:], call.state[:], call.time[:] = x, state, times
        call.step()
        y, after = model.advance(x, state, times if spec.uses_time else None)
        assert (call.y.tobytes(), call.next_state.tobytes()) == (y.tobytes(), after.tobytes())
