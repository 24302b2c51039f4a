"""A step model in onnxruntime: load it, step it, run it over time; needs no torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

# Wheels of onnxruntime have a telemetry client that starts with the import and writes to the temporary folder; it
# has to be told before. Who wants it sets the variable to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime
from numpy.typing import ArrayLike, NDArray

from streamlstm.errors import ArrayError, ModelError
from streamlstm.one_step import CalledStep, OneStep
from streamlstm.spec import METADATA_KEY, ModelSpec, fingerprint

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]

# Rows (T * B) of one onnxruntime call at most. An LSTM's gate buffer takes 16 bytes * units a row, so this keeps a
# call of 256 units under 300 MB; longer runs are cut over T, which changes no bit.
MAX_ROWS = 65_536

_INPUT_TYPES = {"x": "tensor(float)", "state": "tensor(float)", "time": "tensor(int64)"}
_OUTPUT_TYPES = {"y": "tensor(float)", "next_state": "tensor(float)"}


class Model:
    """One loaded model file. Thread-safe; `threads` is onnxruntime's number of compute threads per call.

    One thread is the default: a step of some thousand rows gains little from more, and the other core belongs to the
    store. The bits of a result do not depend on it.
    """

    def __init__(self, model_bytes: bytes, *, threads: int = 1, source: str = "the model") -> None:
        """Load from the bytes of a model file; raises ModelError if they are not a step model."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        # Weights are not read from other files, wherever a model says they are: nothing is in this folder.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        options.log_severity_level = 4  # fatal only: what goes wrong is raised, and said once
        try:
            # Without its fallback: that prints to stdout, and tries the same provider again.
            self._session = onnxruntime.InferenceSession(
                model_bytes, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except Exception as error:  # noqa: BLE001  (onnxruntime has no common base class for its errors)
            raise ModelError(f"{source} is not a model onnxruntime can load: {_first_line(error)}") from None
        try:
            metadata = self._session.get_modelmeta().custom_metadata_map
        except UnicodeDecodeError:
            raise ModelError(f"{source} is damaged: its metadata is not text; export the model again") from None
        if METADATA_KEY not in metadata:
            raise ModelError(
                f"{source} is an ONNX model but not a step model (it has no metadata property {METADATA_KEY!r}); "
                "make one with `streamlstm train` or `streamlstm import-keras`"
            )
        self.spec = ModelSpec.from_json(metadata[METADATA_KEY])
        self.fingerprint = fingerprint(model_bytes)
        _check_signature(self._session, self.spec, source)
        self._initial = _initial_row(self.spec)

    def initial_state(self, batch: int = 1) -> Float32:
        """The state before the first value: float32 [batch, D]."""
        return np.repeat(self._initial[None, :], batch, axis=0)

    def step(self, x: ArrayLike, state: ArrayLike, time: ArrayLike | None = None) -> tuple[Float32, Float32]:
        """One step of B series: x [B, F] in raw units, state [B, D], time [B] in ms -> y [B, O], state [B, D].

        Raises ArrayError for a wrong shape or a value that is not finite.
        """
        values = np.asarray(x, dtype=np.float32)
        if values.ndim != 2:
            raise ArrayError(f"x has shape {values.shape}; a step takes [B, {len(self.spec.features)}]")
        times = None if time is None else np.asarray(time, dtype=np.int64)[None]
        y, next_state = self.run(values[None], state, times)
        return y[0], next_state

    def run(self, xs: ArrayLike, state: ArrayLike, time: ArrayLike | None = None) -> tuple[Float32, Float32]:
        """T steps of B series: xs [T, B, F], state [B, D], time [T, B] in ms -> ys [T, B, O], state [B, D].

        Equal bit for bit to T calls of `step`. Raises ArrayError for a wrong shape or a value that is not finite.
        """
        x = np.ascontiguousarray(xs, dtype=np.float32)
        start = np.ascontiguousarray(state, dtype=np.float32)
        times = self._checked(x, start, time)
        return self.advance(x, start, times)

    def one_step(self) -> OneStep:
        """One step of one series through arrays that stay where they are; for one thread."""
        # onnxruntime binds no array without elements.
        return _BoundStep(self._session, self.spec) if self.spec.state_size else CalledStep(self.spec, self.advance)

    def advance(self, x: Float32, state: Float32, time: Int64 | None) -> tuple[Float32, Float32]:
        """`run` for arrays known to be right: contiguous, of the right dtypes and shapes, and finite."""
        steps, batch = x.shape[:2]
        rows = MAX_ROWS if self.spec.chunking else batch
        chunk = max(1, rows // max(batch, 1))
        if steps <= chunk:
            return self._call(x, state, time)
        parts = []
        for first in range(0, steps, chunk):
            cut = slice(first, first + chunk)
            part, state = self._call(x[cut], state, None if time is None else time[cut])
            parts.append(part)
        return np.concatenate(parts), state

    def _call(self, x: Float32, state: Float32, time: Int64 | None) -> tuple[Float32, Float32]:
        if x.shape[0] == 0 or x.shape[1] == 0:
            return np.empty((*x.shape[:2], len(self.spec.outputs)), np.float32), state.copy()
        feed: dict[str, NDArray[Any]] = {"x": x, "state": state}
        if time is not None:
            feed["time"] = time
        try:
            y, next_state = self._session.run(["y", "next_state"], feed)
        except Exception as error:  # noqa: BLE001  (as above)
            raise ModelError(f"onnxruntime failed on {x.shape[0]} x {x.shape[1]} steps: {_first_line(error)}") from None
        return y, next_state

    def _checked(self, x: Float32, state: Float32, time: ArrayLike | None) -> Int64 | None:
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


class _BoundStep(OneStep):
    """Through arrays that are bound once: onnxruntime then makes no arrays and looks no names up.

    19 us instead of 26 for an LSTM(64) and a value a millisecond.
    """

    def __init__(self, session: onnxruntime.InferenceSession, spec: ModelSpec) -> None:
        super().__init__(spec)
        self._binding, self._run = session.io_binding(), session.run_with_iobinding
        bound: dict[str, NDArray[Any]] = {"x": self.x, "state": self.state}
        if spec.uses_time:
            bound["time"] = self.time
        for name, array in bound.items():
            self._binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        for name, array in (("y", self.y), ("next_state", self.next_state)):
            self._binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)

    def step(self) -> None:
        try:
            self._run(self._binding)
        except Exception as error:  # noqa: BLE001  (as above)
            raise ModelError(f"onnxruntime failed on a single step: {_first_line(error)}") from None


def load(path: str | Path, *, threads: int = 1) -> Model:
    """Open a step model file; raises ModelError with what to do if it is missing or not one."""
    try:
        model_bytes = Path(path).read_bytes()
    except FileNotFoundError:
        raise ModelError(
            f"there is no model file {str(path)!r}; make one with `streamlstm train data.csv -o {Path(path).name}`"
        ) from None
    except OSError as error:
        raise ModelError(f"the model file {str(path)!r} cannot be read: {error.strerror or error}") from None
    return Model(model_bytes, threads=threads, source=f"{str(path)!r}")


def _initial_row(spec: ModelSpec) -> Float32:
    parts = [np.full(entry.size, entry.initial, dtype=np.float32) for entry in spec.state]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def _check_signature(session: onnxruntime.InferenceSession, spec: ModelSpec, source: str) -> None:
    """Hold the graph's inputs and outputs against the contract and the metadata."""
    wanted = {name: kind for name, kind in _INPUT_TYPES.items() if name != "time" or spec.uses_time}
    found = {node.name: node.type for node in session.get_inputs()}
    if found != wanted:
        raise ModelError(f"{source} has the inputs {found}; a step model with its metadata has {wanted}")
    found = {node.name: node.type for node in session.get_outputs()}
    if found != _OUTPUT_TYPES:
        raise ModelError(f"{source} has the outputs {found}; a step model has {_OUTPUT_TYPES}")
    sizes = {node.name: (node.shape[-1], len(node.shape)) for node in [*session.get_inputs(), *session.get_outputs()]}
    expected = {
        "x": (len(spec.features), 3),
        "state": (spec.state_size, 2),
        "y": (len(spec.outputs), 3),
        "next_state": (spec.state_size, 2),
    }
    for name, (size, axes) in expected.items():
        last, rank = sizes[name]
        if rank != axes or (isinstance(last, int) and last != size):
            raise ModelError(
                f"{source}: {name} has {rank} axes, the last {last}; its metadata says {axes}, the last {size}"
            )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
