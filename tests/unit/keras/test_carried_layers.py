"""Keras models for any number of steps: what looks back only, or runs on after a last output, is carried."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from against_keras import SAVED, B, F, L, Layers, check_bits, check_carried, drawn, head, predicted
from keras_files import imported, values

CARRIED: dict[str, Layers] = {
    "causal": lambda: head(L.Conv1D(4, 3, padding="causal", activation="relu")),
    "causal, dilated": lambda: head(
        *(L.Conv1D(4, 2, padding="causal", dilation_rate=2**i, activation="tanh") for i in range(3))
    ),
    "causal, in groups, without a bias": lambda: [
        L.LSTM(4, return_sequences=True),
        *(L.Conv1D(6, 2, padding="causal", groups=2, use_bias=False), L.BatchNormalization(), L.GRU(3), L.Dense(2)),
    ],
    "causal alone": lambda: [L.Conv1D(4, 2, padding="causal", activation="tanh"), L.Conv1D(2, 1)],
    "one step at a time": lambda: head(L.Conv1D(4, 1, padding="same"), L.Conv1D(3, 1)),
    "largest": lambda: [L.LSTM(4, return_sequences=True), L.GlobalMaxPooling1D(), L.Dense(1)],
    "mean": lambda: [L.LSTM(4, return_sequences=True), L.GlobalAveragePooling1D(), L.Dense(1)],
    "mean of inputs": lambda: [L.GlobalAveragePooling1D(), L.Dense(2)],
    "Flatten of a last output": lambda: [L.GRU(4), L.Flatten(), L.Dense(1)],
    "a decoder of one step": lambda: [L.LSTM(4), L.RepeatVector(1), L.LSTM(3), L.Dense(1)],
    "a decoder's last step": lambda: [L.LSTM(4), L.RepeatVector(3), L.LSTM(3), L.Dense(1)],
}


@SAVED
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("case", CARRIED)
def test_what_only_looks_back_is_carried(tmp_path: Path, case: str, suffix: str) -> None:
    """As `predict` of all values until then."""
    model = drawn(keras.Sequential([L.Input((None, F)), *CARRIED[case]()]), tmp_path / f"m{suffix}")
    ours = check_carried(tmp_path / f"m{suffix}", model, values(12, B, F))
    assert "window" not in ours.spec.training
    assert ours.spec.training["carries"] == "the recurrent state (stateless, all values since the beginning)"


FORECASTS: dict[str, Layers] = {
    "decoder": lambda: [L.RepeatVector(3), L.LSTM(4, return_sequences=True), L.TimeDistributed(L.Dense(1))],
    "decoder, both ways": lambda: [
        L.RepeatVector(3),
        L.Bidirectional(L.GRU(2, return_sequences=True)),
        L.TimeDistributed(L.Dense(1)),
    ],
    "single shot": lambda: [L.Dense(3), L.Reshape((3, 1))],
}


@SAVED
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("stateful", [False, True])
@pytest.mark.parametrize("case", FORECASTS)
def test_a_decoder_runs_afresh_for_every_value(tmp_path: Path, case: str, suffix: str, stateful: bool) -> None:
    """Behind an encoder that carries its state; its steps are the forecasts."""
    shape = (B, 1, F) if stateful else (None, None, F)
    layers = [L.Input(batch_shape=shape), L.LSTM(4, stateful=stateful), *FORECASTS[case]()]
    model = drawn(keras.Sequential(layers), tmp_path / f"m{suffix}")
    x = values(7, B, F)
    if not stateful:
        ours = check_carried(tmp_path / f"m{suffix}", model, x)
    else:
        ours = imported(tmp_path / f"m{suffix}")
        ys, state = ours.run(x, ours.initial_state(B))
        wanted = np.stack([predicted(model, one[None])[:, :, 0] for one in x])
        np.testing.assert_allclose(ys, wanted, rtol=1e-6, atol=1e-6)
        check_bits(ours, x, ys, state)
    assert ours.spec.outputs == ("yhat", "yhat2", "yhat3")
    assert ours.initial_state(1).shape == (1, 8)  # (h, c) of the encoder


STATEFUL: dict[str, Layers] = {
    "a convolution that sees zeros": lambda: [L.Conv1D(4, 3, padding="causal"), L.LSTM(3, stateful=True), L.Dense(1)],
    "pooling": lambda: [L.LSTM(3, stateful=True, return_sequences=True), L.GlobalMaxPooling1D(), L.Dense(1)],
    "another name for one step": lambda: [
        *(L.Flatten(), L.Dense(3), L.RepeatVector(1), L.GRU(3, stateful=True, return_sequences=True)),
        *(L.Reshape((3,)), L.Dense(1)),
    ],
    "padding before what forgets": lambda: [
        *(L.GRU(3, stateful=True, return_sequences=True), L.ZeroPadding1D(1), L.LSTM(2), L.Dense(1)),
    ],
}


@pytest.mark.parametrize("case", STATEFUL)
def test_a_stateful_model_of_one_step_a_batch(tmp_path: Path, case: str) -> None:
    """What looks across steps sees that one, as in Keras' `predict` of one value after another."""
    model = drawn(keras.Sequential([L.Input(batch_shape=(B, 1, F)), *STATEFUL[case]()]), tmp_path / "m.keras")
    ours, x = imported(tmp_path / "m.keras"), values(7, B, F)
    ys, state = ours.run(x, ours.initial_state(B))
    wanted = np.stack([predicted(model, one[None]).reshape(B, -1) for one in x])
    np.testing.assert_allclose(ys, wanted, rtol=1e-6, atol=1e-6)
    check_bits(ours, x, ys, state)


def test_a_stateful_model_of_any_steps_carries_a_causal_convolution(tmp_path: Path) -> None:
    """As one `predict` of all values does, and says so."""
    layers = [L.Conv1D(4, 3, padding="causal"), L.LSTM(3, stateful=True), L.Dense(1)]
    model = drawn(keras.Sequential([L.Input(batch_shape=(B, None, F)), *layers]), tmp_path / "m.keras")
    ours, x = imported(tmp_path / "m.keras"), values(7, B, F)
    ys, _ = ours.run(x, ours.initial_state(B))
    np.testing.assert_allclose(ys[-1], predicted(model, x), rtol=1e-6, atol=1e-6)
    assert "that Conv1D looks back at, as one predict() of all values" in str(ours.spec.training["carries"])


MASKED: dict[str, Layers] = {
    "LSTM": lambda: [L.LSTM(4), L.Dense(1)],
    "deep": lambda: [
        *(L.Dense(3), L.LSTM(4, return_sequences=True), L.Dropout(0.5), L.BatchNormalization()),
        *(L.GRU(3, return_sequences=True), L.SimpleRNN(3, return_sequences=True), L.Dense(1)),
    ],
    "cells": lambda: [L.RNN([L.LSTMCell(3), L.GRUCell(2)], return_sequences=True), L.GRU(2, reset_after=False)],
    "encoder and decoder": lambda: [L.GRU(3), L.RepeatVector(2), L.LSTM(2, return_sequences=True), L.Dense(1)],
}


@SAVED
@pytest.mark.filterwarnings("ignore:.*does not support masking")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize("case", MASKED)
def test_masked_steps_hold_states_and_outputs(tmp_path: Path, case: str, suffix: str, functional: bool) -> None:
    """At the beginning, where outputs are zeros, within, and at the end."""
    y = inputs = L.Input((None, F))
    layers = [L.Masking(-1.0), *MASKED[case]()]
    for one in layers:
        y = one(y)
    model = keras.Model(inputs, y) if functional else keras.Sequential([L.Input((None, F)), *layers])
    x = values(14, B, F)
    x[[3, 4, 9], 0] = x[:3, 1] = x[5:, 2] = -1.0
    x[6, 3, 0] = -1.0  # one number of a step is none of it
    check_carried(tmp_path / f"m{suffix}", drawn(model, tmp_path / f"m{suffix}"), x)
