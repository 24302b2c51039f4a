"""What `import-keras` says of files that it refuses, or cannot be sure of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import pytest
from click.testing import CliRunner
from keras_files import imported

from streamlstm.cli import main
from streamlstm.errors import ModelError

L = keras.layers
W, F = 5, 2
SAVED = pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")


@pytest.mark.parametrize(
    ("inputs", "layers", "said"),
    [
        ((5,), [L.Embedding(10, 4), L.LSTM(3)], r"\(Embedding\) cannot be carried over: a value is F numbers"),
        ((8, 8, 1), [L.Conv2D(2, 3), L.Flatten(), L.Dense(1)], r"\(Conv2D\) cannot be carried over"),
        ((8,), [L.Dense(4), L.Dense(1)], r"keras.Input\(\(W, F\)\), and with an LSTM, a GRU or a SimpleRNN in it"),
    ],
    ids=["embedding", "images", "flat"],
)
def test_what_is_refused_is_what_another_shape_of_inputs_would_not_mend(
    inputs: tuple[int, ...], layers: list[Any], said: str, tmp_path: Path
) -> None:
    """Who does what a refusal says is not refused again."""
    keras.Sequential([L.Input(inputs), *layers]).save(tmp_path / "m.keras")
    with pytest.raises(ModelError, match=said):
        imported(tmp_path / "m.keras")


@SAVED
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_file_that_cannot_tell_whose_its_classes_are_is_said_to_be_one(suffix: str, tmp_path: Path) -> None:
    """A forecast that may be wrong is not given without a word."""
    keras.Sequential([L.Input((W, F)), L.GRU(3), L.Dense(1)]).save(tmp_path / f"m{suffix}")
    paths = [str(tmp_path / f"m{suffix}"), "-o", str(tmp_path / "m.onnx")]
    done = CliRunner().invoke(main, ["import-keras", *paths])
    assert done.exit_code == 0
    assert ("all are taken for Keras' own" in done.stderr) is (suffix == ".h5")
