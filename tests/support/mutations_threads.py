"""Mistakes of values in threads, in whole tiles, of a few at a time or live, that the simulation has to find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import streamlstm.engine.few
import streamlstm.engine.live
import streamlstm.engine.stepping
import streamlstm.engine.whole_tiles
from streamlstm.engine.live import LiveRead
from streamlstm.engine.stepping import Stepper
from streamlstm.engine.threads import Threads
from streamlstm.store.resp import ID_AT, ID_LENGTH, SLOT


def done_twice(patch: pytest.MonkeyPatch) -> None:
    """Two threads do the same part of a batch, one after the other."""
    each = Threads.each

    def and_again(threads: Any, do: Callable[[int], None], parts: int) -> None:
        each(threads, do, parts)
        do(0)

    patch.setattr(Threads, "each", and_again)


def asked_before_the_batch_before(patch: pytest.MonkeyPatch) -> None:
    """Threads begin while the batch before is not taken in, from the records before that."""
    step, step_tiles = Stepper.step, streamlstm.engine.stepping.step_tiles
    seen: dict[int, Any] = {}  # records by their address, as they were before the batch before

    def noting(stepper: Any, items: Any, schedule: Any, arena: Any) -> Any:
        stepper.stale, stepper.noted = getattr(stepper, "noted", arena.rows), arena.rows.copy()
        seen[arena.rows.ctypes.data] = stepper.stale
        return step(stepper, items, schedule, arena)

    def step_stale(rows: Any, layout: Any, numbers: Any, batch: Any, groups: Any, *others: Any) -> bool:
        stale, at = seen.get(rows.ctypes.data), layout.state_at // 4
        if stale is not None and stale.shape == rows.shape:
            states = slice(at, at + layout.state_size)
            rows[groups.slots, states] = stale[groups.slots, states]
        return step_tiles(rows, layout, numbers, batch, groups, *others)

    patch.setattr(Stepper, "step", noting)
    patch.setattr(streamlstm.engine.stepping, "step_tiles", step_stale)


def whole_tiles_answered_once(patch: pytest.MonkeyPatch) -> None:
    """Calls of whole tiles through arrays that stay where they are give what they gave first."""
    make = streamlstm.engine.whole_tiles._call

    def once(*given: Any) -> Any:
        call, done = make(*given), list[bool]()

        def step() -> None:
            if not done:
                call.step()
                done.append(True)

        return call._replace(step=step)

    patch.setattr(streamlstm.engine.whole_tiles, "_call", once)


def a_few_not_taken_in(patch: pytest.MonkeyPatch) -> None:
    """Values that go the short way are answered, and leave the records as they were."""
    apply = streamlstm.engine.few.apply_outputs
    patch.setattr(streamlstm.engine.few, "apply_outputs", lambda rows, *others: apply(rows.copy(), *others))


def live_values_not_taken_in(patch: pytest.MonkeyPatch) -> None:
    """Live values that come together are answered, and leave the records as they were."""
    apply = streamlstm.engine.live.apply_live

    def lost(rows: Any, layout: Any, numbers: Any, found: Any, *others: Any) -> bool:
        before = rows[found[SLOT]].copy()
        done: bool = apply(rows, layout, numbers, found, *others)
        if found.shape[1] > 1:
            rows[found[SLOT]] = before
        return done

    patch.setattr(streamlstm.engine.live, "apply_live", lost)


def live_values_moved_by_one(patch: pytest.MonkeyPatch) -> None:
    """Of live values that come together all are answered, and the position is the first one's."""
    begin = LiveRead.__init__

    def behind(live: Any, *given: Any) -> None:
        begin(live, *given)
        at = live.shape.found.item(ID_AT, 0)
        live.position = live.reply[at : at + live.shape.found.item(ID_LENGTH, 0)]

    patch.setattr(LiveRead, "__init__", behind)
