"""A step model in onnxruntime: load it, step it, run it over time; needs no torch."""

from __future__ import annotations

import math
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamlstm.common import MOST_THREADS, arguments, listed, printable, taken
from streamlstm.errors import ArrayError, MemoryStepError, ModelError, StepError
from streamlstm.models import interface
from streamlstm.models.model_file import MAX_FILE_BYTES, check_model, read_model
from streamlstm.models.packaged import UNIVERSAL, UNIVERSAL_FILE
from streamlstm.models.pairs import join, split
from streamlstm.models.providers import CPU, FIXED_ROWS, fingerprint
from streamlstm.models.session import (
    MOST_SAID,
    Pace,
    Watch,
    bound_run_of,
    check_functions,
    open_session,
    run_of,
)
from streamlstm.models.small_calls import CalledStep, SmallArrays, SmallCall, SmallCalls
from streamlstm.models.spec import METADATA_KEY, ModelSpec
from streamlstm.models.trial import try_fixed, try_out

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Float32 = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]  # float32, or float64 of models that carry numbers exactly
Int64 = NDArray[np.int64]

# Rows (T * B) of one onnxruntime call at most. An LSTM's gate buffer takes 16 bytes * units a row, so this keeps a
# call of 256 units under 300 MB; longer runs are cut over T, which changes no bit.
MAX_ROWS = 65_536
# Of files up to so large a second session is opened for calls of one row (`open_session`): it has all weights again.
LONE_BYTES = 1 << 20

_INPUT_TYPES = {"x": "tensor(float)", "state": "tensor(float)", "time": "tensor(int64)"}
_OUTPUT_TYPES = {"y": "tensor(float)", "next_state": "tensor(float)"}


class Model:
    """One loaded model file. Thread-safe; `threads` is onnxruntime's number of compute threads per call.

    One thread is the default: a step of some thousand rows gains little from more, and the other core belongs to the
    store. The bits of a result do not depend on it.
    """

    def __init__(self, model_bytes: bytes, *, threads: int = 1, source: str = "the model", provider: str = CPU) -> None:
        """Load from the bytes of a model file and try it; one of `PROVIDERS` runs it.

        Raises ModelError if they are not a step model, or one that cannot be stepped as it says.
        """
        check_functions(check_model(model_bytes, source), source)
        self._session = open_session(model_bytes, threads=threads, source=source, provider=provider)
        self.spec = _spec(self._session, source)
        self.fingerprint = fingerprint(model_bytes, provider)
        self._fixed = provider != CPU  # every call has the same shape, see `providers`
        self._run = self._session.run if self._fixed else run_of(self._session)
        self._lone, self._run_lone = self._session, self._run  # for calls of one row
        if not self._fixed and len(model_bytes) <= LONE_BYTES:
            self._lone = open_session(model_bytes, threads=1, source=source, provider=provider, lone=True)
            self._run_lone = run_of(self._lone)
        self._turn = threading.Lock()  # for those: they were tried one after the other
        _check_signature(self._session, self.spec, source)
        self._initial = _initial_row(self.spec)
        self._outputs = self.spec.y_width
        self._watches = threading.local()
        self._rows = MAX_ROWS  # of a call at most; fewer once that took too much memory
        self.pace = Pace()
        try_out(self, source)
        if self._fixed:
            again = open_session(model_bytes, threads=threads, source=source, provider=provider)
            try_fixed(self, again, source)

    def __repr__(self) -> str:
        spec = self.spec
        return (
            f"<Model: {listed(spec.outputs)} of {listed(spec.features)}; {spec.state_size:,} numbers of state a series>"
        )

    def initial_state(self, batch: int = 1) -> Float32:
        """The state before the first value: float32 [batch, D]."""
        return np.repeat(self._initial[None, :], batch, axis=0)

    def step(self, x: ArrayLike, state: ArrayLike, time: ArrayLike | None = None) -> tuple[Floats, Float32]:
        """One step of B series: x [B, F] in raw units, state [B, D], time [B] in ms -> y [B, O], state [B, D].

        y is float32, or float64 of a model that carries numbers exactly (`spec.exact`).

        Raises ArrayError for a wrong shape or a value that is not finite.
        """
        values = self.as_fed(x)
        if values.ndim != 2:
            raise ArrayError(f"x has shape {values.shape}; a step takes [B, {len(self.spec.features)}]")
        times = None if time is None else np.asarray(time, dtype=np.int64)[None]
        y, next_state = self.run(values[None], state, times)
        return y[0], next_state

    def run(self, xs: ArrayLike, state: ArrayLike, time: ArrayLike | None = None) -> tuple[Floats, Float32]:
        """T steps of B series: xs [T, B, F], state [B, D], time [T, B] in ms -> ys [T, B, O], state [B, D].

        Equal bit for bit to T calls of `step`. Raises ArrayError for a wrong shape or a value that is not finite.
        """
        x = np.ascontiguousarray(self.as_fed(xs))
        start = np.ascontiguousarray(state, dtype=np.float32)
        times = self._checked(x, start, time)
        if not self.spec.exact:
            return self.advance(x.astype(np.float32, copy=False), start, times)
        y, after = self.advance(np.ascontiguousarray(split(x)), start, times)
        return join(y), after

    def as_fed(self, x: ArrayLike) -> Floats:
        """Numbers as the model takes them: rounded to float32, or to pairs of it and given as float64."""
        return join(split(x)) if self.spec.exact else np.asarray(x, dtype=np.float32)

    def one_step(self) -> interface.SmallCall:
        """One step of one series through arrays that stay where they are; for one thread."""
        return self.small_calls(1).shaped(1, 1)

    def small_calls(self, most: int) -> SmallCalls:
        """Calls of at most so many rows through arrays that stay where they are; for one thread."""
        arrays = SmallArrays(self.spec, most)
        if self._fixed or not self.spec.state_size:  # onnxruntime binds no array without elements
            return SmallCalls(partial(CalledStep, arrays, advance=self.advance))
        return SmallCalls(partial(_BoundStep, arrays, sessions=(self._lone, self._session), watch=self._new_watch()))

    def advance(self, x: Float32, state: Float32, time: Int64 | None) -> tuple[Float32, Float32]:
        """`run` for arrays known to be right: contiguous, of the right dtypes and shapes, and finite.

        Raises StepError if the model fails, or gives arrays of another shape.
        """
        most = self._rows
        while True:
            try:
                return self._in_parts(x, state, time)
            except MemoryStepError:
                # Fewer rows take less, and the bits are the same; if even one takes too much, it is for its values.
                rows = min(self._rows, x.shape[0] * x.shape[1])
                self._rows = rows // 2 or most
                if rows == 1 or self._fixed:
                    raise

    def _in_parts(self, x: Float32, state: Float32, time: Int64 | None) -> tuple[Float32, Float32]:
        """Cut over series, then over steps, into calls of not too many rows."""
        steps, batch = x.shape[:2]
        if self._fixed and steps and batch:
            with self._turn:
                return self._in_fixed_calls(x, state, time)
        if batch > self._rows:
            cuts = [slice(first, first + self._rows) for first in range(0, batch, self._rows)]
            parts = [self._in_parts(*_cut(x, state, time, cut)) for cut in cuts]
            return np.concatenate([y for y, _ in parts], axis=1), np.concatenate([after for _, after in parts])
        rows = self._rows if self.spec.chunking else batch
        chunk = max(1, rows // max(batch, 1))
        if steps <= chunk:
            return self._call(x, state, time)
        answers = []
        for first in range(0, steps, chunk):
            cut = slice(first, first + chunk)
            part, state = self._call(x[cut], state, None if time is None else time[cut])
            answers.append(part)
        return np.concatenate(answers), state

    def _in_fixed_calls(self, x: Float32, state: Float32, time: Int64 | None) -> tuple[Float32, Float32]:
        """One step of FIXED_ROWS series a call; where there are fewer, the last one stands in the other rows too."""
        steps, batch = x.shape[:2]
        y, after = np.empty((steps, batch, self._outputs), np.float32), np.empty_like(state)
        for first in range(0, batch, FIXED_ROWS):
            rows = np.minimum(np.arange(first, first + FIXED_ROWS), batch - 1)
            count = min(FIXED_ROWS, batch - first)
            carried = state[rows]
            for step in range(steps):
                cut = slice(step, step + 1), rows
                times = None if time is None else np.ascontiguousarray(time[cut])
                said, carried = self._call(np.ascontiguousarray(x[cut]), np.ascontiguousarray(carried), times)
                y[step, first : first + count] = said[0, :count]
            after[first : first + count] = carried[:count]
        return y, after

    def _call(self, x: Float32, state: Float32, time: Int64 | None) -> tuple[Float32, Float32]:
        steps, batch = x.shape[:2]
        if steps == 0 or batch == 0:
            return np.empty((steps, batch, self._outputs), np.float32), state.copy()
        feed: dict[str, NDArray[Any]] = {"x": x, "state": state}
        if time is not None:
            feed["time"] = time
        watch = getattr(self._watches, "mine", None) or self._new_watch()
        rows = steps * batch
        y, next_state = watch.run(rows, self._run_lone if rows == 1 else self._run, ["y", "next_state"], feed)
        if rows == 1:
            y, next_state = _unscalar(y, (1, 1, self._outputs)), _unscalar(next_state, state.shape)
        # What a graph declares is not what it gives, and compiled parts copy by these shapes.
        if y.shape != (steps, batch, self._outputs):
            raise StepError(f"y has the shape {y.shape} where {(steps, batch, self._outputs)} belongs")
        if next_state.shape != state.shape:
            raise StepError(f"next_state has the shape {next_state.shape} where {state.shape} belongs")
        return y, next_state

    def _new_watch(self) -> Watch:
        """For runs of this thread."""
        self._watches.mine = watch = Watch(self.pace)
        return watch

    def _checked(self, x: Floats, state: Float32, time: ArrayLike | None) -> Int64 | None:
        features, size = len(self.spec.features), self.spec.state_size
        if x.ndim != 3 or x.shape[2] != features:
            raise ArrayError(f"x has shape {x.shape}; this model takes [T, B, {features}]")
        if state.shape != (x.shape[1], size):
            raise ArrayError(
                f"state has shape {state.shape}; {x.shape[1]} series of this model take {(x.shape[1], size)}"
            )
        # onnxruntime's LSTM turns NaN into finite nonsense, so what is not finite must not reach it.
        if not np.isfinite(x).all():
            raise ArrayError("x holds a value that is not finite; impute or drop it first")
        if not np.isfinite(state).all():
            raise ArrayError("state holds a value that is not finite; start the series from `initial_state` again")
        if not self.spec.uses_time:
            return None
        if time is None:
            raise ArrayError("this model uses the time of each value: pass time in ms since the epoch")
        times = np.ascontiguousarray(time, dtype=np.int64)
        if times.shape != x.shape[:2]:
            raise ArrayError(f"time has shape {times.shape}; x asks for {x.shape[:2]}")
        return times


class _BoundStep(SmallCall):
    """Through arrays that are bound once: onnxruntime then makes no arrays and looks no names up.

    19 us instead of 26 for an LSTM(64) and a value a millisecond; 9 to 18 instead of 14 to 23 for 1 to 16 at once.
    """

    def __init__(
        self,
        arrays: SmallArrays,
        steps: int,
        batch: int,
        *,
        sessions: tuple[InferenceSession, InferenceSession],
        watch: Watch,
    ) -> None:
        """Through the first of two sessions for one row, the second for more."""
        super().__init__(arrays, steps, batch)
        session = sessions[steps * batch > 1]
        self._binding, self._watch, self._rows = session.io_binding(), watch, steps * batch
        bound: dict[str, NDArray[Any]] = {"x": self.x, "state": self.state}
        if arrays.spec.uses_time:
            bound["time"] = self.time
        for name, array in bound.items():
            self._binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        for name, array in (("y", self.y), ("next_state", self.next_state)):
            self._binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        self._run = bound_run_of(session, self._binding)

    def step(self) -> None:
        """One call; arrays of another shape than those bound are an error of onnxruntime's."""
        self._watch.run(self._rows, self._run)


def _unscalar(found: Float32, shape: tuple[int, ...]) -> Float32:
    """A scalar in the shape of one number: a bound array takes it without a word, so every other call does too."""
    return found.reshape(shape) if found.ndim == 0 and math.prod(shape) == 1 else found


def load(path: str | Path, *, threads: int = 1, max_bytes: int = MAX_FILE_BYTES, provider: str = CPU) -> Model:
    """Open a step model file of at most `max_bytes` bytes and try it; the text `universal` names the packaged one.

    `provider` runs it: `cpu`, or another one that `streamlstm serve --provider` takes. Raises ModelError with what to
    do if the file is missing, larger, or no step model, UsageError for `threads` that are no number from 1 to 1,024.
    """
    taken("load", {"threads": arguments.whole(1, MOST_THREADS)}, {"threads": threads})
    path = UNIVERSAL_FILE if path == UNIVERSAL else Path(path)
    if not path.exists():
        raise ModelError(
            f"there is no model file {str(path)!r}; make one with `streamlstm train data.csv -o {path.name}`"
        )
    return Model(read_model(path, max_bytes), threads=threads, source=f"{str(path)!r}", provider=provider)


def _spec(session: InferenceSession, source: str) -> ModelSpec:
    """What the file says of itself."""
    try:
        metadata = session.get_modelmeta().custom_metadata_map
    except UnicodeDecodeError:
        raise ModelError(f"{source} is damaged: its metadata is not text; export the model again") from None
    if METADATA_KEY not in metadata:
        raise ModelError(
            f"{source} is an ONNX model but not a step model (it has no metadata property {METADATA_KEY!r}); "
            "make one with `streamlstm train` or `streamlstm import-keras`"
        )
    try:
        return ModelSpec.from_json(metadata[METADATA_KEY])
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from None


def _cut(x: Float32, state: Float32, time: Int64 | None, series: slice) -> tuple[Float32, Float32, Int64 | None]:
    """The arrays of some of the series."""
    times = None if time is None else np.ascontiguousarray(time[:, series])
    return np.ascontiguousarray(x[:, series]), state[series], times


def _initial_row(spec: ModelSpec) -> Float32:
    parts = [np.full(entry.size, entry.initial, dtype=np.float32) for entry in spec.state]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def _check_signature(session: InferenceSession, spec: ModelSpec, source: str) -> None:
    """Hold the graph's inputs and outputs against the contract and the metadata."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    wanted = {name: kind for name, kind in _INPUT_TYPES.items() if name != "time" or spec.uses_time}
    for what, nodes, kinds in (("inputs", inputs, wanted), ("outputs", outputs, _OUTPUT_TYPES)):
        found = {node.name: node.type for node in nodes}
        if found != kinds:
            raise ModelError(
                f"{source} has the {what} {_shown(found)}; a step model with its metadata has {_shown(kinds)}"
            )
    axes: dict[str, tuple[str | int, ...]] = {
        "x": ("T", "B", spec.x_width),
        "state": ("B", spec.state_size),
        "time": ("T", "B"),
        "y": ("T", "B", spec.y_width),
        "next_state": ("B", spec.state_size),
    }
    for node in (*inputs, *outputs):
        _check_shape(node.name, list(node.shape or []), axes[node.name], spec, source)


def _check_shape(
    name: str, found: list[int | str | None], wanted: tuple[str | int, ...], spec: ModelSpec, source: str
) -> None:
    """What a graph declares of an input or output; nothing declared is nothing wrong, and is tried."""
    if not found:
        return
    if len(found) != len(wanted):
        raise ModelError(f"{source}: {name} has {len(found)} axes; a step model's has {len(wanted)}")
    for axis, size in zip(wanted, found, strict=True):
        if not isinstance(size, int):
            continue
        if isinstance(axis, int) and size != axis:
            raise ModelError(f"{source}: the last axis of {name} is {size}; by its metadata it is {axis}")
        if axis == "B" or (axis == "T" and (spec.chunking or size != 1)):
            which = "batch" if axis == "B" else "time"
            other = ', or say "chunking": false in its metadata' if axis == "T" and size == 1 else ""
            raise ModelError(
                f"{source}: the {which} axis of {name} is baked in as {size}; export it with {axis} dynamic{other}"
            )


def _shown(kinds: dict[str, str]) -> str:
    """Names with types, of as many as are worth a line."""
    text = ", ".join(f"{printable(name)} {kind}" for name, kind in kinds.items()) or "none"
    return text if len(text) <= MOST_SAID else text[:MOST_SAID] + "…"
