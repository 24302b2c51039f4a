"""Calls of whole tiles of a step or a few, as most of a batch is, through arrays that stay where they are.

onnxruntime makes no arrays for these, and its answer is not copied into one of numpy's: 5 of 300 us for 512 series of
64 units. Tiles of other sizes, and what follows a tile's first rectangle, would have to be bound for a call or two.
"""

from __future__ import annotations

from collections.abc import Callable

from streamlstm.engine.kernel_demands import Call
from streamlstm.models import SmallCall, StepModel

MOST_STEPS = 4


def whole_tile_calls(model: StepModel, tile: int, beat: Callable[[], object]) -> tuple[Call, ...]:
    """Calls of 1, 2, … steps of so many series, for one thread; each beats first."""
    spec = model.spec
    if spec.is_packed:  # states are cast faster where they are given and taken
        return ()
    most = MOST_STEPS if spec.chunking else 1
    calls = model.small_calls(most * tile)
    return tuple(_call(calls.shaped(steps, tile), beat) for steps in range(1, most + 1))


def _call(one: SmallCall, beat: Callable[[], object]) -> Call:
    def step() -> None:
        beat()
        one.step()

    return Call(one.x, one.state, one.time, one.y, one.next_state, step)
