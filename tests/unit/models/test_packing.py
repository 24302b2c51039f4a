"""States in float16: packed without loss, refused where they are none, rewritten into any model that has layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamlstm.errors import ModelError, RecordError
from streamlstm.models.importers import compact, compacted
from streamlstm.models.model import Model
from streamlstm.models.packing import LARGEST_HALF, Packing
from streamlstm.models.spec import FLOAT16, ModelSpec, StateEntry
from streamlstm.store.record.layout import RecordFormat
from support import models

EVERY = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
FINITE = EVERY[np.isfinite(EVERY)].astype(np.float32)


def packing(*entries: tuple[str, int]) -> Packing:
    """Of entries of these kinds and sizes."""
    return Packing(tuple(StateEntry(name=f"e{n}", shape=(s,), dtype=d) for n, (d, s) in enumerate(entries)))


def test_every_float16_comes_back_as_it_was() -> None:
    """All that are finite, both zeros and those below the smallest whole exponent among them, and none is a NaN."""
    for width in (1, 2, 5):
        made = packing((FLOAT16, width))
        state = np.resize(FINITE, (len(FINITE) // width, width))
        words = made.pack(state)
        assert words.shape == (len(state), (width + 1) // 2)
        assert np.isfinite(words).all()
        assert made.unpack(words).tobytes() == state.tobytes()
        assert made.finite(words).all()


def test_parts_that_are_float32_stay_as_they_are() -> None:
    """Entries in a row share words, others lie between; a word begins with each part."""
    made = packing((FLOAT16, 1), (FLOAT16, 2), ("float32", 2), (FLOAT16, 1))
    assert (made.numbers, made.words) == (6, 2 + 2 + 1)
    state = np.array([[0.5, -1, 2, np.pi, 1e30, -65504]], np.float32)
    words = made.pack(state)
    assert made.unpack(words).tobytes() == state.tobytes()
    assert words[0, 2:4].tobytes() == state[0, 3:5].tobytes()


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 65520.0, 1e30, 1 / 3, 1 + 2**-12])
def test_what_is_no_float16_is_no_state(number: float) -> None:
    """It is not rounded silently: its series alone has no finite state."""
    state = np.ones((3, 4), np.float32)
    state[1, 2] = number
    assert np.isfinite(packing((FLOAT16, 4)).pack(state)).all(axis=1).tolist() == [True, False, True]


def test_records_of_float16_are_told_by_their_beginning() -> None:
    """The fifth kind; half of a record's state that is not finite is found, whichever half of a word it is in."""
    model = Model(models.half_lstm(4))
    made = RecordFormat.of(model.spec, initial_state=model.initial_state()[0], fingerprint=model.fingerprint)
    record = made.fresh.tobytes()
    assert record.startswith(b"SLR5\x04\x00\x00\x00")
    assert made.numbers(made.fresh[None]).tobytes() == model.initial_state().tobytes()
    assert len(record) == 72 + 4 * (1 + 1 + 4)
    for half in range(8):
        at = len(record) - 16 + 2 * half
        for bits in (b"\x00\x7c", b"\x00\xfc", b"\x01\x7c", b"\xff\x7f"):
            with pytest.raises(RecordError, match="not finite"):
                made.decode_one(record[:at] + bits + record[at + 2 :])
    with pytest.raises(RecordError, match="unknown format"):
        made.decode_one(b"SLR1" + record[4:])


def test_a_model_that_does_not_round_is_refused() -> None:
    """What its file says of its state is tried when it is loaded."""
    with pytest.raises(ModelError, match="gives states that are none"):
        Model(models.unrounded_lstm())


def test_metadata_survives() -> None:
    """What is said of entries is read again, and of other models nothing new is written."""
    spec = Model(models.half_lstm(4)).spec
    assert ModelSpec.from_json(spec.to_json()) == spec
    assert [entry.dtype for entry in spec.state] == [FLOAT16, FLOAT16]
    assert "dtype" not in Model(models.lstm(4)).spec.to_json()
    text = spec.to_json().replace('"float16"', '"float8"')
    with pytest.raises(ModelError, match='state dtype "float8", not float32 or float16'):
        ModelSpec.from_json(text)


def test_forecasts_stay_close() -> None:
    """The state is rounded to eleven bits after each step, and the forecasts are little off after hundreds."""
    data = models.lstm(16)
    x = np.random.default_rng(0).standard_normal((400, 5, 1)).astype(np.float32)
    exact, rounded = (model.run(x, model.initial_state(5))[0] for model in (Model(data), Model(compacted(data).data)))
    assert 0 < np.abs(exact - rounded).max() < 0.01


def test_one_entry_alone_can_be_named() -> None:
    """The others stay as they are; one that is no layer's is rounded too, one step a call, and that is said."""
    made = compacted(models.lstm(4), ["c"])
    assert [entry.dtype for entry in made.spec.state] == ["float32", FLOAT16]
    assert made.spec.chunking
    assert not made.one_step
    pairs = compacted(models.exact_lstm(4, common=True), ["h", "c"])
    assert pairs.spec.exact
    assert not compacted(models.lstm(4, chunking=False)).one_step


def test_a_state_outside_of_layers_takes_one_step_a_call() -> None:
    """It is rounded where the call ends, so a call may have one step; its states then are float16."""
    with pytest.raises(ModelError, match=r"no recurrent layer whose state could be found .* --entry: last"):
        compacted(models.reciprocal())
    made = compacted(models.reciprocal(), ["last"])
    assert made.one_step
    model = Model(made.data)
    assert model.step([[1 / 3]], model.initial_state())[1].tolist() == [[float(np.float16(1 / 3))]]
    assert model.step([[1e9]], model.initial_state())[1].tolist() == [[LARGEST_HALF]]


def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    """A name that is not there, a model that is one already, a file that is none."""
    with pytest.raises(ModelError, match="carries no 'x'; it carries h, c"):
        compacted(models.lstm(4), ["x"])
    with pytest.raises(ModelError, match="carries float16 already"):
        compacted(models.half_lstm(4))
    with pytest.raises(ModelError, match=r"none\.onnx"):
        compact(tmp_path / "none.onnx", max_bytes=1000)
    with pytest.raises(ModelError, match="the model is not a model onnxruntime can load"):
        compacted(b"")
