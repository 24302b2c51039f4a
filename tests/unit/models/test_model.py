"""`streamlstm.load`: what it takes, what it gives, what it says of a bad file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import streamlstm
from streamlstm.errors import ArrayError, ModelError, UsageError
from streamlstm.models import UNIVERSAL_FILE
from streamlstm.models import model as models_model
from streamlstm.models.model import Model
from support import models


@pytest.fixture
def model() -> Model:
    """A small LSTM of two features."""
    return models.load_lstm(8, features=2)


def test_run_equals_steps_bit_for_bit(model: Model) -> None:
    """T steps in one call are T single calls, for ragged numbers of series."""
    rng = np.random.default_rng(0)
    for batch in (1, 2, 3, 7, 64, 300):
        xs = rng.standard_normal((17, batch, 2)).astype(np.float32)
        ys, last = model.run(xs, model.initial_state(batch))
        state = model.initial_state(batch)
        for x, y in zip(xs, ys, strict=True):
            single, state = model.step(x, state)
            assert single.tobytes() == y.tobytes()
        assert state.tobytes() == last.tobytes()


def test_a_long_run_is_cut_without_a_trace(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound on rows of one call changes no bit."""
    xs = np.random.default_rng(1).standard_normal((50, 3, 2)).astype(np.float32)
    whole, last = model.run(xs, model.initial_state(3))
    monkeypatch.setattr("streamlstm.models.model.MAX_ROWS", 10)
    parts, end = model.run(xs, model.initial_state(3))
    assert (whole.tobytes(), last.tobytes()) == (parts.tobytes(), end.tobytes())


def test_a_model_of_one_step_a_call_is_called_for_each() -> None:
    """Its graph would take many steps for one; the bits are those of steps."""
    model = streamlstm.load("universal")
    assert not model.spec.chunking
    xs = np.random.default_rng(2).normal(10, 2, (5, 3, 1))
    state = model.initial_state(3)
    ys, after = model.run(xs, state)
    for x, wanted in zip(xs, ys, strict=True):
        y, state = model.step(x, state)
        assert y.tobytes() == wanted.tobytes()
    assert state.tobytes() == after.tobytes()


def test_the_initial_state_is_the_specs(model: Model) -> None:
    """Every series begins with the state the metadata gives."""
    state = model.initial_state(batch=2)
    entry = model.spec.state[0]
    assert state.shape == (2, model.spec.state_size)
    assert state.dtype == np.float32
    assert isinstance(entry.initial, tuple)
    np.testing.assert_array_equal(state[1, : entry.size], np.float32(entry.initial))


def test_lists_and_float64_are_taken(model: Model) -> None:
    """What numpy can read as float32 is read."""
    y, state = model.step([[1.0, 2.0]], model.initial_state(1).astype(np.float64))
    assert (y.dtype, state.dtype) == (np.float32, np.float32)


def test_no_steps_and_no_series_are_no_error(model: Model) -> None:
    """An empty run gives an empty answer and the state it was given."""
    state = model.initial_state(3)
    ys, after = model.run(np.empty((0, 3, 2)), state)
    assert ys.shape == (0, 3, 2)
    assert after.tobytes() == state.tobytes()
    assert model.step(np.empty((0, 2)), np.empty((0, model.spec.state_size)))[0].shape == (0, 2)


@pytest.mark.parametrize(
    ("x", "state", "words"),
    [
        (np.zeros((1, 3)), None, r"takes \[T, B, 2\]"),
        (np.zeros(2), None, r"a step takes \[B, 2\]"),
        (np.zeros((1, 2)), np.zeros((1, 3)), "state has shape"),
        (np.array([[np.nan, 0]]), None, "x holds a value that is not finite"),
        (np.zeros((1, 2)), np.full((1, 16), np.inf), "state holds a value that is not finite"),
    ],
)
def test_wrong_arrays_are_named(model: Model, x: np.ndarray, state: np.ndarray | None, words: str) -> None:
    """Shape and finiteness are checked before onnxruntime turns them into nonsense."""
    with pytest.raises(ArrayError, match=words):
        model.step(x, model.initial_state(1) if state is None else state)


def test_a_model_with_time_asks_for_it() -> None:
    """`time` is an argument of models that use it."""
    model = Model(models.hours())
    y, _ = model.step([[1.0]], model.initial_state(1), time=[7_200_000])
    assert float(y[0, 0]) == 3.0
    with pytest.raises(ArrayError, match="uses the time"):
        model.step([[1.0]], model.initial_state(1))
    with pytest.raises(ArrayError, match="time has shape"):
        model.run(np.zeros((2, 1, 1)), model.initial_state(1), time=[[1]])


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    """The message names the file and the command that makes one."""
    with pytest.raises(ModelError, match=r"no model file .*nowhere\.onnx.*streamlstm train"):
        streamlstm.load(tmp_path / "nowhere.onnx")


def test_a_directory_is_no_model(tmp_path: Path) -> None:
    """A path that cannot be read is named with the system's reason."""
    with pytest.raises(ModelError, match="it is a directory, not a file"):
        streamlstm.load(tmp_path)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", None, 1_000_000])
def test_threads_are_a_number_that_can_be_had(threads: Any) -> None:
    """Anything else is refused in one line, before threads are started."""
    with pytest.raises(UsageError, match=r"threads is a whole number from 1 to 1,024, not "):
        streamlstm.load("universal", threads=threads)


def test_foreign_onnx_files_are_told_apart(tmp_path: Path) -> None:
    """Rubbish, and ONNX files that are no step models, each have their own line."""
    (tmp_path / "rubbish.onnx").write_bytes(b"PK\x03\x04")
    with pytest.raises(ModelError, match="not an ONNX model, or is damaged"):
        streamlstm.load(tmp_path / "rubbish.onnx")
    plain = onnx.load_model_from_string(models.lstm(4))
    del plain.metadata_props[:]
    with pytest.raises(ModelError, match="not a step model"):
        Model(plain.SerializeToString())


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"format": 1', '"format": 99', "format 99"),
        ('"shape": [4]', '"shape": [5]', "initial values|axes"),
        ('"chunking": true, ', "", "chunking"),
        ('{"format"', '["format"', "not JSON"),
        ('"targets": [0]', '"targets": [3]', "target 3"),
        ('"targets": [0]', '"targets": []', "0 targets"),
    ],
)
def test_metadata_that_contradicts_the_graph_is_refused(old: str, new: str, words: str) -> None:
    """A spec that is broken, of another format, or not that of the graph never reaches a daemon."""
    proto = onnx.load_model_from_string(models.lstm(4))
    text = proto.metadata_props[0].value
    assert old in text
    helper.set_model_props(proto, {"streamlstm": text.replace(old, new)})
    with pytest.raises(ModelError, match=words):
        Model(proto.SerializeToString())


def test_loading_needs_no_torch() -> None:
    """Neither `streamlstm.load` nor the daemon imports torch, onnx or pandas."""
    code = (
        "import streamlstm, streamlstm.models.model, streamlstm.daemon.daemon, streamlstm.cli.serve, sys;"
        "assert not {'torch', 'onnx', 'pandas', 'matplotlib'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_large_file_has_one_session_and_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row alone has a session of its own only where weights are small; what it says does not depend on that."""
    opened: list[bool] = []
    open_session = models_model.open_session

    def open_(data: bytes, **options: Any) -> Any:
        opened.append(options.get("lone", False))
        return open_session(data, **options)

    monkeypatch.setattr(models_model, "open_session", open_)
    data = UNIVERSAL_FILE.read_bytes()
    small = Model(data)
    monkeypatch.setattr(models_model, "LONE_BYTES", len(data) - 1)
    large = Model(data)
    assert opened == [False, True, False]
    state, other = small.initial_state(1), large.initial_state(1)
    for value in np.random.default_rng(0).normal(size=(50, 1, 1)):
        (y, state), (again, other) = small.step(value, state), large.step(value, other)
        assert (y.tobytes(), state.tobytes()) == (again.tobytes(), other.tobytes())
