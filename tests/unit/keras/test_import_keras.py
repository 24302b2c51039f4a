"""Models saved by real Keras 3 step in onnxruntime as Keras predicts: 1e-6."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras_files import Floats, imported, values

from streamlstm.errors import UsageError

L = keras.layers
BATCH = 3

STATEFUL: dict[str, Callable[[], list[Any]]] = {
    "LSTM": lambda: [L.LSTM(4, stateful=True), L.Dense(1)],
    "GRU": lambda: [L.GRU(4, stateful=True), L.Dense(1)],
    "GRU reset before": lambda: [L.GRU(4, stateful=True, reset_after=False), L.Dense(1)],
    "SimpleRNN": lambda: [L.SimpleRNN(4, stateful=True), L.Dense(1)],
    "no bias": lambda: [L.LSTM(4, stateful=True, use_bias=False), L.GRU(3, stateful=True, use_bias=False)][:1],
    "hard_sigmoid": lambda: [L.LSTM(4, stateful=True, recurrent_activation="hard_sigmoid"), L.Dense(1)],
    "relu": lambda: [L.LSTM(4, stateful=True, activation="relu"), L.Dense(1)],
    "linear": lambda: [L.LSTM(4, stateful=True, activation=None), L.Dense(1)],
    "gelu in a loop": lambda: [L.LSTM(4, stateful=True, activation="gelu"), L.Dense(1)],
    "deep": lambda: [
        L.LSTM(5, stateful=True, return_sequences=True),
        L.Dropout(0.3),
        L.LSTM(10, stateful=True),
        L.Dense(3, activation="relu"),
        L.LeakyReLU(),
        L.Dense(1),
        L.Activation("linear"),
    ],
    "many of a kind": lambda: [
        L.Dense(4, activation="tanh"),
        L.LSTM(3, stateful=True, return_sequences=True, name="zebra"),
        L.GRU(3, stateful=True, return_sequences=True),
        L.LSTM(3, stateful=True, return_sequences=True, name="ant"),
        L.TimeDistributed(L.Dense(2, use_bias=False)),
        L.SimpleRNN(3, stateful=True, dropout=0.5, recurrent_dropout=0.5),
        L.Dense(2),
        L.ELU(0.7),
        L.Dense(2, activation="swish"),
        L.Softmax(),
    ],
    "RNN of cells": lambda: [
        L.RNN([L.LSTMCell(4), L.GRUCell(3), L.LSTMCell(2)], stateful=True, return_sequences=True),
        L.RNN(L.SimpleRNNCell(3), stateful=True),
        L.Dense(1),
    ],
    "Bidirectional": lambda: [
        L.Bidirectional(L.LSTM(4, stateful=True, return_sequences=True, use_cudnn=False), merge_mode="ave"),
        L.Bidirectional(L.GRU(3, stateful=True, use_cudnn=False)),
        L.Dense(1),
    ],
    "backwards": lambda: [L.LSTM(4, stateful=True, go_backwards=True), L.Dense(1)],
    "mixed with stateless": lambda: [
        L.LSTM(4, return_sequences=True),
        L.LSTM(3, stateful=True, return_sequences=True),
        L.Bidirectional(L.GRU(3)),
        L.Dense(1),
    ],
}

STATELESS: dict[str, Callable[[], list[Any]]] = {
    "LSTM": lambda: [L.LSTM(4), L.Dense(1)],
    "the tutorial's": lambda: [L.LSTM(5, return_sequences=True), L.LSTM(10), L.Dropout(0.2), L.Dense(1)],
    "sequences": lambda: [L.GRU(4, return_sequences=True), L.Dense(1)],
    "Bidirectional": lambda: [
        L.Bidirectional(L.LSTM(4, return_sequences=True)),
        L.Bidirectional(L.GRU(3), merge_mode="mul"),
        L.Dense(1),
    ],
    "two ways of their own": lambda: [
        L.Bidirectional(L.LSTM(4), backward_layer=L.GRU(4, go_backwards=True)),
        L.Dense(1),
    ],
    "backwards": lambda: [L.SimpleRNN(4, go_backwards=True, return_sequences=True), L.LSTM(3), L.Dense(1)],
    "gelu in a loop": lambda: [L.GRU(4, activation="gelu"), L.Dense(1)],
}


def build(layers: list[Any], batch_shape: tuple[int | None, ...], *, functional: bool = False) -> Any:
    """A model with weights that are not small."""
    if functional:
        x = inputs = L.Input(batch_shape=batch_shape)
        for one in layers:
            x = one(x)
        model = keras.Model(inputs, x)
    else:
        model = keras.Sequential([L.Input(batch_shape=batch_shape), *layers])
    model.set_weights([values(*w.shape, seed=i) * 0.4 for i, w in enumerate(model.get_weights())])
    for one in model.layers:
        if getattr(one, "stateful", False):
            one.use_cudnn = False  # Keras' fused kernel in torch does not take stateful layers
    return model


def reset(model: Any) -> None:
    """Forget every state, as Keras does between two series."""
    for one in model.layers:
        for part in (one, getattr(one, "forward_layer", None), getattr(one, "backward_layer", None)):
            # Keras' own reset_state() fails on stacked cells.
            for state in keras.tree.flatten(getattr(part, "states", None) or []):
                state.assign(keras.ops.zeros_like(state))


def predict(model: Any, x: Floats) -> Floats:
    """The prediction for a batch of windows, the last step's if there is one for each."""
    y = keras.ops.convert_to_numpy(model(x, training=False))
    return np.asarray(y[:, -1] if y.ndim == 3 else y)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize("name", STATEFUL)
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_stateful_model_steps_as_keras(tmp_path: Path, name: str, suffix: str, functional: bool) -> None:
    """One step at a time, with a reset in the middle, as predict of a stateful model."""
    keras.backend.clear_session(free_memory=False)  # whose search for garbage takes longer than the rest
    theirs = build(STATEFUL[name](), (BATCH, 1, 2), functional=functional)
    path = tmp_path / f"model{suffix}"
    theirs.save(path)
    ours = imported(path)
    state = ours.initial_state(BATCH)
    for number, x in enumerate(values(14, BATCH, 2, seed=5)):
        if number == 7:
            reset(theirs)
            state = ours.initial_state(BATCH)
        y, state = ours.step(x, state)
        np.testing.assert_allclose(y, predict(theirs, x[:, None]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize("name", STATELESS)
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_stateless_model_predicts_its_window(tmp_path: Path, name: str, suffix: str, functional: bool) -> None:
    """Every step gives predict of the last W values; before that, of those that have come."""
    keras.backend.clear_session(free_memory=False)  # whose search for garbage takes longer than the rest
    width = 6
    theirs = build(STATELESS[name](), (None, width, 2), functional=functional)
    path = tmp_path / f"model{suffix}"
    theirs.save(path)
    free = build(STATELESS[name](), (None, None, 2))  # takes shorter windows too
    free.set_weights(theirs.get_weights())
    ours = imported(path)
    assert ours.spec.training["window"] == width
    x = values(13, BATCH, 2, seed=5)
    state = ours.initial_state(BATCH)
    for step in range(len(x)):
        y, state = ours.step(x[step], state)
        seen = x[max(0, step + 1 - width) : step + 1].transpose(1, 0, 2)
        model = theirs if seen.shape[1] == width else free
        np.testing.assert_allclose(y, predict(model, seen), rtol=0, atol=1e-6)


def test_a_stateful_model_of_long_batches_is_carried_value_by_value(tmp_path: Path) -> None:
    """After W single steps the prediction is that of the batch of W steps."""
    theirs = build([L.LSTM(4, stateful=True), L.Dense(1)], (BATCH, 5, 2))
    theirs.save(tmp_path / "m.keras")
    ours, x = imported(tmp_path / "m.keras"), values(15, BATCH, 2)
    state = ours.initial_state(BATCH)
    for start in range(0, 15, 5):
        ys, state = ours.run(x[start : start + 5], state)
        np.testing.assert_allclose(ys[-1], predict(theirs, x[start : start + 5].transpose(1, 0, 2)), atol=1e-6)


def test_a_stateless_model_without_a_length_carries_all(tmp_path: Path) -> None:
    """With any number of time steps allowed, a step gives predict of everything since the beginning."""
    theirs = build([L.LSTM(4, return_sequences=True), L.GRU(3), L.Dense(1)], (None, None, 2))
    theirs.save(tmp_path / "m.keras")
    ours, x = imported(tmp_path / "m.keras"), values(9, BATCH, 2)
    assert ours.spec.state_size == 4 + 4 + 3
    ys, _ = ours.run(x, ours.initial_state(BATCH))
    for step in range(len(x)):
        np.testing.assert_allclose(ys[step], predict(theirs, x[: step + 1].transpose(1, 0, 2)), atol=1e-6)


def test_a_functional_model_may_use_only_the_output_of_return_state(tmp_path: Path) -> None:
    """A layer with return_state whose states nobody uses is a plain link of the chain."""
    inputs = L.Input((6, 2))
    y, *_ = L.LSTM(4, return_state=True)(inputs)
    theirs = keras.Model(inputs, L.Dense(1)(y))
    theirs.save(tmp_path / "m.keras")
    ours, x = imported(tmp_path / "m.keras"), values(6, BATCH, 2)
    ys, _ = ours.run(x, ours.initial_state(BATCH))
    np.testing.assert_allclose(ys[-1], predict(theirs, x.transpose(1, 0, 2)), atol=1e-6)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_model_that_was_built_without_an_input_layer(tmp_path: Path, suffix: str) -> None:
    """A Sequential that learned its input shape from its first batch is read as well."""
    theirs = keras.Sequential([L.LSTM(4), L.Dense(1)])
    x = values(5, BATCH, 2)
    wanted = predict(theirs, x.transpose(1, 0, 2))
    theirs.save(tmp_path / f"m{suffix}")
    ours = imported(tmp_path / f"m{suffix}")
    ys, _ = ours.run(x, ours.initial_state(BATCH))
    np.testing.assert_allclose(ys[-1], wanted, atol=1e-6)


def test_one_scale_serves_for_everything(tmp_path: Path) -> None:
    """Raw values in, raw predictions out, as the notebook does with its MinMaxScaler."""
    theirs = build([L.LSTM(4, stateful=True), L.Dense(1)], (BATCH, 1, 1))
    theirs.save(tmp_path / "m.keras")
    ours = imported(tmp_path / "m.keras", scale=(104.0, 622.0), features=["passengers"])
    assert (ours.spec.features, ours.spec.outputs, ours.spec.targets) == (("passengers",), ("yhat",), (0,))
    state = ours.initial_state(BATCH)
    for x in values(8, BATCH, 1) * 100 + 300:
        y, state = ours.step(x, state)
        expected = predict(theirs, (x[:, None] - 104) / np.float32(518)) * 518 + 104
        np.testing.assert_allclose(y, expected, rtol=1e-6)


def test_a_scale_for_each_feature_and_output(tmp_path: Path) -> None:
    """Several scales go to the features, then to the outputs; as many outputs as features share theirs."""
    theirs = build([L.LSTM(4, stateful=True), L.Dense(2)], (BATCH, 1, 2))
    theirs.save(tmp_path / "m.keras")
    x = values(BATCH, 2) * 5
    low, high = np.float32([0.0, -1.0]), np.float32([10.0, 3.0])
    scaled = predict(theirs, ((x - low) / (high - low))[:, None])
    ours = imported(tmp_path / "m.keras", scale=[(0.0, 10.0), (-1.0, 3.0)])
    y, _ = ours.step(x, ours.initial_state(BATCH))
    np.testing.assert_allclose(y, scaled * (high - low) + low, atol=1e-5)
    assert ours.spec.outputs == ("yhat_x1", "yhat_x2")
    ours = imported(tmp_path / "m.keras", scale=[(0.0, 10.0), (-1.0, 3.0), (0.0, 1.0), (5.0, 6.0)])
    y, _ = ours.step(x, ours.initial_state(BATCH))
    np.testing.assert_allclose(y, scaled + np.float32([0.0, 5.0]), atol=1e-5)


def test_outputs_are_named_and_aimed(tmp_path: Path) -> None:
    """Several outputs of one feature are its next values; of several features nothing is assumed."""
    build([L.LSTM(4, stateful=True), L.Dense(3)], (BATCH, 1, 1)).save(tmp_path / "many.keras")
    spec = imported(tmp_path / "many.keras").spec
    assert (spec.outputs, spec.targets) == (("yhat", "yhat2", "yhat3"), (0,))
    build([L.LSTM(4, stateful=True), L.Dense(1)], (BATCH, 1, 2)).save(tmp_path / "one.keras")
    spec = imported(tmp_path / "one.keras").spec
    assert (spec.outputs, spec.targets) == (("yhat",), (None, None))


def test_arguments_that_do_not_fit_are_named(tmp_path: Path) -> None:
    """A wrong number of scales or of names, or a scale of no width, is a usage error."""
    build([L.LSTM(4, stateful=True), L.Dense(1)], (BATCH, 1, 2)).save(tmp_path / "m.keras")
    for options, message in (
        ({"scale": [(0.0, 1.0), (0.0, 1.0)]}, "2 scales do not fit 2 features and 1 outputs"),
        ({"scale": (1.0, 1.0)}, "two different finite numbers"),
        ({"scale": (0.0, float("inf"))}, "two different finite numbers"),
        ({"features": ["a"]}, "takes 2 features a value"),
        ({"features": ["a", "a"]}, "two features are called 'a'"),
    ):
        with pytest.raises(UsageError, match=message):
            imported(tmp_path / "m.keras", **options)


def test_layers_and_facts_are_told(tmp_path: Path) -> None:
    """The metadata names layers, parameters, Keras' version and what the state carries; the file is deterministic."""
    theirs = build([L.LSTM(4, stateful=True), L.Dense(1)], (BATCH, 1, 2))
    theirs.save(tmp_path / "m.keras")
    spec = imported(tmp_path / "m.keras").spec
    assert [layer["kind"] for layer in spec.layers] == ["LSTM", "Dense"]
    assert sum(layer["parameters"] for layer in spec.layers) == theirs.count_params()
    assert spec.training["keras_version"] == keras.__version__
    assert imported(tmp_path / "m.keras").fingerprint == imported(tmp_path / "m.keras").fingerprint
