"""Keras' TimeDistributed around what looks at several steps: each step of a window is a window itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from against_keras import SAVED, B, F, L, Layers, check_carried, check_windows, drawn
from keras_files import imported, layer, values, write_h5

S, W = 3, 4


def each(*layers: Any) -> list[Any]:
    """Every one of the layers in a TimeDistributed of its own."""
    return [L.TimeDistributed(one) for one in layers]


def model_of(*layers: Any, functional: bool = False) -> Any:
    """A model over windows (W, F) that is a layer."""
    if not functional:
        return keras.Sequential([L.Input((W, F)), *layers])
    y = inputs = L.Input((W, F))
    for one in layers:
        y = one(y)
    return keras.Model(inputs, y)


WINDOWS: dict[str, Layers] = {
    "CNN-LSTM": lambda: [
        *each(L.Conv1D(6, 2, activation="relu"), L.Dropout(0.3), L.MaxPooling1D(2), L.Flatten()),
        *(L.LSTM(4), L.Dense(1)),
    ],
    "Conv1D of one step": lambda: [*each(L.Conv1D(4, 1), L.MaxPooling1D(), L.Flatten()), L.LSTM(4), L.Dense(1)],
    "recurrent": lambda: [
        *each(L.Bidirectional(L.GRU(3, return_sequences=True)), L.LSTM(2), L.LayerNormalization()),
        *(L.SimpleRNN(3), L.Dense(2)),
    ],
    "normalizations": lambda: [
        *each(L.LayerNormalization(), L.BatchNormalization(), L.PReLU(shared_axes=[1]), L.Conv1D(3, 2, padding="same")),
        *(*each(L.GlobalAveragePooling1D()), L.GRU(3), L.Dense(1)),
    ],
    "of every number": lambda: [L.BatchNormalization(), L.Dense(2, "tanh"), *each(L.Flatten()), L.LSTM(3)],
    "Sequential": lambda: [L.TimeDistributed(model_of(L.Conv1D(4, 2), L.BatchNormalization(), L.Flatten())), L.LSTM(3)],
    "Functional": lambda: [
        L.TimeDistributed(model_of(L.Conv1D(4, 2), L.GlobalMaxPooling1D(), L.Dense(2), functional=True)),
        *(L.LSTM(3), L.Dense(1)),
    ],
    "Sequential in Sequential": lambda: [
        L.TimeDistributed(model_of(model_of(L.Conv1D(4, 2, padding="causal"), L.LSTM(3)), L.Dense(2))),
        *(L.LSTM(3), L.Dense(1)),
    ],
    "without recurrence": lambda: [*each(L.Conv1D(4, 2), L.Flatten()), L.Flatten(), L.Dense(1)],
}


@SAVED
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("case", WINDOWS)
def test_windows_of_windows(tmp_path: Path, case: str, suffix: str) -> None:
    """As `predict` of the last S windows of W values each, which follow one another."""
    model = drawn(keras.Sequential([L.Input((S, W, F)), *WINDOWS[case]()]), tmp_path / f"m{suffix}")
    check_windows(tmp_path / f"m{suffix}", model, whole=True)
    facts = imported(tmp_path / f"m{suffix}").spec.training
    assert (facts["window"], facts["carries"]) == (S * W, f"the last {S * W} values (stateless, fixed windows)")


def test_windows_that_the_model_makes_itself(tmp_path: Path) -> None:
    """By a Reshape, from one window; and repeated ones."""
    layers = [L.Reshape((S, W, F)), *each(L.Conv1D(4, 2), L.Flatten(), L.RepeatVector(2), L.Flatten()), L.LSTM(3)]
    model = drawn(keras.Sequential([L.Input((S * W, F)), *layers]), tmp_path / "m.keras")
    check_windows(tmp_path / "m.keras", model, whole=True)


@SAVED
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_model_that_treats_each_step_alone_is_carried(tmp_path: Path, suffix: str) -> None:
    """Its layers are unfolded."""
    held = keras.Sequential([L.Input((4,)), L.Dense(3, "relu"), L.LayerNormalization(), L.Dense(2)])
    layers = [L.LSTM(4, return_sequences=True), L.TimeDistributed(held), L.GRU(3), L.Dense(1)]
    model = drawn(keras.Sequential([L.Input((None, F)), *layers]), tmp_path / f"m{suffix}")
    check_carried(tmp_path / f"m{suffix}", model, values(9, B, F))


def test_a_model_of_keras_2_in_it(tmp_path: Path) -> None:
    """A `.h5` of Keras 2 names the weights of a model in a TimeDistributed after the layers, without the model."""
    held = {
        "class_name": "Sequential",
        "config": {
            "name": "cnn",
            "layers": [
                layer("Conv1D", name="conv1d", batch_input_shape=[None, W, F], filters=2, kernel_size=[2]),
                layer("Flatten", name="flatten"),
            ],
        },
    }
    outer = layer("TimeDistributed", name="each", batch_input_shape=[None, S, W, F], layer=held)
    layers = [outer, layer("LSTM", name="lstm", units=2), layer("Dense", name="dense", units=1)]
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": layers}}
    held_model = keras.Sequential([L.Input((W, F)), L.Conv1D(2, 2), L.Flatten()])
    theirs = keras.Sequential([L.Input((S, W, F)), L.TimeDistributed(held_model), L.LSTM(2), L.Dense(1)])
    drawn(theirs, tmp_path / "3.keras")
    arrays = [np.asarray(weight) for weight in theirs.get_weights()]
    weights = {"each": arrays[:2], "lstm": arrays[2:5], "dense": arrays[5:]}
    path = write_h5(tmp_path / "m.h5", "2.11.0", config, weights, places={"each": ["conv1d/kernel:0", "conv1d/bias:0"]})
    check_windows(path, theirs, whole=True)


def test_models_in_models_of_keras_2(tmp_path: Path) -> None:
    """A `.h5` of Keras 2 names a weight after its layer alone, however deep in models that is."""
    dense = [layer("Dense", name=name, units=2) for name in ("first", "second")]
    inner = {"class_name": "Sequential", "config": {"name": "inner", "layers": dense}}
    outer = {"name": "outer", "layers": [inner, layer("GRU", name="g", units=2)]}
    nested = {"class_name": "Sequential", "config": outer}
    first = layer("Dense", name="scale", units=F, batch_input_shape=[None, W, F])
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": [first, nested]}}
    theirs = keras.Sequential([L.Input((W, F)), L.Dense(F), L.Dense(2), L.Dense(2), L.GRU(2)])
    drawn(theirs, tmp_path / "3.keras")
    arrays = [np.asarray(weight) for weight in theirs.get_weights()]
    places = [f"{name}/{kind}:0" for name in ("first", "second") for kind in ("kernel", "bias")]
    places += [f"g/gru_cell/{kind}:0" for kind in ("kernel", "recurrent_kernel", "bias")]
    weights = {"scale": arrays[:2], "outer": arrays[2:]}
    path = write_h5(tmp_path / "m.h5", "2.11.0", config, weights, places={"outer": places})
    check_windows(path, theirs, whole=False)
