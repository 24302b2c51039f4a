"""A model is tried before it is trusted: what a graph declares is not what it does.

Some series are stepped a few times, one value a call. The same values are then stepped together, and over time where
the model says that it can, and everything has to come out with the same bits. So a file with a baked-in axis, or one
whose series or steps depend on how they are put together, is found out when it is loaded, not by the first value.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streamlstm.errors import EndlessStepError, MemoryStepError, ModelError, StepError
from streamlstm.models.interface import SmallCall, StepModel
from streamlstm.models.packing import Packing
from streamlstm.models.providers import FIXED_ROWS
from streamlstm.models.session import Pace

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

TURNS = 3  # of a trial in another session, the rows in other places each time
STEPS, SERIES = 4, 3  # enough that a cut has two sides, and that a series has others before and after it
CROWD = 33  # series in a larger call: kernels for products change their ways at 4, 8, 16 and 32 rows
# Of the states in a call of the trial: those of a crowd, unless one takes so much that fewer do.
CALL_BYTES = 32 << 20
# Values to try with, in raw units: a model may well have no answer to some. Whole ones first, for those that look
# something up.
VALUES = (1.0, 2.0, 0.5, 10.0, 100.0, 0.0, -1.0, 1000.0)
BEGIN_MS = 1_600_000_000_000  # where a model looks at times: a Sunday at noon, and then every minute
SPACING_MS = 60_000


class Triable(StepModel, Protocol):
    """What is asked of a model to be tried; `models.model.Model` is one."""

    pace: Pace

    def one_step(self) -> SmallCall:
        """One step of one series, through arrays that stay."""


class _Tried(NamedTuple):
    """Values, and what the model answers if they are stepped one by one."""

    x: Float32  # (T, B, F)
    times: Int64  # (T, B)
    y: Float32  # (T, B, O)
    states: Float32  # (T + 1, B, D), the first of them before the first value

    def gives(self, y: Float32, after: Float32, steps: slice, rows: slice | Int64) -> bool:
        """Whether some steps of some rows had these bits too: answers (t, b, O), and states after the last (b, D)."""
        return _same(y, self.y[steps, rows]) and _same(after, self.states[steps.stop, rows])


def try_out(model: Triable, source: str) -> None:
    """Step a loaded model in every way it will be stepped; raises ModelError, which names `source`, if one fails."""
    tried = _one_by_one(model, source)
    _try_stored(model, tried, source)
    _try_bound(model, tried, source)
    crowd = max(SERIES, min(CROWD, CALL_BYTES // (4 * max(1, model.spec.state_size))))
    for batch in (2, SERIES, crowd):
        _try_batch(model, tried, batch, source)
    if model.spec.chunking:
        for batch in (1, SERIES, crowd):
            for cut in ((STEPS,), (1, STEPS - 1), (2, STEPS - 2)):
                _try_steps(model, tried, batch, cut, source)


def try_fixed(model: Triable, again: InferenceSession, source: str) -> None:
    """Of a model whose calls all have one shape: the bits are those of another session, each time, in any row.

    Raises ModelError, which names `source`. That the steps of a series do not depend on the other rows, and may be cut
    anywhere, `try_out` has shown.
    """
    tried = _one_by_one(model, source)
    chosen = np.arange(FIXED_ROWS) % SERIES
    for turn in range(TURNS):
        for step in range(STEPS):
            rows = np.roll(chosen, turn)
            cut = slice(step, step + 1)
            feed: dict[str, NDArray[Any]] = {"x": tried.x[cut, rows], "state": tried.states[step, rows]}
            if model.spec.uses_time:
                feed["time"] = tried.times[cut, rows]
            y, after = again.run(["y", "next_state"], feed)
            if not tried.gives(y, after, cut, rows):
                raise ModelError(
                    f"{source} cannot be served by this provider: the same values give other bits in another session, "
                    "so nothing could be stepped again; --provider cpu"
                )


def _one_by_one(model: Triable, source: str) -> _Tried:
    """The first values that the model has an answer to."""
    said = "its answers are not finite"
    for value in VALUES:
        x = _values(value, model.spec.x_width)
        try:
            tried = _stepped(model, x)
        except (EndlessStepError, MemoryStepError) as error:
            raise ModelError(f"{source} cannot be served: {error}") from None
        except StepError as error:
            said = str(error)
            continue
        if np.isfinite(tried.y).all() and np.isfinite(tried.states).all():
            return tried
    raise ModelError(
        f"{source} cannot be stepped: of values from {min(VALUES):g} to {max(VALUES):g} none is answered ({said})"
    )


def _values(value: float, features: int) -> Float32:
    """Values near one (T, B, F), all of them different."""
    number = np.arange(STEPS * SERIES * features).reshape(STEPS, SERIES, features)
    return np.asarray(value * (1 + number / 1024), np.float32)


def _stepped(model: Triable, x: Float32) -> _Tried:
    steps, batch = x.shape[:2]
    spacing = model.spec.spacing_ms or SPACING_MS
    times = BEGIN_MS + spacing * np.arange(steps, dtype=np.int64)[:, None] + np.arange(batch, dtype=np.int64)
    y = np.empty((steps, batch, model.spec.y_width), np.float32)
    states = np.empty((steps + 1, batch, model.spec.state_size), np.float32)
    states[0] = model.initial_state(batch)
    took_s = []
    for step in range(steps):
        for series in range(batch):
            cut = slice(step, step + 1), slice(series, series + 1)
            began = time.thread_time()
            y[cut], states[step + 1, cut[1]] = _advance(model, x[cut], states[step, cut[1]], times[cut])
            took_s.append(time.thread_time() - began)
    model.pace.row_s = float(np.median(took_s))
    return _Tried(x, times, y, states)


def _advance(model: Triable, x: Float32, state: Float32, times: Int64) -> tuple[Float32, Float32]:
    x, state, times = map(np.ascontiguousarray, (x, state, times))
    return model.advance(x, state, times if model.spec.uses_time else None)


def _try_stored(model: Triable, tried: _Tried, source: str) -> None:
    """What a model says it carries in float16 has to be float16: it is stored so."""
    packing = Packing.of(model.spec)
    if packing is None:
        return
    states = tried.states.reshape(-1, model.spec.state_size)
    if not _same(packing.unpack(packing.pack(states)), states):
        raise ModelError(
            f"{source} says that it carries float16, and gives states that are none: its graph has to round them after "
            "every step, as `streamlstm compact` makes it do"
        )


def _try_bound(model: Triable, tried: _Tried, source: str) -> None:
    """The way of live values, through arrays that stay where they are."""
    one = model.one_step()
    one.state[:] = tried.states[0, :1]
    for step in range(STEPS):
        one.x[:], one.time[:] = tried.x[step, :1], tried.times[step, :1]
        try:
            one.step()
        except StepError as error:
            raise ModelError(f"{source} cannot be stepped through arrays of its own: {error}") from None
        if not tried.gives(one.y, one.next_state, slice(step, step + 1), slice(1)):
            raise ModelError(
                f"{source} gives other numbers to the same value of the same series: nothing random may be in it"
            )
        one.state[:] = one.next_state


def _try_batch(model: Triable, tried: _Tried, batch: int, source: str) -> None:
    """A step of several series has to be the step of each."""
    chosen = np.arange(batch) % SERIES
    for step in range(STEPS):
        cut = slice(step, step + 1)
        try:
            y, state = _advance(model, tried.x[cut, chosen], tried.states[step, chosen], tried.times[cut, chosen])
        except StepError as error:
            raise ModelError(
                f"{source} steps one series but not {batch} together, its batch axis is baked in: {error}; "
                "export it with the batch axis (B of x, state, y and next_state) dynamic"
            ) from None
        if not tried.gives(y, state, cut, chosen):
            raise ModelError(
                f"{source} gives a series other numbers when {batch} are stepped together than when it is alone: no "
                "node may mix the rows of a batch, and weights have to be constants of the graph that uses them"
            )


def _try_steps(model: Triable, tried: _Tried, batch: int, cut: tuple[int, ...], source: str) -> None:
    """Several steps in a call have to be these steps one by one."""
    chosen = np.arange(batch) % SERIES
    for first, last in _parts(cut):
        part = slice(first, last)
        try:
            y, state = _advance(model, tried.x[part, chosen], tried.states[first, chosen], tried.times[part, chosen])
        except StepError as error:
            raise ModelError(
                f"{source} takes one step but not {last - first} in a call, its time axis is baked in: {error}; "
                'export it with the time axis (T of x and y) dynamic, or say "chunking": false in its metadata'
            ) from None
        if not tried.gives(y, state, part, chosen):
            raise ModelError(
                f"{source} says that it runs over time, but {last - first} steps in a call of {batch} series give "
                'other numbers than one by one; mend the graph, or say "chunking": false in its metadata'
            )


def _parts(cut: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    first = 0
    for length in cut:
        yield first, first + length
        first += length


def _same(found: Float32, wanted: Float32) -> bool:
    return found.tobytes() == wanted.tobytes()
